"""Runs the gateway's processes on one machine and starts again what dies.

Shapes  Supervisor(processes, log_folder).run(stop) returns once `stop` is set and every process
        has ended. status() is a snapshot, in the order given, for people to look at.
Logs    log_folder/NAME.log, appended by the process itself, so nothing is lost if the supervisor
        is killed; kept at LOG_BYTES_MAX with one older file beside it.
Units   seconds on the monotonic clock.
Errors  a process that cannot be started is treated like one that died: shown and tried again.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gateway.processes import Child, Launch, LaunchError, poll_until, rotate

BACK_OFF_FIRST_SECONDS = 0.5
BACK_OFF_SECONDS_MAX = 30.0
HEALTHY_SECONDS = 60.0
DRAIN_SECONDS_MAX = 25.0
LOG_CHECK_SECONDS = 5.0

State = Literal["waiting", "running", "stopping", "stopped"]


class Process(NamedTuple):
    """One program to keep alive. Without `environment` it inherits ours."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] | None = None
    folder: Path = Path()


class ProcessStatus(NamedTuple):
    """Where one process stands. `last_exit` is negative for a signal, None if it never ended."""

    name: str
    state: State
    pid: int | None = None
    restarts: int = 0
    last_exit: int | None = None
    retry_seconds: float = 0.0


OnChange = Callable[[ProcessStatus], None]


class BackOff(NamedTuple):
    """How long to wait before another start: doubling, bounded, forgotten after good health."""

    first_seconds: float = BACK_OFF_FIRST_SECONDS
    seconds_max: float = BACK_OFF_SECONDS_MAX
    healthy_seconds: float = HEALTHY_SECONDS

    def after(self, previous_seconds: float, lived_seconds: float) -> float:
        """The next wait, given the last one (0 before any) and how long the process lived."""
        if previous_seconds == 0 or lived_seconds >= self.healthy_seconds:
            return self.first_seconds
        return min(self.seconds_max, previous_seconds * 2)


class Supervisor:
    """Keeps processes alive until told to stop; then lets them finish what they hold."""

    def __init__(
        self,
        processes: Sequence[Process],
        log_folder: Path,
        *,
        back_off: BackOff | None = None,
        drain_seconds: float = DRAIN_SECONDS_MAX,
    ) -> None:
        names = [process.name for process in processes]
        assert len(set(names)) == len(names), f"two processes share a name: {names}"
        self._processes = tuple(processes)
        self._log_folder = log_folder
        self._back_off = back_off or BackOff()
        self._drain_seconds = drain_seconds
        self._status = {name: ProcessStatus(name, "waiting") for name in names}
        self._on_change: OnChange | None = None

    def status(self) -> tuple[ProcessStatus, ...]:
        return tuple(self._status.values())

    async def run(self, stop: asyncio.Event, on_change: OnChange | None = None) -> None:
        """Start everything; after `stop`, SIGTERM to all at once and SIGKILL to the late.

        Cancelling ends the processes too, but at once.
        """
        self._on_change = on_change
        async with asyncio.TaskGroup() as group:
            for process in self._processes:
                group.create_task(self._keep(process, stop))

    async def _keep(self, process: Process, stop: asyncio.Event) -> None:
        clock = asyncio.get_running_loop().time
        wait_seconds = 0.0
        while not stop.is_set():
            began = clock()
            ended = await self._live_once(process, stop)
            if stop.is_set():
                break
            wait_seconds = self._back_off.after(wait_seconds, clock() - began)
            self._change(
                process.name,
                state="waiting",
                pid=None,
                last_exit=ended,
                retry_seconds=wait_seconds,
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), wait_seconds)
                break
            self._change(
                process.name, restarts=self._status[process.name].restarts + 1, retry_seconds=0.0
            )
        self._change(process.name, state="stopped", pid=None, retry_seconds=0.0)

    async def _live_once(self, process: Process, stop: asyncio.Event) -> int | None:
        """Start, wait for its end or for `stop`; return the exit status, None if no start."""
        log = self._log_folder / f"{process.name}.log"
        try:
            child = Child(
                Launch(
                    process.command,
                    log=log,
                    death_signal=signal.SIGTERM,
                    environment=process.environment,
                    folder=process.folder.absolute(),
                )
            )
        except LaunchError:
            return None
        try:
            self._change(process.name, state="running", pid=child.pid)
            while not await poll_until(
                lambda: stop.is_set() or not child.alive, LOG_CHECK_SECONDS
            ):
                await asyncio.to_thread(rotate, log)
            if child.alive:
                self._change(process.name, state="stopping")
            return await child.end(signal.SIGTERM, self._drain_seconds)
        finally:
            child.kill()

    def _change(self, name: str, **changes: Any) -> None:
        self._status[name] = self._status[name]._replace(**changes)
        if self._on_change is not None:
            self._on_change(self._status[name])


@contextlib.contextmanager
def stop_on_signals() -> Iterator[asyncio.Event]:
    """An event that Ctrl-C and SIGTERM set, as long as the block lasts."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

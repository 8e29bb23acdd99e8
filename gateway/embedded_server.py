"""What the three local servers have in common: a port, a log, readiness, an end.

Shapes  a LocalServer is made once and may be started and stopped many times; its url stays the
        same, because what talks to it holds on to that url through an outage.
Units   seconds.
Errors  EmbeddedError names the server, shows the end of its log and says what to do next.
"""

import asyncio
import contextlib
import secrets
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import psutil  # type: ignore[import-untyped]  # the package ships no type hints

from gateway import processes
from gateway.failures import GatewayError

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel takes the near end of outgoing connections: a server
# that is down for a minute must find its port still free.
PORTS = range(20_000, 30_000)
PORT_ATTEMPTS_MAX = 100
START_ATTEMPTS_MAX = 3
START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 15.0
PORT_SECONDS_MAX = 3.0  # until a port that is promised is free again
READY_POLL_SECONDS = 0.03
PROBE_SECONDS_MAX = 2.0


class EmbeddedError(GatewayError):
    """A local server could not be started, or its folder is in use."""


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do it: the last connections of an ended server are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    for _ in range(PORT_ATTEMPTS_MAX):
        port = PORTS.start + secrets.randbelow(len(PORTS))
        if port_is_free(port):
            return port
    message = f"no free port found between {PORTS.start} and {PORTS.stop - 1} on {LOOPBACK}"
    raise EmbeddedError(message)


class LocalServer(ABC):
    """One server on the loopback interface, with its data in a folder of its own."""

    name: ClassVar[str]
    program: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    def __init__(self, home: Path, *, port: int | None = None, log: Path | None = None) -> None:
        self.home = home.absolute()
        self.log = log or self.home.with_name(f"{self.home.name}.log")
        self.port = port if port is not None else free_port()
        self._port_is_promised = False
        self._child: processes.Child | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where to connect."""

    @property
    @abstractmethod
    def marker(self) -> str:
        """The argument by which a process of this very folder is known."""

    @abstractmethod
    def _command(self) -> Sequence[str]: ...

    @abstractmethod
    async def _answers(self) -> bool:
        """Connect and speak to it. False, or any network error, means not yet."""

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None and self._child.alive else None

    @property
    def running(self) -> bool:
        return self.pid is not None

    async def start(self) -> None:
        """Clear away what an earlier run left, start, and return once it answers."""
        if self.running:
            return
        await self.clear_leftovers()
        for attempt in range(START_ATTEMPTS_MAX):
            await self._settle_port(attempt)
            await _to_the_end(self._prepare)
            self._child = self._launch()
            try:
                ready = await self._ready()
            except BaseException:
                await asyncio.shield(self.kill())
                raise
            if ready:
                self._port_is_promised = True
                return
            if self._port_is_promised or not await asyncio.to_thread(self._lost_its_port):
                break
            await self.kill()
        raise await self._failure()

    async def stop(self) -> None:
        """End it so that nothing is lost; kill it if it has not ended in time."""
        await self._end(self.stop_signal)

    async def kill(self) -> None:
        """End it as kill -9 does: whatever was not on disk is gone."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def clear_leftovers(self) -> None:
        """End processes that serve this folder but are not ours: a crash left them."""
        left = await asyncio.to_thread(processes.find, self.program, self.marker)
        if left:
            await asyncio.to_thread(processes.end_all, left, self.stop_signal, STOP_SECONDS_MAX)

    def _prepare(self) -> None:
        """Make folders and configuration; runs in a thread before each start."""
        self.home.mkdir(parents=True, exist_ok=True)

    def _launch(self) -> processes.Child:
        launch = processes.Launch(
            self._command(),
            log=self.log,
            death_signal=self.stop_signal,
            environment={"PATH": "/usr/bin:/bin", "HOME": str(self.home), "LC_ALL": "C"},
        )
        return processes.Child(launch)

    async def _end(self, number: signal.Signals) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.end(number, STOP_SECONDS_MAX)

    async def _settle_port(self, attempt: int) -> None:
        if attempt == 0 and port_is_free(self.port):
            return
        if self._port_is_promised:
            if await self._comes_free():
                return
            message = (
                f"{self.name} cannot come back: another program now listens on port "
                f"{self.port}. End that program and try again."
            )
            raise EmbeddedError(message)
        self.port = free_port()

    async def _comes_free(self) -> bool:
        """A child of the ended server may hold its socket for a moment longer than itself."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PORT_SECONDS_MAX
        while loop.time() < deadline:
            await asyncio.sleep(READY_POLL_SECONDS)
            if port_is_free(self.port):
                return True
        return False

    async def _ready(self) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_SECONDS_MAX
        while self.running and loop.time() < deadline:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                async with asyncio.timeout(PROBE_SECONDS_MAX):
                    if await self._answers():
                        return await asyncio.to_thread(self._listens)
            await asyncio.sleep(READY_POLL_SECONDS)
        return False

    def _listens(self) -> bool:
        """It was ours that answered, and not another one that drew the same port."""
        with contextlib.suppress(psutil.Error):
            listening = psutil.Process(self.pid).net_connections("tcp")
            return any(
                connection.status == psutil.CONN_LISTEN and connection.laddr.port == self.port
                for connection in listening
            )
        return False

    def _lost_its_port(self) -> bool:
        """Two instances may draw the same port; then another one is worth a try."""
        return not port_is_free(self.port) and not self._listens()

    async def _failure(self) -> EmbeddedError:
        status = self._child.exit_status if self._child is not None else None
        happened = (
            f"gave no answer on {LOOPBACK}:{self.port} within {START_SECONDS_MAX:.0f} s"
            if status is None
            else f"ended at once (exit status {status})"
        )
        await self.kill()
        return EmbeddedError(
            f"{self.name} did not start: it {happened}.\n"
            f"The end of {self.log}:\n{processes.tail(self.log)}\n"
            f"Next: {self._advice()}"
        )

    def _advice(self) -> str:
        return (
            f"free memory or disk if the log speaks of it; if {self.home} is damaged, move it "
            "away and start again."
        )


async def _to_the_end(work: Callable[[], None]) -> None:
    """Run in a thread; a cancellation waits for its end, for a thread cannot be stopped."""
    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise

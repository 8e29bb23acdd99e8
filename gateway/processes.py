"""Child processes of this machine: start, watch, end, find again after a crash.

Each child leads a session of its own, so Ctrl-C in the terminal reaches only the gateway, which
then ends its children in the right order; and each child is tied to the gateway's life by
launch.py, so kill -9 of the gateway does not leave servers behind for ever.

Units   seconds on the monotonic clock.
Errors  LaunchError if the program cannot be started at all.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]  # the package ships no type hints

POLL_SECONDS = 0.02
KILL_SECONDS_MAX = 5.0
LOG_BYTES_MAX = 10 * 1024 * 1024
TAIL_BYTES_MAX = 16 * 1024
_LAUNCHER = str(Path(__file__).resolve().with_name("launch.py"))


class LaunchError(Exception):
    """The program could not be started."""


class Account(NamedTuple):
    """The system account a child runs as, when the gateway itself is root."""

    uid: int
    gid: int


class Launch(NamedTuple):
    """How to start one child. Without `environment` it inherits the gateway's."""

    command: Sequence[str]
    log: Path
    death_signal: signal.Signals = signal.SIGINT
    account: Account | None = None
    environment: Mapping[str, str] | None = None
    folder: Path = Path("/")


class Child:
    """A running child. `exit_status` is None while it lives, negative for a signal."""

    def __init__(self, launch: Launch) -> None:
        launch.log.parent.mkdir(parents=True, exist_ok=True)
        rotate(launch.log)
        self._process = _spawn(launch)
        self.pid = self._process.pid

    @property
    def exit_status(self) -> int | None:
        return self._process.poll()

    @property
    def alive(self) -> bool:
        return self.exit_status is None

    def send(self, number: signal.Signals) -> None:
        """Signal the child itself; silent if it is gone."""
        if self.alive:
            self._process.send_signal(number)

    async def ended(self, timeout_seconds: float) -> bool:
        """Wait for the end; False if the child still lives after that time."""
        return await poll_until(lambda: not self.alive, timeout_seconds)

    async def end(self, number: signal.Signals, timeout_seconds: float) -> int:
        """Ask with a signal, wait, then kill the whole session; return the exit status."""
        self.send(number)
        if not await self.ended(timeout_seconds):
            await asyncio.to_thread(self.kill)
        return self._process.wait(KILL_SECONDS_MAX)

    def kill(self) -> None:
        """SIGKILL to the child and to everything that stayed in its process group."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            # The kernel needs a moment at most, unless a disk hangs.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_SECONDS_MAX)


def _spawn(launch: Launch) -> "subprocess.Popen[bytes]":
    account = f"{launch.account.uid}:{launch.account.gid}" if launch.account else "-"
    wrapped = [
        *(sys.executable, "-I", "-S", _LAUNCHER),
        *(str(os.getpid()), str(int(launch.death_signal)), account),
        *launch.command,
    ]
    try:
        with launch.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603  # a fixed list of arguments, no shell
                wrapped,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=launch.folder,
                env=None if launch.environment is None else dict(launch.environment),
            )
    except OSError as error:
        message = f"could not start {launch.command[0]}: {error}"
        raise LaunchError(message) from error


async def poll_until(condition: Callable[[], bool], timeout_seconds: float) -> bool:
    """Ask every POLL_SECONDS until the condition holds; False when the time is over."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_seconds
    while not condition():
        if loop.time() >= deadline:
            return condition()
        await asyncio.sleep(POLL_SECONDS)
    return True


def rotate(log: Path, bytes_max: int = LOG_BYTES_MAX) -> None:
    """Keep one older log of at most the same size; safe while a child appends to it.

    Children hold the file open in append mode, so it is copied and emptied in place. What is
    written between the two steps is lost, which a log of local servers can bear.
    """
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > bytes_max:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            os.truncate(log, 0)


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES_MAX))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


def find(program: str, argument: str) -> list[psutil.Process]:
    """Running processes of that program that carry exactly this argument.

    The argument is a path inside one folder, so what is found belongs to that folder, whatever
    process ids were recorded before a crash and given to somebody else since.
    """
    found = []
    for process in psutil.process_iter(["cmdline"]):
        argv = process.info["cmdline"] or []
        if argv and Path(argv[0]).name == program and argument in argv[1:]:
            found.append(process)
    return found


def find_working_in(program: str, folder: Path) -> list[psutil.Process]:
    """Running processes of that program whose working directory is the folder."""
    return [
        process
        for process in psutil.process_iter(["name", "cwd"])
        if process.info["name"] == program and process.info["cwd"] == str(folder)
    ]


def end_all(
    processes: Sequence[psutil.Process], number: signal.Signals, timeout_seconds: float
) -> None:
    """End processes that are not our children: signal, wait, kill, wait."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    _, alive = psutil.wait_procs(processes, timeout=timeout_seconds)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=timeout_seconds)

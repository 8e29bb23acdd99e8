"""The supervisor brings back what dies, backs off from what keeps dying, and drains."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import psutil  # type: ignore[import-untyped]  # the package ships no type hints
import pytest

from gateway.processes import poll_until, rotate
from gateway.supervisor import BackOff, Process, ProcessStatus, Supervisor, stop_on_signals

LIVES = "import time; print('alive', flush=True); time.sleep(600)"
FAILS = "import sys; print('failed'); sys.exit(3)"
DRAINS = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: (print('drained', flush=True), sys.exit(0)))\n"
    "print('alive', flush=True)\n"
    "while True: time.sleep(0.05)\n"
)
STUBBORN = (
    "import signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('alive', flush=True)\n"
    "while True: time.sleep(0.05)\n"
)
QUICK = BackOff(first_seconds=0.05, seconds_max=0.4, healthy_seconds=60.0)


def python(name: str, code: str) -> Process:
    return Process(name, (sys.executable, "-c", code))


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    assert await poll_until(condition, seconds), "it did not happen in time"


def said(folder: Path, name: str, text: str, times: int = 1) -> bool:
    log = folder / f"{name}.log"
    return log.exists() and log.read_text().count(text) >= times


class Running:
    """A supervisor at work, with everything it reported."""

    def __init__(self, folder: Path, *processes: Process, drain_seconds: float = 5.0) -> None:
        self.supervisor = Supervisor(
            processes, folder, back_off=QUICK, drain_seconds=drain_seconds
        )
        self.stop = asyncio.Event()
        self.changes: list[ProcessStatus] = []

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self.supervisor.run(self.stop, self.changes.append))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop.set()
        await self.task

    def of(self, name: str) -> ProcessStatus:
        return next(status for status in self.supervisor.status() if status.name == name)


async def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    async with Running(tmp_path, python("one", LIVES), python("two", LIVES)) as running:
        await until(lambda: said(tmp_path, "one", "alive") and said(tmp_path, "two", "alive"))
        first, other = running.of("one").pid, running.of("two").pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: said(tmp_path, "one", "alive", times=2))
        status = running.of("one")
        assert status.state == "running"
        assert status.pid not in {None, first}
        assert (status.restarts, status.last_exit) == (1, -signal.SIGKILL)
        assert running.of("two") == ProcessStatus("two", "running", other)


async def test_a_process_that_always_fails_is_tried_less_and_less(tmp_path: Path) -> None:
    async with Running(tmp_path, python("bad", FAILS)) as running:
        await until(lambda: said(tmp_path, "bad", "failed", times=5))
    waits = [change.retry_seconds for change in running.changes if change.retry_seconds]
    assert waits[:5] == [0.05, 0.1, 0.2, 0.4, 0.4][: len(waits)]
    assert len(waits) >= 4
    assert {c.last_exit for c in running.changes if c.state == "waiting"} == {3}


def test_a_process_that_lived_well_starts_again_at_once() -> None:
    back_off = BackOff(first_seconds=0.5, seconds_max=30.0, healthy_seconds=60.0)
    assert back_off.after(0.0, 1.0) == 0.5
    assert back_off.after(0.5, 1.0) == 1.0
    assert back_off.after(20.0, 1.0) == 30.0
    assert back_off.after(30.0, 61.0) == 0.5


async def test_a_program_that_does_not_exist_is_shown_and_tried_again(tmp_path: Path) -> None:
    missing = Process("missing", (str(tmp_path / "nothing"),))
    async with Running(tmp_path, missing) as running:
        await until(lambda: running.of("missing").restarts >= 2)
    assert said(tmp_path, "missing", "No such file")


async def test_stopping_lets_every_process_finish(tmp_path: Path) -> None:
    async with Running(tmp_path, python("a", DRAINS), python("b", DRAINS)) as running:
        await until(lambda: said(tmp_path, "a", "alive") and said(tmp_path, "b", "alive"))
    assert said(tmp_path, "a", "drained")
    assert said(tmp_path, "b", "drained")
    assert [status.state for status in running.supervisor.status()] == ["stopped", "stopped"]


async def test_a_process_that_does_not_finish_in_time_is_killed(tmp_path: Path) -> None:
    async with Running(tmp_path, python("stubborn", STUBBORN), drain_seconds=0.3) as running:
        await until(lambda: said(tmp_path, "stubborn", "alive"))
        pid = running.of("stubborn").pid
        began = time.monotonic()
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert 0.3 <= time.monotonic() - began < 5


async def test_stopping_does_not_wait_for_a_back_off(tmp_path: Path) -> None:
    supervisor = Supervisor(
        [python("bad", FAILS)], tmp_path, back_off=BackOff(600.0, 600.0, 600.0)
    )
    stop = asyncio.Event()
    task = asyncio.create_task(supervisor.run(stop))
    await until(lambda: supervisor.status()[0].retry_seconds > 0)
    stop.set()
    await asyncio.wait_for(task, 2)


async def test_cancelling_leaves_no_process_behind(tmp_path: Path) -> None:
    supervisor = Supervisor([python("one", LIVES)], tmp_path)
    task = asyncio.create_task(supervisor.run(asyncio.Event()))
    await until(lambda: said(tmp_path, "one", "alive"))
    pid = supervisor.status()[0].pid
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await until(lambda: not _lives(pid))


async def test_signals_set_the_event_and_nothing_else(tmp_path: Path) -> None:
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.wait(), 2)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells children on Linux only")
async def test_processes_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from gateway.supervisor import Process, Supervisor\n"
        f"lives = Process('one', (sys.executable, '-c', {DRAINS!r}))\n"
        f"asyncio.run(Supervisor([lives], Path({str(tmp_path)!r})).run(asyncio.Event()))\n"
    )
    supervisor = _popen(code)
    try:
        await until(lambda: said(tmp_path, "one", "alive"))
        children = psutil.Process(supervisor.pid).children()
    finally:
        supervisor.kill()
        supervisor.wait()
    assert len(children) == 1
    await until(lambda: said(tmp_path, "one", "drained"))
    await until(lambda: not _lives(children[0].pid))


def test_a_log_that_grew_too_long_is_set_aside_while_it_is_written(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    with log.open("ab", buffering=0) as file:
        file.write(b"x" * 11)
        rotate(log, bytes_max=10)
        file.write(b"after")
    assert log.read_bytes() == b"after"
    assert (tmp_path / "one.log.1").read_bytes() == b"x" * 11
    rotate(log, bytes_max=10)
    assert log.read_bytes() == b"after"


def _popen(code: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", code])


def _lives(pid: int | None) -> bool:
    """A process that ended but was not yet reaped by its new parent counts as gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False

"""The loop under a history: virtual time, one order, and processes that die at once."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from simulation import loop as loops
from simulation.loop import Life, Livelock, SimLoop, new_loop


@pytest.fixture
def loop() -> Iterator[SimLoop]:
    made = new_loop()
    yield made
    made.dispose()


def test_time_stands_still_until_it_is_moved(loop: SimLoop) -> None:
    woken: list[float] = []

    async def sleeper() -> None:
        await asyncio.sleep(10)
        woken.append(loop.time())

    loop.spawn(None, sleeper())
    loop.run_ready()
    assert (loop.time(), woken) == (0.0, [])
    loop.advance(9, tick_seconds=1)
    assert woken == []
    loop.advance(5, tick_seconds=1)
    assert woken == [10.0]


def test_what_comes_due_within_a_tick_comes_at_its_end_in_the_order_of_its_moments(
    loop: SimLoop,
) -> None:
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append((name, loop.time()))

    for name, seconds in (("late", 4.0), ("early", 1.0), ("between", 2.5)):
        loop.spawn(None, sleeper(name, seconds))
    loop.advance(5, tick_seconds=5)
    assert woken == [("early", 5.0), ("between", 5.0), ("late", 5.0)]


def test_no_delay_is_no_wait(loop: SimLoop) -> None:
    rung: list[int] = []
    loop.call_later(0, rung.append, 1)
    loop.call_at(loop.time() - 1, rung.append, 2)
    loop.run_ready()
    assert rung == [1, 2]


def test_a_timeout_is_virtual_too(loop: SimLoop) -> None:
    ended: list[str] = []

    async def patient() -> None:
        try:
            async with asyncio.timeout(3):
                await asyncio.Event().wait()
        except TimeoutError:
            ended.append("timed out")

    loop.spawn(None, patient())
    loop.advance(2, tick_seconds=1)
    assert ended == []
    loop.advance(2, tick_seconds=1)
    assert ended == ["timed out"]


def test_work_for_a_thread_runs_here_and_answers_later(loop: SimLoop) -> None:
    answers: list[object] = []

    def broken() -> None:
        raise ValueError("no")

    async def asker() -> None:
        answers.append(await asyncio.to_thread(sum, (1, 2, 3)))
        with contextlib.suppress(ValueError):
            await asyncio.to_thread(broken)
        answers.append("raised")

    loop.spawn(None, asker())
    loop.run_ready()
    assert answers == [6, "raised"]


# ---------------------------------------------------------------- death


def test_a_dead_process_is_never_called_again(loop: SimLoop) -> None:
    said: list[str] = []
    news = asyncio.Event()

    async def child() -> None:
        try:
            await news.wait()
            said.append("child goes on")
        finally:
            said.append("child tidies up")

    async def parent() -> None:
        try:
            await asyncio.gather(child(), asyncio.sleep(1))
        finally:
            said.append("parent tidies up")

    life = Life("process")
    task = loop.spawn(life, parent())
    loop.run_ready()
    life.end()
    news.set()
    loop.advance(10, tick_seconds=1)
    assert said == []
    assert not task.done()


def test_others_go_on_when_one_dies(loop: SimLoop) -> None:
    counts = {"doomed": 0, "other": 0}

    async def counter(name: str) -> None:
        while True:
            counts[name] += 1
            await asyncio.sleep(1)

    doomed = Life("doomed")
    loop.spawn(doomed, counter("doomed"))
    loop.spawn(Life("other"), counter("other"))
    loop.advance(2, tick_seconds=1)
    doomed.end()
    loop.advance(5, tick_seconds=1)
    assert counts == {"doomed": 3, "other": 8}


@pytest.mark.parametrize("fuse", [1, 2, 3, 4])
def test_a_fuse_ends_a_life_at_its_nth_callback(loop: SimLoop, fuse: int) -> None:
    steps: list[int] = []
    over: list[str] = []

    async def worker() -> None:
        for number in range(10):
            steps.append(number)
            await asyncio.sleep(0)

    life = Life("process", fuse=fuse)
    life.when_over.append(lambda: over.append("told"))
    loop.spawn(life, worker())
    loop.run_ready()
    assert len(steps) == fuse - 1, "the n-th callback is the one that does not happen"
    assert over == ["told"]


def test_what_is_done_outside_does_not_die_with_the_process(loop: SimLoop) -> None:
    rung: list[str] = []

    async def worker(life: Life) -> None:
        loop.call_later(1, rung.append, "its own")
        loop.outside(loop.call_later, 1, rung.append, "the world's")
        life.end()
        await asyncio.sleep(0)

    life = Life("process")
    loop.spawn(life, worker(life))
    loop.advance(2, tick_seconds=1)
    assert rung == ["the world's"]


def test_the_end_unwinds_what_still_waits_and_changes_nothing(loop: SimLoop) -> None:
    unwound: list[str] = []

    async def stubborn() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            unwound.append("first")
            try:
                await asyncio.sleep(1)
            finally:
                unwound.append("second")

    task = loop.spawn(Life("process"), stubborn())
    loop.run_ready()
    loop.dispose()
    assert unwound == ["first", "second"]
    assert loop.failures == []
    assert not task.done()


# ---------------------------------------------------------------- trouble


def test_callbacks_without_end_are_noticed(loop: SimLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "CALLBACKS_MAX", 1_000)

    async def restless() -> None:
        while True:
            await asyncio.sleep(0)

    loop.spawn(None, restless())
    with pytest.raises(Livelock):
        loop.run_ready()


def test_what_a_callback_raises_is_kept(loop: SimLoop) -> None:
    loop.call_soon([].pop)
    loop.run_ready()
    assert ["IndexError" in failure for failure in loop.failures] == [True]


def test_what_a_task_raises_is_kept_unless_its_process_died(loop: SimLoop) -> None:
    async def parent() -> None:
        background = asyncio.create_task(broken())
        await asyncio.sleep(1)
        del background

    async def broken() -> None:
        raise LookupError("lost")

    living, dead = Life("living"), Life("dead")
    for life in (living, dead):
        loop.spawn(life, parent())
    loop.run_ready()
    dead.end()
    loop.look_back()
    assert ["lost" in failure for failure in loop.failures] == [True]


def test_callbacks_run_in_the_order_in_which_they_were_asked_for(loop: SimLoop) -> None:
    ran: list[int] = []
    for number in range(50):
        loop.call_soon(ran.append, number)
    assert loop.run_ready(limit=20) == 20
    assert ran == list(range(20))
    loop.run_ready()
    assert ran == list(range(50))

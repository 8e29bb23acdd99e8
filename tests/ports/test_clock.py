"""Every clock: a pause lasts as long as it says, or until one of its wakers is set."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import pytest

from adapters.clock import SystemClock
from adapters.memory.clock import FakeClock
from application.ports import Clock
from simulation.loop import new_loop
from simulation.servers import SimClock

LONG_SECONDS = 3_600.0
TURNS = 10


class Room(Protocol):
    """A clock, and the loop in which it is asked."""

    clock: Clock

    def run(self, begin: Callable[[], asyncio.Task[None]], then: Callable[[], None]) -> bool:
        """Begin a pause, do something, and say whether the pause is over."""
        ...


class Ordinary:
    def __init__(self, clock: Clock) -> None:
        self.clock: Clock = clock

    def run(self, begin: Callable[[], asyncio.Task[None]], then: Callable[[], None]) -> bool:
        async def main() -> bool:
            task = begin()
            await _turns()
            then()
            await _turns()
            over = task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return over

        return asyncio.run(main())


class Simulated:
    def __init__(self) -> None:
        self._loop = new_loop()
        self.clock: Clock = SimClock(self._loop)

    def run(self, begin: Callable[[], asyncio.Task[None]], then: Callable[[], None]) -> bool:
        over: list[bool] = []

        async def main() -> None:
            task = begin()
            await _turns()
            then()
            await _turns()
            over.append(task.done())

        self._loop.spawn(None, main())
        self._loop.run_ready()
        self._loop.dispose()
        return over[0]


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


ROOMS: list[Callable[[], Room]] = [
    lambda: Ordinary(SystemClock()),
    lambda: Ordinary(FakeClock(datetime(2026, 1, 1, tzinfo=UTC))),
    Simulated,
]


@pytest.fixture(params=ROOMS, ids=["system", "fake", "simulated"])
def room(request: pytest.FixtureRequest) -> Room:
    made: Room = request.param()
    return made


def paused(room: Room, *wakers: asyncio.Event) -> Callable[[], asyncio.Task[None]]:
    return lambda: asyncio.get_running_loop().create_task(_sleep(room.clock, *wakers))


async def _sleep(clock: Clock, *wakers: asyncio.Event) -> None:
    await clock.sleep(LONG_SECONDS, *wakers)


def test_a_pause_without_a_waker_lasts(room: Room) -> None:
    assert not room.run(paused(room), lambda: None)


def test_a_pause_lasts_while_no_waker_is_set(room: Room) -> None:
    assert not room.run(paused(room, asyncio.Event(), asyncio.Event()), lambda: None)


@pytest.mark.parametrize("which", [0, 1])
def test_any_one_of_its_wakers_ends_a_pause(room: Room, which: int) -> None:
    wakers = (asyncio.Event(), asyncio.Event())
    assert room.run(paused(room, *wakers), wakers[which].set)


def test_a_waker_that_is_set_already_lets_no_pause_begin(room: Room) -> None:
    waker = asyncio.Event()
    waker.set()
    assert room.run(paused(room, waker), lambda: None)


def test_a_waker_that_is_set_again_ends_the_next_pause_too(room: Room) -> None:
    waker = asyncio.Event()

    async def twice() -> None:
        await room.clock.sleep(LONG_SECONDS, waker)
        waker.clear()
        await room.clock.sleep(LONG_SECONDS, waker)

    def begin() -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(twice())

    assert not room.run(begin, waker.set)


def test_time_ends_a_pause_that_has_a_waker_and_leaves_nothing_behind() -> None:
    loop = new_loop()
    clock, waker = SimClock(loop), asyncio.Event()
    task = loop.spawn(None, clock.sleep(5, waker))
    loop.advance(4, tick_seconds=1)
    assert not task.done()
    loop.advance(1, tick_seconds=1)
    assert task.done()
    assert not waker._waiters
    loop.dispose()

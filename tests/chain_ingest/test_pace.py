"""A bell moves the moment of the next look, and nothing else."""

import asyncio

from adapters.memory.clock import FakeClock
from chain_ingest.pace import DUE_SHARE, POLL_SECONDS_MAX, POLLS_A_BLOCK, SLOW_BLOCKS, Pace
from tests.chain_ingest.world import LOCAL, START, World

POLYGON_LIKE = LOCAL.model_copy(update={"block_seconds": 2})


class HandBell:
    def __init__(self, *, ringing: bool = True) -> None:
        self.rung = asyncio.Event()
        self.ringing = ringing

    async def run(self, stop: asyncio.Event) -> None:
        await stop.wait()


async def test_without_a_bell_or_while_it_is_silent_looks_come_at_a_steady_pace() -> None:
    clock = FakeClock(START)
    steady = Pace(POLYGON_LIKE, clock).poll_seconds
    assert steady < POLYGON_LIKE.block_seconds
    assert Pace(POLYGON_LIKE, clock, HandBell(ringing=False)).poll_seconds == steady


async def test_while_it_rings_looks_are_rare() -> None:
    pace = Pace(POLYGON_LIKE, FakeClock(START), HandBell())
    assert pace.poll_seconds == SLOW_BLOCKS * POLYGON_LIKE.block_seconds


async def test_a_ring_ends_the_pause_and_is_heard_once() -> None:
    clock, bell, stop = FakeClock(START), HandBell(), asyncio.Event()
    pace = Pace(POLYGON_LIKE, clock, bell)
    waiting = asyncio.create_task(pace.pause(1_000, stop))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    clock.advance(5)
    bell.rung.set()
    async with asyncio.timeout(1):
        await waiting
    assert not bell.rung.is_set()


async def test_after_a_ring_the_others_are_given_time_to_see_the_block_too() -> None:
    clock, bell, stop = FakeClock(START), HandBell(), asyncio.Event()
    pace = Pace(POLYGON_LIKE, clock, bell)
    waiting = asyncio.create_task(pace.pause(1_000, stop))
    await asyncio.sleep(0.01)
    clock.advance(5)
    bell.rung.set()
    async with asyncio.timeout(1):
        await waiting
    assert pace.poll_seconds < POLYGON_LIKE.block_seconds
    pace.moved()
    assert pace.poll_seconds == SLOW_BLOCKS * POLYGON_LIKE.block_seconds


async def test_a_silent_bell_does_not_keep_a_process_from_ending() -> None:
    stop = asyncio.Event()
    stop.set()
    async with asyncio.timeout(1):
        await Pace(POLYGON_LIKE, FakeClock(START), HandBell()).pause(1_000, stop)


async def test_a_follower_with_a_bell_passes_a_block_as_soon_as_it_rings() -> None:
    world = World()
    bell, stop = HandBell(), asyncio.Event()
    world.follower._pace = Pace(world.network, world.clock, bell)
    running = asyncio.create_task(world.follower.run(stop))
    await _until(world, 0)
    world.pay(1)
    world.chain.mine()
    asked = world.sources[0].calls.total()
    await asyncio.sleep(0.05)
    assert world.sources[0].calls.total() == asked, "time stands still, and nobody looks"
    world.clock.advance(world.network.block_seconds)
    bell.rung.set()
    await _until(world, 1)
    stop.set()
    await running
    assert world.said() == ["observed"]


async def test_a_bell_that_never_stops_ringing_gets_no_more_looks_than_the_steady_pace() -> None:
    clock, bell, stop = FakeClock(START), HandBell(), asyncio.Event()
    slow = LOCAL.model_copy(update={"block_seconds": 12})
    pace = Pace(slow, clock, bell)
    looks = 0

    async def look() -> None:
        nonlocal looks
        while not stop.is_set():
            looks += 1
            await pace.pause(pace.poll_seconds, stop)

    looking = asyncio.create_task(look())
    for _ in range(600):  # a minute
        bell.rung.set()
        clock.advance(0.1)
        for _ in range(12):
            await asyncio.sleep(0)
    stop.set()
    await looking
    steady_seconds = min(12 / POLLS_A_BLOCK, POLL_SECONDS_MAX)
    assert 10 < looks <= 60 / steady_seconds + 1


async def test_a_pause_after_a_ring_does_not_keep_a_process_from_ending() -> None:
    bell, stop = HandBell(), asyncio.Event()
    pace = Pace(POLYGON_LIKE, FakeClock(START), bell)
    bell.rung.set()
    waiting = asyncio.create_task(pace.pause(1_000, stop))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    stop.set()
    async with asyncio.timeout(1):
        await waiting


async def _until(world: World, number: int) -> None:
    async with asyncio.timeout(5):
        while (cursor := await world.store.cursor("local")) is None or cursor.number < number:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.02)


def test_after_the_newest_block_nobody_looks_before_the_next_one_can_be_due() -> None:
    clock = FakeClock(START)
    pace = Pace(POLYGON_LIKE, clock)
    steady = pace.poll_seconds
    pace.tip = 7
    pace.passed(7)
    waits = pace.wait_seconds(moved=True)
    assert waits == DUE_SHARE * POLYGON_LIKE.block_seconds
    clock.advance(waits)
    assert pace.wait_seconds(moved=False) == steady


def test_behind_the_tip_there_is_no_waiting() -> None:
    pace = Pace(POLYGON_LIKE, FakeClock(START))
    pace.tip = 9
    pace.passed(7)
    assert pace.wait_seconds(moved=True) == 0


def test_a_step_that_passed_nothing_does_not_put_off_the_next_look() -> None:
    pace = Pace(POLYGON_LIKE, FakeClock(START))
    steady = pace.poll_seconds
    assert pace.wait_seconds(moved=True) == 0
    assert pace.wait_seconds(moved=False) == steady

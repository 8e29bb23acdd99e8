"""Reports reach the bus in order, and again for as long as nobody has recorded them."""

import asyncio

import pytest

from application.ports import Unavailable
from chain_ingest.outbox import BATCH_MAX, OUTAGE_PAUSE_SECONDS, SWEEP_AFTER_SECONDS
from tests.chain_ingest.world import World


async def paid_world(payments: int = 3) -> World:
    world = World()
    for units in range(1, payments + 1):
        world.pay(units)
    await world.mine_and_follow(3)
    return world


def numbers(world: World) -> list[int]:
    return [int(message_id.split("-")[1]) for _, message_id in world.bus.published]


async def test_reports_are_published_in_order_under_their_message_ids() -> None:
    world = await paid_world()
    await world.outbox.publish_new()
    assert numbers(world) == [1, 2, 3, 4, 5, 6]
    assert [subject for subject, _ in world.bus.published] == [
        *["chain.local.transfer.observed"] * 3,
        *["chain.local.transfer.confirmed"] * 3,
    ]


async def test_published_reports_are_not_published_again_at_once() -> None:
    world = await paid_world()
    await world.outbox.publish_new()
    world.bus.wipe()
    await world.outbox.publish_new()
    assert world.bus.published == []


async def test_a_process_that_dies_before_publishing_leaves_the_work_to_the_next() -> None:
    world = await paid_world()
    world.restart()  # the first one never ran its outbox
    await world.outbox.publish_new()
    assert numbers(world) == [1, 2, 3, 4, 5, 6]


async def test_an_outage_of_the_bus_keeps_order_and_loses_nothing() -> None:
    world = await paid_world()
    world.bus.outage = True
    with pytest.raises(Unavailable):
        await world.outbox.publish_new()
    await world.mine_and_follow(3)
    world.bus.outage = False
    await world.outbox.publish_new()
    assert numbers(world) == [1, 2, 3, 4, 5, 6]


async def test_a_wiped_stream_gets_back_what_was_not_recorded_and_no_more() -> None:
    world = await paid_world()
    await world.outbox.publish_new()
    recorded = [message_id for _, message_id in world.bus.published[:2]]
    world.settled.update(recorded)
    world.bus.wipe()
    assert await world.outbox.sweep() == 0, "their time is not over yet"
    world.clock.advance(SWEEP_AFTER_SECONDS)
    assert await world.outbox.sweep() == 4
    assert numbers(world) == [3, 4, 5, 6]


async def test_the_pause_between_publications_doubles() -> None:
    world = await paid_world()
    await world.outbox.publish_new()
    swept = []
    for _ in range(8):
        world.clock.advance(SWEEP_AFTER_SECONDS)
        swept.append(await world.outbox.sweep())
    assert swept == [6, 0, 6, 0, 0, 0, 6, 0]


async def test_a_large_outbox_goes_out_in_bounded_batches() -> None:
    world = World()
    for units in range(1, BATCH_MAX + 2):
        world.pay(units)
    await world.mine_and_follow()
    assert await world.outbox.publish_new()
    assert len(world.bus.published) == BATCH_MAX
    assert not await world.outbox.publish_new()
    assert len(world.bus.published) == BATCH_MAX + 1


async def test_the_publisher_is_woken_by_the_follower_and_outlives_outages() -> None:
    world = World()
    stop = asyncio.Event()
    running = asyncio.create_task(world.outbox.run(stop))
    await settled_loop()
    world.pay(1)
    await world.mine_and_follow()  # no time passes: only the wake can have done it
    await settled_loop()
    assert numbers(world) == [1]
    world.bus.outage = True
    world.pay(2)
    await world.mine_and_follow()
    await settled_loop()
    world.bus.outage = False
    world.clock.advance(OUTAGE_PAUSE_SECONDS)
    await settled_loop()
    assert numbers(world) == [1, 2]
    stop.set()
    async with asyncio.timeout(1):
        await running


async def settled_loop() -> None:
    for _ in range(50):
        await asyncio.sleep(0)

"""Catching up over long stretches, whatever the providers make of ranges."""

import pytest

from adapters.memory.chain import FINAL_BLOCKS
from chain_ingest.backfill import REST_SECONDS
from tests.chain_ingest.world import STRICT, World

BLOCKS = 400


async def far_behind(world: World, *, payments: int = 3) -> None:
    await world.follow()
    for units in range(1, payments + 1):
        world.pay(units)
        world.chain.mine(BLOCKS // payments)


def seen(world: World) -> list[int]:
    return [each.sighting.amount.units for each in world.transfers if each.kind == "observed"]


async def test_where_ranges_are_not_to_be_had_it_goes_on_block_by_block() -> None:
    world = World(STRICT, sources=2)
    for source in world.sources:
        source.range_max = 0
    await far_behind(world)
    await world.follow()
    assert seen(world) == [1, 2, 3]
    asked = world.sources[0].calls["logs_of_range"]
    assert 0 < asked <= 25, "one vain attempt, and then a rest"
    cursor = await world.store.cursor("local")
    assert cursor is not None
    assert cursor.number == world.chain.head


async def test_ranges_are_tried_again_after_a_rest() -> None:
    world = World(STRICT, sources=2)
    world.sources[0].range_max = 0
    await far_behind(world)
    await world.follower.step()
    world.sources[0].range_max = None
    before = world.sources[0].calls["logs_of_range"]
    await world.follower.step()
    assert world.sources[0].calls["logs_of_range"] == before
    world.clock.advance(REST_SECONDS)
    await world.follow()
    assert world.sources[0].calls["logs_of_range"] > before
    assert seen(world) == [1, 2, 3]


async def test_two_stretches_of_work_for_ten_blocks_a_question_are_done() -> None:
    world = World(STRICT, sources=2)
    world.sources[0].range_max, world.sources[0].suggests = 10, True
    await far_behind(world)
    await world.follow()
    assert seen(world) == [1, 2, 3]
    assert world.sources[1].calls["logs_of_range"] <= 3, "the wide one is asked widely"


@pytest.mark.parametrize("lag", [1, 4, 15])
async def test_a_pool_that_clamps_ranges_loses_no_payment(lag: int) -> None:
    """Headers come from a node at the head, logs from one behind it: nothing tells them apart."""
    world = World(STRICT, sources=2)
    for source in world.sources:
        source.logs_lag = lag
        source.tags = {"finalized": 10**9}  # everything is final at once, as on some chains
    await far_behind(world)
    world.pay(4)
    world.chain.mine()
    await world.follow()
    world.chain.mine(FINAL_BLOCKS)
    await world.follow()
    assert seen(world) == [1, 2, 3, 4]

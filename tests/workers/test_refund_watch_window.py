"""How long, and how often, completed refunds are looked at."""

from datetime import timedelta

import pytest

from domain.networks import AmountTier, ConfirmationPolicy, ConfirmationRule
from gateway.embedded_anvil import Anvil
from tests.workers.conftest import MakeWorld
from tests.workers.fuse import Fuse
from tests.workers.paying import UNITS, World, network_of
from tests.workers.reorged import (
    FOR_GOOD,
    LOST,
    PAID,
    bury,
    completed,
    look,
    paid_once,
    thrown_out,
    watch_of,
)
from workers import refund_watch
from workers.refund_watch import (
    AGE_SHARE,
    WATCH_SECONDS,
    WATCH_SECONDS_MAX,
    WATCHED_SECONDS_MIN,
    watched_seconds,
)

pytestmark = pytest.mark.services


@pytest.fixture
async def world(make_world: MakeWorld, fresh_anvil: Anvil) -> World:
    return await make_world(fresh_anvil)


@pytest.mark.parametrize("days", [1, 3, 90])
async def test_a_loss_is_found_however_long_nobody_could_look(world: World, days: int) -> None:
    refund = await completed(world)
    await thrown_out(world, refund)
    world.clock.advance(days * 86_400)
    assert await look(world, watch_of(world)) == [LOST]
    await world.finish(refund.refund_id)
    await paid_once(world, [refund])
    await world.books_agree()


async def test_what_is_not_final_is_looked_at_however_old_it_is(world: World) -> None:
    refund = await completed(world)
    watch = watch_of(world)
    for _ in range(3):
        world.clock.advance(7 * 86_400)
        assert await look(world, watch) == []
    await thrown_out(world, refund)
    world.clock.advance(WATCH_SECONDS_MAX)
    assert await look(world, watch) == [LOST]


async def test_what_is_final_is_not_asked_for_again(world: World) -> None:
    refund = await completed(world)
    await bury(world)
    fuse = Fuse()
    watch = watch_of(world, fuse)
    assert await look(world, watch) == []
    assert await world.facts(refund.refund_id) == FOR_GOOD
    fuse.names.clear()
    assert await look(world, watch, 3) == []
    assert await look(world, watch_of(world, fuse)) == []
    assert fuse.names == []


async def test_the_older_it_is_the_more_rarely_it_is_asked_for(world: World) -> None:
    await completed(world)
    fuse = Fuse()
    watch = watch_of(world, fuse)
    await look(world, watch, 4)
    assert fuse.names == ["tagged_number", "block_hash"] * 4
    world.clock.advance(3_600)
    await look(world, watch, 2 * 3_600 // AGE_SHARE // int(WATCH_SECONDS))
    assert fuse.names == ["tagged_number", "block_hash"] * 6


async def test_but_every_hour_at_least(world: World) -> None:
    await completed(world)
    world.clock.advance(30 * 86_400)
    fuse = Fuse()
    watch = watch_of(world, fuse)
    await look(world, watch)
    world.clock.advance(WATCH_SECONDS_MAX - 2 * WATCH_SECONDS)
    await look(world, watch)
    assert fuse.names == ["tagged_number", "block_hash"]
    await look(world, watch)
    assert fuse.names == ["tagged_number", "block_hash"] * 2


async def test_refunds_of_one_block_are_one_question_and_what_is_final_is_one(
    world: World,
) -> None:
    asked = [await world.request(UNITS) for _ in range(3)]
    refunds = await world.finish(*(one.refund_id for one in asked))
    blocks = {refund.block_number for refund in refunds}
    fuse = Fuse()
    assert await look(world, watch_of(world, fuse)) == []
    assert fuse.names == ["tagged_number"] + ["block_hash"] * len(blocks)


async def test_more_than_a_page_of_them_have_their_turn_one_after_the_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refund_watch, "PAGE_MAX", 1)
    refunds = [await completed(world) for _ in range(4)]
    await thrown_out(world, *refunds)
    watch = watch_of(world)
    assert await look(world, watch, 4) == [LOST] * 4
    await world.finish(*(refund.refund_id for refund in refunds))
    await paid_once(world, refunds)
    await world.books_agree()


def test_the_window_follows_the_deepest_rule() -> None:
    (network,) = network_of("0x" + "aa" * 20).networks
    policy = ConfirmationPolicy(
        version=1,
        blocks=64,
        tiers=(AmountTier(from_usd=1_000, rule=ConfirmationRule(blocks=5_000)),),
    )
    slow = network.model_copy(update={"policy": policy, "block_seconds": 12})
    assert watched_seconds(slow) == 4 * 5_000 * 12
    assert watched_seconds(network) == WATCHED_SECONDS_MIN


async def test_no_fact_says_that_a_refund_was_lost_while_only_the_clock_moved(
    world: World,
) -> None:
    refund = await completed(world)
    watch = watch_of(world)
    before = await world.store.head()
    for _ in range(3):
        world.clock.advance(timedelta(hours=1).total_seconds())
        assert await look(world, watch) == []
    assert await world.store.head() == before
    assert await world.facts(refund.refund_id) == PAID

"""While nobody waits for a payment the chain is looked at seldom, and nothing is missed."""

import pytest

from application.ingest import Cursor
from application.ports import StoreUnavailable
from chain_ingest.rest import BEHIND_SECONDS_MAX, CHECK_SECONDS, MODEL, REST_SECONDS, Rest
from domain.networks import ConfirmationPolicy
from tests.chain_ingest.world import STRICT, World

NETWORK = STRICT.model_copy(update={"block_seconds": 2, "finality_seconds": 600})
BLOCKS_A_REST = int(REST_SECONDS) // 2


class RestingWorld(World):
    """A world in which somebody may or may not wait for a payment."""

    def __init__(self) -> None:
        self.waits = self.model_is_behind = False
        super().__init__(NETWORK, sources=2)

    def rest(self) -> Rest:
        return Rest(self.network, self.store, self, self, self, self.clock, self.tally)

    async def expects(self, _: str) -> bool:
        return self.waits

    async def head(self) -> int:
        return 1

    async def position(self, _: str) -> int:
        return 1

    async def wait_for(
        self, _: int, *, timeout_seconds: float, projection: str | None = None
    ) -> bool:
        assert (projection, timeout_seconds > 0) == (MODEL, True)
        return not self.model_is_behind

    def time_passes(self, seconds: float) -> None:
        """Every block is final after one more, as where milestones come within seconds."""
        self.clock.advance(seconds)
        self.chain.mine(int(seconds) // 2)
        for source in self.sources:
            source.tags = {"finalized": self.chain.head - 1, "safe": self.chain.head - 1}

    def rests(self) -> bool:
        return self.tally.resting

    def calls(self) -> int:
        return sum(source.calls.total() for source in self.sources)

    async def passed(self) -> int:
        cursor = await self.store.cursor(self.network.name)
        assert isinstance(cursor, Cursor)
        return cursor.number


@pytest.fixture
async def world() -> RestingWorld:
    """At rest, just after a look."""
    world = RestingWorld()
    world.time_passes(400)
    await world.follow()
    return world


async def test_at_rest_no_provider_is_asked_anything(world: RestingWorld) -> None:
    before = world.calls()
    for _ in range(10):
        world.time_passes(REST_SECONDS / 12)
        await world.follow()
    assert world.calls() == before


async def test_after_a_rest_the_blocks_of_it_are_read_by_range(world: RestingWorld) -> None:
    before, at = world.calls(), await world.passed()
    world.time_passes(REST_SECONDS)
    await world.follow()
    assert await world.passed() >= at + BLOCKS_A_REST
    assert world.calls() - before < BLOCKS_A_REST / 2
    ranges = sum(source.calls["logs_of_range"] for source in world.sources)
    assert ranges >= 2


async def test_an_old_address_that_is_paid_is_seen_after_the_rest(world: RestingWorld) -> None:
    world.pay(5_000_000)
    world.time_passes(REST_SECONDS)
    await world.follow()
    world.time_passes(REST_SECONDS)
    await world.follow()
    assert world.said().count("observed") == 1


async def test_a_transfer_that_is_not_yet_safe_ends_the_rest(world: RestingWorld) -> None:
    slow = ConfirmationPolicy(version=3, blocks=500)
    world.network = NETWORK.model_copy(update={"policy": slow})
    world.restart()
    await world.follow()
    world.pay(5_000_000)
    world.time_passes(2 * REST_SECONDS)
    await world.follow()
    assert world.said() == ["observed"]
    world.time_passes(2)
    await world.follow()
    assert await world.passed() == world.chain.head
    assert not world.tally.resting


async def test_a_session_that_opens_ends_the_rest_and_nothing_is_skipped(
    world: RestingWorld,
) -> None:
    world.time_passes(REST_SECONDS / 2)
    await world.follow()
    behind = world.chain.head - await world.passed()
    assert behind > 0
    world.waits = True
    world.clock.advance(CHECK_SECONDS)
    world.pay(5_000_000)
    world.chain.mine()
    await world.follow()
    assert await world.passed() == world.chain.head
    assert world.said() == ["observed"]
    ranges = await world.store.coverage("local")
    assert [(each.first, each.last) for each in ranges] == [(1, world.chain.head)]


async def test_who_does_not_know_whether_somebody_waits_does_not_rest(
    world: RestingWorld,
) -> None:
    world.model_is_behind = True
    world.time_passes(10)
    await world.follow()
    assert await world.passed() == world.chain.head


async def test_far_behind_nobody_rests() -> None:
    """Where finality is minutes away ranges do not come near the head: blocks do."""
    world = RestingWorld()
    world.time_passes(1_000)
    for source in world.sources:
        source.tags = {"finalized": 1, "safe": 1}
    await world.follow()
    behind_seconds = 2 * (world.chain.head - await world.passed())
    assert 0 < behind_seconds <= BEHIND_SECONDS_MAX


async def test_a_reorg_during_the_rest_is_unwound_by_the_next_look(world: RestingWorld) -> None:
    world.waits = True
    world.clock.advance(CHECK_SECONDS)
    world.pay(5_000_000)
    world.time_passes(2)
    await world.follow()
    assert world.said() == ["observed"]
    world.waits = False
    world.chain.reorg(1, keep=False)
    world.chain.mine(2)
    world.time_passes(REST_SECONDS)
    await world.follow()
    assert world.said()[:3] == ["observed", "reorg", "retracted"]


async def test_a_rest_is_no_stall(world: RestingWorld) -> None:
    for _ in range(20):
        world.time_passes(30)
        await world.follow()
        await world.follower._tell(None)
    standing = await world.store.standing("local")
    assert standing is not None
    assert standing.trouble is None


async def test_without_the_store_it_is_an_outage_as_ever(world: RestingWorld) -> None:
    world.store.outage = True
    world.time_passes(REST_SECONDS)
    with pytest.raises(StoreUnavailable):
        await world.follower.step()


async def test_a_halt_ends_the_rest_so_that_alerts_which_sleep_at_rest_wake(
    world: RestingWorld,
) -> None:
    assert world.rests()
    await world._halts.halt(world.network, "operator", "look into it")
    world.waits = True
    world.time_passes(10)
    await world.follow()
    assert not world.rests()
    world.waits = False
    await world.resume()
    world.time_passes(400)
    await world.follow()
    assert world.rests(), "and after it there is a rest again"

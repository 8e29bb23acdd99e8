"""Money paid before an ingester's first start: the start reaches back to where it can be found."""

from datetime import datetime, timedelta

import pytest

from application.ports import Unavailable
from chain_ingest.beginning import LOOK_BACK_SECONDS_MAX, Beginning
from chain_ingest.providers import NoQuorum, Providers
from domain.matching import BIRTH_SLACK_SECONDS
from tests.chain_ingest.world import STRICT, World

NETWORK = STRICT.model_copy(update={"block_seconds": 2})


class LateWorld(World):
    """Its ingester starts when the chain is long since going, and has no start block."""

    def __init__(self, *, sources: int = 2, block_seconds: int = 2) -> None:
        self.opened: datetime | None = None
        self.model_is_behind = False
        network = NETWORK.model_copy(update={"block_seconds": block_seconds})
        super().__init__(network, sources=sources, start_block=None)

    def beginning(self, providers: Providers) -> Beginning:
        return Beginning(self.network, providers, self, self, self, self.clock)

    async def opened_since(self, network: str, not_expired_at: datetime) -> datetime | None:
        assert network == "local"
        assert not_expired_at < self.clock.now()
        return self.opened

    async def head(self) -> int:
        return 1

    async def position(self, _: str) -> int:
        return 1

    async def wait_for(
        self, _: int, *, timeout_seconds: float, projection: str | None = None
    ) -> bool:
        assert (projection, timeout_seconds > 0) == ("payments", True)
        return not self.model_is_behind

    def time_passes(self, seconds: int) -> None:
        """A block every two seconds."""
        for _ in range(seconds // 2):
            self.clock.advance(2)
            self.chain.mine(at=self.clock.now())

    async def anchor(self) -> int:
        cursor = await self.store.cursor("local")
        assert cursor is not None
        return cursor.anchor


async def test_money_paid_before_the_first_start_is_seen_and_confirmed() -> None:
    world = LateWorld()
    world.time_passes(4_000)
    world.opened = world.clock.now()
    world.time_passes(10)
    tx_hash = world.pay(5)
    world.time_passes(2_000)
    await world.follow()
    assert world.said() == ["observed", "confirmed"]
    assert world.transfers[0].sighting.tx_hash == tx_hash
    anchor = world.chain.blocks[await world.anchor()].header.timestamp
    before = world.opened.timestamp() - BIRTH_SLACK_SECONDS
    assert before - 2 <= anchor < before, "the newest block from before it, and none before that"


async def test_with_nobody_waiting_it_begins_at_the_head() -> None:
    world = LateWorld()
    world.time_passes(400)
    calls = sum(source.calls["header"] for source in world.sources)
    await world.follow()
    assert await world.anchor() == world.chain.head
    assert sum(source.calls["header"] for source in world.sources) - calls < 10


async def test_a_session_older_than_the_chain_begins_with_its_first_block() -> None:
    world = LateWorld()
    world.opened = world.clock.now()
    world.time_passes(40)
    await world.follow()
    assert await world.anchor() == 0


@pytest.mark.parametrize("said_seconds", [1, 2, 60])
async def test_blocks_that_come_faster_or_slower_than_said_are_found_too(
    said_seconds: int,
) -> None:
    world = LateWorld(block_seconds=said_seconds)
    world.time_passes(3_000)
    world.opened = world.clock.now()
    world.time_passes(600)
    await world.follow()
    anchor = world.chain.blocks[await world.anchor()].header.timestamp
    before = world.opened.timestamp() - BIRTH_SLACK_SECONDS
    assert before - 2 <= anchor < before


async def test_the_look_back_has_a_bound() -> None:
    world = LateWorld()
    world.time_passes(40)
    world.opened = world.clock.now()
    world.clock.advance(2 * LOOK_BACK_SECONDS_MAX)
    world.time_passes(40)
    await world.follow()
    assert await world.anchor() == 20


async def test_it_does_not_begin_on_one_word_nor_without_knowing_who_waits() -> None:
    world = LateWorld(sources=3)
    world.time_passes(2_000)
    world.opened = world.clock.now() - timedelta(seconds=100)
    world.model_is_behind = True
    with pytest.raises(Unavailable, match="payments have not reached"):
        await world.follow()
    world.model_is_behind = False
    for source in world.sources[1:]:
        source.down = True
    for _ in range(10):
        with pytest.raises(NoQuorum):
            await world.follow()
        world.clock.advance(1)
    assert await world.store.cursor("local") is None

"""What the last provider that answers can do alone: nothing that outlasts the others' return."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace

import pytest

from adapters.memory.chain import MemoryChain, MemorySource
from adapters.memory.chain_encoding import TRANSFER_TOPIC
from application.chain_source import LogEntry, RangeLogs
from application.ingest import Cursor
from application.ports import Unavailable
from chain_ingest.finality import FINAL_SECONDS
from chain_ingest.halting import UNATTESTED_BLOCKS_MAX
from chain_ingest.health import PAUSE_SECONDS_MAX
from chain_ingest.providers import Agreed, NoQuorum
from tests.chain_ingest.test_doubtful_providers import silence
from tests.chain_ingest.world import (
    DEPOSIT,
    PAYER,
    STRANGER,
    STRICT,
    USDC,
    World,
)

BLOCKS = 500


async def cursor_of(world: World) -> Cursor:
    cursor = await world.store.cursor("local")
    assert cursor is not None
    return cursor


async def patiently(world: World, steps: int = 40) -> None:
    """Step by step, through whatever is refused on the way."""
    for _ in range(steps):
        world.clock.advance(PAUSE_SECONDS_MAX)
        try:
            await world.follow()
        except Unavailable:
            continue


async def back(world: World) -> None:
    for source in world.sources:
        source.down, source.bends, source.forges = False, None, None
    world.clock.advance(FINAL_SECONDS)


def made_up_log(block_hash: str, number: int = 0) -> LogEntry:
    topics = ("0x" + TRANSFER_TOPIC.hex(), _topic(PAYER), _topic(DEPOSIT))
    return LogEntry(number, block_hash, "0x" + "11" * 32, USDC, topics, "0x" + "00" * 31 + "05")


def _topic(address: str) -> str:
    return "0x" + "00" * 12 + address[2:]


# ---------------------------------------------------------------- inside an attested range


class Blip:
    """Far behind with a payment every hundred blocks; the line to two is cut after their logs."""

    def __init__(self, last: int = 2) -> None:
        """Logs are asked of the first two; of the third as well if those tell different ones."""
        self.world = World(STRICT, sources=3)
        self.last = self.world.sources[last]
        self.cut = [each for each in self.world.sources if each is not self.last]
        self.told: set[str] = set()
        self.over = False
        self.then: Callable[[], None] = lambda: None

    async def far_behind(self) -> None:
        self.world.chain.mine()
        await self.world.follow()
        for units in range(1, 5):
            self.world.pay(units)
            self.world.chain.mine(BLOCKS // 5)
        self.world.chain.mine(BLOCKS // 5)
        for source in self.world.sources:
            source.tags["finalized"] = self.world.chain.head - 20
        for source in self.cut:
            self._cut_after_logs(source)

    def _cut_after_logs(self, source: MemorySource) -> None:
        asked = source.logs_of_range

        async def told(
            first: int, last: int, tokens: Sequence[str], recipients: Collection[str] | None
        ) -> RangeLogs:
            answer = await asked(first, last, tokens, recipients)
            self.told.add(source.name)
            if len(self.told) == len(self.cut) and not self.over:
                for each in self.cut:
                    each.down = True
                self.then()
            return answer

        source.logs_of_range = told  # type: ignore[method-assign]  # the line is cut after it

    def mend(self) -> None:
        for source in self.cut:
            source.down = False
        self.last.chain = self.world.chain
        self.over = True

    @property
    def branch(self) -> MemoryChain:
        """The same length, without a payment: its hashes and roots are its own."""
        chain = self.world.chain.copy()
        length = chain.head - 1
        chain.reorg(length, keep=False)
        chain.mempool.clear()
        chain.mine(length)
        return chain


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("lies", [False, True])
async def test_a_block_inside_an_attested_range_takes_two_providers_as_its_end_does(
    lies: bool, known: bool
) -> None:
    """`known`: the two are out of service for something at once, so nobody waits for them."""
    blip = Blip()
    await blip.far_behind()
    branch = blip.branch

    def then() -> None:
        if lies:
            blip.last.chain = branch
        for source in blip.cut if known else ():
            blip.world.follower._providers.panel.lied(source.name, "so says a test")

    blip.then = then
    before = await cursor_of(blip.world)
    with pytest.raises(NoQuorum):
        await blip.world.follower.step()
    assert await cursor_of(blip.world) == before, "nothing is vouched for on one word"
    blip.mend()
    await patiently(blip.world)
    seen = [each for each in blip.world.transfers if each.kind == "observed"]
    assert [each.sighting.amount.units for each in seen] == [1, 2, 3, 4]
    confirmed = [each for each in blip.world.transfers if each.kind == "confirmed"]
    assert sorted(each.sighting.amount.units for each in confirmed) == [1, 2, 3, 4]
    assert all(each.sighting.attested for each in confirmed)


async def test_a_forger_of_logs_does_not_make_the_others_down_by_the_proofs_it_costs() -> None:
    blip = Blip(last=0)
    await blip.far_behind()
    branch = blip.branch

    async def forged(
        first: int, last: int, tokens: Sequence[str], recipients: Collection[str] | None
    ) -> RangeLogs:
        assert tokens
        assert recipients
        numbers = range(first + 1, min(first + 9, last))
        return RangeLogs.of(made_up_log("0x" + "00" * 32, number) for number in numbers)

    def then() -> None:
        blip.last.chain = branch

    blip.last.logs_of_range = forged  # type: ignore[method-assign]  # so many proofs at once
    blip.then = then
    with pytest.raises(NoQuorum):
        await blip.world.follower.step()
    states = blip.world.follower._providers.panel.states
    assert {states[source.name].standing for source in blip.cut} == {"failing"}


async def test_no_range_is_read_on_top_of_a_block_that_one_provider_calls_ours() -> None:
    world = World(STRICT, sources=3)
    await world.mine_and_follow(10)
    world.chain.mine(BLOCKS)
    cursor, providers = await cursor_of(world), world.follower._providers
    asked = providers.agreed

    async def agreed(number: int) -> Agreed:
        block = await asked(number)
        return replace(block, attested=number != cursor.number)

    providers.agreed = agreed  # type: ignore[method-assign]  # two are silent for a moment
    assert await world.follower._backfill.end_of_range(cursor, world.chain.head) is None
    providers.agreed = asked  # type: ignore[method-assign]
    assert await world.follower._backfill.end_of_range(cursor, world.chain.head) is not None


# ---------------------------------------------------------------- blocks on one word


async def left_alone(blocks: int = 100) -> World:
    """A quorum called a block final; then only the first provider answers."""
    world = World(STRICT, sources=3)
    world.chain.mine(blocks)
    for source in world.sources:
        source.tags["finalized"] = max(blocks - 10, 0)
    await world.follow()
    world.clock.advance(FINAL_SECONDS)
    await world.follow()
    await silence(world, 1, 2)
    return world


async def test_one_provider_alone_is_followed_so_far_and_no_further() -> None:
    world = await left_alone()
    world.chain.mine(UNATTESTED_BLOCKS_MAX + 50)
    with pytest.raises(NoQuorum, match="vouch"):
        await world.follow()
    assert (await cursor_of(world)).number == 100 + UNATTESTED_BLOCKS_MAX
    for _ in range(3):
        world.clock.advance(PAUSE_SECONDS_MAX)
        await world.follower._try_step()
    standing = await world.store.standing("local")
    assert standing is not None
    assert standing.trouble == "too_few"
    assert str(UNATTESTED_BLOCKS_MAX) in standing.detail
    await back(world)
    await patiently(world)
    assert (await cursor_of(world)).number == world.chain.head
    assert world.store.all_attested("local")


async def test_a_development_network_with_one_provider_goes_on() -> None:
    world = World(STRICT, sources=1)
    await world.mine_and_follow()
    world.chain.mine(UNATTESTED_BLOCKS_MAX + 50)
    for source in world.sources:
        source.tags["finalized"] = 0
    await world.follow()
    assert (await cursor_of(world)).number == world.chain.head


async def test_what_one_provider_makes_up_is_undone_without_a_person() -> None:
    world = await left_alone()
    branch = world.chain.copy()
    branch.transfer(USDC, PAYER, DEPOSIT, 10**12)
    branch.mine(1_100)
    world.sources[0].chain = branch
    await patiently(world, 3)
    assert (await cursor_of(world)).number > 100
    await back(world)
    world.chain.mine(20)
    await patiently(world)
    assert (await world.halts()).halt is None
    assert await cursor_of(world) == replace(
        await cursor_of(world), number=120, hash=world.chain.blocks[120].header.hash
    )
    assert world.said() == ["observed", "reorg", "retracted"]


async def test_how_deep_a_reorg_may_go_is_measured_from_what_two_have_vouched_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chain_ingest.halting.REORG_BLOCKS_MAX", 8)
    world = World(STRICT, sources=3)
    for _ in range(12):
        await world.mine_and_follow()
    await silence(world, 1, 2)
    branch = world.chain.copy()
    branch.mine(30)
    world.sources[0].chain = branch
    await patiently(world, 3)
    await back(world)
    world.chain.reorg(6, keep=False)
    world.chain.mine(10)
    await patiently(world, 10)
    assert (await world.halts()).halt is None
    assert (await cursor_of(world)).hash == world.chain.blocks[-1].header.hash


# ---------------------------------------------------------------- forged logs


def forges_logs(source: MemorySource) -> None:
    async def logs(
        block_hash: str, tokens: Sequence[str], recipients: Collection[str] | None
    ) -> Sequence[LogEntry]:
        assert tokens
        assert recipients
        source.calls["logs_of_block"] += 1
        return [made_up_log(block_hash)]

    source.logs_of_block = logs  # type: ignore[method-assign]  # one made up a block


async def strangers_pay(world: World, blocks: int, each: Callable[[], Awaitable[None]]) -> None:
    for _ in range(blocks):
        world.pay(5, to=STRANGER)
        world.chain.mine()
        world.clock.advance(2)
        await each()


async def test_a_log_that_the_proved_receipts_do_not_hold_is_a_lie_of_whoever_named_it() -> None:
    world = World(STRICT, sources=3)
    await world.mine_and_follow(3)
    forges_logs(world.sources[0])
    await strangers_pay(world, 25, world.follow)
    assert world.reports == []
    assert set(world.tally.lies) == {"provider-0"}
    proofs = sum(source.calls["receipts_of_block"] for source in world.sources)
    assert proofs == world.tally.lies["provider-0"] == 1, "then it is left alone for a minute"
    assert world.follower._providers.panel.states["provider-0"].standing == "quarantined"


async def test_a_log_of_a_range_that_its_block_does_not_hold_is_a_lie_too() -> None:
    world = World(STRICT, sources=3)
    await world.mine_and_follow()
    world.pay(1)
    world.chain.mine(BLOCKS)
    for source in world.sources:
        source.tags["finalized"] = world.chain.head - 20
    asked, chain = world.sources[0].logs_of_range, world.chain

    async def forged(
        first: int, last: int, tokens: Sequence[str], recipients: Collection[str] | None
    ) -> RangeLogs:
        true = await asked(first, last, tokens, recipients)
        return RangeLogs.of([*true.entries, made_up_log(chain.blocks[9].header.hash, 9)])

    world.sources[0].logs_of_range = forged  # type: ignore[method-assign]  # one made up
    await world.follow()
    assert world.tally.lies == {"provider-0": 1}
    assert world.said() == ["observed", "confirmed"]


async def test_who_only_loses_logs_or_names_what_is_there_has_not_lied() -> None:
    world = World(STRICT, sources=3)
    await world.mine_and_follow()
    world.sources[0].loses_logs = True
    world.pay(1)
    await world.mine_and_follow(3)
    assert world.said() == ["observed", "confirmed"]
    assert world.tally.lies == {}


async def test_what_two_name_alike_beside_the_receipts_makes_no_liars_of_them() -> None:
    """Some chains' nodes have shown things of their own making beside a block."""
    world = World(STRICT, sources=3)
    await world.mine_and_follow(3)
    for source in world.sources:
        forges_logs(source)
    await strangers_pay(world, 3, world.follow)
    assert world.tally.lies == {}
    assert world.reports == []

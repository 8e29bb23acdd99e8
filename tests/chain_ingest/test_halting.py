"""What two providers call final is for ever; whoever denies it meets a network that stands still."""

from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.memory.chain_encoding import hash_of
from application.chain_messages import ReorgReport
from application.ports import StoreUnavailable
from application.standing import FinalBlock, Finality
from chain_ingest import halting
from chain_ingest.finality import FINAL_SECONDS
from domain.networks import Network
from tests.chain_ingest.world import LOCAL, STRICT, World


async def world_final_at(number: int, network: Network = STRICT, sources: int = 3) -> World:
    """Ten blocks, a payment in the first; so far the providers call the chain final."""
    world = World(network, sources=sources)
    world.pay(1)
    world.chain.mine(10)
    for source in world.sources:
        source.tags["finalized"] = number
    await follow_with_tags(world)
    return world


async def follow_with_tags(world: World) -> None:
    """All there is, and then what is final of it."""
    await world.follow()
    world.clock.advance(FINAL_SECONDS)
    await world.follow()


def fork_off(world: World, depth: int, *, length: int | None = None) -> None:
    world.chain.reorg(depth, keep=False)
    world.chain.mine(depth + 1 if length is None else length)


async def final(world: World) -> FinalBlock | None:
    return (await world.store.finality("local")).block


async def test_what_two_providers_call_final_is_kept_though_nobody_waits_for_it() -> None:
    world = await world_final_at(4)
    block = world.chain.blocks[4].header
    assert await final(world) == FinalBlock(4, block.hash)
    for source in world.sources[:2]:
        source.tags["finalized"] = 6
    world.clock.advance(FINAL_SECONDS)
    await world.follow()
    known = await world.store.finality("local")
    assert known.block is not None
    assert (known.block.number, known.told, known.block_at) == (6, 6, world.clock.now())


async def test_one_providers_word_makes_nothing_final_for_ever() -> None:
    liar = await world_final_at(0)
    liar.sources[0].tags["finalized"] = 9
    liar.clock.advance(FINAL_SECONDS)
    await liar.follow()
    assert (await final(liar)) == FinalBlock(0, liar.chain.blocks[0].header.hash)
    alone = await world_final_at(4, LOCAL, sources=1)
    assert await final(alone) is None


async def test_a_reorg_down_to_the_final_block_is_followed() -> None:
    world = await world_final_at(4)
    fork_off(world, 6)
    await world.follow()
    cursor = await world.store.cursor("local")
    assert cursor is not None
    assert cursor.number == world.chain.head
    assert (await world.halts()).halt is None


async def test_a_branch_without_the_final_block_halts_the_network_and_pages() -> None:
    world = await world_final_at(4)
    said, before = world.said(), await world.store.cursor("local")
    fork_off(world, 7)
    with capture_logs() as logs:
        await world.follow()
    halt = (await world.halts()).halt
    assert halt is not None
    assert (halt.cause, halt.block_number) == ("finality_violated", 4)
    assert [each["log_level"] for each in logs if each["event"] == "finality_violated"] == [
        "error"
    ]
    assert await world.store.cursor("local") == before
    assert world.said() == said, "nothing is taken back by itself"


async def test_a_halted_network_confirms_nothing_though_the_old_branch_comes_back() -> None:
    world = World(STRICT, sources=3)
    world.chain.mine(10)
    for source in world.sources:
        source.tags["finalized"] = 4
    await follow_with_tags(world)
    world.pay(1)
    await world.mine_and_follow()
    ours = world.chain.blocks[-1].header.hash
    fork_off(world, 8)
    await world.follow()
    world.chain.restore(ours)
    world.chain.mine(5)
    await world.follow()
    world.restart()
    world.clock.advance(600)
    await world.follow()
    assert world.said() == ["observed"], "a restart does not let it go on"
    await world.resume()
    await world.follow()
    assert world.said() == ["observed", "confirmed"]


async def test_after_a_person_let_it_go_on_the_reorg_is_followed_as_an_ordinary_one() -> None:
    world = await world_final_at(4)
    assert world.said() == ["observed", "confirmed"]
    fork_off(world, 9)
    world.chain.mempool.clear()
    for source in world.sources:
        source.tags["finalized"] = 0
    world.chain.reorg(1, keep=False)
    world.chain.mine(2)
    await world.follow()
    assert (await world.halts()).halt is not None
    await world.resume()
    await world.follow()
    assert (await world.halts()).halt is None
    assert world.said() == ["observed", "confirmed", "reorg"], "block 1 is in both branches"
    for source in world.sources:
        source.tags["finalized"] = 5
    world.clock.advance(FINAL_SECONDS)
    await world.follow()
    assert await final(world) == FinalBlock(5, world.chain.blocks[5].header.hash)
    assert not (await world.store.finality("local")).deep


async def test_an_orphaned_confirmed_payment_is_retracted_once_a_person_decided() -> None:
    world = await world_final_at(4)
    fork_off(world, 10)
    await world.follow()
    assert world.said() == ["observed", "confirmed"]
    await world.resume()
    await world.follow()
    assert world.said() == ["observed", "confirmed", "reorg", "retracted"]


async def test_two_providers_who_call_another_block_final_halt_it_though_the_head_has_ours() -> (
    None
):
    world = await world_final_at(4)
    fork = world.chain.copy()
    fork.reorg(8, keep=False)
    fork.mine(8)
    for source in world.sources[:2]:
        _says_final(source, fork.blocks[4].header)
    world.clock.advance(FINAL_SECONDS)
    await world.follow()
    halt = (await world.halts()).halt
    assert halt is not None
    assert (halt.cause, halt.their_hash) == ("finality_violated", fork.blocks[4].header.hash)


async def test_one_provider_who_calls_another_block_final_halts_nothing() -> None:
    world = await world_final_at(4)
    fork = world.chain.copy()
    fork.reorg(8, keep=False)
    fork.mine(8)
    _says_final(world.sources[0], fork.blocks[4].header)
    world.clock.advance(FINAL_SECONDS)
    await world.mine_and_follow()
    assert (await world.halts()).halt is None


def _says_final(source: Any, header: Any) -> None:
    asked = source.header

    async def answered(block: object) -> object:
        return header if block == "finalized" else await asked(block)

    source.header = answered


async def test_heads_that_fall_below_the_final_block_on_our_branch_are_a_lag() -> None:
    world = await world_final_at(8)
    for source in world.sources:
        source.lag = 6
        source.tags["finalized"] = 2
    world.clock.advance(FINAL_SECONDS)
    await world.follow()
    assert (await world.halts()).halt is None


async def test_a_fork_on_the_last_providers_word_halts_nothing() -> None:
    world = await world_final_at(4)
    for source in world.sources[1:]:
        source.down = True
    for _ in range(4):
        world.clock.advance(15)
        await world.follower._providers.tip()
    fork_off(world, 8)
    with pytest.raises(Exception, match="one provider's word"):
        await world.follow()
    assert (await world.halts()).halt is None


async def test_a_halt_that_could_not_be_written_is_written_before_anything_else() -> None:
    world = await world_final_at(4)
    ours = world.chain.blocks[-1].header.hash
    fork_off(world, 7)
    append = world.log.append

    async def refuses(*_: object) -> int:
        raise StoreUnavailable("away")

    world.log.append = refuses  # type: ignore[method-assign,assignment]  # for a while
    with pytest.raises(StoreUnavailable):
        await world.follow()
    world.log.append = append  # type: ignore[method-assign]
    world.chain.restore(ours)
    await world.mine_and_follow(3)
    assert (await world.halts()).halt is not None


async def test_another_process_that_halts_it_is_noticed() -> None:
    world = await world_final_at(4)
    await world._halts.halt(STRICT, "operator", "a release is suspected", actor="operator:ann")
    world.clock.advance(halting.LOOK_SECONDS)
    await world.mine_and_follow(5)
    cursor = await world.store.cursor("local")
    assert cursor is not None
    assert cursor.number == 10
    await world.resume()
    await world.follow()
    cursor = await world.store.cursor("local")
    assert cursor is not None
    assert cursor.number == 15


# ---------------------------------------------------------------- how deep


@pytest.mark.parametrize("depth", [1, 64, 1_024])
async def test_a_reorg_as_deep_as_headers_are_kept_is_told_before_the_new_branch(
    depth: int,
) -> None:
    world = World(sources=2)
    await world.mine_and_follow()
    world.pay(1)
    for _ in range(depth):
        await world.mine_and_follow()
    head = world.chain.head
    old = {block.header.hash for block in world.chain.blocks[-depth:]}
    world.chain.reorg(depth)
    world.chain.mine(depth + 1)
    await world.follow()
    after = world.said()[-4:] if depth > 2 else world.said()[-3:]
    assert after[:3] == ["reorg", "retracted", "observed"]
    told = next(one for one in world.reports if isinstance(one, ReorgReport))
    assert (told.depth, told.fork_number) == (depth, head - depth)
    kept = world.store._networks["local"].blocks
    assert {name for name in old if not kept[name].canonical} == old, "marked, not deleted"
    first = next(iter(world.store._networks["local"].seen.values()))
    assert first.state == "orphaned"


async def test_a_deeper_one_halts_the_network_and_is_followed_when_a_person_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(halting, "REORG_BLOCKS_MAX", 8)
    world = World(sources=2)
    for _ in range(12):
        await world.mine_and_follow()
    fork_off(world, 9)
    with capture_logs() as logs:
        await world.follow()
    halt = (await world.halts()).halt
    assert halt is not None
    assert halt.cause == "reorg_too_deep"
    assert "error" in [each["log_level"] for each in logs if each["event"] == "reorg_too_deep"]
    await world.resume()
    await world.follow()
    assert world.said() == ["reorg"]
    assert not (await world.store.finality("local")).deep, "good for one"


@pytest.mark.parametrize("crash", [False, True])
async def test_a_persons_decision_outlasts_the_final_block_below_the_fork(
    monkeypatch: pytest.MonkeyPatch, crash: bool
) -> None:
    monkeypatch.setattr(halting, "REORG_BLOCKS_MAX", 8)
    world = await world_final_at(4)
    await world.mine_and_follow(10)
    fork_off(world, 12)
    await world.follow()
    assert (await world.halts()).halt is not None
    world.clock.advance(FINAL_SECONDS)  # so the tag is asked for before the chain is compared
    await world.resume()
    if crash:
        await _dies_before_the_decision_is_used_up(world)
    await world.follow()
    assert (await world.halts()).halt is None
    assert world.said()[-1] == "reorg"
    cursor = await world.store.cursor("local")
    assert cursor is not None
    assert cursor.hash == world.chain.blocks[-1].header.hash
    assert not (await world.store.finality("local")).deep, "good for one"


async def _dies_before_the_decision_is_used_up(world: World) -> None:
    keep = world.store.keep_finality

    async def dies(network: str, finality: Finality) -> None:
        if not finality.deep:
            raise StoreUnavailable("switched off by a test")
        await keep(network, finality)

    world.store.keep_finality = dies  # type: ignore[method-assign]  # for a while
    with pytest.raises(StoreUnavailable):
        await world.follow()
    world.store.keep_finality = keep  # type: ignore[method-assign]
    world.restart()


async def test_a_decision_is_used_up_once_the_chain_stands_on_our_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(halting, "REORG_BLOCKS_MAX", 8)
    world = await world_final_at(0)
    await world._halts.halt(STRICT, "operator", "a release is suspected", actor="operator:ann")
    world.clock.advance(halting.LOOK_SECONDS)
    await world.follow()
    await world.resume()
    await world.mine_and_follow(5)
    assert not (await world.store.finality("local")).deep
    fork_off(world, 9)
    await world.follow()
    assert (await world.halts()).halt is not None, "that is another one, for a person to decide"


async def test_a_made_up_header_at_the_final_height_does_not_halt_it() -> None:
    world = await world_final_at(4)

    def bent(header: Any) -> Any:
        if header.number < 4:
            return header
        other = replace(header, extra_data=b"bent")
        return replace(other, hash=hash_of(other))

    world.sources[0].bends = bent
    world.clock.advance(FINAL_SECONDS)
    await world.mine_and_follow(3)
    assert (await world.halts()).halt is None

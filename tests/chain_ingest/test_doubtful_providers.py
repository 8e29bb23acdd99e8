"""What the follower reports when providers fall silent, lose, forge and disagree."""

from dataclasses import replace

import pytest

from adapters.memory.chain_encoding import hash_of, transfer_log
from application.chain_messages import TransferReport
from chain_ingest.health import FAILURES_UNTIL_DOWN, PAUSE_SECONDS_MAX
from chain_ingest.providers import NoQuorum, Unprovable
from tests.chain_ingest.world import DEPOSIT, PAYER, STRANGER, STRICT, USDC, World


def transfers(world: World) -> list[TransferReport]:
    return [report for report in world.reports if isinstance(report, TransferReport)]


async def silence(world: World, *indices: int) -> None:
    """Providers fall silent, and have been so for long enough to be called down."""
    for index in indices:
        world.sources[index].down = True
    for _ in range(FAILURES_UNTIL_DOWN):
        world.clock.advance(PAUSE_SECONDS_MAX)
        await world.follower._providers.tip()


async def test_two_providers_attest_a_sighting_and_it_is_confirmed() -> None:
    world = World(STRICT, sources=2)
    world.pay(1)
    await world.mine_and_follow(3)
    assert world.said() == ["observed", "confirmed"]
    assert transfers(world)[0].sighting.attested
    assert transfers(world)[0].sighting.providers == ("provider-0", "provider-1")


async def test_one_provider_alone_is_observed_but_never_confirmed_for_real_money() -> None:
    world = World(STRICT, sources=1)
    world.pay(1)
    await world.mine_and_follow(10)
    assert world.said() == ["observed"]


async def test_with_one_provider_left_payments_are_seen_and_confirmed_when_another_is_back() -> (
    None
):
    world = World(STRICT, sources=3)
    await world.mine_and_follow()
    await silence(world, 1, 2)
    world.pay(1)
    await world.mine_and_follow(5)
    assert world.said() == ["observed"]
    assert not transfers(world)[0].sighting.attested
    for source in world.sources:
        source.down = False
    world.clock.advance(PAUSE_SECONDS_MAX)
    await world.mine_and_follow()
    await world.mine_and_follow()
    assert world.said() == ["observed", "confirmed"]
    assert transfers(world)[-1].sighting.attested
    assert all(each.attested for each in await world.store.coverage("local"))


async def test_a_payment_that_the_last_provider_hid_is_found_when_another_is_back() -> None:
    world = World(STRICT, sources=2)
    await world.mine_and_follow()
    await silence(world, 1)
    world.sources[0].loses_logs = True
    world.pay(1)
    await world.mine_and_follow(5)
    assert world.reports == []
    world.sources[1].down = False
    world.clock.advance(PAUSE_SECONDS_MAX)
    await world.mine_and_follow(2)
    await world.mine_and_follow()
    assert world.said() == ["observed", "confirmed"]


async def test_the_last_provider_cannot_take_back_what_a_quorum_has_seen() -> None:
    world = World(STRICT, sources=2)
    await world.mine_and_follow()
    world.pay(1)
    await world.mine_and_follow(3)
    fork = world.chain.copy()
    fork.reorg(3)
    fork.mine(9)
    await silence(world, 1)
    world.sources[0].chain = fork
    with pytest.raises(NoQuorum):
        await world.follow()
    assert world.said() == ["observed", "confirmed"]


async def test_a_lying_minority_changes_nothing() -> None:
    world = World(STRICT, sources=3)
    await world.mine_and_follow()
    fork = world.chain.copy()
    fork.transfer(USDC, PAYER, DEPOSIT, 10**12)
    world.sources[0].chain = fork
    world.pay(1)
    for _ in range(4):
        fork.mine()
        await world.mine_and_follow()
    assert [each.sighting.amount.units for each in transfers(world)] == [1, 1]


async def test_forged_receipts_hold_the_block_back_and_credit_nothing() -> None:
    world = World()
    world.pay(1)
    forged = (transfer_log(USDC, PAYER, DEPOSIT, 10**12),)
    world.sources[0].forges = lambda receipts: [replace(each, logs=forged) for each in receipts]
    with pytest.raises(Unprovable):
        await world.mine_and_follow()
    assert world.reports == []
    world.sources[0].forges = None
    world.clock.advance(120)
    await world.follow()
    assert [each.sighting.amount.units for each in transfers(world)] == [1]


async def test_a_log_that_no_receipt_bears_out_is_not_credited() -> None:
    world = World(STRICT, sources=2)
    liar = world.chain.copy()
    real = world.pay(1, to=STRANGER)
    block = world.chain.mine()
    assert block.txs[0].hash == real
    # The liar agrees on the header, and tells of a log to us that the block does not have.
    false_block = replace(
        block,
        receipts=(replace(block.receipts[0], logs=(transfer_log(USDC, PAYER, DEPOSIT, 9),)),),
    )
    liar.blocks.append(false_block)
    liar._known[block.header.hash] = false_block
    world.sources[1].chain = liar
    await world.follow()
    assert world.reports == []


async def test_blocks_on_one_word_do_not_confirm_what_a_quorum_has_seen() -> None:
    world = World(STRICT, sources=2)
    world.pay(1)
    await world.mine_and_follow()
    assert transfers(world)[0].sighting.attested
    await silence(world, 1)
    await world.mine_and_follow(5)
    assert world.said() == ["observed"]


async def test_far_behind_on_one_word_every_block_is_kept_to_be_read_again() -> None:
    world = World(STRICT, sources=2)
    await world.mine_and_follow()
    await silence(world, 1)
    world.sources[0].loses_logs = True
    world.pay(1)
    world.chain.mine(400)
    with pytest.raises(NoQuorum, match="one alone is followed"):
        await world.follow()
    assert world.reports == []
    world.sources[1].down = False
    world.clock.advance(PAUSE_SECONDS_MAX)
    await world.mine_and_follow()
    await world.mine_and_follow()
    assert world.said() == ["observed", "confirmed"]


async def test_a_log_lost_from_a_range_by_one_provider_is_found_by_the_other() -> None:
    world = World(STRICT, sources=2)
    await world.mine_and_follow()
    world.pay(1)
    world.chain.mine(400)
    world.sources[0].loses_logs = True
    await world.follow()
    assert world.said() == ["observed", "confirmed"]
    assert world.sources[1].calls["logs_of_range"] > 0


async def test_the_first_block_of_all_must_be_agreed() -> None:
    world = World(STRICT, sources=2)
    await silence(world, 1)
    with pytest.raises(NoQuorum):
        await world.follow()
    assert await world.store.cursor("local") is None


async def test_a_made_up_ancestor_of_the_wrong_height_stops_progress_only() -> None:
    world = World()
    await world.mine_and_follow(3)
    honest = world.chain.blocks[2].header
    made_up = replace(honest, number=1)
    made_up = replace(made_up, hash=hash_of(made_up))
    world.chain._known[made_up.hash] = replace(world.chain.blocks[2], header=made_up)
    tip = replace(world.chain.blocks[3].header, parent_hash=made_up.hash)
    tip = replace(tip, hash=hash_of(tip))
    world.chain.blocks[3] = replace(world.chain.blocks[3], header=tip)
    with pytest.raises(NoQuorum, match="block 3 stands on block 1"):
        await world.follow()
    assert world.reports == []

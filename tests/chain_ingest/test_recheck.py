"""A transaction or a range, read again: what is said of it, and what is fed in."""

from dataclasses import replace

import pytest

from adapters.memory.chain_encoding import transfer_log
from application.chain_messages import TransferReport
from application.halts import Halts
from application.ingest import Cursor, Reexamination
from application.ports import Unavailable
from chain_ingest.providers import NoQuorum
from chain_ingest.recheck import (
    APPLY_ATTEMPTS_MAX,
    RECHECK_BLOCKS_MAX,
    NothingRead,
    TooManyBlocks,
)
from domain.values import public_id
from tests.chain_ingest.second_look import SESSION_ID, Looking
from tests.chain_ingest.test_doubtful_providers import silence
from tests.chain_ingest.world import DEPOSIT, FAKE, PAYER, STRANGER, STRICT, USDC, World

NOWHERE = "0x" + "99" * 32


async def begun(*, sources: int = 2) -> Looking:
    world = World(STRICT, sources=sources)
    await world.mine_and_follow()
    return Looking(world)


async def missed(looking: Looking, units: int = 5_000_000, *, blocks: int = 1) -> str:
    """A payment whose logs nobody told of when its block was passed."""
    world = looking.world
    for source in world.sources:
        source.loses_logs = True
    tx_hash = world.pay(units)
    await world.mine_and_follow(blocks)
    assert world.reports == []
    return tx_hash


# ---------------------------------------------------------------- one transaction


async def test_nothing_can_be_said_before_the_first_block() -> None:
    with pytest.raises(NothingRead):
        await Looking(World()).recheck.transaction(NOWHERE)


async def test_a_transaction_that_nobody_has_is_not_on_chain() -> None:
    looking = await begun()
    assert await looking.verdicts(NOWHERE) == ["not_on_chain"]
    assert "none of 2 providers has it" in await looking.words(NOWHERE)
    looking.world.pay(1)
    pending = looking.world.chain.mempool[0].hash
    assert await looking.verdicts(pending) == ["not_on_chain"]


async def test_what_a_reorg_took_is_told_with_the_block_it_was_in() -> None:
    looking = await begun()
    world = looking.world
    tx_hash = world.pay(1)
    await world.mine_and_follow()
    world.chain.reorg(1, keep=False)
    assert await looking.verdicts(tx_hash) == ["other_branch"], "we have not followed it yet"
    await world.mine_and_follow(2)
    assert await looking.verdicts(tx_hash) == ["not_on_chain"]
    assert "we saw it in block 2, which a reorg has removed" in await looking.words(tx_hash)


async def test_a_transfer_to_somebody_else_is_not_ours() -> None:
    looking = await begun()
    tx_hash = looking.world.pay(2_500_000, to=STRANGER)
    await looking.world.mine_and_follow()
    assert await looking.verdicts(tx_hash) == ["not_watched"]
    assert f"2.50 USDC to {STRANGER}: not ours" in await looking.words(tx_hash)


async def test_an_unlisted_token_is_named_and_never_credited() -> None:
    looking = await begun()
    tx_hash = looking.world.pay(7, token=FAKE)
    await looking.world.mine_and_follow()
    assert await looking.verdicts(tx_hash, apply=True) == ["token_not_listed"]
    assert f"{FAKE} is a token we do not list, sent to our address" in (
        await looking.words(tx_hash)
    )
    assert looking.world.reports == []


async def test_a_failed_transaction_moved_nothing() -> None:
    looking = await begun()
    log = transfer_log(USDC, PAYER, DEPOSIT, 5)
    tx_hash = looking.world.chain.transaction(log, succeeded=False).hash
    await looking.world.mine_and_follow()
    assert await looking.verdicts(tx_hash, apply=True) == ["failed"]
    assert looking.world.reports == []


async def test_a_transaction_without_a_transfer_and_one_of_nothing_are_told_apart() -> None:
    looking = await begun()
    chain = looking.world.chain
    bare, nothing = chain.transaction().hash, looking.world.pay(0)
    await looking.world.mine_and_follow()
    assert await looking.verdicts(bare) == ["no_transfer"]
    assert await looking.verdicts(nothing) == ["no_credit"]


async def test_what_is_known_is_told_with_where_it_went_and_what_it_waits_for() -> None:
    looking = await begun()
    world = looking.world
    tx_hash = world.pay(5_000_000)
    await world.mine_and_follow()
    assert await looking.verdicts(tx_hash) == ["settling"]
    sighting = world.transfers[0].sighting
    await looking.settle(sighting, confirmed=False)
    assert await looking.verdicts(tx_hash) == ["waits"]
    session = public_id("ps", SESSION_ID)
    words = await looking.words(tx_hash)
    assert f"seen for {session}; waits for confirmations, 1/3" in words
    await world.mine_and_follow(2)
    assert await looking.verdicts(tx_hash) == ["settling"], "confirmed, and not recorded yet"
    await looking.settle(sighting, confirmed=True)
    assert await looking.verdicts(tx_hash) == ["known"]
    again = await looking.recheck.transaction(tx_hash)
    assert again.findings[0].subject == session
    assert f"known, credited to {session}" in again.findings[0].words
    assert not again.wrong


async def test_what_is_in_the_inbox_is_told_with_the_reason() -> None:
    looking = await begun()
    tx_hash = looking.world.pay(5)
    await looking.world.mine_and_follow(3)
    await looking.settle(looking.world.transfers[0].sighting, confirmed=True, purpose="unmatched")
    assert "known, in the inbox: came too late" in await looking.words(tx_hash)


async def test_a_block_that_the_ingester_has_not_reached_is_no_miss() -> None:
    looking = await begun()
    tx_hash = looking.world.pay(5)
    looking.world.chain.mine()
    assert await looking.verdicts(tx_hash, apply=True) == ["not_read_yet"]


async def test_a_missed_payment_is_said_to_be_missed_and_nothing_is_written_unasked() -> None:
    looking = await begun()
    tx_hash = await missed(looking)
    again = await looking.recheck.transaction(tx_hash)
    assert [finding.verdict for finding in again.findings] == ["missed"]
    assert again.wrong
    assert looking.world.reports == []


async def test_a_missed_payment_is_fed_in_once_and_confirmed_as_any_other() -> None:
    looking = await begun()
    world = looking.world
    tx_hash = await missed(looking, blocks=2)
    assert await looking.verdicts(tx_hash, apply=True) == ["fed_in"]
    assert await looking.verdicts(tx_hash, apply=True) == ["settling"]
    assert world.said() == ["observed"]
    await world.mine_and_follow()
    assert world.said() == ["observed", "confirmed"]
    assert [report.report_number for report in world.reports] == [1, 2]
    assert world.transfers[1].sighting.attested


async def test_all_of_ours_in_the_block_is_fed_in_with_the_one_asked_for() -> None:
    looking = await begun()
    other = looking.world.pay(1)
    tx_hash = await missed(looking)
    assert await looking.verdicts(tx_hash, apply=True) == ["fed_in"]
    assert await looking.verdicts(other) == ["settling"]
    assert looking.world.said() == ["observed", "observed"]


async def test_it_is_fed_in_although_the_ingester_passes_blocks_meanwhile() -> None:
    looking = await begun()
    world = looking.world
    tx_hash = await missed(looking)
    busy = world.store.reexamine
    left = [3]

    async def late(reexamination: Reexamination) -> Cursor:
        if left[0]:
            left[0] -= 1
            await world.mine_and_follow()
        return await busy(reexamination)

    world.store.reexamine = late  # type: ignore[method-assign]  # the ingester is in between
    assert await looking.verdicts(tx_hash, apply=True) == ["fed_in"]
    left[0] = APPLY_ATTEMPTS_MAX
    other = await missed_after(world)
    with pytest.raises(NoQuorum, match="the cursor moved"):
        await looking.recheck.transaction(other, apply=True)
    assert await looking.verdicts(other, apply=True) == ["fed_in"]
    assert world.said() == ["observed", "confirmed", "observed"]


async def missed_after(world: World) -> str:
    tx_hash = world.pay(9)
    await world.mine_and_follow()
    return tx_hash


async def test_one_providers_word_feeds_nothing_in() -> None:
    looking = await begun()
    tx_hash = await missed(looking)
    await silence(looking.world, 1)
    looking.restart()
    with pytest.raises(NoQuorum):
        await looking.recheck.transaction(tx_hash, apply=True)
    assert looking.world.reports == []


async def test_nothing_is_fed_in_while_the_network_is_halted() -> None:
    looking = await begun()
    world = looking.world
    tx_hash = await missed(looking)
    halts = Halts(looking.handler)
    await halts.halt(world.network, "operator", "looking into it", actor="operator:test")
    with pytest.raises(Unavailable, match="halted"):
        await looking.recheck.transaction(tx_hash, apply=True)
    assert await looking.verdicts(tx_hash) == ["missed"], "it can still be asked about"
    await halts.resume(world.network, "all is well", "operator:test")
    assert await looking.verdicts(tx_hash, apply=True) == ["fed_in"]


async def test_receipts_are_proved_again_and_a_forger_adds_nothing() -> None:
    looking = await begun()
    tx_hash = looking.world.pay(1, to=STRANGER)
    await looking.world.mine_and_follow()
    forged = (transfer_log(USDC, PAYER, DEPOSIT, 10**12),)
    forger = looking.world.sources[0]
    forger.forges = lambda receipts: [replace(each, logs=forged) for each in receipts]
    assert await looking.verdicts(tx_hash, apply=True) == ["not_watched"]
    assert looking.world.reports == []


async def test_a_place_that_the_agreed_block_does_not_bear_out_is_contested() -> None:
    looking = await begun(sources=3)
    world = looking.world
    liar = world.chain.copy()
    world.chain.mine()
    tx_hash = liar.transfer(USDC, PAYER, DEPOSIT, 9).hash
    liar.mine()
    world.sources[2].chain = liar
    await world.follow()
    assert await looking.verdicts(tx_hash, apply=True) == ["contested"]
    assert world.reports == []


async def test_a_stored_transfer_that_its_block_does_not_have_is_shouted_about() -> None:
    looking = await begun()
    world = looking.world
    tx_hash = world.pay(5)
    await world.mine_and_follow()
    ((place, seen),) = world.store._networks["local"].seen.items()
    made_up = seen.sighting.model_copy(update={"transfer_id": seen.sighting.transfer_id + "1"})
    world.store._networks["local"].seen[place[0], "made up"] = replace(seen, sighting=made_up)
    again = await looking.recheck.transaction(tx_hash)
    assert [each.verdict for each in again.findings] == ["settling", "phantom"]
    assert again.wrong


# ---------------------------------------------------------------- a range


async def test_a_range_is_bounded_and_ends_where_the_ingester_is() -> None:
    looking = await begun()
    await looking.world.mine_and_follow(9)
    passed: list[int] = []
    again = await looking.recheck.blocks(1, 10**6, progress=passed.append)
    assert (again.blocks, again.read_up_to, sum(passed)) == (10, 10, 10)
    assert (await looking.recheck.blocks(50, 60)).blocks == 0
    world = looking.world
    ((network, rows),) = world.store._networks.items()
    assert network == "local"
    rows.cursor = replace(rows.cursor, number=RECHECK_BLOCKS_MAX + 1)
    with pytest.raises(TooManyBlocks):
        await looking.recheck.blocks(1, RECHECK_BLOCKS_MAX + 1)


async def test_a_range_asks_every_provider_and_finds_what_two_had_left_out() -> None:
    looking = await begun(sources=3)
    world = looking.world
    for source in world.sources[:2]:
        source.loses_logs = True
    world.pay(5)
    await world.mine_and_follow(4)
    assert world.reports == []
    again = await looking.recheck.blocks(1, 5, apply=True)
    assert [finding.verdict for finding in again.findings] == ["fed_in"]
    assert (again.blocks, again.proved) == (5, 1)
    await world.mine_and_follow()
    assert world.said() == ["observed", "confirmed"]


async def test_thorough_believes_no_log_answer_at_all() -> None:
    looking = await begun()
    await missed(looking, blocks=4)
    assert (await looking.recheck.blocks(1, 5)).findings == ()
    again = await looking.recheck.blocks(1, 5, thorough=True)
    assert [finding.verdict for finding in again.findings] == ["missed"]
    assert again.proved == 1, "the bloom rules the other blocks out"


async def test_a_range_tells_what_is_known_of_each_transfer_in_it() -> None:
    looking = await begun()
    world = looking.world
    world.pay(1)
    world.pay(2, to=STRANGER)
    await world.mine_and_follow(3)
    await looking.settle(world.transfers[0].sighting, confirmed=True)
    again = await looking.recheck.blocks(1, 4, apply=True)
    assert [finding.verdict for finding in again.findings] == ["known"]
    assert not again.wrong
    assert [isinstance(each, TransferReport) for each in world.reports] == [True, True]


async def test_a_range_on_another_branch_says_so_and_feeds_nothing_in() -> None:
    looking = await begun()
    world = looking.world
    await world.mine_and_follow(3)
    world.chain.reorg(2)
    world.pay(5)
    world.chain.mine(2)
    again = await looking.recheck.blocks(1, 4, thorough=True, apply=True)
    assert [finding.verdict for finding in again.findings] == ["other_branch", "other_branch"]
    assert world.reports == []


async def test_silent_providers_are_not_taken_for_a_missing_block() -> None:
    looking = await begun()
    for source in looking.world.sources:
        source.down = True
    for _ in range(5):
        with pytest.raises(Unavailable, match="nobody answered"):
            await looking.recheck.blocks(1, 1)
    with pytest.raises(Unavailable, match="no provider answers"):
        await looking.recheck.transaction(NOWHERE)

"""What the follower reports of a chain in memory, whatever the chain, providers and store do."""

import pytest

from adapters.memory.chain_encoding import transfer_log, word
from application.chain_messages import ReorgReport, TransferReport
from application.chain_source import ReceiptLog
from application.ingest import CursorMoved
from application.ports import StoreUnavailable
from chain_ingest.watch import WatchListBehind
from tests.chain_ingest.world import (
    BRIDGED,
    DEPOSIT,
    FAKE,
    LOCAL,
    OTHER_DEPOSIT,
    PAYER,
    STRANGER,
    USDC,
    World,
)


def transfers(world: World) -> list[TransferReport]:
    return [report for report in world.reports if isinstance(report, TransferReport)]


async def test_a_payment_is_observed_at_once_and_confirmed_at_policy_depth() -> None:
    world = World()
    tx_hash = world.pay(5_000_000)
    await world.mine_and_follow()
    (observed,) = transfers(world)
    assert observed.kind == "observed"
    assert observed.confirmations == 1
    sighting = observed.sighting
    assert sighting.transfer_id == f"31337:{tx_hash}:0"
    assert (sighting.sender, sighting.recipient, sighting.token) == (PAYER, DEPOSIT, USDC)
    assert sighting.amount.units == 5_000_000
    assert (sighting.attested, sighting.providers) == (False, ("provider-0",))
    await world.mine_and_follow()
    assert world.said() == ["observed"]
    await world.mine_and_follow()
    assert world.said() == ["observed", "confirmed"]
    confirmed = transfers(world)[-1]
    assert (confirmed.confirmations, confirmed.policy_version) == (3, 1)
    assert confirmed.sighting == sighting
    await world.mine_and_follow(10)
    assert world.said() == ["observed", "confirmed"]


async def test_one_confirmation_is_reached_in_the_block_itself() -> None:
    policy = LOCAL.policy.model_copy(update={"blocks": 1})
    world = World(LOCAL.model_copy(update={"policy": policy}))
    world.pay(1)
    await world.mine_and_follow()
    assert world.said() == ["observed", "confirmed"]


async def test_every_transfer_of_one_transaction_is_reported() -> None:
    world = World()
    world.chain.transaction(
        transfer_log(USDC, PAYER, DEPOSIT, 1),
        transfer_log(USDC, PAYER, DEPOSIT, 2),
        transfer_log(USDC, PAYER, OTHER_DEPOSIT, 3),
    )
    await world.mine_and_follow()
    assert [each.sighting.amount.units for each in transfers(world)] == [1, 2, 3]
    assert [each.sighting.log_index for each in transfers(world)] == [0, 1, 2]


async def test_what_is_no_payment_to_us_is_not_reported() -> None:
    world = World()
    nft = transfer_log(USDC, PAYER, DEPOSIT, 1)
    world.pay(9, token=FAKE)  # the right amount from a contract that only calls itself USDC
    world.pay(9, to=STRANGER)
    world.pay(0)
    world.chain.transfer(USDC, DEPOSIT, DEPOSIT, 9)
    world.chain.transaction(ReceiptLog(nft.address, (*nft.topics, word(b"\x01")), nft.data))
    world.chain.transaction(transfer_log(USDC, PAYER, DEPOSIT, 9), succeeded=False)
    await world.mine_and_follow(5)
    assert world.reports == []


async def test_sending_nothing_to_our_address_costs_us_no_proof() -> None:
    world = World()
    world.pay(0)
    world.chain.transfer(USDC, DEPOSIT, DEPOSIT, 9)
    await world.mine_and_follow()
    assert world.sources[0].calls["receipts_of_block"] == 0
    world.pay(1)
    await world.mine_and_follow()
    assert world.sources[0].calls["receipts_of_block"] == 1


async def test_a_token_we_refuse_is_sighted_so_that_nothing_is_lost() -> None:
    world = World()
    world.pay(7, token=BRIDGED)
    await world.mine_and_follow()
    assert [each.sighting.token for each in transfers(world)] == [BRIDGED]


async def test_report_numbers_grow_without_gaps_and_message_ids_never_repeat() -> None:
    world = World()
    for units in range(1, 6):
        world.pay(units)
        await world.mine_and_follow()
    world.chain.reorg(2)
    await world.mine_and_follow(5)
    numbers = [report.report_number for report in world.reports]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len({report.message_id for report in world.reports}) == len(numbers)


# ---------------------------------------------------------------- reorgs


async def test_a_reorg_retracts_before_the_new_branch_is_told_and_counts_once_again() -> None:
    world = World()
    tx_hash = world.pay(5)
    await world.mine_and_follow(2)
    left = world.chain.blocks[-1].header.hash
    world.chain.reorg(2)
    await world.mine_and_follow(4)
    assert world.said() == ["observed", "reorg", "retracted", "observed", "confirmed"]
    reorg = world.reports[1]
    assert isinstance(reorg, ReorgReport)
    assert (reorg.depth, reorg.fork_number, reorg.from_hash) == (2, 0, left)
    assert reorg.orphaned == (f"31337:{tx_hash}:0",)
    first, gone, again, _ = transfers(world)
    assert gone.sighting == first.sighting
    assert again.sighting.transfer_id == first.sighting.transfer_id
    assert again.sighting.block_hash != first.sighting.block_hash


async def test_a_reorg_without_a_longer_chain_is_seen_at_the_same_height() -> None:
    world = World()
    world.pay(5)
    await world.mine_and_follow(2)
    world.chain.reorg(1, keep=False)
    await world.mine_and_follow(1)
    assert world.said() == ["observed", "reorg"]


async def test_a_reorg_to_a_shorter_chain_is_seen() -> None:
    world = World()
    await world.mine_and_follow(2)
    world.pay(5)
    await world.mine_and_follow(3)
    world.chain.reorg(4, keep=False)
    await world.mine_and_follow(1)
    assert world.said() == ["observed", "confirmed", "reorg", "retracted"]
    cursor = await world.store.cursor("local")
    assert cursor is not None
    assert cursor.hash == world.chain.blocks[-1].header.hash


async def test_a_head_that_only_falls_back_retracts_nothing() -> None:
    world = World()
    world.pay(5)
    await world.mine_and_follow(4)
    before = world.said()
    world.sources[0].lag = 3
    await world.follow()
    assert world.said() == before


async def test_a_confirmed_payment_lost_to_a_deep_reorg_is_retracted_too() -> None:
    world = World()
    await world.mine_and_follow(2)
    world.pay(5)
    await world.mine_and_follow(4)
    world.chain.reorg(5, keep=False)
    await world.mine_and_follow(6)
    assert world.said() == ["observed", "confirmed", "reorg", "retracted"]


async def test_a_block_that_leaves_and_comes_back_is_observed_and_confirmed_anew() -> None:
    world = World()
    await world.mine_and_follow()
    world.pay(5)
    await world.mine_and_follow()
    first = world.chain.blocks[-1].header.hash
    world.chain.reorg(1, keep=False)
    await world.mine_and_follow(2)
    world.chain.restore(first)
    world.chain.mempool.clear()
    await world.mine_and_follow(3)
    assert world.said() == [
        *("observed", "reorg", "retracted"),
        *("reorg", "observed", "confirmed"),
    ]
    assert len({report.message_id for report in world.reports}) == 6


async def test_another_chain_under_the_same_record_halts_it_and_touches_nothing() -> None:
    world = World(start_block=3)
    await world.mine_and_follow(6)
    before = await world.store.cursor("local")
    world.chain.reorg(6)
    world.chain.mine(8)
    await world.follow()
    halt = (await world.halts()).halt
    assert halt is not None
    assert halt.cause == "reorg_too_deep"
    assert await world.store.cursor("local") == before
    assert world.reports == []


# ---------------------------------------------------------------- where it begins and goes on


async def test_without_a_start_block_it_begins_at_the_head() -> None:
    world = World(start_block=None)
    world.pay(1)
    world.chain.mine(5)
    await world.follow()
    assert world.reports == []
    world.pay(2)
    await world.mine_and_follow()
    assert [each.sighting.amount.units for each in transfers(world)] == [2]


async def test_a_restarted_follower_goes_on_from_the_cursor() -> None:
    world = World()
    world.pay(1)
    await world.mine_and_follow()
    world.restart()
    world.pay(2)
    world.chain.mine(5)
    world.restart()
    await world.follow()
    assert world.said() == ["observed", "observed", "confirmed", "confirmed"]


async def test_a_write_whose_answer_was_lost_is_neither_lost_nor_repeated() -> None:
    world = World()
    await world.mine_and_follow()
    world.pay(1)
    world.chain.mine()
    world.store.lose_answer = True
    with pytest.raises(StoreUnavailable):
        await world.follow()
    await world.follow()
    await world.mine_and_follow(3)
    assert world.said() == ["observed", "confirmed"]


async def test_of_two_followers_who_both_believe_to_lead_only_one_writes() -> None:
    world = World()
    await world.mine_and_follow()
    world.pay(1)
    world.chain.mine()
    first = world.follower
    cursor = await world.store.cursor("local")
    assert cursor is not None
    world.restart()
    await world.follow()
    block = await first._providers.agreed(cursor.number + 1)
    with pytest.raises(CursorMoved):
        await first._follow(cursor, block)
    assert world.said() == ["observed"]


async def test_a_block_is_not_passed_before_the_watch_list_has_caught_up() -> None:
    world = World()
    await world.mine_and_follow()
    world.watched.now = set()
    world.watched.behind = True
    world.pay(1)
    world.chain.mine()
    with pytest.raises(WatchListBehind):
        await world.follow()
    world.watched.now = {DEPOSIT}
    world.watched.behind = False
    await world.follow()
    assert world.said() == ["observed"]


async def test_far_behind_it_catches_up_by_ranges_and_misses_nothing() -> None:
    world = World()
    await world.follow()
    for units in (1, 2, 3):
        world.pay(units)
        world.chain.mine(400)
    await world.follow()
    seen = [each.sighting.amount.units for each in transfers(world) if each.kind == "observed"]
    assert seen == [1, 2, 3]
    assert world.said().count("confirmed") == 3
    source = world.sources[0]
    assert source.calls["logs_of_range"] <= 4
    assert source.calls["header"] < 600, "headers of empty final blocks are not fetched"
    covered = await world.store.coverage("local")
    assert (covered[0].first, covered[-1].last) == (1, world.chain.head)


async def test_more_addresses_than_fit_a_question_are_matched_at_home() -> None:
    world = World()
    world.watched.now |= {f"0x{number:040x}" for number in range(2_000)}
    world.pay(1)
    world.pay(2, to=STRANGER)
    await world.mine_and_follow()
    assert [each.sighting.amount.units for each in transfers(world)] == [1]
    assert world.sources[0].recipients_asked == [None]
    world.pay(2, to=STRANGER)
    await world.mine_and_follow()
    assert world.sources[0].calls["receipts_of_block"] == 1, "nothing to prove in the second"


async def test_a_few_addresses_are_asked_for_by_name() -> None:
    world = World()
    world.pay(1)
    await world.mine_and_follow()
    assert world.sources[0].recipients_asked == [2]


@pytest.mark.parametrize("suggests", [True, False])
async def test_ranges_shrink_to_what_the_provider_gives(suggests: bool) -> None:
    world = World()
    world.sources[0].range_max, world.sources[0].suggests = 90, suggests
    await world.follow()
    for units in (1, 2, 3):
        world.pay(units)
        world.chain.mine(200)
    await world.follow()
    seen = [each.sighting.amount.units for each in transfers(world) if each.kind == "observed"]
    assert seen == [1, 2, 3]
    assert world.sources[0].calls["logs_of_range"] < 20


async def test_a_reorg_found_while_far_behind_is_unwound_before_the_range_is_read() -> None:
    world = World()
    await world.mine_and_follow(2)
    world.pay(1)
    await world.mine_and_follow()
    world.chain.reorg(1, keep=False)
    world.pay(2)
    world.chain.mine(400)
    await world.follow()
    assert world.said() == ["observed", "reorg", "retracted", "observed", "confirmed"]

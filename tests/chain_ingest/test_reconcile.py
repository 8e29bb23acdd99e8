"""The net under the logs: what is on chain against what was seen, and the payment it finds."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from adapters.memory.chain import FINAL_BLOCKS
from application.ports import Unavailable
from application.reconciling import Reconciliation, WatchedAddress
from chain_ingest import reconcile
from chain_ingest.backfill import BEHIND_BLOCKS_MIN
from chain_ingest.reconcile import RECONCILE_SECONDS, RETRY_SECONDS, STATE_BLOCKS
from tests.chain_ingest.second_look import Looking, ToCheck
from tests.chain_ingest.world import DEPOSIT, OTHER_DEPOSIT, START, STRANGER, STRICT, USDC, World

RECYCLED = "0x" + "ee" * 20
DEEP = FINAL_BLOCKS + 6  # so many blocks, and what came before them is final


async def looking_on(*, sources: int = 2, chosen: ToCheck | None = None) -> Looking:
    world = World(STRICT, sources=sources)
    await world.mine_and_follow(3)
    return Looking(world, chosen or ToCheck())


async def hidden(looking: Looking, units: int, *, to: str = DEPOSIT, blocks: int = DEEP) -> str:
    """A payment that every provider asked leaves out of its logs, deep in the chain by now."""
    world = looking.world
    for source in world.sources:
        source.loses_logs = True
    tx_hash = world.pay(units, to=to)
    await world.mine_and_follow(blocks)
    for source in world.sources:
        source.loses_logs = False
    return tx_hash


async def once(looking: Looking) -> Reconciliation:
    run = await looking.reconciler.once()
    assert run is not None
    return run


def found(run: Reconciliation) -> tuple[int, int, int]:
    return run.differing, run.found, run.unexplained


def leaves(looking: Looking, units: int, holder: str = DEPOSIT) -> None:
    """The merchant sweeps an address."""
    looking.world.chain.transfer(USDC, holder, STRANGER, units)


async def test_a_transfer_that_both_asked_providers_dropped_is_found_and_credited() -> None:
    """A19: the union of two answers has not got it, the balance has."""
    looking = await looking_on()
    tx_hash = await hidden(looking, 5_000_000)
    assert looking.world.reports == []
    run = await once(looking)
    assert found(run) == (1, 1, 0)
    assert run.final
    assert looking.world.said() == ["observed"]
    sighting = looking.world.transfers[0].sighting
    assert (sighting.tx_hash, sighting.amount.units) == (tx_hash, 5_000_000)
    assert sighting.attested
    await looking.world.mine_and_follow()
    assert looking.world.said() == ["observed", "confirmed"]
    assert found(await once(looking)) == (0, 0, 0)
    assert looking.world.said() == ["observed", "confirmed"], "found once, credited once"


async def test_logs_that_two_dropped_from_a_back_filled_range_are_found_and_credited() -> None:
    """A19, where the block's header was never kept: only a range with hashes at its ends."""
    looking = await looking_on()
    world = looking.world
    for source in world.sources:
        source.loses_logs = True
    world.chain.mine(20)
    tx_hash = world.pay(7)
    await world.mine_and_follow(BEHIND_BLOCKS_MIN * 2)
    assert await world.store.header_at("local", 24) is None, "passed within a range"
    assert world.reports == []
    run = await once(looking)
    assert found(run) == (1, 1, 0)
    assert world.transfers[0].sighting.tx_hash == tx_hash
    await world.mine_and_follow()
    assert world.said() == ["observed", "confirmed"]


async def test_what_was_seen_explains_the_balance_and_a_sweep_alarms_nobody() -> None:
    looking = await looking_on()
    looking.world.pay(5)
    await looking.world.mine_and_follow(DEEP)
    run = await once(looking)
    assert (run.checked, found(run)) == (2, (0, 0, 0))
    leaves(looking, 4)
    await looking.world.mine_and_follow(DEEP)
    assert found(await once(looking)) == (0, 0, 0)
    assert looking.world.said() == ["observed", "confirmed"]


async def test_a_transfer_missed_after_a_sweep_is_found_although_less_is_there_than_came() -> None:
    looking = await looking_on()
    looking.world.pay(100)
    await looking.world.mine_and_follow(DEEP)
    await once(looking)
    leaves(looking, 100)
    await looking.world.mine_and_follow(DEEP)
    await once(looking)
    await hidden(looking, 5)
    assert found(await once(looking)) == (1, 1, 0)
    assert [each.sighting.amount.units for each in looking.world.transfers] == [100, 100, 5]


async def test_several_missed_ones_are_found_each_in_its_own_block() -> None:
    looking = await looking_on()
    await hidden(looking, 1, blocks=10)
    await hidden(looking, 2, blocks=10)
    looking.world.pay(50)
    await looking.world.mine_and_follow(2)
    await hidden(looking, 3)
    assert found(await once(looking)) == (1, 3, 0)
    seen = sorted(each.sighting.amount.units for each in looking.world.transfers)
    assert [units for units in seen if units != 50] == [1, 2, 3]


async def test_a_missed_one_is_found_that_was_swept_on_before_anybody_looked_again() -> None:
    """The sweep hides a part of it; what is left is more than was seen."""
    looking = await looking_on()
    await hidden(looking, 10, blocks=5)
    leaves(looking, 9)
    await looking.world.mine_and_follow(DEEP)
    assert found(await once(looking)) == (1, 1, 0)
    assert looking.world.transfers[0].sighting.amount.units == 10


async def test_one_provider_that_makes_money_up_alarms_nobody() -> None:
    looking = await looking_on(sources=3)
    await looking.world.mine_and_follow(DEEP)
    looking.world.sources[0].inflates[USDC, DEPOSIT] = 10**12
    run = await once(looking)
    assert (run.checked, run.undecided, found(run)) == (2, 0, (0, 0, 0))


async def test_two_that_contradict_each_other_decide_nothing() -> None:
    looking = await looking_on()
    await looking.world.mine_and_follow(DEEP)
    looking.world.sources[0].inflates[USDC, DEPOSIT] = 10**12
    run = await once(looking)
    assert (run.checked, run.undecided, found(run)) == (1, 1, (0, 0, 0))
    looking.world.sources[0].inflates.clear()
    await looking.world.mine_and_follow()
    assert (await once(looking)).undecided == 0


async def test_a_liar_alone_hides_no_missed_transfer_from_two_others() -> None:
    looking = await looking_on(sources=3)
    await hidden(looking, 5)
    looking.world.sources[0].inflates[USDC, DEPOSIT] = -5
    assert found(await once(looking)) == (1, 1, 0)


async def test_without_old_state_the_blocks_since_the_last_reading_are_read() -> None:
    looking = await looking_on()
    for source in looking.world.sources:
        source.state_blocks = DEEP - 2
    await hidden(looking, 5)
    assert found(await once(looking)) == (1, 1, 0)


async def test_a_merchants_own_wallet_has_a_past_and_is_watched_from_now_on() -> None:
    wallet = [WatchedAddress(DEPOSIT, "merchant_wallet")]
    looking = await looking_on(chosen=ToCheck(wallet))
    looking.world.chain.mint(USDC, DEPOSIT, 10**9)
    await looking.world.mine_and_follow(DEEP)
    assert found(await once(looking)) == (0, 0, 0)
    await hidden(looking, 5)
    assert found(await once(looking)) == (1, 1, 0)


async def test_what_was_there_before_reading_began_is_not_looked_for() -> None:
    looking = await looking_on()
    looking.world.chain.mint(USDC, DEPOSIT, 10**9)
    await hidden(looking, 5)
    assert found(await once(looking)) == (1, 1, 0)
    assert looking.world.transfers[0].sighting.amount.units == 5


async def test_money_without_a_log_is_not_credited_and_asked_about_again() -> None:
    looking = await looking_on()
    await looking.world.mine_and_follow(DEEP)
    assert found(await once(looking)) == (0, 0, 0)
    looking.world.chain.mint(USDC, DEPOSIT, 5)  # a bridge's mint that no receipt tells of
    for _ in range(2):
        await looking.world.mine_and_follow(2)
        assert found(await once(looking)) == (1, 0, 1)
    assert looking.world.reports == []


async def test_it_reads_no_block_that_our_record_does_not_stand_on() -> None:
    looking = await looking_on()
    await looking.world.mine_and_follow(3)
    looking.world.chain.reorg(5)
    looking.world.chain.mine(9)
    with pytest.raises(Unavailable, match="not on the branch"):
        await looking.reconciler.once()
    assert looking.book.runs == []


async def test_a_reading_in_a_block_that_a_reorg_took_is_forgotten() -> None:
    """The sweep is gone with its block: more is there than was read, and nothing was missed."""
    looking = await looking_on()
    world = looking.world
    for source in world.sources:
        source.tags["finalized"] = None
    world.pay(100)
    await world.mine_and_follow()
    leaves(looking, 90)
    await world.mine_and_follow(4)
    assert found(await once(looking)) == (0, 0, 0)
    world.chain.reorg(4, keep=False)
    await world.mine_and_follow(9)
    assert found(await once(looking)) == (0, 0, 0)


async def test_before_there_is_a_block_deep_enough_nothing_is_read() -> None:
    world = World(STRICT, sources=2)
    looking = Looking(world)
    assert await looking.reconciler.once() is None
    await world.mine_and_follow(2)
    assert await looking.reconciler.once() is None
    await world.mine_and_follow(2)
    run = await once(looking)
    assert (run.block_number, run.final) == (2 - 1, False)


async def test_where_final_blocks_are_too_old_for_most_nodes_a_deep_one_is_read() -> None:
    looking = await looking_on()
    for source in looking.world.sources:
        source.tags["finalized"] = 2
    await looking.world.mine_and_follow(STATE_BLOCKS + 5)
    head = looking.world.chain.head
    run = await once(looking)
    assert (run.block_number, run.final) == (head - 3, False)


async def test_everybody_is_read_in_turn_those_who_wait_for_money_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconcile, "ADDRESSES_MAX", 5)
    monkeypatch.setattr(reconcile, "NEWEST_MAX", 1)
    addresses = [WatchedAddress(f"0x{n:040x}", "payment_session") for n in range(1, 10)]
    chosen = ToCheck(addresses, [WatchedAddress(OTHER_DEPOSIT, "payment_session")])
    looking = await looking_on(chosen=chosen)
    await looking.world.mine_and_follow(DEEP)
    asset = looking.world.network.asset(looking.world.network.tokens[0])
    due = {(each.address, asset) for each in addresses}
    for _ in range(4):
        await looking.world.mine_and_follow()
        run = await once(looking)
        assert run.checked <= 5 * 2
        newest = await looking.book.readings("local", [(OTHER_DEPOSIT, asset)])
        assert newest[OTHER_DEPOSIT, asset].block_number == run.block_number
    assert set(await looking.book.readings("local", due)) == due


async def test_it_runs_each_hour_and_a_restart_neither_repeats_nor_forgets_it() -> None:
    looking = await looking_on()
    await looking.world.mine_and_follow(DEEP)
    assert await looking.reconciler._try_once() == RECONCILE_SECONDS
    looking.world.clock.advance(60)
    looking.restart()
    assert await looking.reconciler._try_once() == RECONCILE_SECONDS - 60
    assert len(looking.book.runs) == 1
    looking.world.clock.advance(RECONCILE_SECONDS)
    await looking.reconciler._try_once()
    assert [run.at - looking.book.runs[0].at for run in looking.book.runs] == [
        timedelta(0),
        timedelta(seconds=RECONCILE_SECONDS + 60),
    ]


async def test_an_outage_is_waited_for_and_ends_nothing() -> None:
    looking = await looking_on()
    await looking.world.mine_and_follow(DEEP)
    for source in looking.world.sources:
        source.down = True
    assert await looking.reconciler._try_once() == RETRY_SECONDS
    stop = asyncio.Event()
    stop.set()
    await looking.reconciler.run(stop)


# ---------------------------------------------------------------- addresses that were used before


async def recycled(*, state_blocks: int | None = None) -> Looking:
    """An address with money from the day before the session was created whose own it is."""
    world = World(STRICT, sources=3)
    for number in range(20):
        if number == 3:
            world.pay(7_000_000, to=RECYCLED)
        world.chain.mine(at=START - timedelta(days=1, seconds=-number))
        await world.follow()
    await world.mine_and_follow(1)
    world.watched.now = world.watched.now | {RECYCLED}
    for source in world.sources:
        source.state_blocks = state_blocks
    return Looking(world, ToCheck([WatchedAddress(RECYCLED, "payment_session", START)]))


async def test_money_from_before_the_session_is_not_looked_for() -> None:
    looking = await recycled()
    await looking.world.mine_and_follow(DEEP)
    run = await once(looking)
    assert (run.found, run.unexplained) == (0, 0)
    assert looking.world.transfers == []
    await looking.world.mine_and_follow(DEEP)
    assert found(await once(looking)) == (0, 0, 0), "it was read, and what is there is known"


@pytest.mark.parametrize("state_blocks", [None, FINAL_BLOCKS + 1])
async def test_what_was_missed_since_is_found_beside_what_was_there_before(
    state_blocks: int | None,
) -> None:
    looking = await recycled(state_blocks=state_blocks)
    tx_hash = await hidden(looking, 5_000_000, to=RECYCLED)
    run = await once(looking)
    assert (run.differing, run.found) == (1, 1)
    sightings = [each.sighting for each in looking.world.transfers]
    assert {(each.tx_hash, each.amount.units) for each in sightings} == {(tx_hash, 5_000_000)}


# ---------------------------------------------------------------- paid before anybody read


async def paid_before_the_start(*, born_before: bool) -> tuple[Looking, str]:
    world = World(STRICT, sources=2, start_block=11)
    world.chain.mine(5)
    tx_hash = world.pay(5_000_000)
    world.chain.mine(5)
    head = world.chain.blocks[-1].header.timestamp
    since = datetime.fromtimestamp(head + (-5 if born_before else 5), UTC)
    await world.follow()
    await world.mine_and_follow(DEEP)
    chosen = ToCheck([WatchedAddress(DEPOSIT, "payment_session", since)])
    return Looking(world, chosen), tx_hash


async def test_money_that_an_address_of_ours_held_before_reading_began_alarms_until_it_is_fed_in() -> (
    None
):
    looking, tx_hash = await paid_before_the_start(born_before=True)
    for _ in range(2):
        assert found(await once(looking)) == (1, 0, 1)
        await looking.world.mine_and_follow()
    again = await looking.recheck.transaction(tx_hash, apply=True)
    assert again.fed_in == 1
    await looking.world.mine_and_follow()
    assert looking.world.said() == ["observed", "confirmed"]
    assert (await once(looking)).unexplained == 0
    await looking.world.mine_and_follow()
    assert found(await once(looking)) == (0, 0, 0)


async def test_an_address_given_out_after_reading_began_may_have_a_past() -> None:
    looking, _ = await paid_before_the_start(born_before=False)
    run = await once(looking)
    assert (run.found, run.unexplained) == (0, 0)

"""A merchant's month, to the base unit; on the twin, with the real domain behind it."""

from datetime import UTC, datetime, timedelta

import pytest

from application.asset_units import AssetUnit, AssetUnits
from application.deciders import (
    REFUND_FLOAT,
    float_id,
)
from application.handling import UnitOfWork
from application.statements import (
    ACTIVITY,
    AHEAD_SECONDS,
    CHART,
    CLOSING_SECONDS,
    NO_ACTIVITY,
    OF_ACCEPTED,
    Month,
    Statement,
    Statements,
    month_of,
)
from domain import commands as c
from domain import journal
from domain.errors import AssetUnknown, MonthAhead, MonthMalformed, PositionAhead
from domain.events import EVENTS, RefundFailed
from domain.journal import postings_for, postings_for_transfer
from domain.money import Amount
from domain.networks import KNOWN_NETWORKS, Network, NetworkBook
from domain.transfer import OnchainTransfer
from tests.application.shop import Shop, at, new_shop
from tests.examples import (
    ASSET,
    AT,
    BOOK,
    EXAMPLES,
    GAS,
    MERCHANT_ID,
    OTHER_ASSET,
    SEEN,
    usd,
)

UNITS = AssetUnits(BOOK)
NOVEMBER, DECEMBER = Month(2026, 11), Month(2026, 12)
ENDS = NOVEMBER.ends


@pytest.fixture
def shop() -> Shop:
    return new_shop()


def balances(statement: Statement, asset: str = ASSET) -> dict[str, tuple[int, int, int, int]]:
    return {
        line.kind: (line.opening, line.debits, line.credits, line.closing)
        for line in statement.accounts
        if line.asset == asset
    }


def activity(statement: Statement) -> dict[str, tuple[int, int]]:
    return {line.what: (line.count, line.units) for line in statement.activity}


def lines(statement: Statement) -> list[tuple[str, int, int | None, int]]:
    return [(x.what, x.count, x.base, x.units) for x in statement.invoice.lines]


async def test_fees_are_rounded_half_up_each_by_itself_and_then_summed(shop: Shop) -> None:
    """0.5 % of 0.010100 is 50.5 units; three times 51, not 151.5 rounded once."""
    for number in (1, 2, 3):
        await shop.pay(number, Amount(units=10_100, asset=ASSET))
    await shop.pay(4, Amount(units=10_099, asset=ASSET))  # 50.495: rounded down
    shop.go(ENDS + timedelta(seconds=CLOSING_SECONDS))
    november = await shop.month(NOVEMBER)
    assert lines(november) == [("0.5 % of completed payments", 4, 40_399, 3 * 51 + 50)]
    assert november.invoice.total_usd(UNITS) == "0.000203"
    assert balances(november)["fees_receivable"] == (0, 203, 0, 203)
    assert balances(november)["fee_revenue"] == (0, 0, 203, 203)


async def test_a_refund_asked_for_in_november_and_paid_in_december_is_december_s(
    shop: Shop,
) -> None:
    await shop.top_up(usd("50.00"))
    await shop.pay(1, usd("10.00"))
    shop.go(at(11, 30, 23, 59))
    await shop.request_refund(1, usd("4.00"))
    shop.go(ENDS)
    await shop.finish_refund(1)
    november, december = await shop.month(NOVEMBER), await shop.month(DECEMBER)
    million = 10**6
    assert "refunds paid" not in activity(november)
    held = balances(november)
    assert held["refund_float"] == (0, 4 * million, 50 * million, 46 * million)
    assert held["refunds_pending"] == (0, 0, 4 * million, 4 * million)
    assert "customer_refunds" not in held
    assert activity(december) == {
        "refunds paid": (1, 4 * million),
        "gas of refunds paid": (1, GAS.units),
    }
    held = balances(december)
    assert held["customer_refunds"] == (0, 0, 4 * million, 4 * million)
    assert held["merchant_payable"] == (10 * million, 4 * million, 0, 6 * million)
    assert held["refunds_pending"] == (4 * million, 4 * million, 0, 0)
    assert held["hot_wallet"] == (50 * million, 0, 4 * million, 46 * million)
    assert balances(december, GAS.asset)["gas_spent"] == (0, GAS.units, 0, GAS.units)
    assert lines(december) == []
    assert december.invoice.total_usd(UNITS) == "0.00"


async def test_a_reversal_in_december_gives_november_s_fee_back_in_december(shop: Shop) -> None:
    await shop.pay(1, usd("10.00"))
    await shop.pay(2, usd("12.00"), due=usd("10.00"))
    shop.go(at(12, 3))
    november = await shop.month(NOVEMBER)
    assert november.invoice.total_usd(UNITS) == "0.11"
    await shop.reverse(1)
    assert await shop.month(NOVEMBER) == november
    december = await shop.month(DECEMBER)
    assert lines(december) == [("fees given back, payments reversed", 1, None, -50_000)]
    assert december.invoice.total_usd(UNITS) == "-0.05"
    assert activity(december)["transfers reversed by a reorg"] == (1, 10_000_000)
    assert balances(december)["fees_receivable"] == (110_000, 0, 50_000, 60_000)
    assert balances(december)["customer_receipts"] == (22 * 10**6, 0, 10**7, 12 * 10**6)
    assert [(x.count, x.units) for x in november.completed] == [(2, 22_000_000)]
    assert december.completed == ()


async def test_the_inbox_stands_in_the_month_of_each_decision(shop: Shop) -> None:
    await shop.stray(7)
    shop.go(at(12, 1, 0))
    await shop.accept(7)
    november, december = await shop.month(NOVEMBER), await shop.month(DECEMBER)
    assert activity(november) == {"arrived in the inbox": (1, 10_000_000)}
    assert balances(november)["suspense"] == (0, 0, 10_000_000, 10_000_000)
    assert activity(december) == {"accepted": (1, 10_000_000)}
    assert balances(december)["suspense"] == (10_000_000, 10_000_000, 0, 0)


async def test_all_that_was_accepted_is_stated_also_when_it_was_not_safe_yet(shop: Shop) -> None:
    """It costs no fee, so the statement is where its volume shows."""
    await shop.stray(7)
    await shop.accept(7)
    for number in (8, 9):
        await shop.stray(number, "observed")
        await shop.accept(number)
    await shop.stray(8)
    await shop.stray(9)
    await shop.stray(9, "retracted")
    november = await shop.month(NOVEMBER)
    assert activity(november) == {
        "arrived in the inbox": (1, 10_000_000),
        "accepted": (1, 10_000_000),
        "confirmed, accepted before": (2, 20_000_000),
        "accepted, removed by a reorg": (1, 10_000_000),
    }
    assert balances(november)["merchant_payable"] == (0, 10_000_000, 30_000_000, 20_000_000)
    assert lines(november) == []


async def test_the_last_moment_is_november_s_and_the_first_december_s(shop: Shop) -> None:
    shop.go(ENDS - timedelta(microseconds=1))
    await shop.pay(1, usd("1.00"))
    shop.go(ENDS)
    await shop.pay(2, usd("2.00"))
    november, december = await shop.month(NOVEMBER), await shop.month(DECEMBER)
    assert [(x.count, x.units) for x in november.completed] == [(1, 1_000_000)]
    assert [(x.count, x.units) for x in december.completed] == [(1, 2_000_000)]
    assert november.position == december.after_position
    for kind, (_, _, _, closing) in balances(november).items():
        assert balances(december)[kind][0] == closing


async def test_what_is_said_to_have_happened_in_november_and_recorded_later_is_december_s(
    shop: Shop,
) -> None:
    await shop.pay(1, usd("1.00"))
    shop.go(at(12, 2))
    closed = await shop.month(NOVEMBER)
    stamped = at(11, 30)

    async def work(unit: UnitOfWork) -> None:
        command = c.TopUpFloat(at=stamped, transfer_id="late", amount=usd("5.00"))
        stream = float_id(MERCHANT_ID, "test", ASSET)
        await unit.decide(REFUND_FLOAT, stream, command, merchant_id=MERCHANT_ID, mode="test")

    await shop.do(work)
    assert await shop.month(NOVEMBER) == closed
    assert activity(await shop.month(DECEMBER)) == {"top-ups": (1, 5_000_000)}


async def test_a_month_is_preliminary_until_nothing_can_be_added_to_it(shop: Shop) -> None:
    await shop.pay(1, usd("1.00"))
    assert (await shop.month(NOVEMBER)).preliminary
    shop.go(ENDS + timedelta(seconds=CLOSING_SECONDS - 1))
    assert (await shop.month(NOVEMBER)).preliminary
    await shop.pay(2, usd("2.00"))  # the log itself says now that November is over
    closed = await shop.month(NOVEMBER)
    assert not closed.preliminary
    assert (await shop.month(DECEMBER)).preliminary
    shop.go(DECEMBER.ends + timedelta(seconds=CLOSING_SECONDS))
    assert not (await shop.month(DECEMBER)).preliminary
    assert await shop.month(NOVEMBER) == closed


async def test_a_running_month_is_preliminary_whatever_the_log_says(shop: Shop) -> None:
    """A clock ran a month ahead and was set right: what is recorded since bears its moment."""
    shop.go(at(11, 20))
    right = shop.clock.now()
    await shop.pay(1, usd("1.00"))
    assert not (await shop.month(NOVEMBER)).recorded_ahead
    shop.go(at(12, 20))
    await shop.pay(2, usd("2.00"))
    shop.go(right)
    november = await shop.month(NOVEMBER)
    assert november.preliminary
    assert november.recorded_ahead
    shop.go(at(12, 20) - timedelta(seconds=AHEAD_SECONDS))
    assert (await shop.month(NOVEMBER)).recorded_ahead
    shop.go(at(12, 20) - timedelta(seconds=AHEAD_SECONDS - 1))
    assert not (await shop.month(NOVEMBER)).recorded_ahead
    assert not (await shop.month(NOVEMBER)).preliminary


# ---------------------------------------------------------------- networks come and go


POLYGON_USDC = KNOWN_NETWORKS[1].asset(KNOWN_NETWORKS[1].tokens[0])


def configured(shop: Shop, *networks: Network) -> Statements:
    return Statements(shop.statements.ledger, NetworkBook(networks=networks), shop.clock)


async def test_a_network_that_is_served_no_more_changes_no_closed_month(shop: Shop) -> None:
    await shop.pay(1, Amount(units=10_000_000, asset=POLYGON_USDC), mode="live")
    await shop.pay(2, usd("3.00"))
    shop.go(at(12, 3))
    before = await shop.statements.statement(MERCHANT_ID, "live", NOVEMBER)
    held = await shop.statements.balances(MERCHANT_ID, "live")
    for networks in (BOOK.networks, KNOWN_NETWORKS[:1], ()):
        left = configured(shop, *networks)
        after = await left.statement(MERCHANT_ID, "live", NOVEMBER)
        assert after == before
        assert after.invoice.total_usd(left.units) == "0.05"
        assert left.units.of(POLYGON_USDC) == AssetUnit("USDC", 6, "polygon")
        assert await left.balances(MERCHANT_ID, "live") == held


async def test_an_asset_of_unknown_decimals_is_refused_and_not_guessed(shop: Shop) -> None:
    await shop.pay(1, Amount(units=10_000_000, asset=POLYGON_USDC), mode="live")
    await shop.pay(2, usd("3.00"))
    without = configured(shop, *KNOWN_NETWORKS)
    for ask in (
        without.statement(MERCHANT_ID, "test", NOVEMBER),
        without.balances(MERCHANT_ID, "test"),
    ):
        with pytest.raises(AssetUnknown) as refused:
            await ask
        assert ASSET in refused.value.message
        assert "NETWORKS" in refused.value.message
        assert "LOCAL_TOKENS" in refused.value.message
    live = await without.statement(MERCHANT_ID, "live", NOVEMBER)
    assert {line.asset for line in live.accounts} == {POLYGON_USDC}
    with pytest.raises(AssetUnknown):
        (await shop.month(NOVEMBER)).invoice.total_usd(without.units)


async def test_live_money_is_not_on_a_test_statement(shop: Shop) -> None:
    polygon = KNOWN_NETWORKS[1]
    await shop.top_up(Amount(units=7, asset=polygon.asset(polygon.tokens[0])), "live")
    assert (await shop.month(NOVEMBER)).accounts == ()
    live = await shop.statements.statement(MERCHANT_ID, "live", NOVEMBER)
    assert {line.kind for line in live.accounts} == {"hot_wallet", "refund_float"}
    _, held = await shop.statements.balances(MERCHANT_ID, "live")
    assert [each.units for each in held] == [7, -7]
    assert (await shop.statements.balances(MERCHANT_ID, "test"))[1] == ()


async def test_tokens_of_different_decimals_add_up_to_dollars(shop: Shop) -> None:
    await shop.pay(1, usd("10.00"))
    await shop.pay(2, usd("20.01", OTHER_ASSET))
    november = await shop.month(NOVEMBER)
    assert november.invoice.total_usd(UNITS) == "0.15005"
    wide = BOOK.networks[0].tokens[1].model_copy(update={"decimals": 18})
    network = BOOK.networks[0].model_copy(update={"tokens": (BOOK.networks[0].tokens[0], wide)})
    units = 50_000 * 10**12 + 100_050
    assert november.invoice.total_usd(AssetUnits(NetworkBook(networks=(network,)))) == (
        f"0.{units:018}".rstrip("0")
    )


async def test_the_number_of_an_invoice_follows_from_merchant_mode_and_month(shop: Shop) -> None:
    number = (await shop.month(NOVEMBER)).invoice.number
    assert number == "TEST-2026-11-" + "0" * 12
    live = await shop.statements.statement(MERCHANT_ID, "live", NOVEMBER)
    assert live.invoice.number != number


async def test_months_that_are_none_or_have_not_begun_are_refused(shop: Shop) -> None:
    for text in ("2026-13", "2026-00", "26-11", "2026-1", "2026-11-01", "1999-01", "9999-12", ""):
        with pytest.raises(MonthMalformed):
            month_of(text)
    assert month_of("2026-12") == DECEMBER
    assert DECEMBER.ends == datetime(2027, 1, 1, tzinfo=UTC)
    with pytest.raises(MonthAhead):
        await shop.month(DECEMBER)


async def test_a_position_the_log_has_not_reached_is_refused(shop: Shop) -> None:
    await shop.top_up(usd("1.00"))
    assert (await shop.statements.balances(MERCHANT_ID, "test", 1)) == (1, ())
    position, held = await shop.statements.balances(MERCHANT_ID, "test")
    assert position == 2
    assert [each.units for each in held] == [1_000_000, -1_000_000]
    with pytest.raises(PositionAhead):
        await shop.statements.balances(MERCHANT_ID, "test", 3)


# ---------------------------------------------------------------- nothing is forgotten


def _posted() -> dict[str, set[str]]:
    """Every fact that posts, by all examples and states of a transfer, with its accounts."""
    found: dict[str, set[str]] = {}
    failed = RefundFailed(at=AT, reason="out of gas", gas=GAS)
    for event in (*EXAMPLES, failed):
        postings = list(postings_for(event, MERCHANT_ID))
        for status in ("observed", "confirmed"):
            for resolution in ("open", "accepted", "dismissed", "refunding", "refunded"):
                transfer = OnchainTransfer(
                    sighting=SEEN,
                    report_number=1,
                    status=status,
                    purpose="unmatched",
                    merchant_id=MERCHANT_ID,
                    resolution=resolution,
                )
                postings += postings_for_transfer(event, transfer)
        for posting in postings:
            kinds = (posting.debit.partition(":")[0], posting.credit.partition(":")[0])
            found.setdefault(event.name, set()).update(kinds)
    return found


def test_every_fact_that_posts_is_on_a_statement_or_left_out_on_purpose() -> None:
    posted = set(_posted())
    assert posted | set(OF_ACCEPTED.values()) == (set(ACTIVITY) | NO_ACTIVITY)
    assert set(OF_ACCEPTED) <= posted
    assert not set(ACTIVITY) & NO_ACTIVITY
    assert posted <= set(EVENTS)


def test_every_account_is_in_the_chart_and_no_other() -> None:
    assert set().union(*_posted().values()) == set(CHART)


def test_an_account_that_may_not_be_overdrawn_is_guarded_on_its_normal_side() -> None:
    guarded = dict.fromkeys(journal.NO_OVERDRAFT_CREDIT, "credit")
    guarded |= dict.fromkeys(journal.NO_OVERDRAFT_DEBIT, "debit")
    assert guarded == {
        kind: side
        for kind, (side, _) in CHART.items()
        if kind not in {"merchant_payable", "suspense"}
    }

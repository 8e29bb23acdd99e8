"""What a merchant keeps in its refund wallet, fact by fact."""

from uuid import UUID

from application.deciders import REFUND_FLOAT
from domain import commands as c
from domain import events as e
from domain.errors import RefundFloatTooSmall
from tests.examples import LATER, REFUND_ID, usd
from tests.given import Given, given

OTHER = UUID(int=0x77)


def top_up(text: str, name: str = "one") -> c.TopUpFloat:
    return c.TopUpFloat(at=LATER, transfer_id=name, amount=usd(text))


def lose(name: str = "one") -> c.ReverseTopUp:
    return c.ReverseTopUp(at=LATER, transfer_id=name)


def hold(text: str, refund_id: UUID = REFUND_ID) -> c.ReserveFloat:
    return c.ReserveFloat(at=LATER, refund_id=refund_id, amount=usd(text))


FREE = c.ReleaseFloat(at=LATER, refund_id=REFUND_ID)
SPEND = c.SpendFloat(at=LATER, refund_id=REFUND_ID)
UNSPEND = c.ReverseSpending(at=LATER, refund_id=REFUND_ID, amount=usd("40.00"))
NEW = given(REFUND_FLOAT)


def funded(text: str = "50.00") -> Given:
    return NEW.when(top_up(text)).then("refund_float.topped_up")


def held() -> Given:
    return funded().when(hold("40.00")).then("refund_float.reserved")


def gap() -> Given:
    """50 came, 40 are set aside, 50 are lost."""
    return held().when(lose()).then("refund_float.top_up_reversed")


def test_each_fact_of_a_float_is_told_field_by_field() -> None:
    story = NEW.when(top_up("50.00")).gives(
        e.FloatToppedUp(at=LATER, transfer_id="one", amount=usd("50.00"), owed=usd("0"))
    )
    assert story.state.top_ups == {"one": usd("50.00")}
    story = story.when(hold("40.00")).gives(
        e.FloatReserved(at=LATER, refund_id=REFUND_ID, amount=usd("40.00"))
    )
    assert story.state.reserved == {REFUND_ID: usd("40.00")}
    story.when(FREE).gives(
        e.FloatReleased(at=LATER, refund_id=REFUND_ID, amount=usd("40.00"), owed=usd("0"))
    )
    spent = story.when(SPEND).gives(
        e.FloatSpent(at=LATER, refund_id=REFUND_ID, amount=usd("40.00"))
    )
    assert (spent.state.reserved, spent.state.available_units) == ({}, 10_000_000)
    spent.when(lose()).gives(
        e.FloatTopUpReversed(
            at=LATER, transfer_id="one", amount=usd("50.00"), missing=usd("40.00")
        )
    )


def test_spending_that_a_reorg_takes_back_is_set_aside_and_not_free() -> None:
    spent = held().when(SPEND).then("refund_float.spent")
    back = spent.when(UNSPEND).gives(
        e.FloatSpendingReversed(at=LATER, refund_id=REFUND_ID, amount=usd("40.00"))
    )
    assert back.state == held().state
    assert back.when(UNSPEND).events() == ()
    assert held().when(UNSPEND).events() == ()
    back.when(SPEND).then("refund_float.spent")


def test_a_gap_is_filled_by_what_comes_next_to_the_unit() -> None:
    assert (gap().state.gap_units, gap().state.available_units) == (40_000_000, -40_000_000)
    for text, owed in (("30.00", "30.00"), ("40.00", "40.00"), ("41.00", "40.00")):
        gap().when(top_up(text, "two")).gives(
            e.FloatToppedUp(at=LATER, transfer_id="two", amount=usd(text), owed=usd(owed))
        )
    gap().when(FREE).gives(
        e.FloatReleased(at=LATER, refund_id=REFUND_ID, amount=usd("40.00"), owed=usd("40.00"))
    )
    less = gap().when(top_up("30.00", "two")).then("refund_float.topped_up")
    less.when(FREE).gives(
        e.FloatReleased(at=LATER, refund_id=REFUND_ID, amount=usd("40.00"), owed=usd("10.00"))
    )


def test_nothing_is_missing_when_what_is_lost_is_still_free() -> None:
    both = funded().when(top_up("50.00", "two")).then("refund_float.topped_up")
    some = both.when(hold("40.00")).then("refund_float.reserved")
    some.when(lose()).gives(
        e.FloatTopUpReversed(at=LATER, transfer_id="one", amount=usd("50.00"), missing=usd("0"))
    )
    more = gap().when(top_up("5.00", "two")).then("refund_float.topped_up")
    more.when(lose("two")).gives(
        e.FloatTopUpReversed(at=LATER, transfer_id="two", amount=usd("5.00"), missing=usd("5.00"))
    )


def test_a_float_with_a_gap_gives_nothing_and_says_so() -> None:
    why = "the refund wallet has 0 base units free and the refund needs 1; top it up and ask again"
    gap().when(hold("0.000001", OTHER)).refused(RefundFloatTooSmall, why)
    why = (
        "the refund wallet has 10000000 base units free and the refund needs 10000001; "
        "top it up and ask again"
    )
    held().when(hold("10.000001", OTHER)).refused(RefundFloatTooSmall, why)
    both = held().when(hold("10.00", OTHER)).then("refund_float.reserved")
    assert both.state.available_units == 0
    assert both.when(FREE).then("refund_float.released").state.reserved == {OTHER: usd("10.00")}


def test_what_is_told_twice_or_was_never_held_is_done_once_or_not_at_all() -> None:
    assert held().when(hold("40.00")).events() == ()
    assert held().when(hold("1.00")).events() == ()
    for command in (FREE, SPEND, lose()):
        assert NEW.when(command).events() == ()
    assert funded().when(top_up("9.00")).events() == ()
    assert NEW.when(hold("1.00")).refused(RefundFloatTooSmall)
    again = funded().when(lose()).then("refund_float.top_up_reversed")
    assert again.when(top_up("50.00")).then("refund_float.topped_up").state == funded().state

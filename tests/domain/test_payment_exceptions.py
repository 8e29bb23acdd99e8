"""What goes differently: short, too much, late, twice, after the end."""

from datetime import timedelta
from uuid import UUID

import pytest

from application.deciders import PAYMENT
from domain import commands as c
from domain import events as e
from domain.errors import RefundExceedsReceived, RefundNotPossible, SessionNotOpen, SessionUnknown
from domain.money import Amount, fee_on
from tests.domain.steps import (
    PAID_BY,
    confirm,
    observe,
    release,
    reserve,
    retract,
    settle,
    sighted,
    unsettle,
)
from tests.examples import ASSET, CREATED, LATER, PAYER, REFUND_ID, SEEN, sighting, usd
from tests.given import Given, changes, given

OPEN = given(PAYMENT, CREATED)
TOLERANT = given(PAYMENT, CREATED.model_copy(update={"tolerance": usd("0.10")}))
OTHER_PAYER = "0x" + "fe" * 20
GRACE_END = CREATED.expires_at + timedelta(seconds=CREATED.grace_seconds)
MOMENT = timedelta(microseconds=1)


def paid(story: Given = OPEN, seen: e.Sighting = SEEN) -> Given:
    story = story.when(observe(seen)).then("transfer.observed", "payment.covered")
    return story.when(confirm(seen)).then("transfer.confirmed", "payment.completed")


def part(units: str, tx: str, *, sender: str = PAYER) -> e.Sighting:
    return sighting(usd(units), tx=tx, sender=sender)


# ---------------------------------------------------------------- the facts in full


def test_a_payment_is_told_field_by_field() -> None:
    covered = OPEN.when(observe()).gives(sighted(), e.PaymentCovered(at=LATER, seen=usd("10.00")))
    confirmed = e.TransferConfirmed(
        at=LATER,
        transfer_id=SEEN.transfer_id,
        amount=usd("10.00"),
        confirmations=3,
        policy_version=1,
        rule="3 confirmations",
    )
    completed = e.PaymentCompleted(at=LATER, amount=usd("10.00"), fee=usd("0.05"))
    done = covered.when(confirm()).gives(confirmed, completed)
    reversed_ = e.TransferReversed(at=LATER, transfer_id=SEEN.transfer_id, amount=usd("10.00"))
    undone = e.PaymentReversed(at=LATER, amount=usd("0"), fee=usd("0.05"))
    gone = done.when(retract()).gives(reversed_, undone)
    assert (gone.state.completed_at, gone.state.fee, gone.state.covered) == (None, None, False)
    covered.when(retract()).gives(
        e.TransferRetracted(at=LATER, transfer_id=SEEN.transfer_id, block_hash=SEEN.block_hash)
    )


def test_a_session_that_was_never_created_is_unknown() -> None:
    for command in (observe(), confirm(), retract(), reserve(usd("1.00")), settle()):
        why = "there is no such payment session"
        given(PAYMENT).when(command).refused(SessionUnknown, why)


def test_creating_a_session_twice_is_creating_it_once() -> None:
    create = c.CreateSession(**dict(CREATED))
    assert given(PAYMENT).when(create).gives(CREATED).when(create).events() == ()
    fields = {**dict(CREATED), "created_at": CREATED.at}
    del fields["at"]
    assert changes(None, OPEN.state).items() >= fields.items()
    assert (OPEN.state.status, OPEN.state.exceptions) == ("pending", ())
    assert OPEN.state.outstanding == usd("10.00")


def test_a_transfer_is_kept_with_all_that_a_refund_and_a_reorg_need() -> None:
    state = OPEN.when(observe()).then("transfer.observed", "payment.covered").state
    kept = state.transfers[SEEN.transfer_id]
    assert dict(kept) == {
        "transfer_id": SEEN.transfer_id,
        "amount": SEEN.amount,
        "payer": PAYER,
        "tx_hash": SEEN.tx_hash,
        "block_number": SEEN.block_number,
        "block_hash": SEEN.block_hash,
        "late": False,
        "status": "observed",
    }


# ---------------------------------------------------------------- tolerance


@pytest.mark.parametrize(
    ("units", "enough"),
    [(9_899_999, False), (9_900_000, True), (9_900_001, True), (10_000_000, True)],
)
def test_what_may_be_missing_is_exact_to_the_unit(units: int, enough: bool) -> None:
    seen = sighting(Amount(units=units, asset=ASSET))
    names = ["transfer.observed", "payment.covered"] if enough else ["transfer.observed"]
    story = TOLERANT.when(observe(seen)).then(*names)
    assert story.state.outstanding.units == (0 if enough else 10_000_000 - units)
    names = ["transfer.confirmed", "payment.completed"] if enough else ["transfer.confirmed"]
    done = story.when(confirm(seen)).then(*names)
    assert (done.state.status == "completed") is enough
    assert ("underpaid" in done.state.exceptions) is (units < 10_000_000)


def test_the_fee_of_a_payment_that_is_short_within_tolerance_is_on_what_arrived() -> None:
    seen = part("9.90", "11")
    assert paid(TOLERANT, seen).state.fee == fee_on(usd("9.90"))


def test_a_payment_stays_complete_as_long_as_enough_is_left() -> None:
    first, second = part("9.90", "11"), part("0.10", "22")
    story = paid(TOLERANT, first)
    story = story.when(observe(second)).then("transfer.observed")
    story = story.when(confirm(second)).then("transfer.confirmed")
    assert story.when(retract(second)).then("transfer.reversed").state.status == "completed"
    story.when(retract(first)).then("transfer.reversed", "payment.reversed")


def test_losing_a_part_of_what_completed_it_returns_the_fee_on_that_part() -> None:
    small, large = part("4.00", "11"), part("11.00", "22")
    story = OPEN.when(observe(small)).then("transfer.observed")
    story = story.when(confirm(small)).then("transfer.confirmed")
    story = story.when(observe(large)).then("transfer.observed", "payment.covered")
    done = story.when(confirm(large)).then("transfer.confirmed", "payment.completed")
    done.when(retract(small)).gives(
        e.TransferReversed(at=LATER, transfer_id=small.transfer_id, amount=usd("4.00")),
        e.PaymentReduced(
            at=LATER, amount=usd("11.00"), fee=usd("0.055"), fee_returned=usd("0.02")
        ),
    )


# ---------------------------------------------------------------- late


@pytest.mark.parametrize(
    ("moment", "awaited"),
    [(CREATED.expires_at, True), (GRACE_END - MOMENT, True), (GRACE_END, False)],
)
def test_money_is_awaited_until_the_very_moment_the_grace_ends(
    moment: object, awaited: bool
) -> None:
    assert OPEN.state.credits_until == GRACE_END
    assert OPEN.state.awaits(moment) is awaited


def test_the_window_closes_at_its_second_and_not_before() -> None:
    early = c.ExpireSession(at=CREATED.expires_at - MOMENT)
    assert OPEN.when(early).events() == ()
    last = c.ExpireSession(at=CREATED.expires_at)
    gone = OPEN.when(last).gives(e.SessionExpired(at=CREATED.expires_at))
    assert gone.state.ended == "expired"
    assert gone.when(last).events() == ()
    assert paid().when(last).events() == ()


# ---------------------------------------------------------------- more than one


def test_two_payers_are_both_remembered_in_the_order_they_paid() -> None:
    one, two = part("4.00", "11"), part("6.00", "22", sender=OTHER_PAYER)
    story = OPEN.when(observe(one)).then("transfer.observed")
    story = story.when(observe(two)).then("transfer.observed", "payment.covered")
    assert story.state.payers() == ()
    story = story.when(confirm(one)).then("transfer.confirmed")
    story = story.when(confirm(two)).then("transfer.confirmed", "payment.completed")
    assert story.state.payers() == (PAYER, OTHER_PAYER)
    assert story.state.exceptions == ("multiple_transfers",)


def test_paying_a_completed_payment_again_is_an_overpayment_and_costs_no_second_fee() -> None:
    again = part("10.00", "22")
    story = paid().when(observe(again)).then("transfer.observed")
    story = story.when(confirm(again)).then("transfer.confirmed")
    assert (story.state.status, story.state.fee) == ("completed", usd("0.05"))
    assert story.state.exceptions == ("overpaid", "multiple_transfers")
    assert story.state.refundable == usd("20.00")
    assert story.when(reserve(usd("20.00"))).then("payment.refund_reserved")


def test_one_unit_too_much_is_overpaid_and_one_too_little_is_underpaid() -> None:
    for units, said in (
        (1, ("underpaid",)),
        (9_999_999, ("underpaid",)),
        (10_000_000, ()),
        (10_000_001, ("overpaid",)),
    ):
        seen = sighting(Amount(units=units, asset=ASSET))
        state = PAYMENT.evolve(OPEN.state, sighted(seen))
        assert state.exceptions == said


def test_a_retracted_transfer_is_no_exception_and_a_reversed_one_is() -> None:
    late = sighting(block_time=CREATED.expires_at)
    story = OPEN.when(observe(late)).then("transfer.observed", "payment.covered")
    assert story.state.exceptions == ("paid_late",)
    left = story.when(retract(late)).then("transfer.retracted").state
    assert (left.exceptions, left.transfers[late.transfer_id].status) == ((), "retracted")
    gone = paid().when(retract()).then("transfer.reversed", "payment.reversed")
    assert gone.state.exceptions == ("reversed",)
    assert gone.when(retract()).events() == ()


# ---------------------------------------------------------------- after the end


def test_a_cancelled_session_that_a_person_credits_completes_all_the_same() -> None:
    cancelled = OPEN.when(c.CancelSession(at=LATER)).gives(e.SessionCancelled(at=LATER))
    assert cancelled.state.awaits(LATER) is False
    covered = cancelled.when(observe()).then("transfer.observed", "payment.covered")
    assert covered.state.status == "confirming"
    done = covered.when(confirm()).then("transfer.confirmed", "payment.completed")
    assert done.state.status == "completed"


def test_a_session_that_is_over_or_half_paid_cannot_be_cancelled() -> None:
    cancel = c.CancelSession(at=LATER)
    why = "only an open session that nobody has paid to can be cancelled"
    expired = OPEN.when(c.ExpireSession(at=CREATED.expires_at)).then("payment_session.expired")
    expired.when(cancel).refused(SessionNotOpen, why)
    little = part("0.000001", "11")
    half = OPEN.when(observe(little)).then("transfer.observed")
    half.when(cancel).refused(SessionNotOpen, why)
    gone = half.when(retract(little)).then("transfer.retracted")
    gone.when(cancel).then("payment_session.cancelled")


# ---------------------------------------------------------------- refunds


def test_a_refund_is_told_field_by_field() -> None:
    kept = (
        paid()
        .when(reserve(usd("4.00")))
        .gives(e.PaymentRefundReserved(at=LATER, refund_id=REFUND_ID, amount=usd("4.00")))
    )
    assert dict(kept.state.refunds[REFUND_ID]) == {
        "refund_id": REFUND_ID,
        "amount": usd("4.00"),
        "status": "reserved",
        "early": False,
        "tx_hash": None,
    }
    kept.when(release()).gives(
        e.PaymentRefundReleased(
            at=LATER, refund_id=REFUND_ID, amount=usd("4.00"), reason="recipient is frozen"
        )
    )
    done = kept.when(settle()).gives(
        e.PaymentRefunded(
            at=LATER,
            refund_id=REFUND_ID,
            amount=usd("4.00"),
            refunded_total=usd("4.00"),
            tx_hash=PAID_BY,
        )
    )
    assert done.state.refunds[REFUND_ID].tx_hash == PAID_BY
    assert kept.when(reserve(usd("1.00"))).events() == ()


def test_a_refund_whose_transaction_a_reorg_takes_is_set_aside_and_settles_again() -> None:
    other = UUID(int=0x77)
    story = paid().when(reserve(usd("1.00"), other)).then("payment.refund_reserved")
    story = story.when(settle(other)).then("payment.refunded")
    story = story.when(reserve(usd("4.00"))).then("payment.refund_reserved")
    assert story.when(unsettle()).events() == ()
    done = story.when(settle()).then("payment.refunded")
    undone = done.when(unsettle()).gives(
        e.PaymentRefundReversed(
            at=LATER,
            refund_id=REFUND_ID,
            amount=usd("4.00"),
            refunded_total=usd("1.00"),
            tx_hash=PAID_BY,
        )
    )
    assert undone.state.refunds[REFUND_ID].status == "reserved"
    assert undone.state.refunds[REFUND_ID].tx_hash is None
    assert (undone.state.refunded, undone.state.refundable) == (usd("1.00"), usd("5.00"))
    assert undone.when(unsettle()).events() == ()
    again = undone.when(settle()).then("payment.refunded")
    assert again.state.refunded == usd("5.00")
    undone.when(release()).then("payment.refund_released")


def test_nothing_ends_a_refund_that_was_never_asked_for() -> None:
    for command in (release(), settle(), unsettle()):
        assert paid().when(command).events() == ()
    released = paid().when(reserve(usd("4.00"))).then("payment.refund_reserved")
    released = released.when(release()).then("payment.refund_released")
    for command in (release(), settle(), unsettle()):
        assert released.when(command).events() == ()


def test_what_cannot_be_refunded_is_said_in_words() -> None:
    nothing = "no confirmed transfer has arrived for this session yet"
    OPEN.when(reserve(usd("1.00"))).refused(RefundNotPossible, nothing)
    too_much = "more than what arrived and has not been refunded yet"
    paid().when(reserve(usd("10.000001"))).refused(RefundExceedsReceived, too_much)
    paid().when(reserve(usd("0"))).refused(RefundExceedsReceived, too_much)
    paid().when(reserve(usd("0.000001"))).then("payment.refund_reserved")
    paid().when(reserve(usd("10.00"))).then("payment.refund_reserved")


def test_a_reorg_under_a_refund_leaves_nothing_more_to_give_back() -> None:
    kept = paid().when(reserve(usd("4.00"))).then("payment.refund_reserved")
    lost = kept.when(retract()).then("transfer.reversed", "payment.reversed")
    assert lost.state.refundable == usd("0")
    done = lost.when(settle()).then("payment.refunded")
    assert (done.state.refunded, done.state.refundable) == (usd("4.00"), usd("0"))


def test_a_payment_is_refunded_only_when_all_that_arrived_went_back() -> None:
    again = part("5.00", "22")
    story = paid().when(observe(again)).then("transfer.observed")
    story = story.when(confirm(again)).then("transfer.confirmed")
    story = story.when(reserve(usd("10.00"))).then("payment.refund_reserved")
    story = story.when(settle()).then("payment.refunded")
    assert story.state.status == "partially_refunded"
    other = UUID(int=0x77)
    story = story.when(reserve(usd("5.00"), other)).then("payment.refund_reserved")
    assert story.when(settle(other)).then("payment.refunded").state.status == "refunded"


def test_money_set_aside_early_uncovers_the_payment_until_it_is_released() -> None:
    half, rest = part("5.00", "11"), part("5.00", "22")
    story = OPEN.when(observe(half)).then("transfer.observed")
    story = story.when(confirm(half)).then("transfer.confirmed")
    story = story.when(observe(rest)).then("transfer.observed", "payment.covered")
    kept = story.when(reserve(usd("0.000001"))).then("payment.refund_reserved")
    assert kept.state.refunds[REFUND_ID].early
    assert (kept.state.covered, kept.state.status) == (False, "pending")
    assert kept.state.seen_and_kept == Amount(units=9_999_999, asset=ASSET)
    free = kept.when(release()).then("payment.refund_released", "payment.covered")
    free.when(confirm(rest)).then("transfer.confirmed", "payment.completed")


def test_more_given_back_early_than_is_left_counts_as_nothing_and_not_as_less() -> None:
    one = part("5.00", "11")
    story = OPEN.when(observe(one)).then("transfer.observed")
    story = story.when(confirm(one)).then("transfer.confirmed")
    story = story.when(reserve(usd("5.00"))).then("payment.refund_reserved")
    gone = story.when(retract(one)).then("transfer.reversed")
    assert gone.state.confirmed_and_kept == usd("0")
    assert gone.state.given_back_early == usd("5.00")
    assert gone.state.outstanding == usd("10.00")

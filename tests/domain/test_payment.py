"""A payment session: what each report and request makes of it."""

from datetime import timedelta

import pytest

from application.deciders import PAYMENT
from domain import commands as c
from domain.errors import (
    RefundExceedsReceived,
    RefundNotPossible,
    SessionNotOpen,
    SessionUnknown,
)
from domain.events import PaymentCompleted, PaymentReversed, Sighting
from domain.money import Amount
from tests.examples import AT, CREATED, LATER, PAYER, REFUND_ID, SEEN, sighting, usd
from tests.given import Given, given

OPEN = given(PAYMENT, CREATED)


def observe(seen: Sighting = SEEN) -> c.ObserveTransfer:
    return c.ObserveTransfer(at=LATER, sighting=seen)


def confirm(seen: Sighting = SEEN) -> c.ConfirmTransfer:
    return c.ConfirmTransfer(
        at=LATER,
        transfer_id=seen.transfer_id,
        block_hash=seen.block_hash,
        confirmations=3,
        policy_version=1,
        rule="3 confirmations",
    )


def retract(seen: Sighting = SEEN) -> c.RetractTransfer:
    return c.RetractTransfer(at=LATER, transfer_id=seen.transfer_id, block_hash=seen.block_hash)


def reserve(amount: Amount) -> c.ReserveRefund:
    return c.ReserveRefund(at=LATER, refund_id=REFUND_ID, amount=amount)


def paid() -> Given:
    covered = OPEN.when(observe()).then("transfer.observed", "payment.covered")
    return covered.when(confirm()).then("transfer.confirmed", "payment.completed")


def test_a_full_transfer_covers_and_then_completes_the_payment() -> None:
    covered = OPEN.when(observe()).then("transfer.observed", "payment.covered")
    assert covered.state.status == "confirming"
    done = covered.when(confirm())
    completed = done.events()[-1]
    assert isinstance(completed, PaymentCompleted)
    assert completed.fee == usd("0.05")
    assert done.then("transfer.confirmed", "payment.completed").state.status == "completed"


def test_a_second_sighting_adds_nothing() -> None:
    covered = OPEN.when(observe()).then("transfer.observed", "payment.covered")
    assert covered.when(observe()).events() == ()


def test_a_second_confirmation_adds_nothing() -> None:
    assert paid().when(confirm()).events() == ()


def test_two_transfers_of_one_transaction_both_count() -> None:
    first = sighting(usd("4.00"), log_index=0)
    second = sighting(usd("6.00"), log_index=1)
    one = OPEN.when(observe(first)).then("transfer.observed")
    assert one.state.status == "pending"
    assert one.state.exceptions == ("underpaid",)
    two = one.when(observe(second)).then("transfer.observed", "payment.covered")
    partly = two.when(confirm(first)).then("transfer.confirmed")
    done = partly.when(confirm(second)).then("transfer.confirmed", "payment.completed")
    assert done.state.confirmed == usd("10.00")
    assert done.state.exceptions == ("multiple_transfers",)


def test_a_retracted_transfer_no_longer_counts_until_it_is_mined_again() -> None:
    gone = OPEN.when(observe()).then("transfer.observed", "payment.covered")
    gone = gone.when(retract()).then("transfer.retracted")
    assert gone.state.status == "pending"
    assert gone.when(confirm()).events() == ()
    again = sighting(number=101, branch="b")
    back = gone.when(observe(again)).then("transfer.observed", "payment.covered")
    done = back.when(confirm(again)).then("transfer.confirmed", "payment.completed")
    assert done.state.confirmed == usd("10.00")
    assert len(done.state.transfers) == 1


def test_a_retraction_of_another_block_changes_nothing() -> None:
    covered = OPEN.when(observe()).then("transfer.observed", "payment.covered")
    assert covered.when(retract(sighting(branch="b"))).events() == ()


def test_a_deep_reorg_reverses_a_completed_payment_and_it_can_complete_again() -> None:
    lost = paid().when(retract()).then("transfer.reversed", "payment.reversed")
    assert lost.state.status == "pending"
    assert "reversed" in lost.state.exceptions
    again = sighting(number=140, branch="b")
    back = lost.when(observe(again)).then("transfer.observed", "payment.covered")
    done = back.when(confirm(again)).then("transfer.confirmed", "payment.completed")
    assert done.state.confirmed == usd("10.00")


def test_a_confirmed_transfer_seen_elsewhere_is_reversed_first_even_if_nobody_said_so() -> None:
    again = sighting(number=140, branch="b")
    moved = paid().when(observe(again))
    back = moved.then(
        "transfer.reversed", "payment.reversed", "transfer.observed", "payment.covered"
    )
    assert back.state.status == "confirming"
    assert back.when(retract(again)).then("transfer.retracted").state.status == "pending"


def test_losing_the_excess_does_not_reverse_a_payment_that_is_still_covered() -> None:
    extra = sighting(usd("1.00"), tx="33")
    over = paid().when(observe(extra)).then("transfer.observed")
    over = over.when(confirm(extra)).then("transfer.confirmed")
    assert over.state.exceptions == ("overpaid", "multiple_transfers")
    assert over.when(retract(extra)).then("transfer.reversed").state.status == "completed"


def test_losing_a_part_of_what_completed_it_gives_a_part_of_the_fee_back() -> None:
    small, large = sighting(usd("4.00"), log_index=1), sighting(usd("11.00"), tx="22")
    story = OPEN.when(observe(small)).then("transfer.observed")
    story = story.when(confirm(small)).then("transfer.confirmed")
    story = story.when(observe(large)).then("transfer.observed", "payment.covered")
    done = story.when(confirm(large)).then("transfer.confirmed", "payment.completed")
    assert done.state.fee == usd("0.075")
    less = done.when(retract(small)).then("transfer.reversed", "payment.reduced")
    assert (less.state.status, less.state.fee) == ("completed", usd("0.055"))
    gone = less.when(retract(large)).events()[-1]
    assert isinstance(gone, PaymentReversed)
    assert gone.fee == usd("0.055")


@pytest.mark.parametrize(("seconds", "late"), [(-1, False), (0, True), (1, True)])
def test_a_transfer_mined_before_the_window_closes_is_in_time(seconds: int, late: bool) -> None:
    mined = sighting(block_time=CREATED.expires_at + timedelta(seconds=seconds))
    state = OPEN.when(observe(mined)).then("transfer.observed", "payment.covered").state
    assert state.transfers[mined.transfer_id].late is late
    assert ("paid_late" in state.exceptions) is late


def test_an_expired_session_still_completes_when_late_money_arrives() -> None:
    expired = OPEN.when(c.ExpireSession(at=CREATED.expires_at)).then("payment_session.expired")
    assert expired.state.status == "failed"
    late = sighting(block_time=CREATED.expires_at + timedelta(minutes=1))
    back = expired.when(observe(late)).then("transfer.observed", "payment.covered")
    done = back.when(confirm(late)).then("transfer.confirmed", "payment.completed")
    assert done.state.status == "completed"
    assert done.state.exceptions == ("paid_late",)


def test_a_session_does_not_expire_early_or_while_it_is_covered() -> None:
    assert OPEN.when(c.ExpireSession(at=LATER)).events() == ()
    covered = OPEN.when(observe()).then("transfer.observed", "payment.covered")
    assert covered.when(c.ExpireSession(at=CREATED.expires_at)).events() == ()


def test_only_an_unpaid_session_can_be_cancelled() -> None:
    cancelled = OPEN.when(c.CancelSession(at=LATER)).then("payment_session.cancelled")
    assert cancelled.state.status == "failed"
    assert cancelled.when(c.CancelSession(at=LATER)).events() == ()
    paid().when(c.CancelSession(at=LATER)).refused(SessionNotOpen)


def test_a_command_to_a_session_that_is_not_there_is_refused() -> None:
    given(PAYMENT).when(c.CancelSession(at=AT)).refused(SessionUnknown)


def test_refunds_never_exceed_what_arrived() -> None:
    kept = paid().when(reserve(usd("4.00"))).then("payment.refund_reserved")
    assert kept.state.refundable == usd("6.00")
    other = c.ReserveRefund(at=LATER, refund_id=CREATED.session_id, amount=usd("6.01"))
    kept.when(other).refused(RefundExceedsReceived)
    kept.when(other.model_copy(update={"amount": usd("0")})).refused(RefundExceedsReceived)
    kept.when(other.model_copy(update={"amount": usd("6.00")})).then("payment.refund_reserved")


def test_money_given_back_before_completion_does_not_pay_for_anything() -> None:
    half, other_half = sighting(usd("5.00")), sighting(usd("5.00"), tx="22")
    third = sighting(usd("5.00"), tx="33")
    story = OPEN.when(observe(half)).then("transfer.observed")
    story = story.when(confirm(half)).then("transfer.confirmed")
    story = story.when(reserve(usd("5.00"))).then("payment.refund_reserved")
    assert story.state.outstanding == usd("10.00")
    settle = c.SettleRefund(at=LATER, refund_id=REFUND_ID, tx_hash="0x22")
    story = story.when(settle).then("payment.refunded")
    story = story.when(observe(other_half)).then("transfer.observed")
    story = story.when(confirm(other_half)).then("transfer.confirmed")
    assert (story.state.status, story.state.exceptions[0]) == ("pending", "underpaid")
    assert story.state.outstanding == usd("5.00")
    story = story.when(observe(third)).then("transfer.observed", "payment.covered")
    done = story.when(confirm(third)).then("transfer.confirmed", "payment.completed")
    assert done.state.fee == usd("0.05")


def test_a_refund_that_is_released_may_complete_the_payment() -> None:
    half, other_half = sighting(usd("5.00")), sighting(usd("5.00"), tx="22")
    story = OPEN.when(observe(half)).then("transfer.observed")
    story = story.when(confirm(half)).then("transfer.confirmed")
    story = story.when(reserve(usd("5.00"))).then("payment.refund_reserved")
    story = story.when(observe(other_half)).then("transfer.observed")
    story = story.when(confirm(other_half)).then("transfer.confirmed")
    release = c.ReleaseRefund(at=LATER, refund_id=REFUND_ID, reason="frozen")
    done = story.when(release).then(
        "payment.refund_released", "payment.covered", "payment.completed"
    )
    assert done.state.status == "completed"


def test_a_refund_after_completion_leaves_a_payment_that_comes_back_complete() -> None:
    kept = paid().when(reserve(usd("4.00"))).then("payment.refund_reserved")
    lost = kept.when(retract()).then("transfer.reversed", "payment.reversed")
    again = sighting(number=140, branch="b")
    back = lost.when(observe(again)).then("transfer.observed", "payment.covered")
    back.when(confirm(again)).then("transfer.confirmed", "payment.completed")


def test_an_unconfirmed_transfer_cannot_be_refunded() -> None:
    covered = OPEN.when(observe()).then("transfer.observed", "payment.covered")
    covered.when(reserve(usd("1.00"))).refused(RefundNotPossible)


def test_a_settled_refund_counts_and_a_released_one_does_not() -> None:
    kept = paid().when(reserve(usd("4.00"))).then("payment.refund_reserved")
    settle = c.SettleRefund(at=LATER, refund_id=REFUND_ID, tx_hash="0x22")
    done = kept.when(settle).then("payment.refunded")
    assert done.state.status == "partially_refunded"
    assert done.state.refundable == usd("6.00")
    assert done.when(settle).events() == ()
    release = c.ReleaseRefund(at=LATER, refund_id=REFUND_ID, reason="frozen")
    assert done.when(release).events() == ()
    assert kept.when(release).then("payment.refund_released").state.refundable == usd("10.00")


def test_refunding_everything_ends_as_refunded() -> None:
    kept = paid().when(reserve(usd("10.00"))).then("payment.refund_reserved")
    settle = c.SettleRefund(at=LATER, refund_id=REFUND_ID, tx_hash="0x22")
    assert kept.when(settle).then("payment.refunded").state.status == "refunded"
    assert kept.state.payers() == (PAYER,)

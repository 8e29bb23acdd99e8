"""What waits in the inbox, and what people may decide about it: once, with a reason."""

from uuid import UUID

import pytest

from application.deciders import TRANSFER
from domain import commands as c
from domain import events as e
from domain.errors import (
    ReasonMissing,
    TransferNotConfirmed,
    TransferNotOnChain,
    TransferNotUnmatched,
    TransferUnknown,
)
from tests.domain.steps import NOBODYS, OURS, PAID_BY, WAITING, reported
from tests.examples import LATER, MERCHANT_ID, REFUND_ID, SEEN, SESSION_ID, sighting
from tests.given import Given, changes, given

ID = SEEN.transfer_id
NEW = given(TRANSFER)
ASSIGN = c.AssignTransfer(
    at=LATER, session_id=SESSION_ID, verdict="assigned_by_person", reason=" he called us "
)
ACCEPT = c.AcceptTransfer(at=LATER, reason=" a tip ")
DISMISS = c.DismissTransfer(at=LATER, reason=" our own money ")
RESERVE = c.ReserveTransferRefund(at=LATER, refund_id=REFUND_ID, reason=" paid twice ")
RELEASE = c.ReleaseTransferRefund(at=LATER, refund_id=REFUND_ID, reason="recipient is frozen")
SETTLE = c.SettleTransferRefund(at=LATER, refund_id=REFUND_ID, tx_hash=PAID_BY)
UNSETTLE = c.UnsettleTransferRefund(at=LATER, refund_id=REFUND_ID, tx_hash=PAID_BY)
PEOPLES: tuple[c.TransferCommand, ...] = (ASSIGN, ACCEPT, DISMISS, RESERVE)


def seen(whose: c.Attribution = WAITING) -> Given:
    last = "unmatched" if whose.purpose == "unmatched" else "assigned"
    return NEW.when(reported("observed", 1, whose=whose)).then(
        "onchain_transfer.observed", f"onchain_transfer.{last}"
    )


def safe(whose: c.Attribution = WAITING) -> Given:
    return seen(whose).when(reported("confirmed", 2)).then("onchain_transfer.confirmed")


def refunding() -> Given:
    return safe().when(RESERVE).then("onchain_transfer.refund_reserved")


def refunded() -> Given:
    return refunding().when(SETTLE).then("onchain_transfer.refunded")


# ---------------------------------------------------------------- the facts in full


def test_a_transfer_nobody_expects_is_told_field_by_field() -> None:
    observed = e.OnchainTransferObserved(at=LATER, report_number=1, sighting=SEEN)
    waits = e.OnchainTransferUnmatched(
        at=LATER,
        transfer_id=ID,
        merchant_id=MERCHANT_ID,
        verdict="unknown_sender",
        reason=WAITING.reason,
    )
    story = NEW.when(reported("observed", 1, whose=WAITING)).gives(observed, waits)
    assert dict(story.state) == {
        "sighting": SEEN,
        "report_number": 1,
        "status": "observed",
        "purpose": "unmatched",
        "subject_id": None,
        "merchant_id": MERCHANT_ID,
        "verdict": "unknown_sender",
        "reason": WAITING.reason,
        "confirmations": 0,
        "policy_version": 0,
        "rule": "",
        "resolution": "open",
        "refund_id": None,
    }
    confirmed = story.when(reported("confirmed", 2)).gives(
        e.OnchainTransferConfirmed(
            at=LATER,
            report_number=2,
            transfer_id=ID,
            block_hash=SEEN.block_hash,
            confirmations=3,
            policy_version=2,
            rule="3 confirmations",
        )
    )
    assert changes(story.state, confirmed.state) == {
        "report_number": 2,
        "status": "confirmed",
        "confirmations": 3,
        "policy_version": 2,
        "rule": "3 confirmations",
    }


def test_a_transfer_that_is_somebodys_is_told_field_by_field() -> None:
    story = NEW.when(reported("observed", 1)).gives(
        e.OnchainTransferObserved(at=LATER, report_number=1, sighting=SEEN),
        e.OnchainTransferAssigned(
            at=LATER,
            transfer_id=ID,
            purpose="payment_session",
            subject_id=SESSION_ID,
            merchant_id=MERCHANT_ID,
            verdict="deposit_address",
            reason=OURS.reason,
        ),
    )
    assert (story.state.subject_id, story.state.merchant_id) == (SESSION_ID, MERCHANT_ID)
    assert (story.state.verdict, story.state.reason) == ("deposit_address", OURS.reason)


def test_an_assignment_takes_it_out_of_the_inbox_for_ever() -> None:
    story = (
        safe()
        .when(ASSIGN)
        .gives(
            e.OnchainTransferAssigned(
                at=LATER,
                transfer_id=ID,
                purpose="payment_session",
                subject_id=SESSION_ID,
                merchant_id=MERCHANT_ID,
                verdict="assigned_by_person",
                reason="he called us",
            )
        )
    )
    assert changes(safe().state, story.state) == {
        "purpose": "payment_session",
        "subject_id": SESSION_ID,
        "verdict": "assigned_by_person",
        "reason": "he called us",
    }
    assert story.when(ASSIGN).events() == ()
    elsewhere = ASSIGN.model_copy(update={"session_id": UUID(int=9)})
    why = "it belongs to somebody already: he called us"
    story.when(elsewhere).refused(TransferNotUnmatched, why)


def test_accepting_and_dismissing_write_the_reason_down() -> None:
    kept = (
        safe()
        .when(ACCEPT)
        .gives(e.OnchainTransferAccepted(at=LATER, transfer_id=ID, reason="a tip"))
    )
    assert changes(safe().state, kept.state) == {"resolution": "accepted"}
    gone = (
        safe()
        .when(DISMISS)
        .gives(e.OnchainTransferDismissed(at=LATER, transfer_id=ID, reason="our own money"))
    )
    assert changes(safe().state, gone.state) == {"resolution": "dismissed"}


def test_a_refund_of_the_inbox_is_told_field_by_field() -> None:
    amount = SEEN.amount
    under_way = (
        safe()
        .when(RESERVE)
        .gives(
            e.OnchainTransferRefundReserved(
                at=LATER, transfer_id=ID, refund_id=REFUND_ID, amount=amount, reason="paid twice"
            )
        )
    )
    assert changes(safe().state, under_way.state) == {
        "resolution": "refunding",
        "refund_id": REFUND_ID,
    }
    free = under_way.when(RELEASE).gives(
        e.OnchainTransferRefundReleased(
            at=LATER, transfer_id=ID, refund_id=REFUND_ID, reason="recipient is frozen"
        )
    )
    assert free.state == safe().state
    done = under_way.when(SETTLE).gives(
        e.OnchainTransferRefunded(
            at=LATER, transfer_id=ID, refund_id=REFUND_ID, amount=amount, tx_hash=PAID_BY
        )
    )
    assert changes(under_way.state, done.state) == {"resolution": "refunded"}
    undone = done.when(UNSETTLE).gives(
        e.OnchainTransferRefundReversed(
            at=LATER, transfer_id=ID, refund_id=REFUND_ID, amount=amount, tx_hash=PAID_BY
        )
    )
    assert undone.state == under_way.state


# ---------------------------------------------------------------- told twice


def test_each_step_of_a_refund_is_done_once() -> None:
    for story, repeated in (
        (refunding(), RESERVE),
        (refunded(), RESERVE),
        (refunded(), SETTLE),
        (refunded(), RELEASE),
        (refunding(), UNSETTLE),
        (safe(), SETTLE),
        (safe(), RELEASE),
        (safe(), UNSETTLE),
    ):
        assert story.when(repeated).events() == ()


def test_another_refund_ends_nothing() -> None:
    other = {"refund_id": UUID(int=0x99)}
    for command in (RELEASE, SETTLE):
        assert refunding().when(command.model_copy(update=other)).events() == ()
    assert refunded().when(UNSETTLE.model_copy(update=other)).events() == ()


def test_after_a_refund_has_failed_another_can_be_asked_for() -> None:
    free = refunding().when(RELEASE).then("onchain_transfer.refund_released")
    assert free.state.waits
    free.when(RESERVE).then("onchain_transfer.refund_reserved")
    free.when(ACCEPT).then("onchain_transfer.accepted")


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("command", PEOPLES, ids=lambda one: type(one).__name__)
def test_a_decision_needs_a_reason(command: c.TransferCommand) -> None:
    why = "say why, in a few words: it is kept with the decision"
    for nothing in ("", " \t\n"):
        silent = command.model_copy(update={"reason": nothing})
        safe().when(silent).refused(ReasonMissing, why)


@pytest.mark.parametrize("command", PEOPLES, ids=lambda one: type(one).__name__)
def test_what_is_not_there_or_not_in_the_inbox_is_not_decided_about(
    command: c.TransferCommand,
) -> None:
    other = {"refund_id": UUID(int=0x99)} if isinstance(command, c.ReserveTransferRefund) else {}
    command = command.model_copy(update=other)
    NEW.when(command).refused(TransferUnknown, "there is no such transfer")
    owned = c.Attribution(
        purpose="refund_float",
        subject_id=MERCHANT_ID,
        merchant_id=MERCHANT_ID,
        verdict="refund_wallet",
        reason="sent to the merchant's refund wallet",
    )
    why = "it belongs to somebody already: sent to the merchant's refund wallet"
    safe(owned).when(command).refused(TransferNotUnmatched, why)
    for story, already in (
        (safe().when(ACCEPT).then("onchain_transfer.accepted"), "it was accepted already"),
        (safe().when(DISMISS).then("onchain_transfer.dismissed"), "it was dismissed already"),
        (refunding(), "it is being refunded already"),
        (refunded(), "it was refunded already"),
    ):
        story.when(command).refused(TransferNotUnmatched, already)
        assert not story.state.waits
    gone = seen().when(reported("retracted", 2)).then("onchain_transfer.retracted")
    removed = "a reorg has removed this transfer from the chain"
    gone.when(command).refused(TransferNotOnChain, removed)
    lost = safe().when(reported("retracted", 3)).then("onchain_transfer.reversed")
    lost.when(command).refused(TransferNotOnChain, removed)


def test_only_money_that_is_safe_goes_back() -> None:
    why = "it is not confirmed yet; money goes back once it is safe"
    seen().when(RESERVE).refused(TransferNotConfirmed, why)
    seen().when(ASSIGN).then("onchain_transfer.assigned")
    seen().when(ACCEPT).then("onchain_transfer.accepted")
    seen().when(DISMISS).then("onchain_transfer.dismissed")


# ---------------------------------------------------------------- reports, whatever was decided


@pytest.mark.parametrize("command", [ACCEPT, DISMISS, ASSIGN], ids=["accept", "dismiss", "assign"])
def test_the_chain_is_recorded_whatever_people_have_decided(command: c.TransferCommand) -> None:
    decision = safe().when(command)
    decided = decision.then(*(event.name for event in decision.events()))
    lost = decided.when(reported("retracted", 3)).gives(
        e.OnchainTransferReversed(
            at=LATER, report_number=3, transfer_id=ID, block_hash=SEEN.block_hash
        )
    )
    again = sighting(number=140, branch="b")
    back = lost.when(reported("confirmed", 4, again)).then(
        "onchain_transfer.observed", "onchain_transfer.confirmed"
    )
    assert back.state.resolution == decided.state.resolution
    assert back.state.purpose == decided.state.purpose
    assert back.state.sighting == again


def test_a_transfer_seen_elsewhere_while_it_is_confirmed_is_reversed_where_it_was() -> None:
    again = sighting(number=140, branch="b")
    safe().when(reported("observed", 3, again)).gives(
        e.OnchainTransferReversed(
            at=LATER, report_number=2, transfer_id=ID, block_hash=SEEN.block_hash
        ),
        e.OnchainTransferObserved(at=LATER, report_number=3, sighting=again),
    )


def test_a_retraction_that_comes_first_tells_the_whole_story() -> None:
    NEW.when(reported("retracted", 2, whose=NOBODYS)).gives(
        e.OnchainTransferObserved(at=LATER, report_number=2, sighting=SEEN),
        e.OnchainTransferUnmatched(
            at=LATER,
            transfer_id=ID,
            merchant_id=None,
            verdict="unknown_address",
            reason=NOBODYS.reason,
        ),
        e.OnchainTransferRetracted(
            at=LATER, report_number=2, transfer_id=ID, block_hash=SEEN.block_hash
        ),
    )


def test_a_retraction_names_the_block_that_was_known_and_not_the_one_it_came_with() -> None:
    elsewhere = sighting(number=140, branch="b")
    (gone,) = seen().when(reported("retracted", 2, elsewhere)).events()
    assert isinstance(gone, e.OnchainTransferRetracted)
    assert gone.block_hash == SEEN.block_hash


@pytest.mark.parametrize("kind", ["observed", "confirmed", "retracted"])
def test_an_older_report_adds_nothing(kind: str) -> None:
    for number in (1, 2):
        assert safe().when(reported(kind, number)).events() == ()


def test_confirmed_in_another_block_than_it_was_seen_in_is_seen_there_first() -> None:
    again = sighting(number=140, branch="b")
    names = ("onchain_transfer.observed", "onchain_transfer.confirmed")
    assert seen().when(reported("confirmed", 2, again)).then(*names).state.sighting == again

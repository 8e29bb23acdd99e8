"""A refund: requested, signed, broadcast, completed or failed; and what a reorg does to it."""

from datetime import timedelta

import pytest

from application.deciders import REFUND
from domain import commands as c
from domain import events as e
from domain.errors import RefundUnknown
from tests.domain.steps import PAID_BY
from tests.examples import (
    EXAMPLES,
    GAS,
    LATER,
    MERCHANT_ID,
    PAYER,
    REFUND_ID,
    SESSION_ID,
    WALLET,
    block_hash,
    usd,
)
from tests.given import Given, changes, given

AFTER = LATER + timedelta(minutes=15)
REQUESTED = next(event for event in EXAMPLES if isinstance(event, e.RefundRequested))
SIGN = c.RecordSigned(at=LATER, tx_hash=PAID_BY, nonce=5)
SEND = c.RecordBroadcast(at=LATER, tx_hash=PAID_BY)
MINED = c.RecordRefundMined(
    at=LATER,
    tx_hash=PAID_BY,
    block_number=110,
    block_hash=block_hash(110),
    confirmations=3,
    gas=GAS,
)
FAIL = c.FailRefund(at=LATER, reason="recipient is frozen", gas=GAS)
LOST = c.RecordRefundLost(at=LATER, tx_hash=PAID_BY)
FINAL = c.RecordRefundFinal(
    at=AFTER, tx_hash=PAID_BY, block_number=110, block_hash=block_hash(110)
)
NEW = given(REFUND, REQUESTED)


def signed() -> Given:
    return NEW.when(SIGN).then("refund.signed")


def sent() -> Given:
    return signed().when(SEND).then("refund.broadcast")


def completed() -> Given:
    return sent().when(MINED).then("refund.completed")


def final() -> Given:
    return completed().when(FINAL).then("refund.finalized")


def failed() -> Given:
    return sent().when(FAIL).then("refund.failed")


def test_a_refund_is_told_field_by_field() -> None:
    request = c.RequestRefund(**dict(REQUESTED))
    story = given(REFUND).when(request).gives(REQUESTED)
    assert story.when(request).events() == ()
    assert dict(story.state) == {
        "refund_id": REFUND_ID,
        "session_id": SESSION_ID,
        "transfer_id": None,
        "merchant_id": MERCHANT_ID,
        "mode": "test",
        "network": "local",
        "amount": usd("4.00"),
        "destination": PAYER,
        "wallet": WALLET,
        "wallet_index": 1,
        "reason": "one coffee came cold",
        "created_at": LATER,
        "status": "requested",
        "tx_hash": None,
        "nonce": None,
        "failure": None,
        "completed_at": None,
        "failed_at": None,
        "block_number": None,
        "block_hash": None,
        "gas": None,
        "final_at": None,
    }
    one = story.when(SIGN).gives(e.RefundSigned(at=LATER, tx_hash=PAID_BY, nonce=5))
    assert changes(story.state, one.state) == {"status": "signed", "tx_hash": PAID_BY, "nonce": 5}
    two = one.when(SEND).gives(e.RefundBroadcast(at=LATER, tx_hash=PAID_BY))
    assert changes(one.state, two.state) == {"status": "broadcast"}
    done = two.when(MINED).gives(
        e.RefundCompleted(
            at=LATER,
            tx_hash=PAID_BY,
            block_number=110,
            block_hash=block_hash(110),
            confirmations=3,
            gas=GAS,
        )
    )
    assert changes(two.state, done.state) == {
        "status": "completed",
        "completed_at": LATER,
        "block_number": 110,
        "block_hash": block_hash(110),
        "gas": GAS,
    }


def test_a_refund_that_fails_says_why_and_what_it_cost() -> None:
    story = (
        sent().when(FAIL).gives(e.RefundFailed(at=LATER, reason="recipient is frozen", gas=GAS))
    )
    assert changes(sent().state, story.state) == {
        "status": "failed",
        "failure": "recipient is frozen",
        "failed_at": LATER,
    }
    assert (story.state.failed_on_chain_at, sent().state.failed_on_chain_at) == (LATER, None)
    cheap = NEW.when(c.FailRefund(at=LATER, reason="too dear")).gives(
        e.RefundFailed(at=LATER, reason="too dear", gas=None)
    )
    assert cheap.state.failed_at == LATER
    assert cheap.state.failed_on_chain_at is None, "it never had a transaction"


def test_a_completed_refund_whose_transaction_is_gone_is_on_its_way_again() -> None:
    undone = (
        completed()
        .when(LOST)
        .gives(
            e.RefundReversed(
                at=LATER, tx_hash=PAID_BY, block_number=110, block_hash=block_hash(110), gas=GAS
            )
        )
    )
    assert undone.state == sent().state
    assert undone.when(LOST).events() == ()
    assert undone.when(SEND).events() == ()
    assert undone.when(MINED).then("refund.completed").state == completed().state
    undone.when(FAIL).then("refund.failed")


def test_a_refund_in_a_final_block_is_final_for_good() -> None:
    story = (
        completed()
        .when(FINAL)
        .gives(
            e.RefundFinalized(
                at=AFTER, tx_hash=PAID_BY, block_number=110, block_hash=block_hash(110)
            )
        )
    )
    assert changes(completed().state, story.state) == {"final_at": AFTER}
    assert story.when(FINAL).events() == ()
    elsewhere = {"block_number": 111, "block_hash": block_hash(111)}
    assert story.when(FINAL.model_copy(update=elsewhere)).events() == ()
    assert story.when(LOST).events() == ()


def test_the_final_block_need_not_be_the_one_it_completed_by() -> None:
    elsewhere = {"block_number": 112, "block_hash": block_hash(112, "b")}
    story = completed().when(FINAL.model_copy(update=elsewhere)).then("refund.finalized")
    assert changes(completed().state, story.state) == {"final_at": AFTER, **elsewhere}


def test_what_was_lost_and_completed_again_is_final_as_the_first_time() -> None:
    again = completed().when(LOST).then("refund.reversed").when(MINED).then("refund.completed")
    assert again.when(FINAL).then("refund.finalized").state == final().state


def test_a_refund_knows_the_transaction_that_was_sent_or_mined_last() -> None:
    other = {"tx_hash": "0x" + "99" * 32}
    dearer = signed().when(SEND.model_copy(update=other)).then("refund.broadcast")
    assert dearer.state.tx_hash == other["tx_hash"]
    assert dearer.when(MINED).then("refund.completed").state.tx_hash == PAID_BY


def test_the_loss_of_another_transaction_is_not_this_refunds() -> None:
    assert completed().when(LOST.model_copy(update={"tx_hash": "0x99"})).events() == ()
    assert completed().when(FINAL.model_copy(update={"tx_hash": "0x99"})).events() == ()


@pytest.mark.parametrize(
    ("story", "command"),
    [
        (signed(), SIGN),
        (sent(), SIGN),
        (NEW, SEND),
        (sent(), SEND),
        (completed(), SIGN),
        (completed(), SEND),
        (completed(), MINED),
        (completed(), FAIL),
        (failed(), MINED),
        (failed(), FAIL),
        (failed(), SEND),
        (failed(), LOST),
        (NEW, LOST),
        (sent(), LOST),
        (NEW, FINAL),
        (signed(), FINAL),
        (sent(), FINAL),
        (failed(), FINAL),
        (final(), SIGN),
        (final(), SEND),
        (final(), MINED),
        (final(), FAIL),
    ],
)
def test_a_step_out_of_turn_or_twice_adds_nothing(story: Given, command: c.RefundCommand) -> None:
    assert story.when(command).events() == ()


@pytest.mark.parametrize("command", [SIGN, SEND, MINED, FAIL, LOST, FINAL])
def test_a_refund_that_was_never_asked_for_is_unknown(command: c.RefundCommand) -> None:
    given(REFUND).when(command).refused(RefundUnknown, "there is no such refund")


def test_a_refund_is_open_until_it_is_completed_or_failed() -> None:
    assert [one.state.open for one in (NEW, signed(), sent())] == [True] * 3
    assert [one.state.open for one in (completed(), final(), failed())] == [False] * 3

"""Folds alone, without a database."""

from typing import Any
from uuid import UUID

import pytest

from application.ports import Context, Recorded, Stream
from domain import events as e
from domain.events import Event
from projections.catalogue import PROJECTIONS
from projections.deliveries import Deliveries
from projections.inbox import TRANSFERS, Inbox
from projections.journal import Journal
from projections.packing import packed
from projections.payments import Payments
from projections.projection import Held
from projections.table import Table
from projections.watchlist import WatchList
from tests.examples import AT, CREATED, EXAMPLES, MERCHANT_ID, OBSERVED, SEEN, SESSION_ID, usd

SESSION = Stream("payment_session", SESSION_ID)


def recorded(stream: Stream, *facts: Event, after: int = 0) -> list[Recorded[Event]]:
    return [
        Recorded(100 + n, UUID(int=n), stream, n, fact, AT, Context(actor="system"))
        for n, fact in enumerate(facts, after + 1)
    ]


def example(kind: type[Event]) -> Any:
    return next(event for event in EXAMPLES if type(event) is kind)


def test_a_fact_that_does_not_follow_the_last_one_is_poison() -> None:
    first, second = recorded(SESSION, CREATED, OBSERVED)
    gap = Recorded(105, UUID(int=5), SESSION, 4, OBSERVED, AT, first.context)
    folded = Payments().fold([first, second, gap], {})
    assert [(bad.stream, bad.position) for bad in folded.poison] == [(SESSION, 105)]
    assert folded.held[SESSION_ID.int].version == 2


def test_what_is_kept_of_poison_holds_no_value_of_the_fact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def evolve(*_: object) -> Any:
        return e.TransferObserved.model_validate({"payer": "0xCustomer", "at": "a secret"})

    monkeypatch.setattr(Payments, "evolve", evolve)
    (bad,) = Payments().fold(recorded(SESSION, CREATED), {}).poison
    assert bad.error.startswith("ValidationError: at: ")
    assert "secret" not in bad.error
    assert "Customer" not in bad.error


def test_a_fact_seen_before_is_poison_and_not_applied_twice() -> None:
    batch = recorded(SESSION, CREATED, OBSERVED)
    folded = Payments().fold([*batch, batch[1]], {})
    assert len(folded.poison) == 1
    assert folded.held[SESSION_ID.int].version == 2


def test_a_fold_goes_on_from_the_state_it_kept() -> None:
    batch = recorded(SESSION, CREATED, OBSERVED, example(e.PaymentCovered))
    whole = Payments().fold(batch, {})
    known: dict[int, Held[Any]] = {}
    for part in batch:
        folded = Payments().fold([part], known)
        row = folded.rows["payments"][0]
        known = {SESSION_ID.int: Payments().revive(row[:5])}
    assert folded.rows["payments"] == whole.rows["payments"]


def test_a_stream_that_begins_in_the_batch_needs_no_look_up() -> None:
    other = Stream("payment_session", UUID(int=9))
    batch = [*recorded(SESSION, CREATED, OBSERVED), *recorded(other, OBSERVED, after=1)]
    assert Payments().needs(batch) == {other.id.int}


def test_a_payers_rows_follow_what_they_are_filtered_by_and_are_not_written_in_vain() -> None:
    seen, covered = OBSERVED, example(e.PaymentCovered)
    other = seen.changed(transfer_id="31337:0x2:0", payer="0x" + "0b" * 20)
    again = other.changed(transfer_id="31337:0x3:0")
    known: dict[int, Held[Any]] = {}
    written: list[tuple[str, ...]] = []
    rows: dict[object, Any] = {}
    for fact in recorded(SESSION, CREATED, seen, other, again, covered):
        folded = Payments().fold([fact], known)
        known = folded.held
        rows |= {row[1]: row for row in folded.rows["payment_payers"]}
        written.append(tuple(sorted(str(row[1]) for row in folded.rows["payment_payers"])))
    state = known[SESSION_ID.int].state
    assert rows.keys() == {seen.payer, other.payer}
    assert {row[6:] for row in rows.values()} == {
        (state.status, state.network, state.due.asset, state.due.units)
    }
    both = tuple(sorted((seen.payer, other.payer)))
    assert written == [(), (seen.payer,), (other.payer,), (), both]
    whole = Payments().fold(recorded(SESSION, CREATED, seen, other, again, covered), {})
    assert {row[1]: row for row in whole.rows["payment_payers"]} == rows


def test_who_paid_before_a_transaction_was_mined_again_keeps_a_row_wherever_batches_end() -> None:
    retracted = example(e.TransferRetracted).changed(transfer_id=OBSERVED.transfer_id)
    again = OBSERVED.changed(payer="0x" + "0b" * 20, block_hash="0x" + "99" * 32)
    facts = recorded(SESSION, CREATED, OBSERVED, retracted, again, example(e.PaymentCovered))
    whole = Payments().fold(facts, {}).rows["payment_payers"]
    rows: dict[object, Any] = {}
    known: dict[int, Held[Any]] = {}
    for fact in facts:
        folded = Payments().fold([fact], known)
        known = folded.held
        rows |= {row[1]: row for row in folded.rows["payment_payers"]}
    assert rows.keys() == {OBSERVED.payer, again.payer}
    assert {row[1]: row for row in whole} == rows
    assert {row[6] for row in whole} == {known[SESSION_ID.int].state.status} != {"pending"}


def test_both_sides_of_an_entry_are_counted_once() -> None:
    entry = example(e.JournalEntryPosted)
    batch = [
        *recorded(Stream("journal_entry", UUID(int=1)), entry),
        *recorded(Stream("journal_entry", UUID(int=2)), entry),
    ]
    rows = Journal().fold(batch, {}).rows["balances"]
    units, asset = usd("0.10").units, usd("0.10").asset
    assert rows == [
        ("fee_revenue:a1", asset, 0, units),
        ("fees_receivable:a1", asset, units, 0),
    ]


def test_every_attempt_is_a_row_with_its_number() -> None:
    opened, failed = example(e.DeliveryOpened), example(e.DeliveryAttemptFailed)
    stream = Stream("webhook_delivery", opened.delivery_id)
    won = example(e.DeliverySucceeded).model_copy(update={"attempt": 2})
    rows = Deliveries().fold(recorded(stream, opened, failed, won), {}).rows
    attempts = [(row[1], row[3]) for row in rows["delivery_attempts"]]
    assert attempts == [(1, failed.status_code), (2, won.status_code)]
    assert rows["deliveries"][0][8] == "delivered"


def test_every_fact_on_a_folded_stream_is_handled_by_its_projection() -> None:
    """A fact that is left out would look like a gap, and park every stream it is on."""
    without_a_row = (
        e.ReorgDetected,  # the operator's console reads the log
        e.FloatToppedUp,
        e.FloatTopUpReversed,
        e.FloatReserved,
        e.FloatReleased,
        e.FloatSpent,
        e.FloatSpendingReversed,  # floats are balances of the books
        e.PaymentClaimMade,
        e.PaymentClaimTransferSeen,  # claims are read by those who decide, from the log
        e.ConfirmationPolicySet,  # and so are policies
        e.NetworkHalted,
        e.NetworkResumed,  # whether a network stands still: its standing says so
        e.ProjectionRebuildStarted,
        e.ProjectionSwitched,
        e.ProjectionSwitchedBack,
        e.ProjectionStreamParked,
        e.ProjectionStreamRetried,
        e.ProjectionDropped,  # what was done to the tables is in no table
    )
    handled = {kind for projection in PROJECTIONS for kind in projection.handles}
    assert {type(event) for event in EXAMPLES} - handled == set(without_a_row)


def test_tables_have_names_of_their_own() -> None:
    names = [table.name for projection in PROJECTIONS for table in projection.tables]
    assert len(set(names)) == len(names)


def test_of_two_rows_of_one_key_the_later_counts() -> None:
    table = Table("t", (("a", "int"), ("b", "int")), ("a",))
    assert table.arguments([(1, 1), (2, 2), (1, 3)]) == [
        packed("int", (1, 2)),
        packed("int", (3, 2)),
    ]


def test_a_shared_wallet_is_watched_for_its_merchant_and_for_no_session() -> None:
    received = example(e.ReceivingAddressSet)
    merchant = recorded(Stream("merchant", MERCHANT_ID), received)
    shared = CREATED.model_copy(
        update={"pay_by": "merchant_wallet", "deposit_address": received.address}
    )
    (row,) = WatchList().fold([*merchant, *recorded(SESSION, shared)], {}).rows["watch_list"]
    assert row[:5] == ("test", received.address, "merchant_wallet", MERCHANT_ID, MERCHANT_ID)


def test_a_row_of_the_inbox_says_whether_it_waits_and_what_was_decided() -> None:
    seen, nobodys = example(e.OnchainTransferObserved), example(e.OnchainTransferUnmatched)
    stream = Stream("onchain_transfer", UUID(int=3))
    names = [name for name, _ in TRANSFERS.columns]

    def row(*more: Event) -> dict[str, object]:
        folded = Inbox().fold(recorded(stream, seen, nobodys, *more), {})
        return dict(zip(names, folded.rows["transfers"][0], strict=True))

    waiting = row()
    assert (waiting["waits"], waiting["resolution"]) == (True, "open")
    assert (waiting["verdict"], waiting["sender"]) == ("unknown_address", SEEN.sender)
    reserved = example(e.OnchainTransferRefundReserved)
    released = example(e.OnchainTransferRefundReleased)
    for facts, waits, resolution in (
        ((example(e.OnchainTransferAccepted),), False, "accepted"),
        ((example(e.OnchainTransferDismissed),), False, "dismissed"),
        ((reserved,), False, "refunding"),
        ((reserved, released), True, "open"),
        ((reserved, example(e.OnchainTransferRefunded)), False, "refunded"),
        ((example(e.OnchainTransferRetracted),), False, "open"),
    ):
        found = row(*facts)
        assert (found["waits"], found["resolution"]) == (waits, resolution)


def test_a_refund_wallet_is_watched_for_its_merchant() -> None:
    wallet = example(e.RefundWalletAssigned)
    (row,) = (
        WatchList().fold(recorded(Stream("merchant", MERCHANT_ID), wallet), {}).rows["watch_list"]
    )
    assert row[:5] == ("test", wallet.address, "refund_float", MERCHANT_ID, MERCHANT_ID)

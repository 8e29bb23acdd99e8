"""What each fact means, in a sentence that can be read to a customer, and why it came.

Shapes  Every fact of a payment, a refund, a transfer and a delivery has its sentence; a test
        holds that, so a new fact without one cannot be forgotten.
"""

from collections.abc import Callable, Mapping
from typing import Any

from domain import events as e
from gateway.explain_transfers import TRANSFER_SENTENCES
from gateway.explain_words import Told, Words, by_policy, moment, refund_name, tx_of


def told(event: e.Event, words: Words) -> Told:
    return SENTENCES[type(event)](event, words)


# ---------------------------------------------------------------- payment sessions


def _created(event: e.SessionCreated, words: Words) -> Told:
    asked = f"Asked for {words.amount(event.due)} on {words.network(event.network)}"
    if event.tolerance.units:
        asked += f" ({words.amount(event.tolerance)} may be missing)"
    address = words.write(event.deposit_address)
    if event.pay_by == "deposit_address":
        where = f"to {address}, an address of this payment alone"
    else:
        where = (
            f"to {address}, the merchant's wallet: the payer signs for this payment first, "
            "or names the transaction"
        )
    return Told(f"{asked}, payable until {moment(event.expires_at)} {where}.")


def _payer_proven(event: e.PayerProven, words: Words) -> Told:
    how = {
        "eip191": "a signed message (EIP-191)",
        "eip712": "signed typed data (EIP-712)",
        "eip1271": "the word of the contract wallet itself (EIP-1271)",
    }[event.scheme]
    return Told(
        f"{words.write(event.payer)} has proved that it pays this.",
        f"shown by {how}; what it sends to the merchant's wallet is for this payment",
    )


def _announced(event: e.TransactionAnnounced, words: Words) -> Told:
    del words
    return Told(
        "Said that this transaction pays for it.",
        "believed if it pays exactly what is missing and is announced for nothing else",
        event.tx_hash,
    )


def _credited(event: e.TransferObserved, words: Words) -> Told:
    payer = words.write(event.payer)
    late = " It came after the window had closed, and counts all the same." if event.late else ""
    return Told(
        f"{words.amount(event.amount)} from {payer} now counts towards this payment "
        f"(block {event.block_number}, {moment(event.block_time)}).{late}",
        None,
        event.tx_hash,
    )


def _covered(event: e.PaymentCovered, words: Words) -> Told:
    return Told(
        f"Enough is there: {words.amount(event.seen)} has been seen.",
        _measure(words),
    )


def _measure(words: Words) -> str | None:
    created = words.created
    if created is None:
        return None
    if created.tolerance.units:
        most = words.amount(created.tolerance)
        return f"{words.amount(created.due)} was asked for, of which {most} may be missing"
    return f"{words.amount(created.due)} was asked for"


def _completed(event: e.PaymentCompleted, words: Words) -> Told:
    return Told(
        f"The payment is complete with {words.amount(event.amount)} confirmed. "
        f"The merchant's fee is {words.amount(event.fee)}.",
        _measure(words),
    )


def _lost_before(event: e.TransferRetracted, words: Words) -> Told:
    del words
    return Told(
        "A transfer is gone from the chain and does not count any more.",
        f"its block {event.block_hash} left the chain (a reorg) before it was safe; if it is "
        "mined again, it counts again",
        tx_of(event.transfer_id),
    )


def _safe(event: e.TransferConfirmed, words: Words) -> Told:
    return Told(
        f"{words.amount(event.amount)} is confirmed.",
        by_policy(event.policy_version, event.rule, event.confirmations),
        tx_of(event.transfer_id),
    )


def _lost_after(event: e.TransferReversed, words: Words) -> Told:
    return Told(
        f"{words.amount(event.amount)} that was confirmed is gone from the chain.",
        "a reorg deeper than the policy allows for removed its block; the books are corrected",
        tx_of(event.transfer_id),
    )


def _reduced(event: e.PaymentReduced, words: Words) -> Told:
    return Told(
        f"The payment is still complete with {words.amount(event.amount)}; the fee is now "
        f"{words.amount(event.fee)}, {words.amount(event.fee_returned)} of it is given back.",
        "part of what had arrived was reversed, and what is left is enough",
    )


def _reversed(event: e.PaymentReversed, words: Words) -> Told:
    return Told(
        f"The payment is not complete any more: {words.amount(event.amount)} is left. "
        f"The fee of {words.amount(event.fee)} is given back.",
        _measure(words),
    )


def _refund_reserved(event: e.PaymentRefundReserved, words: Words) -> Told:
    return Told(
        f"{words.amount(event.amount)} is set aside for the refund {refund_name(event.refund_id)}."
    )


def _refund_released(event: e.PaymentRefundReleased, words: Words) -> Told:
    return Told(
        f"The refund {refund_name(event.refund_id)} is not paid; {words.amount(event.amount)} counts again.",
        event.reason,
    )


def _refunded(event: e.PaymentRefunded, words: Words) -> Told:
    return Told(
        f"{words.amount(event.amount)} has been given back, "
        f"{words.amount(event.refunded_total)} in all.",
        None,
        event.tx_hash,
    )


def _refund_undone(event: e.PaymentRefundReversed, words: Words) -> Told:
    return Told(
        f"The refund of {words.amount(event.amount)} is under way again.",
        "a reorg removed its transaction from the chain; the same one is sent again",
        event.tx_hash,
    )


# ---------------------------------------------------------------- webhooks


def _opened(event: e.DeliveryOpened, words: Words) -> Told:
    del words
    return Told(f"The webhook {event.message_type} is to be delivered ({event.message_id}).")


def _succeeded(event: e.DeliverySucceeded, words: Words) -> Told:
    del words
    return Told(
        f"Delivered at attempt {event.attempt}: the receiver answered {event.status_code} "
        f"after {event.latency_ms} ms."
    )


def _attempt_failed(event: e.DeliveryAttemptFailed, words: Words) -> Told:
    del words
    again = event.next_attempt_at
    next_ = f" It is tried again at {moment(again)}." if again is not None else ""
    return Told(f"Attempt {event.attempt} failed.{next_}", event.error)


def _delivery_failed(event: e.DeliveryFailed, words: Words) -> Told:
    del words
    return Told(
        f"Given up after {event.attempts} attempts.", "it can be replayed once the receiver works"
    )


SENTENCES: Mapping[type[e.Event], Callable[[Any, Words], Told]] = {
    **TRANSFER_SENTENCES,
    e.SessionCreated: _created,
    e.SessionCancelled: lambda _event, _words: Told(
        "Cancelled: nothing is awaited any more.", "nobody had paid to it"
    ),
    e.SessionExpired: lambda _event, words: Told(
        "The window closed before enough had arrived.", _measure(words)
    ),
    e.PayerProven: _payer_proven,
    e.TransactionAnnounced: _announced,
    e.TransferObserved: _credited,
    e.PaymentCovered: _covered,
    e.TransferRetracted: _lost_before,
    e.TransferConfirmed: _safe,
    e.PaymentCompleted: _completed,
    e.TransferReversed: _lost_after,
    e.PaymentReduced: _reduced,
    e.PaymentReversed: _reversed,
    e.PaymentRefundReserved: _refund_reserved,
    e.PaymentRefundReleased: _refund_released,
    e.PaymentRefunded: _refunded,
    e.PaymentRefundReversed: _refund_undone,
    e.DeliveryOpened: _opened,
    e.DeliverySucceeded: _succeeded,
    e.DeliveryAttemptFailed: _attempt_failed,
    e.DeliveryFailed: _delivery_failed,
    e.DeliveryReplayed: lambda _event, _words: Told(
        "Somebody asked for it to be delivered once more."
    ),
}

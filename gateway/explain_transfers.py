"""The sentences of transfers on chain and of refunds."""

from collections.abc import Callable, Mapping
from typing import Any

from domain import events as e
from domain.values import public_id
from gateway.explain_words import (
    BY_PERSON,
    Told,
    Words,
    by_policy,
    moment,
    refund_name,
    said,
    tx_of,
)

# ---------------------------------------------------------------- transfers on chain


def _sighted(event: e.OnchainTransferObserved, words: Words) -> Told:
    seen = event.sighting
    count = len(seen.providers)
    voices = (
        f"{count} providers agree on the block" if seen.attested else "one provider's word only"
    )
    late = " It came after the window had closed." if words.late(seen) else ""
    return Told(
        f"{words.amount(seen.amount)} was seen on {words.network(seen.network)}, "
        f"from {words.write(seen.sender)} to {words.write(seen.recipient)}, in block "
        f"{seen.block_number} of {moment(seen.block_time)}.{late}",
        f"{voices}; proved from the block's receipts",
        seen.tx_hash,
    )


def _assigned(event: e.OnchainTransferAssigned, words: Words) -> Told:
    del words
    if event.purpose == "refund_float":
        return Told("It tops up the merchant's refund wallet.", event.reason)
    session = public_id("ps", event.subject_id)
    if event.verdict == BY_PERSON:
        return Told(f"Assigned to the payment {session} by hand.", said(event.reason))
    return Told(f"It counts towards the payment {session}.", f"{event.reason} ({event.verdict})")


def _unmatched(event: e.OnchainTransferUnmatched, words: Words) -> Told:
    del words
    return Told(
        "It belongs to no payment and waits in the inbox for a decision.",
        f"{event.reason} ({event.verdict})",
    )


def _accepted(event: e.OnchainTransferAccepted, words: Words) -> Told:
    del words
    return Told("Kept by the merchant, for no payment.", said(event.reason))


def _dismissed(event: e.OnchainTransferDismissed, words: Words) -> Told:
    del words
    return Told("Dismissed: it was no customer's money.", said(event.reason))


def _transfer_refund(event: e.OnchainTransferRefundReserved, words: Words) -> Told:
    return Told(
        f"All of it, {words.amount(event.amount)}, goes back: refund {refund_name(event.refund_id)}.",
        said(event.reason),
    )


def _transfer_refund_released(event: e.OnchainTransferRefundReleased, words: Words) -> Told:
    del words
    return Told(
        f"The refund {refund_name(event.refund_id)} is not paid; it waits in the inbox again.",
        event.reason,
    )


def _transfer_refunded(event: e.OnchainTransferRefunded, words: Words) -> Told:
    return Told(f"{words.amount(event.amount)} has been given back.", None, event.tx_hash)


def _transfer_refund_undone(event: e.OnchainTransferRefundReversed, words: Words) -> Told:
    return Told(
        f"The refund of {words.amount(event.amount)} is under way again.",
        "a reorg removed its transaction from the chain; the same one is sent again",
        event.tx_hash,
    )


def _transfer_confirmed(event: e.OnchainTransferConfirmed, words: Words) -> Told:
    del words
    return Told(
        "The transfer is confirmed: it is safe to count on.",
        by_policy(event.policy_version, event.rule, event.confirmations),
        tx_of(event.transfer_id),
    )


def _transfer_retracted(event: e.OnchainTransferRetracted, words: Words) -> Told:
    del words
    return Told(
        "The transfer is gone from the chain and does not count any more.",
        f"its block {event.block_hash} left the chain (a reorg) before it was safe; if it is "
        "mined again, it counts again",
        tx_of(event.transfer_id),
    )


def _transfer_reversed(event: e.OnchainTransferReversed, words: Words) -> Told:
    del words
    return Told(
        "The transfer, confirmed before, is gone from the chain.",
        "a reorg deeper than the policy allows for removed its block "
        f"{event.block_hash}; the books are corrected",
        tx_of(event.transfer_id),
    )


# ---------------------------------------------------------------- refunds


def _requested(event: e.RefundRequested, words: Words) -> Told:
    return Told(
        f"Refund of {words.amount(event.amount)} to {words.write(event.destination)}, paid by the "
        f"merchant's refund wallet {words.write(event.wallet)}: {refund_name(event.refund_id)}.",
        said(event.reason),
    )


def _signed(event: e.RefundSigned, words: Words) -> Told:
    del words
    return Told(
        f"The refund is signed (number {event.nonce} of its wallet).",
        "only this one transaction can pay it now, so it cannot be paid twice",
        event.tx_hash,
    )


def _broadcast(event: e.RefundBroadcast, words: Words) -> Told:
    del words
    return Told("The refund is sent to the chain.", None, event.tx_hash)


def _refund_completed(event: e.RefundCompleted, words: Words) -> Told:
    gas = f" It cost {words.amount(event.gas)} of gas." if event.gas is not None else ""
    there = (
        "1 confirmation" if event.confirmations == 1 else f"{event.confirmations} confirmations"
    )
    return Told(
        f"The refund has arrived in block {event.block_number}.{gas}",
        f"its own receipt says so, with {there}",
        event.tx_hash,
    )


def _refund_failed(event: e.RefundFailed, words: Words) -> Told:
    gas = f" The attempt cost {words.amount(event.gas)} of gas." if event.gas is not None else ""
    return Told(
        f"The refund failed and will not be paid; its money is free again.{gas}", event.reason
    )


def _refund_lost(event: e.RefundReversed, words: Words) -> Told:
    del words
    return Told(
        "The refund's transaction is gone from the chain; the same one is sent again.",
        f"a reorg removed its block {event.block_number} ({event.block_hash})",
        event.tx_hash,
    )


def _refund_final(event: e.RefundFinalized, words: Words) -> Told:
    del words
    return Told(
        "The refund is final: it cannot be taken back any more.",
        f"its block {event.block_number} ({event.block_hash}) is too deep in the chain for any "
        "reorg",
        event.tx_hash,
    )


TRANSFER_SENTENCES: Mapping[type[e.Event], Callable[[Any, Words], Told]] = {
    e.OnchainTransferObserved: _sighted,
    e.OnchainTransferAssigned: _assigned,
    e.OnchainTransferUnmatched: _unmatched,
    e.OnchainTransferAccepted: _accepted,
    e.OnchainTransferDismissed: _dismissed,
    e.OnchainTransferRefundReserved: _transfer_refund,
    e.OnchainTransferRefundReleased: _transfer_refund_released,
    e.OnchainTransferRefunded: _transfer_refunded,
    e.OnchainTransferRefundReversed: _transfer_refund_undone,
    e.OnchainTransferConfirmed: _transfer_confirmed,
    e.OnchainTransferRetracted: _transfer_retracted,
    e.OnchainTransferReversed: _transfer_reversed,
    e.RefundRequested: _requested,
    e.RefundSigned: _signed,
    e.RefundBroadcast: _broadcast,
    e.RefundCompleted: _refund_completed,
    e.RefundFailed: _refund_failed,
    e.RefundReversed: _refund_lost,
    e.RefundFinalized: _refund_final,
}

"""The public message for a fact, or none: a contract of its own, apart from the stored events.

Shapes  {id: "evt_...", type, created_at, api_version, sequence, data}; `sequence` is the version
        of the stream that `data` tells of, a session's or a transfer's, so a receiver can drop what is older than what it has.
        The bytes are made once, from the log alone, and are the same for ever.
Units   amounts are decimal strings of the token; moments RFC 3339 in UTC with "Z".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import pydantic_core

from application.deciders import PAYMENT, TRANSFER, Decider, transfer_stream_id
from application.instructions import WriteAddress
from application.ports import EventStore, Recorded
from domain import events as e
from domain.money import Amount, decimal_of
from domain.networks import NetworkBook
from domain.payment import PaymentSession, SessionTransfer
from domain.transfer import OnchainTransfer
from domain.values import Mode, public_id

S = TypeVar("S")

API_VERSION = "2026-11-22"

_TYPES: dict[type[e.Event], str] = {
    e.SessionCreated: "payment.created",
    e.PaymentCovered: "payment.confirming",
    e.PaymentCompleted: "payment.completed",
    e.SessionExpired: "payment.failed",
    e.SessionCancelled: "payment.failed",
    e.PaymentRefunded: "payment.refunded",
    e.TransferRetracted: "payment.retracted",
    e.PaymentReversed: "payment.reversed",
    e.PaymentRefundReserved: "refund.created",
    e.PaymentRefundReleased: "refund.failed",
    e.PaymentRefundReversed: "refund.reversed",
    e.TransferReversed: "payment.reduced",
    e.OnchainTransferUnmatched: "transfer.unmatched",
    e.OnchainTransferReversed: "transfer.reversed",
    e.OnchainTransferRefunded: "transfer.refunded",
}


@dataclass(frozen=True, slots=True)
class Message:
    id: str
    type: str
    merchant_id: UUID
    mode: Mode
    body: bytes


def message_type(event: e.Event) -> str | None:
    return _TYPES.get(type(event))


class Messages:
    """Makes the message of a recorded fact, from its stream as it stood right after it."""

    def __init__(self, store: EventStore, networks: NetworkBook, write: WriteAddress) -> None:
        self._store = store
        self._networks = networks
        self._write = write

    async def message_for(self, recorded: Recorded[e.Event]) -> Message | None:
        kind = message_type(recorded.event)
        if kind is None:
            return None
        history = await self._store.read_stream(recorded.stream)
        if recorded.stream.type == TRANSFER.stream_type:
            transfer = _folded(TRANSFER, history, recorded.version)
            if transfer.merchant_id is None or _said_elsewhere(recorded.event, transfer):
                return None  # nobody's is for the operator
            mode = self._mode(transfer, recorded)
            data = self._transfer_data(recorded.event, transfer, mode)
            return _message(kind, recorded, data, transfer.merchant_id, mode)
        if _reverses_all(recorded, history):
            return None
        session = _folded(PAYMENT, history, recorded.version)
        data = self._data(recorded.event, session)
        return _message(kind, recorded, data, session.merchant_id, session.mode)

    def _mode(self, transfer: OnchainTransfer, recorded: Recorded[e.Event]) -> Mode:
        """Its network's; of one that nothing describes any more what was written with the fact."""
        network = self._networks.find(transfer.sighting.network)
        if network is not None:
            return network.mode
        assert recorded.context.mode is not None, "every fact of a merchant's transfer has one"
        return recorded.context.mode

    def _transfer_data(
        self, event: e.Event, transfer: OnchainTransfer, mode: Mode
    ) -> dict[str, Any]:
        sighting = transfer.sighting
        symbol, decimals = self._networks.unit_of(sighting.amount.asset)
        refund_id = event.refund_id if isinstance(event, e.OnchainTransferRefunded) else None
        return {
            "transfer_id": public_id("tr", transfer_stream_id(sighting.transfer_id)),
            "livemode": mode == "live",
            "network": sighting.network,
            "token": symbol,
            "amount": decimal_of(sighting.amount.units, decimals),
            "from": self._write(sighting.sender),
            "to": self._write(sighting.recipient),
            "tx_hash": sighting.tx_hash,
            "chain_transfer_id": sighting.transfer_id,
            "status": transfer.status,
            "verdict": transfer.verdict,
            "reason": transfer.reason,
            "refund_id": public_id("rf", refund_id) if refund_id is not None else None,
        }

    def _data(self, event: e.Event, session: PaymentSession) -> dict[str, Any]:
        _, token = self._networks.of_asset(session.due.asset)

        def text(amount: Amount) -> str:
            return decimal_of(amount.units, token.decimals)

        transfers = session.transfers.values()
        counted = [t for t in transfers if t.status in {"observed", "confirmed"}]
        completed_at = session.completed_at
        return {
            "payment_session_id": public_id("ps", session.session_id),
            "livemode": session.mode == "live",
            "amount": text(session.due),
            "currency": "USD",
            "status": session.status,
            "exceptions": list(session.exceptions),
            "network": session.network,
            "token": token.symbol,
            "address": self._write(session.deposit_address),
            "amount_received": text(session.seen),
            "amount_confirmed": text(session.confirmed),
            "amount_refunded": text(session.refunded),
            "tx_hash": counted[-1].tx_hash if counted else None,
            "transfers": [self._transfer(t, text(t.amount)) for t in transfers],
            "confirmed_at": moment_text(completed_at) if completed_at else None,
            "merchant_reference": session.merchant_reference,
            "metadata": session.metadata,
            "refund": _refund(event, text),
        }

    def _transfer(self, transfer: SessionTransfer, amount: str) -> dict[str, Any]:
        return {
            "id": transfer.transfer_id,
            "tx_hash": transfer.tx_hash,
            "amount": amount,
            "from": self._write(transfer.payer),
            "status": transfer.status,
            "block_number": transfer.block_number,
        }


def _said_elsewhere(event: e.Event, transfer: OnchainTransfer) -> bool:
    """What the session's own message tells, and what is decided within a few blocks anyway."""
    match event:
        case e.OnchainTransferReversed():
            return transfer.purpose != "unmatched"
        case e.OnchainTransferUnmatched():
            return event.verdict == "awaits_confirmation"
        case _:
            return False


def _reverses_all(recorded: Recorded[e.Event], history: Sequence[Recorded[e.Event]]) -> bool:
    """A transfer's loss that undoes the payment is told as that: by the fact right after it."""
    if not isinstance(recorded.event, e.TransferReversed):
        return False
    following = (fact.event for fact in history if fact.version == recorded.version + 1)
    return isinstance(next(following, None), e.PaymentReversed)


def _message(
    kind: str,
    recorded: Recorded[e.Event],
    data: dict[str, Any],
    merchant_id: UUID,
    mode: Mode,
) -> Message:
    message_id = public_id("evt", recorded.event_id)
    body = {
        "id": message_id,
        "type": kind,
        "created_at": moment_text(recorded.event.at),
        "api_version": API_VERSION,
        "sequence": recorded.version,
        "data": data,
    }
    return Message(message_id, kind, merchant_id, mode, pydantic_core.to_json(body))


def _folded(decider: Decider[S, Any], history: Sequence[Recorded[e.Event]], version: int) -> S:
    state: S | None = None
    for fact in history:
        if fact.version <= version:
            state = decider.evolve(state, fact.event)
    assert state is not None
    return state


def moment_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _refund(event: e.Event, text: Callable[[Amount], str]) -> dict[str, Any] | None:
    match event:
        case e.PaymentRefundReserved():
            status, tx_hash, reason = "pending", None, None
        case e.PaymentRefunded():
            status, tx_hash, reason = "completed", event.tx_hash, None
        case e.PaymentRefundReversed():
            status, tx_hash, reason = "pending", None, "a reorg removed its transaction"
        case e.PaymentRefundReleased():
            status, tx_hash, reason = "failed", None, event.reason
        case _:
            return None
    return {
        "refund_id": public_id("rf", event.refund_id),
        "amount": text(event.amount),
        "status": status,
        "tx_hash": tx_hash,
        "reason": reason,
    }

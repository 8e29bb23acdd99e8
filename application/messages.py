"""The public message for a fact, or none: a contract of its own, apart from the stored events.

Shapes  {id: "evt_...", type, created_at, api_version, sequence, data}; `sequence` is the version
        of the session's stream, so a receiver can drop what is older than what it has.
        The bytes are made once, from the log alone, and are the same for ever.
Units   amounts are decimal strings of the token; moments RFC 3339 in UTC with "Z".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pydantic_core

from application.deciders import PAYMENT
from application.instructions import WriteAddress
from application.ports import EventStore, Recorded
from domain import events as e
from domain.money import Amount, decimal_of
from domain.networks import NetworkBook
from domain.payment import PaymentSession, SessionTransfer
from domain.values import Mode, public_id

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
    """Makes the message of a recorded fact, from the session as it stood right after it."""

    def __init__(self, store: EventStore, networks: NetworkBook, write: WriteAddress) -> None:
        self._store = store
        self._networks = networks
        self._write = write

    async def message_for(self, recorded: Recorded[e.Event]) -> Message | None:
        kind = message_type(recorded.event)
        if kind is None:
            return None
        history = await self._store.read_stream(recorded.stream)
        session = _folded(history, recorded.version)
        return self._message(kind, recorded, session)

    def _message(self, kind: str, recorded: Recorded[e.Event], session: PaymentSession) -> Message:
        message_id = public_id("evt", recorded.event_id)
        body = {
            "id": message_id,
            "type": kind,
            "created_at": moment_text(recorded.event.at),
            "api_version": API_VERSION,
            "sequence": recorded.version,
            "data": self._data(recorded.event, session),
        }
        return Message(
            id=message_id,
            type=kind,
            merchant_id=session.merchant_id,
            mode=session.mode,
            body=pydantic_core.to_json(body),
        )

    def _data(self, event: e.Event, session: PaymentSession) -> dict[str, Any]:
        network, token = self._networks.of_asset(session.due.asset)

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
            "network": network.name,
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


def _folded(history: Sequence[Recorded[e.Event]], version: int) -> PaymentSession:
    session: PaymentSession | None = None
    for fact in history:
        if fact.version <= version:
            session = PAYMENT.evolve(session, fact.event)
    assert session is not None
    return session


def moment_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _refund(event: e.Event, text: Callable[[Amount], str]) -> dict[str, Any] | None:
    match event:
        case e.PaymentRefundReserved():
            status, tx_hash, reason = "pending", None, None
        case e.PaymentRefunded():
            status, tx_hash, reason = "completed", event.tx_hash, None
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

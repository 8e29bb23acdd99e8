"""What the read models in memory are folded into, and who folds.

Shapes  Models holds all rows of all views; Follower reads on in the log before each answer.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from uuid import UUID

from application.ports import EventStore, Recorded
from application.reads import (
    AttemptRow,
    DeliveryRow,
    KeyHolder,
    RefundRow,
    SessionRow,
    TransferRow,
)
from domain import delivery, payment, refund, transfer
from domain import events as e
from domain.matching import AddressOwner
from domain.values import Mode

LOG_BATCH_EVENTS_MAX = 1_000


@dataclass(slots=True)
class Models:
    """All rows, by their key, in order of creation."""

    position: int = 0
    created: dict[UUID, int] = field(default_factory=dict)  # stream id to first position
    sessions: dict[UUID, SessionRow] = field(default_factory=dict)
    refunds: dict[UUID, RefundRow] = field(default_factory=dict)
    transfers: dict[UUID, TransferRow] = field(default_factory=dict)
    deliveries: dict[UUID, DeliveryRow] = field(default_factory=dict)
    attempts: dict[UUID, list[AttemptRow]] = field(default_factory=lambda: defaultdict(list))
    keys: dict[str, KeyHolder] = field(default_factory=dict)
    watched: dict[tuple[Mode, str], AddressOwner] = field(default_factory=dict)
    balances: dict[tuple[str, str], list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0, 0])
    )

    def apply(self, recorded: Recorded[e.Event]) -> None:
        self.position = recorded.position
        self.created.setdefault(recorded.stream.id, recorded.position)
        match recorded.stream.type:
            case "payment_session":
                self._session(recorded)
            case "refund":
                before = self.refunds.get(recorded.stream.id)
                self.refunds[recorded.stream.id] = RefundRow(
                    refund.evolve(before.refund if before else None, recorded.event),
                    recorded.version,
                    recorded.position,
                )
            case "onchain_transfer":
                known = self.transfers.get(recorded.stream.id)
                self.transfers[recorded.stream.id] = TransferRow(
                    transfer.evolve(known.transfer if known else None, recorded.event),
                    recorded.version,
                    recorded.position,
                )
            case "webhook_delivery":
                self._delivery(recorded)
            case "merchant":
                self._merchant(recorded.stream.id, recorded.event)
            case _:
                self._book(recorded.event)

    def _session(self, recorded: Recorded[e.Event]) -> None:
        before = self.sessions.get(recorded.stream.id)
        session = payment.evolve(before.session if before else None, recorded.event)
        row = SessionRow(session, recorded.version, recorded.position)
        self.sessions[recorded.stream.id] = row
        own_address = session.pay_by == "deposit_address"
        if isinstance(recorded.event, e.SessionCreated) and own_address:
            owner = AddressOwner(
                purpose="payment_session",
                subject_id=session.session_id,
                merchant_id=session.merchant_id,
            )
            self.watched.setdefault((session.mode, session.deposit_address), owner)

    def _delivery(self, recorded: Recorded[e.Event]) -> None:
        before = self.deliveries.get(recorded.stream.id)
        state = delivery.evolve(before.delivery if before else None, recorded.event)
        self.deliveries[recorded.stream.id] = DeliveryRow(state, recorded.position)
        event = recorded.event
        if isinstance(event, e.DeliverySucceeded | e.DeliveryAttemptFailed):
            error = event.error if isinstance(event, e.DeliveryAttemptFailed) else None
            attempt = AttemptRow(
                event.attempt, event.at, event.status_code, event.latency_ms, error, b""
            )
            self.attempts[recorded.stream.id].append(attempt)

    def _merchant(self, merchant_id: UUID, event: e.Event) -> None:
        match event:
            case e.ApiKeyCreated():
                holder = KeyHolder(event.key_id, merchant_id, event.mode, event.scopes)
                self.keys[event.key_hash] = holder
            case e.ApiKeyRevoked():
                kept = {h: k for h, k in self.keys.items() if k.key_id != event.key_id}
                self.keys = kept
            case e.ReceivingAddressSet():
                owner = AddressOwner(
                    purpose="merchant_wallet", subject_id=merchant_id, merchant_id=merchant_id
                )
                self.watched.setdefault((event.mode, event.address), owner)
            case e.RefundWalletAssigned():
                owner = AddressOwner(
                    purpose="refund_float", subject_id=merchant_id, merchant_id=merchant_id
                )
                self.watched.setdefault((event.mode, event.address), owner)
            case _:
                pass

    def _book(self, event: e.Event) -> None:
        if isinstance(event, e.JournalEntryPosted):
            for posting in event.postings:
                asset, units = posting.amount.asset, posting.amount.units
                self.balances[posting.debit, asset][0] += units
                self.balances[posting.credit, asset][1] += units


class Follower:
    """Reads on from where it was, one caller at a time."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._models = Models()
        self._reading = asyncio.Lock()

    async def models(self) -> Models:
        async with self._reading:
            while True:
                events = await self._store.read_log(
                    after=self._models.position, limit=LOG_BATCH_EVENTS_MAX
                )
                for recorded in events:
                    self._models.apply(recorded)
                if not events:
                    return self._models

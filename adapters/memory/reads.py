"""Read models folded from an event store in memory: the same answers as the projections'.

Shapes  MemoryReads(store, networks) with one attribute a port: sessions, refunds, deliveries,
        api_keys, watch_list, books, progress, heads. Every answer first reads what is
        new in the log, so a twin never lags; `heads.numbers` and `heads.passages` are set by
        the test.
        Receivers' answers are no facts: the twin of the delivery queue puts them into
        `deliveries.responses`.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from application.cursors import cursor_of, microseconds_of, moment_of, place_of
from application.ports import EventStore, Recorded
from application.reads import (
    PAGE_SIZE_MAX,
    AccountBalance,
    AttemptRow,
    DeliveryRow,
    KeyHolder,
    Page,
    Passed,
    RefundRow,
    SessionQuery,
    SessionRow,
    TrialBalance,
)
from domain import delivery, payment, refund
from domain import events as e
from domain.matching import AddressOwner
from domain.networks import NetworkBook
from domain.values import Mode

T = TypeVar("T")
LOG_BATCH_EVENTS_MAX = 1_000
POLL_SECONDS = 0.005


@dataclass(slots=True)
class _Models:
    """All rows, by their key, in order of creation."""

    position: int = 0
    created: dict[UUID, int] = field(default_factory=dict)  # stream id to first position
    sessions: dict[UUID, SessionRow] = field(default_factory=dict)
    refunds: dict[UUID, RefundRow] = field(default_factory=dict)
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
        if isinstance(recorded.event, e.SessionCreated):
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


class _Follower:
    """Reads on from where it was, one caller at a time."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._models = _Models()
        self._reading = asyncio.Lock()

    async def models(self) -> _Models:
        async with self._reading:
            while True:
                events = await self._store.read_log(
                    after=self._models.position, limit=LOG_BATCH_EVENTS_MAX
                )
                for recorded in events:
                    self._models.apply(recorded)
                if not events:
                    return self._models


def _page(
    rows: Iterable[T],
    place: Callable[[T], tuple[int, ...]],
    after: tuple[int, ...] | None,
    limit: int,
) -> Page[T]:
    """Newest first; `after` is the place of the last row of the page before."""
    size = max(1, min(limit, PAGE_SIZE_MAX))
    left = sorted(
        (row for row in rows if after is None or place(row) < after), key=place, reverse=True
    )
    more = len(left) > size
    return Page(tuple(left[:size]), cursor_of(*place(left[size - 1])) if more else None)


class MemorySessionReads:
    def __init__(self, follower: _Follower) -> None:
        self._follower = follower

    async def find(self, session_id: UUID) -> SessionRow | None:
        return (await self._follower.models()).sessions.get(session_id)

    async def page(self, query: SessionQuery) -> Page[SessionRow]:
        models = await self._follower.models()
        after = None if query.cursor is None else place_of(query.cursor, 2)
        if after is not None:
            moment_of(after[0])

        def place(row: SessionRow) -> tuple[int, ...]:
            created = models.created[row.session.session_id]
            return microseconds_of(row.session.created_at), created

        rows = (row for row in models.sessions.values() if _asked_for(query, row.session))
        return _page(rows, place, after, query.limit)

    async def due_to_expire(
        self, now: datetime, limit: int, *, network: str | None = None
    ) -> Sequence[UUID]:
        sessions = (row.session for row in (await self._follower.models()).sessions.values())
        due = [
            s
            for s in sessions
            if s.status == "pending" and s.expires_at <= now and network in {None, s.network}
        ]
        due.sort(key=lambda session: session.expires_at)
        return [session.session_id for session in due[:limit]]


def _asked_for(query: SessionQuery, session: payment.PaymentSession) -> bool:
    tx_hashes = {transfer_.tx_hash for transfer_ in session.transfers.values()}
    reference = query.merchant_reference
    return (
        (session.merchant_id, session.mode) == (query.merchant_id, query.mode)
        and query.status in {None, session.status}
        and query.network in {None, session.network}
        and reference in {None, session.merchant_reference}
        and (query.tx_hash is None or query.tx_hash in tx_hashes)
        and (query.created_from is None or session.created_at >= query.created_from)
        and (query.created_to is None or session.created_at < query.created_to)
    )


class MemoryRefundReads:
    def __init__(self, follower: _Follower) -> None:
        self._follower = follower

    async def find(self, refund_id: UUID) -> RefundRow | None:
        return (await self._follower.models()).refunds.get(refund_id)

    async def page(
        self,
        merchant_id: UUID,
        mode: Mode,
        *,
        session_id: UUID | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[RefundRow]:
        models = await self._follower.models()
        rows = (
            row
            for row in models.refunds.values()
            if (row.refund.merchant_id, row.refund.mode) == (merchant_id, mode)
            and session_id in {None, row.refund.session_id}
        )
        after = None if cursor is None else place_of(cursor, 1)
        return _page(rows, lambda row: (models.created[row.refund.refund_id],), after, limit)

    async def unfinished(self, limit: int) -> Sequence[UUID]:
        rows = (await self._follower.models()).refunds.values()
        return [row.refund.refund_id for row in rows if row.refund.open][:limit]

    async def completed_since(self, moment: datetime, limit: int) -> Sequence[RefundRow]:
        models = await self._follower.models()
        ended = [
            (row.refund.completed_at, models.created[row.refund.refund_id], row)
            for row in models.refunds.values()
            if row.refund.completed_at is not None and row.refund.completed_at >= moment
        ]
        ended.sort(key=lambda each: each[:2], reverse=True)
        return [row for *_, row in ended[:limit]]


class MemoryDeliveryReads:
    def __init__(self, follower: _Follower) -> None:
        self._follower = follower
        self.responses: dict[tuple[UUID, int], bytes] = {}

    async def find(self, delivery_id: UUID) -> DeliveryRow | None:
        return (await self._follower.models()).deliveries.get(delivery_id)

    async def page(
        self,
        merchant_id: UUID,
        mode: Mode,
        *,
        endpoint_id: UUID | None = None,
        status: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[DeliveryRow]:
        models = await self._follower.models()
        rows = (
            row
            for row in models.deliveries.values()
            if (row.delivery.merchant_id, row.delivery.mode) == (merchant_id, mode)
            and endpoint_id in {None, row.delivery.endpoint_id}
            and status in {None, row.delivery.status}
        )
        after = None if cursor is None else place_of(cursor, 1)
        return _page(rows, lambda row: (models.created[row.delivery.delivery_id],), after, limit)

    async def attempts(self, delivery_id: UUID) -> Sequence[AttemptRow]:
        rows = (await self._follower.models()).attempts.get(delivery_id, [])
        return [
            AttemptRow(
                row.attempt,
                row.at,
                row.status_code,
                row.latency_ms,
                row.error,
                self.responses.get((delivery_id, row.attempt), b""),
            )
            for row in rows
        ]

    async def due(self) -> Sequence[DeliveryRow]:
        """For the twin of the delivery queue: all that wait for an attempt, soonest first."""
        rows = (await self._follower.models()).deliveries.values()
        waiting = [
            (row.delivery.next_attempt_at, row.position, row)
            for row in rows
            if row.delivery.status == "due" and row.delivery.next_attempt_at is not None
        ]
        return [row for *_, row in sorted(waiting, key=lambda due: due[:2])]


class MemoryApiKeys:
    def __init__(self, follower: _Follower) -> None:
        self._follower = follower

    async def holder(self, key_hash: str) -> KeyHolder | None:
        return (await self._follower.models()).keys.get(key_hash)


class MemoryWatchList:
    def __init__(self, follower: _Follower, networks: NetworkBook) -> None:
        self._follower = follower
        self._modes = {network.name: network.mode for network in networks.networks}

    async def owner_of(self, network: str, address: str) -> AddressOwner | None:
        models = await self._follower.models()
        mode = self._modes.get(network)
        return None if mode is None else models.watched.get((mode, address))

    async def addresses(self, network: str) -> AbstractSet[str]:
        models = await self._follower.models()
        mode = self._modes.get(network)
        return {address for watched_mode, address in models.watched if watched_mode == mode}


class MemoryBooks:
    def __init__(self, follower: _Follower) -> None:
        self._follower = follower

    async def balances(self) -> Sequence[AccountBalance]:
        found = (await self._follower.models()).balances
        return [AccountBalance(*key, *sums) for key, sums in sorted(found.items())]

    async def trial_balance(self) -> Sequence[TrialBalance]:
        sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for balance in await self.balances():
            sums[balance.asset][0] += balance.debits
            sums[balance.asset][1] += balance.credits
        return [TrialBalance(asset, *both) for asset, both in sorted(sums.items())]


class MemoryProgress:
    def __init__(self, follower: _Follower) -> None:
        self._follower = follower

    async def position(self, projection: str) -> int:
        del projection  # they all stand at the same place
        return (await self._follower.models()).position

    async def wait_for(self, position: int, *, timeout_seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_seconds
        while (await self._follower.models()).position < position:
            if loop.time() >= ends_at:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True


class MemoryHeads:
    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.passages: dict[str, Passed] = {}

    async def head(self, network: str) -> int | None:
        return self.numbers.get(network)

    async def passed(self, network: str) -> Passed | None:
        return self.passages.get(network)


class MemoryReads:
    """Every read port over one event store."""

    def __init__(self, store: EventStore, networks: NetworkBook) -> None:
        follower = _Follower(store)
        self.sessions = MemorySessionReads(follower)
        self.refunds = MemoryRefundReads(follower)
        self.deliveries = MemoryDeliveryReads(follower)
        self.api_keys = MemoryApiKeys(follower)
        self.watch_list = MemoryWatchList(follower, networks)
        self.books = MemoryBooks(follower)
        self.progress = MemoryProgress(follower)
        self.heads = MemoryHeads()

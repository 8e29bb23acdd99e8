"""Read models folded from an event store in memory: the same answers as the projections'.

Shapes  MemoryReads(store, networks) with one attribute a port: sessions, refunds, inbox, deliveries,
        api_keys, watch_list, books, progress, heads. Every answer first reads what is
        new in the log, so a twin never lags; `heads.numbers` and `heads.passages` are set by
        the test.
        Receivers' answers are no facts: the twin of the delivery queue puts them into
        `deliveries.responses`.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from adapters.memory.read_models import Follower
from adapters.memory.session_filter import asked_for, hour_of
from application.cursors import cursor_of, microseconds_of, moment_of, place_of
from application.ports import EventStore
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
    TransferQuery,
    TransferRow,
    TrialBalance,
)
from application.standing import Standing
from domain import payment, transfer
from domain.matching import AddressOwner, concerns
from domain.networks import NetworkBook
from domain.refund import Refund
from domain.values import Mode

T = TypeVar("T")
POLL_SECONDS = 0.005


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
    def __init__(self, follower: Follower) -> None:
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

        rows = (row for row in models.sessions.values() if asked_for(query, row.session))
        return _page(rows, place, after, query.limit)

    async def due_to_expire(self, now: datetime, limit: int, *, network: str) -> Sequence[UUID]:
        sessions = (row.session for row in (await self._follower.models()).sessions.values())
        due = [
            s
            for s in sessions
            if s.status == "pending" and s.expires_at <= now and network == s.network
        ]
        due.sort(key=lambda session: session.expires_at)
        return [session.session_id for session in due[:limit]]

    async def opened_since(self, network: str, not_expired_at: datetime) -> datetime | None:
        rows = (await self._follower.models()).sessions.values()
        hour = not_expired_at - timedelta(hours=1)
        opened = (
            row.session.created_at
            for row in rows
            if row.session.network == network and hour_of(row.session.expires_at) > hour
        )
        return min(opened, default=None)

    async def expects(self, network: str) -> bool:
        rows = (await self._follower.models()).sessions.values()
        return any((r.session.status, r.session.network) == ("pending", network) for r in rows)


class MemoryRefundReads:
    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    async def find(self, refund_id: UUID) -> RefundRow | None:
        return (await self._follower.models()).refunds.get(refund_id)

    async def page(
        self,
        merchant_id: UUID,
        mode: Mode,
        *,
        session_id: UUID | None = None,
        transfer_id: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[RefundRow]:
        models = await self._follower.models()
        rows = (
            row
            for row in models.refunds.values()
            if (row.refund.merchant_id, row.refund.mode) == (merchant_id, mode)
            and session_id in {None, row.refund.session_id}
            and transfer_id in {None, row.refund.transfer_id}
        )
        after = None if cursor is None else place_of(cursor, 1)
        return _page(rows, lambda row: (models.created[row.refund.refund_id],), after, limit)

    async def unfinished(self, limit: int) -> Sequence[UUID]:
        rows = (await self._follower.models()).refunds.values()
        return [row.refund.refund_id for row in rows if row.refund.open][:limit]

    async def not_final(self, limit: int, *, cursor: str | None = None) -> Page[RefundRow]:
        return await self._latest(
            lambda refund: refund.completed_at if refund.final_at is None else None, limit, cursor
        )

    async def failed_on_chain_since(
        self, moment: datetime, limit: int, *, cursor: str | None = None
    ) -> Page[RefundRow]:
        def failed_at(refund: Refund) -> datetime | None:
            at = refund.failed_on_chain_at
            return at if at is not None and at >= moment else None

        return await self._latest(failed_at, limit, cursor)

    async def _latest(
        self, ended_at: Callable[[Refund], datetime | None], limit: int, cursor: str | None
    ) -> Page[RefundRow]:
        """Those that ended at some moment, as asked; None leaves a refund out."""
        models = await self._follower.models()
        after = None if cursor is None else place_of(cursor, 2)
        if after is not None:
            moment_of(after[0])

        def place(row: RefundRow) -> tuple[int, ...]:
            at = ended_at(row.refund)
            assert at is not None
            return microseconds_of(at), models.created[row.refund.refund_id]

        ended = (row for row in models.refunds.values() if ended_at(row.refund) is not None)
        return _page(ended, place, after, limit)


class MemoryInboxReads:
    def __init__(self, follower: Follower, networks: NetworkBook) -> None:
        self._follower = follower
        self._modes = {network.name: network.mode for network in networks.known()}

    async def page(self, query: TransferQuery) -> Page[TransferRow]:
        models = await self._follower.models()
        after = None if query.cursor is None else place_of(query.cursor, 1)
        rows = [
            (models.created[stream_id], row)
            for stream_id, row in models.transfers.items()
            if self._modes.get(row.transfer.sighting.network) == query.mode
            and _wanted(query, row.transfer)
        ]
        page = _page(rows, lambda each: (each[0],), after, query.limit)
        return Page(tuple(row for _, row in page.items), page.next_cursor)

    async def concerning(
        self, session: payment.PaymentSession, limit: int
    ) -> Sequence[TransferRow]:
        rows = (await self._follower.models()).transfers.values()
        found = [
            row
            for row in rows
            if row.transfer.purpose == "unmatched"
            and row.transfer.on_chain
            and row.transfer.merchant_id == session.merchant_id
            and self._modes.get(row.transfer.sighting.network) == session.mode
            and concerns(row.transfer.sighting, session)
        ]
        return found[::-1][:limit]

    async def newest(self, limit: int) -> Sequence[TransferRow]:
        rows = (await self._follower.models()).transfers.values()
        return [row for row in rows if row.transfer.waits][::-1][:limit]


def _wanted(query: TransferQuery, found: transfer.OnchainTransfer) -> bool:
    sighting = found.sighting
    if query.resolution is not None:
        shown = found.purpose == "unmatched" and found.resolution == query.resolution
    else:
        shown = query.everything or found.waits
    return (
        shown
        and found.merchant_id == query.merchant_id
        and query.network in {None, sighting.network}
        and (query.assets is None or sighting.amount.asset in query.assets)
        and query.tx_hash in {None, sighting.tx_hash}
        and query.sender in {None, sighting.sender}
    )


class MemoryDeliveryReads:
    def __init__(self, follower: Follower) -> None:
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
    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    async def holder(self, key_hash: str) -> KeyHolder | None:
        return (await self._follower.models()).keys.get(key_hash)


class MemoryWatchList:
    def __init__(self, follower: Follower, networks: NetworkBook) -> None:
        self._follower = follower
        self._modes = {network.name: network.mode for network in networks.networks}

    async def owner_of(self, network: str, address: str) -> AddressOwner | None:
        models = await self._follower.models()
        mode = self._modes.get(network)
        return None if mode is None else models.watched.get((mode, address))

    async def owners_of(
        self, network: str, addresses: Collection[str]
    ) -> Mapping[str, AddressOwner]:
        watched = (await self._follower.models()).watched
        mode = self._modes.get(network)
        if mode is None:
            return {}
        return {each: watched[mode, each] for each in addresses if (mode, each) in watched}

    async def addresses(self, network: str) -> AbstractSet[str]:
        models = await self._follower.models()
        mode = self._modes.get(network)
        return {address for watched_mode, address in models.watched if watched_mode == mode}


class MemoryBooks:
    def __init__(self, follower: Follower) -> None:
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
    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    async def position(self, projection: str) -> int:
        del projection  # they all stand at the same place
        return (await self._follower.models()).position

    async def wait_for(
        self, position: int, *, timeout_seconds: float, projection: str | None = None
    ) -> bool:
        del projection
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
        self.standings: dict[str, Standing] = {}

    async def head(self, network: str) -> int | None:
        return self.numbers.get(network)

    async def passed(self, network: str) -> Passed | None:
        return self.passages.get(network)

    async def standing(self, network: str) -> Standing | None:
        return self.standings.get(network)


class MemoryReads:
    """Every read port over one event store."""

    def __init__(self, store: EventStore, networks: NetworkBook) -> None:
        follower = Follower(store)
        self.sessions = MemorySessionReads(follower)
        self.refunds = MemoryRefundReads(follower)
        self.inbox = MemoryInboxReads(follower, networks)
        self.deliveries = MemoryDeliveryReads(follower)
        self.api_keys = MemoryApiKeys(follower)
        self.watch_list = MemoryWatchList(follower, networks)
        self.books = MemoryBooks(follower)
        self.progress = MemoryProgress(follower)
        self.heads = MemoryHeads()

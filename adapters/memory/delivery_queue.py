"""The delivery queue's twin: what is due is folded from the log, leases are a dictionary.

Without a lag of its own; `lagging` makes it one, by showing the deliveries of the last look.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from application.deciders import DELIVERY
from application.outside import Failing
from application.ports import Clock, EventStore
from domain.delivery import WebhookDelivery

RELEASED_HOLD_SECONDS = 1
RESPONSE_BYTES_MAX = 16_384
LOG_PAGE = 1_000


@dataclass(slots=True)
class Lease:
    endpoint_id: UUID
    until: datetime
    released: bool = False


class MemoryDeliveryQueue:
    def __init__(
        self,
        store: EventStore,
        clock: Clock,
        responses: dict[tuple[UUID, int], bytes] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._position = 0
        self.lagging = False
        self.deliveries: dict[UUID, WebhookDelivery] = {}
        self.leases: dict[UUID, Lease] = {}
        self.responses = {} if responses is None else responses  # as MemoryReads shows them

    async def claim(
        self,
        now: datetime,
        *,
        slots: int,
        per_endpoint: int,
        busy: dict[UUID, int],
        lease_seconds: int,
    ) -> Sequence[UUID]:
        if not self.lagging:
            await self._follow()
        held = {key: lease for key, lease in self.leases.items() if lease.until > now}
        leased = Counter(lease.endpoint_id for lease in held.values() if not lease.released)
        taken = {key: max(leased[key], busy.get(key, 0)) for key in {*leased, *busy}}
        until = now + timedelta(seconds=lease_seconds)
        claimed: list[UUID] = []
        for due in self._due(now):
            if len(claimed) == slots:
                break
            in_flight = taken.get(due.endpoint_id, 0)
            if due.delivery_id in held or in_flight >= per_endpoint:
                continue
            taken[due.endpoint_id] = in_flight + 1
            self.leases[due.delivery_id] = Lease(due.endpoint_id, until)
            claimed.append(due.delivery_id)
        return tuple(claimed)

    async def release(self, delivery_id: UUID) -> None:
        lease = self.leases.get(delivery_id)
        if lease is not None and not lease.released:
            lease.released = True
            lease.until = self._clock.now() + timedelta(seconds=RELEASED_HOLD_SECONDS)

    async def keep_response(self, delivery_id: UUID, attempt: int, excerpt: bytes) -> None:
        self.responses[delivery_id, attempt] = excerpt[:RESPONSE_BYTES_MAX]

    def _due(self, now: datetime) -> list[WebhookDelivery]:
        moments = [
            (delivery.next_attempt_at, delivery.delivery_id, delivery)
            for delivery in self.deliveries.values()
            if delivery.status == "due" and delivery.next_attempt_at is not None
        ]
        return [delivery for moment, _, delivery in sorted(moments) if moment <= now]

    async def _follow(self) -> None:
        while page := await self._store.read_log(after=self._position, limit=LOG_PAGE):
            for recorded in page:
                self._position = recorded.position
                if recorded.stream.type == DELIVERY.stream_type:
                    known = self.deliveries.get(recorded.stream.id)
                    self.deliveries[recorded.stream.id] = DELIVERY.evolve(known, recorded.event)


@dataclass(slots=True)
class _Failures:
    since: datetime
    last_at: datetime
    attempts: int


class MemoryEndpointHealth:
    def __init__(self) -> None:
        self._failures: dict[UUID, _Failures] = {}

    async def failed(self, endpoint_id: UUID, at: datetime, *, quiet_seconds: int) -> Failing:
        known = self._failures.get(endpoint_id)
        if known is None or known.last_at < at - timedelta(seconds=quiet_seconds):
            known = self._failures[endpoint_id] = _Failures(at, at, 0)
        known.attempts += 1
        known.last_at = max(known.last_at, at)
        return Failing(known.since, known.attempts)

    async def succeeded(self, endpoint_id: UUID) -> None:
        self._failures.pop(endpoint_id, None)

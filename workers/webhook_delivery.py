"""Claims due webhook deliveries and attempts them, many at once, no endpoint at another's cost.

Shapes  SLOTS_MAX attempts run at a time, PER_ENDPOINT_MAX of one endpoint. An endpoint that was
        slow is a suspect until it is quick again: it gets one slot, and all suspects together
        at most SUSPECT_SLOTS_MAX, so that a crowd of hanging ones cannot take all slots.
        After a hint the queue is asked often for a moment, because the projection behind it
        hears of a new delivery at the same time as we do.
Units   LEASE_SECONDS is longer than an attempt with its recording can take.
Errors  an outage is waited out, and what it cut off is released after it. A lease nobody
        releases runs out by itself.
"""

import asyncio
from collections import Counter
from itertools import islice
from uuid import UUID

import structlog

from application.ports import Clock, Unavailable
from application.reads import DeliveryQueue
from domain.delivery import WebhookDelivery
from workers.wakeup import DELIVERIES_DUE, HintBus, Wakeup
from workers.webhook_attempt import Attempts

log = structlog.get_logger(__name__)

SLOTS_MAX = 64
PER_ENDPOINT_MAX = 4
SUSPECT_PER_ENDPOINT_MAX = 1
SUSPECT_SLOTS_MAX = 32
SUSPECTS_KEPT_MAX = 1_000
SLOW_MS = 5_000
LEASE_SECONDS = 45
POLL_SECONDS = 0.25
EAGER_POLL_SECONDS = 0.015
EAGER_POLLS = 40
OUTAGE_PAUSE_SECONDS = 0.5
DRAIN_SECONDS_MAX = 5.0


class WebhookWorker:
    def __init__(
        self,
        queue: DeliveryQueue,
        attempts: Attempts,
        bus: HintBus,
        clock: Clock,
        *,
        slots: int = SLOTS_MAX,
        per_endpoint: int = PER_ENDPOINT_MAX,
    ) -> None:
        self._queue = queue
        self._attempts = attempts
        self._clock = clock
        self._slots = slots
        self._per_endpoint = per_endpoint
        self._wakeup = Wakeup(bus, DELIVERIES_DUE, clock)
        self._running: dict[asyncio.Task[None], UUID] = {}  # and the endpoint each is for
        self._suspects: dict[UUID, None] = {}  # in the order in which they were slow
        self._unreleased: set[UUID] = set()  # an outage came between
        self._away = False

    async def run(self, stop: asyncio.Event) -> None:
        eager_polls = 0
        async with self._wakeup.listening(stop):
            while not stop.is_set():
                try:
                    started = await self.fill()
                    self._seen(None)
                except Unavailable as outage:
                    self._seen(outage)
                    await self._wakeup.wait(OUTAGE_PAUSE_SECONDS)
                    continue
                if started and len(self._running) < self._slots:
                    continue
                pause = EAGER_POLL_SECONDS if eager_polls > 0 else POLL_SECONDS
                hinted = await self._wakeup.wait(pause)
                eager_polls = EAGER_POLLS if hinted else max(0, eager_polls - 1)
        await self._drain()

    async def fill(self) -> int:
        """Claim for the free slots and start the attempts; give how many were started."""
        free = self._slots - len(self._running)
        if free <= 0:
            return 0
        for delivery_id in tuple(self._unreleased):
            await self._release(delivery_id)
        claimed = await self._queue.claim(
            self._clock.now(),
            slots=free,
            per_endpoint=self._per_endpoint,
            busy=self._busy(),
            lease_seconds=LEASE_SECONDS,
        )
        deliveries = await asyncio.gather(*(self._taken(each) for each in claimed))
        started = [delivery for delivery in deliveries if delivery is not None]
        for delivery in started:
            task = asyncio.create_task(self._attempt(delivery))
            self._running[task] = delivery.endpoint_id
            task.add_done_callback(self._ended)
        return len(started)

    async def settled(self) -> None:
        """Wait until no attempt is running."""
        while self._running:
            await asyncio.wait(set(self._running))

    async def _taken(self, delivery_id: UUID) -> WebhookDelivery | None:
        """The claimed delivery, when it is due by its own stream too."""
        try:
            delivery = await self._attempts.due(delivery_id)
            if delivery is None:
                await self._release(delivery_id)
        except Unavailable as outage:
            self._unreleased.add(delivery_id)
            self._seen(outage)
        except Exception:  # the lease stays, so that this one comes round once a lease
            log.exception("webhook_delivery_unreadable", delivery_id=str(delivery_id))
        else:
            return delivery
        return None

    async def _attempt(self, delivery: WebhookDelivery) -> None:
        try:
            attempted = await self._attempts.make(delivery)
            self._suspect(delivery.endpoint_id, slow=attempted.latency_ms >= SLOW_MS)
            await self._release(delivery.delivery_id)
        except Unavailable as outage:
            self._unreleased.add(delivery.delivery_id)
            self._seen(outage)
        except Exception:  # the lease stays: see above
            log.exception("webhook_attempt_broke", delivery_id=str(delivery.delivery_id))

    async def _release(self, delivery_id: UUID) -> None:
        await self._queue.release(delivery_id)
        self._unreleased.discard(delivery_id)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._wakeup.ring()

    def _busy(self) -> dict[UUID, int]:
        """Attempts in flight by endpoint; suspects are made to look busier than they are."""
        busy = Counter(self._running.values())
        counted = dict(busy)
        room = SUSPECT_SLOTS_MAX - sum(busy[endpoint] for endpoint in self._suspects)
        idle = (endpoint for endpoint in self._suspects if not busy[endpoint])
        admitted = set(islice(idle, max(0, room)))
        for endpoint in self._suspects:
            held_back = self._per_endpoint - SUSPECT_PER_ENDPOINT_MAX
            counted[endpoint] = held_back if endpoint in admitted else self._per_endpoint
        return counted

    def _suspect(self, endpoint_id: UUID, *, slow: bool) -> None:
        self._suspects.pop(endpoint_id, None)
        if slow:
            if len(self._suspects) >= SUSPECTS_KEPT_MAX:
                self._suspects.pop(next(iter(self._suspects)))
            self._suspects[endpoint_id] = None

    async def _drain(self) -> None:
        """Let attempts end; those that do not are made again when their lease is over."""
        running = set(self._running)
        if not running:
            return
        _, late = await asyncio.wait(running, timeout=DRAIN_SECONDS_MAX)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _seen(self, outage: Unavailable | None) -> None:
        if outage is not None and not self._away:
            log.warning("webhook_delivery_waits", service=outage.service, reason=outage.reason)
        if outage is None and self._away:
            log.info("webhook_delivery_goes_on")
        self._away = outage is not None

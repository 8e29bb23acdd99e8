"""Reports from the outbox to JetStream, in order, as often as it takes.

Shapes  `wake` says that there is something new. A report published and neither recorded by its
        consumer nor parked within SWEEP_AFTER_SECONDS is published again: so a wiped stream
        loses nothing. The message id lets JetStream drop repeats within two minutes, and the
        consumer's inbox drops the others.
Errors  none: outages of the bus and the store are waited for.
"""

import asyncio
from collections.abc import Sequence

import structlog

from application.ingest import IngestStore, StoredReport
from application.outside import Bus, Publication
from application.ports import Clock, Unavailable

log = structlog.get_logger(__name__)

BATCH_MAX = 256
ON_THE_WAY_MAX = BATCH_MAX  # one window, marked once: a block's reports are few enough
POLL_SECONDS = 1.0  # should a wake be missed
SWEEP_SECONDS = 5.0
SWEEP_AFTER_SECONDS = 20
OUTAGE_PAUSE_SECONDS = 0.5


class OutboxPublisher:
    def __init__(self, network: str, store: IngestStore, bus: Bus, clock: Clock) -> None:
        self._network = network
        self._store = store
        self._bus = bus
        self._clock = clock
        self._woken = asyncio.Event()
        self._away = False

    def wake(self) -> None:
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        next_sweep = self._clock.now().timestamp()
        while not stop.is_set():
            self._woken.clear()
            try:
                more = await self.publish_new()
                now = self._clock.now().timestamp()
                if now >= next_sweep:
                    next_sweep = now + SWEEP_SECONDS
                    await self.sweep()
                self._seen(None)
            except Unavailable as outage:
                self._seen(outage)
                await self._clock.sleep(OUTAGE_PAUSE_SECONDS, stop)
                continue
            if not more:
                await self._clock.sleep(POLL_SECONDS, stop, self._woken)

    async def publish_new(self) -> bool:
        """One batch of what has never been on the bus; True when there may be more."""
        reports = await self._store.unpublished(self._network, BATCH_MAX)
        await self._publish(reports)
        return len(reports) == BATCH_MAX

    async def sweep(self) -> int:
        """Publish again what nobody has recorded in time; how many that were."""
        reports = await self._store.overdue(
            self._network,
            self._clock.now(),
            after_seconds=SWEEP_AFTER_SECONDS,
            limit=BATCH_MAX,
        )
        if reports:
            log.warning("reports_overdue", network=self._network, count=len(reports))
        await self._publish(reports)
        return len(reports)

    async def _publish(self, reports: Sequence[StoredReport]) -> None:
        """Offered in order, several on the way at once; what got through is marked, always.

        In an outage a later report may get through before an earlier one, as on the bus itself:
        the report numbers tell consumers what to believe.
        """
        for start in range(0, len(reports), ON_THE_WAY_MAX):
            window = reports[start : start + ON_THE_WAY_MAX]
            outcomes = await self._bus.publish_all(
                [Publication(each.subject, each.data, each.message_id) for each in window]
            )
            through = [
                each.report_number
                for each, outcome in zip(window, outcomes, strict=True)
                if outcome is None
            ]
            if through:
                await self._store.mark_published(self._network, through, self._clock.now())
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome

    def _seen(self, outage: Unavailable | None) -> None:
        if outage is not None and not self._away:
            log.warning("outbox_waits", service=outage.service, reason=outage.reason)
        if outage is None and self._away:
            log.info("outbox_goes_on", network=self._network)
        self._away = outage is not None

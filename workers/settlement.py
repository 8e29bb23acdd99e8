"""NATS to commands: pulls chain reports, applies each once, acks after the commit.

Shapes  Reports about one address are applied one after the other, different addresses side by
        side, so that a burst fills the store's group append. What they will need is read
        beforehand, for all of a pull at once; each then goes its own way, and one that fails
        takes no other with it.
Errors  an outage puts the message back and tries again for as long as it lasts; bytes that are
        no report, or that fail PARKED_AFTER_DELIVERIES times, are parked with the reason.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

import structlog

from application.chain_messages import (
    PARKED_AFTER_DELIVERIES,
    SOURCE,
    ChainReport,
    MessageMalformed,
    ReorgReport,
    decode_report,
    report_subjects,
)
from application.outside import Bus, BusMessage, ParkedMessages
from application.ports import Clock, Unavailable
from application.settlement import Foreseen, Settlement

log = structlog.get_logger(__name__)

PULL_LIMIT = 256  # as many as the store writes in one transaction
PULL_WAIT_SECONDS = 1.0
OUTAGE_PAUSE_SECONDS = 0.5
RETRY_DELAY_SECONDS = 1.0
LOOK_AHEAD_MIN = 2  # reports; one alone reads no less by it

_Lane = list[tuple[BusMessage, ChainReport]]


class SettlementWorker:
    def __init__(
        self,
        network: str,
        bus: Bus,
        settlement: Settlement,
        parked: ParkedMessages,
        clock: Clock,
    ) -> None:
        self._network = network
        self._bus = bus
        self._settlement = settlement
        self._parked = parked
        self._clock = clock
        self._away = False

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                messages = await self._bus.pull(
                    report_subjects(self._network),
                    f"settlement-{self._network}",
                    limit=PULL_LIMIT,
                    wait_seconds=PULL_WAIT_SECONDS,
                )
                await self.settle(messages)
                self._seen(None)
            except Unavailable as outage:
                self._seen(outage)
                await self._clock.sleep(OUTAGE_PAUSE_SECONDS)

    async def settle(self, messages: Sequence[BusMessage]) -> None:
        """Apply a pull's messages; raises the outage, if there was one, when all are dealt with."""
        lanes: defaultdict[str, _Lane] = defaultdict(list)
        for message in messages:
            try:
                report = decode_report(message.subject, message.data)
            except MessageMalformed as malformed:
                await self._park(message, str(malformed))
            else:
                lanes[_lane_of(report)].append((message, report))
        foreseen = await self._look_ahead(lanes)
        outages = await asyncio.gather(
            *(self._lane(lane, foreseen.get(name)) for name, lane in lanes.items())
        )
        for outage in outages:
            if outage is not None:
                raise outage

    async def _look_ahead(self, lanes: Mapping[str, _Lane]) -> Mapping[str, Foreseen]:
        """Only a help: without it every report reads for itself, and fails for itself."""
        reports = [
            report
            for lane in lanes.values()
            for _, report in lane
            if not isinstance(report, ReorgReport)
        ]
        if len(reports) < LOOK_AHEAD_MIN:
            return {}
        try:
            return await self._settlement.look_ahead(self._network, reports)
        except Unavailable:
            return {}  # each report will hear of it, and be put back
        except Exception:
            log.exception("looked_ahead_in_vain", network=self._network, reports=len(reports))
            return {}

    async def _lane(self, lane: _Lane, foreseen: Foreseen | None) -> Unavailable | None:
        outage: Unavailable | None = None
        for message, report in lane:
            try:
                await self._settlement.apply(report, foreseen)
                await self._bus.ack(message)
            except Unavailable as away:
                outage = away
                await self._bus.retry_later(message, RETRY_DELAY_SECONDS)
            except Exception as failure:
                log.exception("report_failed", message_id=report.message_id)
                await self._failed(message, failure)
        return outage

    async def _failed(self, message: BusMessage, failure: Exception) -> None:
        if message.deliveries < PARKED_AFTER_DELIVERIES:
            await self._bus.retry_later(message, RETRY_DELAY_SECONDS * message.deliveries)
            return
        await self._park(message, f"{type(failure).__name__}: {failure}")

    async def _park(self, message: BusMessage, error: str) -> None:
        """Set it aside where an operator sees it; only then take it off the bus."""
        log.error("report_parked", subject=message.subject, error=error)
        await self._parked.park(SOURCE, message, error)
        await self._bus.give_up(message)

    def _seen(self, outage: Unavailable | None) -> None:
        if outage is not None and not self._away:
            log.warning("settlement_waits", service=outage.service, reason=outage.reason)
        if outage is None and self._away:
            log.info("settlement_goes_on", network=self._network)
        self._away = outage is not None


def _lane_of(report: ChainReport) -> str:
    return "reorg" if isinstance(report, ReorgReport) else report.sighting.recipient

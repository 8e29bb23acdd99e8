"""What following a network costs and how it goes: kept each minute, logged, and read by gauges.

Shapes  `run` belongs to the leading ingester: it gives the store what was counted since the last
        time, and says it in one log line. `gauges` is how the network stands at this moment, for
        whoever scrapes. What was counted while the store is away is lost, on purpose: adding it
        later would count twice when only the answer was lost.
Units   seconds and blocks. Counts belong to the hour in which they are flushed.
Errors  none from `run`; `gauges` leaves out what the store cannot tell now.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from application.figures import (
    ANSWERED,
    FIGURES_KEPT_DAYS,
    Backlog,
    CallCount,
    CallFigures,
    Condition,
    FiguresStore,
    ProviderState,
    ReadingCount,
    ReadingFigures,
)
from application.ingest import IngestStore
from application.ports import Clock, Unavailable
from application.reconciling import ReconcileBook
from application.standing import Standing as NetworkStanding
from chain_ingest.health import Standing
from chain_ingest.metered import Call, Meter
from chain_ingest.panel import Panel
from chain_ingest.tally import Tally
from domain.networks import Network

log = structlog.get_logger(__name__)

FIGURES_SECONDS = 60.0
ACTIVE_SECONDS = 300.0  # a provider that nobody has asked for so long is none of our knowledge
GAUGES_SECONDS_MAX = 1.0  # a scrape does not wait longer for the store
QUORUM = 2
_CONDITIONS: Mapping[Standing, Condition] = {
    "unknown": "answers",
    "serving": "answers",
    "limited": "limited",
    "failing": "fails",
    "down": "down",
    "quarantined": "lied",
    "refused": "refused",
}


@dataclass(frozen=True, slots=True)
class Gauges:
    """How a network stands. None: the store, or no provider, can tell now."""

    leads: bool
    resting: bool = False  # nobody waits for a payment: a lag of minutes is as it should be
    number: int | None = None  # of the newest block passed
    head_lag_seconds: float | None = None
    head_lag_blocks: int | None = None
    attested_lag_seconds: float | None = None
    backlog: Backlog | None = None
    backlog_seconds: float | None = None
    standing: NetworkStanding | None = None  # what the ingester last said of itself
    unexplained: int | None = None  # balances of the newest reconcile run


class Measures:
    def __init__(
        self,
        network: Network,
        meters: Sequence[Meter],
        tally: Tally,
        store: IngestStore,
        figures: FiguresStore,
        clock: Clock,
        *,
        conditions: Callable[[], Mapping[str, Condition]] = dict,
    ) -> None:
        """`conditions`: what the ingester itself thinks of its providers, by name."""
        self.network = network
        self.meters = tuple(meters)
        self.tally = tally
        self.leads = False
        self._store = store
        self._figures = figures
        self._clock = clock
        self._conditions = conditions
        self.book: ReconcileBook | None = None  # what its reconciler finds; None: there is none
        self._since = clock.now()
        self._forgotten: datetime | None = None
        self._away = False

    @property
    def quorum(self) -> int:
        """How many providers must vouch for a block before anything in it is confirmed."""
        one_will_do = len(self.meters) == 1 or self.network.policy.allow_unattested
        return 1 if one_will_do else QUORUM

    async def run(self, stop: asyncio.Event) -> None:
        self.leads = True
        try:
            while not stop.is_set():
                await self._clock.sleep(FIGURES_SECONDS, stop)
                await self.flush()
        finally:
            self.leads = False

    async def flush(self) -> None:
        """Keep what was counted since the last time, and say it."""
        now = self._clock.now()
        since, self._since = self._since, now
        calls = {meter.provider: meter.take() for meter in self.meters}
        reading = self.tally.take()
        await self._keep(calls, reading, since, now)
        self._say(calls, reading, await self.gauges(), now - since)

    async def gauges(self) -> Gauges:
        try:
            async with asyncio.timeout(GAUGES_SECONDS_MAX):
                return await self._read()
        except (Unavailable, TimeoutError):
            return Gauges(self.leads, self.tally.resting)

    def states(self) -> tuple[ProviderState, ...]:
        now = self._clock.now()
        conditions = self._conditions()
        return tuple(
            ProviderState(
                network=self.network.name,
                provider=meter.provider,
                condition=_condition(meter, conditions.get(meter.provider), now),
                head=meter.head,
                answered_at=meter.answered_at,
                failed_at=meter.failed_at,
                failure=meter.failure,
                at=now,
            )
            for meter in self.meters
        )

    # ------------------------------------------------------------ keeping

    async def _keep(
        self,
        calls: Mapping[str, Mapping[Call, CallCount]],
        reading: ReadingCount,
        since: datetime,
        now: datetime,
    ) -> None:
        hour = now.replace(minute=0, second=0, microsecond=0)
        name = self.network.name
        rows = [
            CallFigures(name, provider, hour, method, outcome, count, since, now)
            for provider, counts in calls.items()
            for (method, outcome), count in counts.items()
        ]
        try:
            readings = [ReadingFigures(name, hour, reading, since, now)]
            await self._figures.add(rows, readings, self.states())
            if self._forgotten != hour:
                await self._figures.forget(hour - timedelta(days=FIGURES_KEPT_DAYS))
                self._forgotten = hour
        except Unavailable as outage:
            if not self._away:
                log.warning("figures_not_kept", network=name, reason=outage.reason)
            self._away = True
            return
        self._away = False

    def _say(
        self,
        calls: Mapping[str, Mapping[Call, CallCount]],
        reading: ReadingCount,
        gauges: Gauges,
        took: timedelta,
    ) -> None:
        per_provider: Counter[str] = Counter()
        failures: Counter[str] = Counter()
        for provider, counts in calls.items():
            for (_, outcome), count in counts.items():
                per_provider[provider] += count.calls
                if outcome != ANSWERED:
                    failures[outcome] += count.calls
        asked = per_provider.total()
        backlog = gauges.backlog
        log.info(
            "ingest_figures",
            network=self.network.name,
            seconds=round(took.total_seconds(), 1),
            block=gauges.number,
            resting=gauges.resting,
            head_lag_seconds=gauges.head_lag_seconds,
            head_lag_blocks=gauges.head_lag_blocks,
            attested_lag_seconds=gauges.attested_lag_seconds,
            blocks=reading.blocks,
            calls=dict(per_provider),
            calls_per_block=round(asked / reading.blocks, 1) if reading.blocks else None,
            failures=dict(failures),
            disagreements=reading.disagreements,
            proofs=reading.proofs,
            lies=reading.lies,
            reorgs=reading.reorgs,
            deepest_reorg=reading.deepest_reorg,
            unpublished=None if backlog is None else backlog.unpublished,
            unsettled=None if backlog is None else backlog.unsettled,
        )

    # ------------------------------------------------------------ reading

    async def _read(self) -> Gauges:
        name = self.network.name
        backlog = await self._figures.backlog(name)
        told = await self._store.standing(name)
        standing = None if told is None else told.seen_at(self._clock.now())
        run = None if self.book is None else await self.book.newest(name)
        unexplained = None if run is None else run.unexplained
        cursor = await self._store.cursor(name)
        if cursor is None:
            return Gauges(
                self.leads,
                self.tally.resting,
                backlog=backlog,
                standing=standing,
                unexplained=unexplained,
            )
        newest = await self._store.newest_header(name, cursor.number)
        doubtful = await self._store.unattested(name, 1)
        tip = self._tip()
        return Gauges(
            leads=self.leads,
            resting=self.tally.resting,
            number=cursor.number,
            head_lag_seconds=None if newest is None else self._age(newest.time),
            head_lag_blocks=None if tip is None else max(tip - cursor.number, 0),
            attested_lag_seconds=self._age(doubtful[0].time) if doubtful else 0.0,
            backlog=backlog,
            backlog_seconds=0.0 if backlog.oldest_at is None else self._age(backlog.oldest_at),
            standing=standing,
            unexplained=unexplained,
        )

    def _age(self, moment: datetime) -> float:
        return max((self._clock.now() - moment).total_seconds(), 0.0)

    def _tip(self) -> int | None:
        """The height that two providers tell of; one's own word where there is no other."""
        recent = self._clock.now() - timedelta(seconds=ACTIVE_SECONDS)
        heads = sorted(
            (
                meter.head
                for meter in self.meters
                if meter.head is not None
                and meter.answered_at is not None
                and meter.answered_at >= recent
            ),
            reverse=True,
        )
        return heads[min(QUORUM, len(heads)) - 1] if heads else None


def conditions(panel: Panel) -> Mapping[str, Condition]:
    """What the ingester's own health book says of each provider."""
    return {name: _CONDITIONS[state.standing] for name, state in panel.states.items()}


def _condition(meter: Meter, told: Condition | None, now: datetime) -> Condition:
    """What the ingester thinks of a provider; where it thinks nothing, what its answers say."""
    if told is not None and told != "answers":
        return told
    last = max((at for at in (meter.answered_at, meter.failed_at) if at is not None), default=None)
    if last is None or (now - last).total_seconds() > ACTIVE_SECONDS:
        return "not_asked"
    return "answers" if last == meter.answered_at else "fails"

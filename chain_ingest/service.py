"""The ingester of one network: leads or stands by, and while it leads follows and publishes.

Shapes  Leadership is a lease from the store. When it is lost, work stops and starts again with a
        new lease; a write that slips in between is refused by the cursor it names.
        `ingest_network` puts the parts together from ports.
Errors  Misconfigured, and our own bugs in following and publishing, end `run`; outages do not.
        A duty that fails is logged and begun again after a pause: payments go on without it.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import structlog

from application.chain_source import ChainSource
from application.figures import FiguresStore
from application.ingest import IngestStore, Lease, RangeMemory, WatchedAddresses
from application.outside import Bus
from application.policies import Policies
from application.ports import Clock, Unavailable
from application.reads import Progress
from chain_ingest.beginning import Beginning, Openings
from chain_ingest.follower import Follower
from chain_ingest.measures import Measures, conditions
from chain_ingest.metered import Meter
from chain_ingest.outbox import OutboxPublisher
from chain_ingest.pace import Bell, Pace
from chain_ingest.passing import Passing
from chain_ingest.providers import Providers
from chain_ingest.recheck import Recheck
from chain_ingest.reconcile import Reconciler, Reconciling, reconciler
from chain_ingest.rest import Expecting, Rest
from chain_ingest.tally import Tally
from chain_ingest.terms import Policy
from chain_ingest.watch import LogHead, Watch
from domain.networks import Network

log = structlog.get_logger(__name__)

STANDBY_SECONDS = 2.0
LEASE_CHECK_SECONDS = 1.0
DUTY_SECONDS_FIRST, DUTY_SECONDS_MAX = 5.0, 600.0  # until a duty that failed is begun again


class Duty(Protocol):
    async def run(self, stop: asyncio.Event) -> None: ...


class Ingester:
    def __init__(
        self,
        network: Network,
        follower: Follower,
        outbox: OutboxPublisher,
        store: IngestStore,
        clock: Clock,
        *,
        duties: Sequence[Duty] = (),
        measures: Measures | None = None,
    ) -> None:
        """`duties`: what else the leader does, each until it is told to stop."""
        self.follower = follower
        self.outbox = outbox
        self.measures = measures
        self._duties = (*duties, *(() if measures is None else (measures,)))
        self._network = network
        self._store = store
        self._clock = clock

    async def run(self, stop: asyncio.Event) -> None:
        waiting = False
        while not stop.is_set():
            why = "ingest_stands_by"
            try:
                lease = await self._store.lead(self._network.name)
            except Unavailable:
                lease, why = None, "ingest_waits_for_postgresql"
            if lease is None:
                if not waiting:
                    log.info(why, network=self._network.name)
                waiting = True
                await self._clock.sleep(STANDBY_SECONDS, stop)
                continue
            waiting = False
            try:
                await self._lead(lease, stop)
            finally:
                await lease.release()

    async def _lead(self, lease: Lease, stop: asyncio.Event) -> None:
        """Until told to stop, or until the lease is gone. A part that fails ends the others."""
        log.info("ingest_leads", network=self._network.name)
        done = asyncio.Event()
        parts = [
            asyncio.create_task(self.follower.run(done)),
            asyncio.create_task(self.outbox.run(done)),
            *(asyncio.create_task(self._dutiful(duty, done)) for duty in self._duties),
            asyncio.create_task(self._until_over(lease, stop)),
        ]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            done.set()
            parts[-1].cancel()
            ended = await asyncio.gather(*parts, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome

    async def _dutiful(self, duty: Duty, stop: asyncio.Event) -> None:
        """The duty, begun again when it fails; the pauses grow, whatever happens between."""
        wait_seconds = DUTY_SECONDS_FIRST
        while True:
            try:
                return await duty.run(stop)
            except Exception:
                name = type(duty).__name__
                log.exception("duty_failed", network=self._network.name, duty=name)
            await self._clock.sleep(wait_seconds, stop)
            if stop.is_set():
                return None
            wait_seconds = min(wait_seconds * 2, DUTY_SECONDS_MAX)

    async def _until_over(self, lease: Lease, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if not await lease.held():
                log.warning("ingest_lost_leadership", network=self._network.name)
                return
            await self._clock.sleep(LEASE_CHECK_SECONDS, stop)


def ingest_network(  # noqa: PLR0913 - one argument a port
    network: Network,
    sources: Sequence[ChainSource],
    store: IngestStore,
    bus: Bus,
    *,
    policies: Policies,
    log_head: LogHead,
    progress: Progress,
    watched: WatchedAddresses,
    clock: Clock,
    start_block: int | None = None,
    meters: Sequence[Meter] = (),
    figures: FiguresStore | None = None,
    range_memory: RangeMemory | None = None,
    bell: Bell | None = None,
    reconciling: Reconciling | None = None,
    expecting: Expecting | None = None,
    openings: Openings | None = None,
) -> Ingester:
    """Everything that one network's ingester needs, given its ports.

    `bell` only ends a pause early (chain_ingest/pace.py); `meters` are those of the sources
    (chain_ingest/metered.py); without `figures` nothing is kept, without `reconciling` no balance
    is read, without `expecting` it never rests (chain_ingest/rest.py), and without `openings` and
    `start_block` it begins at the head, whoever waits for older blocks (chain_ingest/beginning.py).
    """
    tally = Tally()
    providers = Providers(network, sources, clock, tally, range_memory)
    policy = Policy(network, policies, store)
    outbox = OutboxPublisher(network.name, store, bus, clock)
    watch = Watch(log_head, progress, watched)
    passing = Passing(network, store, policy, outbox, bus, clock, tally)
    follower = Follower(
        network,
        providers,
        store,
        policy,
        watch,
        passing,
        clock,
        start_block=start_block,
        pace=Pace(network, clock, bell),
        rest=None
        if expecting is None
        else Rest(network, store, log_head, progress, expecting, clock, tally),
        beginning=None
        if openings is None
        else Beginning(network, providers, log_head, progress, openings, clock),
    )
    measures = None
    if figures is not None:
        thinks = partial(conditions, providers.panel)
        measures = Measures(network, meters, tally, store, figures, clock, conditions=thinks)
        measures.book = None if reconciling is None else reconciling.book
    duties: list[Duty] = [] if bell is None else [bell]
    if reconciling is not None:
        parts = (network, providers, store, policy, watch, passing, clock)
        duties.append(reconciler(reconciling, *parts)[1])
    return Ingester(network, follower, outbox, store, clock, duties=duties, measures=measures)


def second_look(
    network: Network,
    sources: Sequence[ChainSource],
    store: IngestStore,
    bus: Bus,
    reconciling: Reconciling,
    *,
    watch: Watch,
    clock: Clock,
) -> tuple[Recheck, Reconciler]:
    """What a person needs to read a chain again, beside the ingester and in another process.

    What it feeds in waits in the outbox for the ingester, which publishes it.
    """
    providers = Providers(network, sources, clock)
    policy = Policy(network, Policies(reconciling.handler), store)
    outbox = OutboxPublisher(network.name, store, bus, clock)
    passing = Passing(network, store, policy, outbox, bus, clock)
    return reconciler(reconciling, network, providers, store, policy, watch, passing, clock)

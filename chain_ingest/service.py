"""The ingester of one network: leads or stands by, and while it leads follows and publishes.

Shapes  Leadership is a lease from the store. When it is lost, work stops and starts again with a
        new lease; a write that slips in between is refused by the cursor it names.
        `ingest_network` puts the parts together from ports.
Errors  Misconfigured, and our own bugs, end `run`; outages do not.
"""

import asyncio
from collections.abc import Sequence

import structlog

from application.chain_source import ChainSource
from application.ingest import IngestStore, Lease, WatchedAddresses
from application.outside import Bus
from application.policies import Policies
from application.ports import Clock, Unavailable
from application.reads import Progress
from chain_ingest.follower import Follower
from chain_ingest.outbox import OutboxPublisher
from chain_ingest.passing import Passing
from chain_ingest.pauses import pause
from chain_ingest.providers import Providers
from chain_ingest.terms import Policy
from chain_ingest.watch import LogHead, Watch
from domain.networks import Network

log = structlog.get_logger(__name__)

STANDBY_SECONDS = 2.0
LEASE_CHECK_SECONDS = 1.0


class Ingester:
    def __init__(
        self,
        network: Network,
        follower: Follower,
        outbox: OutboxPublisher,
        store: IngestStore,
        clock: Clock,
    ) -> None:
        self.follower = follower
        self.outbox = outbox
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
                await pause(self._clock, STANDBY_SECONDS, stop)
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

    async def _until_over(self, lease: Lease, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if not await lease.held():
                log.warning("ingest_lost_leadership", network=self._network.name)
                return
            await pause(self._clock, LEASE_CHECK_SECONDS, stop)


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
) -> Ingester:
    """Everything that one network's ingester needs, given its ports."""
    providers = Providers(network, sources, clock)
    policy = Policy(network, policies, store)
    outbox = OutboxPublisher(network.name, store, bus, clock)
    follower = Follower(
        network,
        providers,
        store,
        policy,
        Watch(log_head, progress, watched),
        Passing(network, store, policy, outbox, bus, clock),
        clock,
        start_block=start_block,
    )
    return Ingester(network, follower, outbox, store, clock)

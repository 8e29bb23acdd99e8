"""The ingester on real PostgreSQL and NATS, wired as in its process, its clock a fast one.

Shapes  `Ingesting` runs what gateway/bootstrap.py puts together, and can be stopped and started.
Units   the ingester's second is 1/SPEED of a real one: a quarantine of a minute passes in
        seconds. Network time-outs are real.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from adapters.clock import SystemClock
from adapters.evm import EvmClient
from adapters.ingest_store import PostgresIngestStore
from application.ports import StoreUnavailable, Waker
from chain_ingest.admission import Misconfigured
from chaos.sessions import CLIENT, environment, projected
from chaos.stage import Stage
from domain.networks import ConfirmationPolicy, Network, Token, local_network
from gateway import bootstrap, settings
from gateway.local_chain import USDC, USDT

log = structlog.get_logger(__name__)

SPEED = 8
CONFIRMATIONS = 12
TIMEOUT_SECONDS = 0.3
STOP_SECONDS_MAX = 20
RESTART_SECONDS = 0.5
# As the local one, but for its leniency: nothing is confirmed on one provider's word.
NETWORK: Network = local_network(
    chain_id=31337,
    tokens=(
        Token(symbol="USDC", address=USDC, decimals=6),
        Token(symbol="USDT", address=USDT, decimals=6),
    ),
    blocks=CONFIRMATIONS,
).model_copy(update={"policy": ConfirmationPolicy(version=1, blocks=CONFIRMATIONS)})


class FastClock(SystemClock):
    """The Clock port, SPEED times as fast."""

    def __init__(self) -> None:
        self._start = datetime.now(UTC)

    def now(self) -> datetime:
        return self._start + (datetime.now(UTC) - self._start) * SPEED

    async def sleep(self, seconds: float, *wakers: Waker) -> None:
        await super().sleep(seconds / SPEED, *wakers)


class Ingesting:
    """The ingester, started and stopped like a process, restarted when it refuses to start."""

    def __init__(self, stage: Stage) -> None:
        self.refusals = 0
        self._stage = stage
        self._store = PostgresIngestStore(stage.postgres)
        self._settings = settings.load(environment(stage, CONFIRMATIONS))
        self._clock = FastClock()
        self._stop = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._stop = asyncio.Event()
        self._running = asyncio.create_task(self._supervised(self._stop))

    async def stop(self) -> None:
        self._stop.set()
        if self._running is not None:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await self._running
        self._running = None

    def check(self) -> None:
        """Raise what ended it, should something have."""
        if self._running is not None and self._running.done():
            self._running.result()

    async def height(self) -> int:
        try:
            cursor = await self._store.cursor(NETWORK.name)
        except StoreUnavailable:
            return 0
        return 0 if cursor is None else cursor.number

    async def _supervised(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._once(stop)
            except Misconfigured as refused:
                self.refusals += 1
                log.warning("refused_to_start", reason=str(refused))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), RESTART_SECONDS)

    async def _once(self, stop: asyncio.Event) -> None:
        clients = tuple(
            EvmClient(
                f"{url}/{CLIENT}", NETWORK, provider_name=f"p{n}", timeout_seconds=TIMEOUT_SECONDS
            )
            for n, url in enumerate(self._stage.urls)
        )
        async with bootstrap.core(self._settings, "chaos-ingest") as core:
            for client in clients:
                await client.open()
            try:
                fast = replace(core, clock=self._clock)
                await bootstrap.ingester(fast, NETWORK, clients).run(stop)
            finally:
                for client in clients:
                    await client.close()


@contextlib.asynccontextmanager
async def ingesting(stage: Stage) -> AsyncIterator[Ingesting]:
    """Not started yet, with all it needs from others."""
    async with projected(stage):
        found = Ingesting(stage)
        try:
            yield found
        finally:
            await found.stop()

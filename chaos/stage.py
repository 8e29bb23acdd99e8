"""What every campaign plays on: servers of its own, a chain, three providers, a consumer.

Shapes  `stage` starts all of it in a new folder and leaves nothing behind. PostgreSQL has every
        table; the database role is the application's.
        `settle` lets blocks come until nothing waits for one and everything has been said.
Units   seconds, real ones.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from adapters import migrate
from adapters.postgres import Postgres
from application.ports import Unavailable
from chaos.consumer import Consumer, make_table
from chaos.driver import Driver
from chaos.node import Node
from chaos.proxies import Provider, providers
from gateway.embedded import Embedded
from gateway.local_chain import LocalChain
from projections.schema import ensure_schemas

NETWORK_NAME = "local"
PAID_ADDRESSES = 60
POLL_SECONDS = 0.05
BLOCK_PAUSE_SECONDS = 0.25  # time to read again what one provider vouched for
QUIET_SECONDS = 0.5
SETTLE_SECONDS_MAX = 240.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """How far the ingester is, by its own tables."""

    cursor: int
    unconfirmed: int
    unpublished: int
    last_report: int
    unheard: int


_WAITING = """
SELECT coalesce(max(c.number), 0),
    (SELECT count(*) FROM ingest.sightings WHERE state = 'observed'),
    (SELECT count(*) FROM ingest.outbox WHERE published_at IS NULL),
    coalesce(max(c.report_number), 0),
    coalesce(max(c.report_number), 0) - (SELECT count(*) FROM chaos.reports)
FROM ingest.cursors AS c
"""


@dataclass(frozen=True, slots=True)
class Stage:
    folder: Path
    servers: Embedded
    chain: LocalChain
    driver: Driver
    providers: Sequence[Provider]
    postgres: Postgres
    consumer: Consumer
    watched: Sequence[str]
    dsn: str

    @property
    def urls(self) -> list[str]:
        return [provider.url for provider in self.providers]

    async def waiting(self) -> Waiting:
        async with self.postgres.connection() as connection:
            row = await (await connection.execute(_WAITING)).fetchone()
        assert row is not None, "it has an aggregate"
        return Waiting(*row)

    async def settle(self, check: Callable[[], None] = lambda: None) -> bool:
        """Until every canonical payment can have been confirmed and heard; False in vain."""
        loop = asyncio.get_running_loop()
        until = loop.time() + SETTLE_SECONDS_MAX
        while loop.time() < until:
            check()
            with contextlib.suppress(Unavailable):
                now = await self.waiting()
                head = self.driver.mirror.head
                if now.cursor == head and not (now.unconfirmed or now.unpublished or now.unheard):
                    return True
                if now.unconfirmed and now.cursor == head:
                    await self.driver.grow([[]])
            await asyncio.sleep(BLOCK_PAUSE_SECONDS)
        return False


@contextlib.asynccontextmanager
async def stage(
    seed: int, *, addresses: int, durable: bool = False, honest: bool = False
) -> AsyncIterator[Stage]:
    folder = await asyncio.to_thread(_folder)
    servers = Embedded(folder, chain=None, durable=durable)
    node = Node(folder / "anvil")
    rng = Random(f"story {seed}")
    watched = ["0x" + rng.randbytes(20).hex() for _ in range(addresses)]
    paid = watched[:PAID_ADDRESSES]
    try:
        await servers.start()
        await node.start()
        dsn = await asyncio.to_thread(_tables, servers.postgres.url)
        async with contextlib.AsyncExitStack() as stack:
            chain = await stack.enter_async_context(LocalChain(node.url))
            driver = Driver(chain, rng, paid)
            await driver.prepare()
            found = await stack.enter_async_context(providers(driver, node.url, paid, seed))
            for provider in found if honest else ():
                provider.honest()
            postgres = await stack.enter_async_context(Postgres(dsn, name="chaos"))
            consumer = Consumer(postgres, servers.nats.url, NETWORK_NAME)
            await stack.enter_async_context(_listening(consumer))
            yield Stage(folder, servers, chain, driver, found, postgres, consumer, watched, dsn)
    finally:
        await node.stop()
        await servers.stop()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def _listening(consumer: Consumer) -> AsyncIterator[None]:
    stop = asyncio.Event()
    listening = asyncio.create_task(consumer.run(stop))
    try:
        yield
    finally:
        stop.set()
        consumer.listen()
        await listening


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="gateway-chaos-"))
    folder.chmod(0o711)  # PostgreSQL may run as another account
    return folder


def _tables(admin_url: str) -> str:
    migrate.create_roles(admin_url)
    owner = migrate.role_dsn(admin_url, migrate.OWNER)
    migrate.migrate(owner)
    ensure_schemas(owner)
    make_table(admin_url)
    return migrate.role_dsn(admin_url, migrate.APP)

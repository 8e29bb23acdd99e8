"""Two `gateway ingest` processes of one network: one works, the other takes over within 30 s.

The leader is killed with -9, and in another test it hangs (SIGSTOP): its connection stays open,
its machine answers for it, and only PostgreSQL's own patience ends it. When it wakes up again it
must notice that it no longer leads. What is paid meanwhile is seen, and seen once.
"""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from nats.js.errors import NotFoundError

from adapters.clock import SystemIds
from adapters.event_store import PostgresEventStore
from adapters.nats_bus import NatsBus
from adapters.postgres import Postgres
from application.chain_messages import STREAM
from application.ports import Batch, Context, Stream, StreamAppend
from gateway.embedded_anvil import Anvil
from gateway.local_chain import LOCAL_TOKENS, USDC, LocalChain
from projections.schema import ensure_schemas
from tests.conftest import Migrated
from tests.examples import CREATED
from tests.gateway.dying import with_us

pytestmark = pytest.mark.services
ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 60
TAKEN_OVER_SECONDS_MAX = 30
SYSTEM = Context(actor="system")
Record = Callable[[str, object], None]


@dataclass
class Child:
    process: Process
    log: Path

    def leads(self) -> int:
        """How often it has come to lead."""
        return self.log.read_text().count("ingest_leads")

    async def end(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), 25)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


@dataclass
class Pair:
    chain: LocalChain
    postgres: Postgres
    store: PostgresEventStore
    environment: dict[str, str]
    folder: Path
    children: list[Child] = field(default_factory=list)

    async def start(self, *command: str) -> Child:
        path = self.folder / f"{len(self.children)}.log"
        with path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *with_us(sys.executable, "-m", "gateway", *command),
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        self.children.append(Child(process, path))
        return self.children[-1]

    async def ingester(self) -> Child:
        return await self.start("ingest", "--network", "local")

    async def leading(self, *candidates: Child, after: int = 0) -> Child:
        """The one of them that has come to lead, with the others standing by."""
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                for child in candidates:
                    assert child.process.returncode is None, child.log.read_text()
                    if child.leads() > after:
                        return child
                await asyncio.sleep(0.05)

    async def pay(self, number: int) -> None:
        recipient = f"0x{number:040x}"
        session_id = SystemIds().new()
        made = CREATED.model_copy(update={"session_id": session_id, "deposit_address": recipient})
        stream = Stream("payment_session", session_id)
        await self.store.append(Batch((StreamAppend(stream, 0, (made,)),), SYSTEM))
        payer = (await self.chain.accounts())[1]
        await self.chain.transfer(USDC, payer, recipient, number)

    async def seen(self) -> list[int]:
        """The amounts of all sightings there are, canonical or not."""
        async with self.postgres.connection() as connection:
            cursor = await connection.execute(
                "SELECT (sighting -> 'amount' ->> 'units')::int FROM ingest.sightings ORDER BY 1"
            )
            return [row[0] for row in await cursor.fetchall()]

    async def until_seen(self, *numbers: int) -> float:
        """How long it took until just these payments were seen."""
        begun = time.monotonic()
        async with asyncio.timeout(SECONDS_MAX):
            while await self.seen() != list(numbers):
                await asyncio.sleep(0.05)
        return time.monotonic() - begun


@pytest.fixture
async def pair(
    fresh_anvil: Anvil, migrated: Migrated, nats_url: str, server_folder: Path
) -> AsyncIterator[Pair]:
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONUNBUFFERED": "1",
        "DATABASE_URL": migrated.app_dsn,
        "NATS_URL": nats_url,
        "NETWORKS": "local",
        "RPC_URLS_LOCAL": fresh_anvil.url,
        "LOCAL_TOKENS": LOCAL_TOKENS,
        "CONFIRMATIONS_LOCAL": "3",
        "START_BLOCK_LOCAL": "0",
    }
    async with (
        LocalChain(fresh_anvil.url) as chain,
        Postgres(migrated.app_dsn, name="test-standby") as postgres,
        PostgresEventStore(postgres, ids=SystemIds()) as store,
    ):
        await chain.deploy_tokens()
        await chain.mint(USDC, (await chain.accounts())[1], 10**9)
        pair = Pair(chain, postgres, store, environment, server_folder)
        await pair.start("project")
        yield pair
        await asyncio.gather(*(child.end() for child in pair.children))
    bus = NatsBus(nats_url, name="test-standby")
    session = await bus._connected()
    with suppress(NotFoundError):  # a leader that never found anything published nothing
        await session.jetstream.delete_stream(STREAM)
    await bus.close()


async def test_a_killed_leader_is_replaced_within_thirty_seconds(
    pair: Pair, record_property: Record
) -> None:
    one, other = await pair.ingester(), await pair.ingester()
    leader = await pair.leading(one, other)
    standby = other if leader is one else one
    await pair.pay(1)
    await pair.until_seen(1)
    leader.process.kill()
    await pair.pay(2)
    seconds = await pair.until_seen(1, 2)
    record_property("taken_over_seconds", round(seconds, 1))
    assert seconds < TAKEN_OVER_SECONDS_MAX
    assert standby.leads() == 1


async def test_a_leader_that_hangs_is_replaced_and_notices_when_it_wakes(
    pair: Pair, record_property: Record
) -> None:
    leader = await pair.ingester()
    await pair.leading(leader)
    standby = await pair.ingester()
    await pair.pay(1)
    await pair.until_seen(1)
    leader.process.send_signal(signal.SIGSTOP)
    await pair.pay(2)
    seconds = await pair.until_seen(1, 2)
    record_property("taken_over_seconds", round(seconds, 1))
    assert seconds < TAKEN_OVER_SECONDS_MAX
    assert standby.leads() == 1
    leader.process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(SECONDS_MAX):
        while "ingest_lost_leadership" not in leader.log.read_text():
            await asyncio.sleep(0.05)
    await pair.pay(3)
    await pair.until_seen(1, 2, 3)
    assert leader.leads() == 1, "it stands by now"
    standby.process.kill()
    await pair.pay(4)
    await pair.until_seen(1, 2, 3, 4)
    assert leader.leads() == 2, "until it is its turn again"

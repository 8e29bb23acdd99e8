"""Read models on real servers, followed and rebuilt by real `gateway` processes.

site    a database with every table, a log in it, and commands run as operators run them
"""

import asyncio
import io
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
import psycopg
from psycopg import sql

from adapters.clock import SystemIds
from adapters.event_store import PostgresEventStore
from adapters.memory.clock import FakeClock
from adapters.postgres import Postgres
from application.handling import Handler
from application.ports import Batch, Context, Stream, StreamAppend
from domain.events import Event
from gateway.local_chain import LOCAL_TOKENS
from gateway.settings import Settings, load
from projections.catalogue import PROJECTIONS
from projections.progress import ProgressReads
from projections.schema import ensure_schemas
from tests.conftest import Migrated
from tests.examples import AT, CREATED
from tests.gateway.dying import with_us
from tests.projections.history import History
from tests.test_house import ROOT

SYSTEM = Context(actor="system")
SECONDS_MAX = 120
POLL_SECONDS = 0.01
_MANY = """
INSERT INTO es.events (position, stream_type, stream_id, version, topic, schema_version, event_id,
                       merchant_id, mode, occurred_at, state, meta)
SELECT (SELECT max(position) FROM es.events) + n, stream_type, fresh, 1, topic, schema_version,
       gen_random_uuid(), merchant_id, mode, occurred_at,
       convert_to(replace(replace(convert_from(state, 'UTF8'), stream_id::text, fresh::text),
                          %(address)s, '0x' || lpad(to_hex(n), 40, 'a')), 'UTF8'), meta
FROM es.events CROSS JOIN LATERAL (
    SELECT n, md5('session ' || n)::uuid AS fresh FROM generate_series(1, %(count)s) AS n
) AS made
WHERE position = 1
"""


class Said(NamedTuple):
    status: int
    out: str
    err: str

    def lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.out.splitlines()]


@dataclass
class Site:
    migrated: Migrated
    environment: dict[str, str]
    app: Postgres
    owner: Postgres
    store: PostgresEventStore
    processes: list[Process] = field(default_factory=list)

    def history(self, seed: int = 1) -> History:
        clock = FakeClock(AT)
        return History(Handler(self.store, clock), clock, seed)

    async def start(self, *command: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            *with_us(sys.executable, "-m", "gateway", *command),
            cwd=ROOT,
            env=self.environment,
            stdout=PIPE,
            stderr=PIPE,
        )
        self.processes.append(process)
        return process

    async def follower(self) -> Process:
        """`gateway project`, its output read by nobody."""
        process = await asyncio.create_subprocess_exec(
            *with_us(sys.executable, "-m", "gateway", "project"),
            cwd=ROOT,
            env=self.environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process

    async def said(self, process: Process) -> Said:
        async with asyncio.timeout(SECONDS_MAX):
            out, err = await process.communicate()
        return Said(process.returncode or 0, out.decode(), err.decode())

    async def gateway(self, *arguments: str) -> Said:
        return await self.said(await self.start("projections", *arguments))

    @property
    def settings(self) -> Settings:
        return load(self.environment)

    async def told(self, command: Coroutine[Any, Any, int | None]) -> Said:
        """A command of gateway/operate_projections, without a process of its own."""
        out = io.StringIO()
        with redirect_stdout(out):
            status = await command
        return Said(status or 0, out.getvalue(), "")

    async def append(self, stream: Stream, *events: Event, after: int = 0) -> int:
        return await self.store.append(Batch((StreamAppend(stream, after, events),), SYSTEM))

    async def many_sessions(self, count: int) -> None:
        """As many in a second or two as the store takes in minutes."""
        stream = Stream("payment_session", CREATED.session_id)
        assert await self.append(stream, CREATED) == 1
        async with await psycopg.AsyncConnection.connect(self.migrated.admin_dsn) as connection:
            values = {"address": CREATED.deposit_address, "count": count}
            await connection.execute(_MANY, values)

    async def caught_up(self) -> int:
        head = await self.store.head()
        progress = ProgressReads(self.app)
        assert await progress.wait_for(head, timeout_seconds=SECONDS_MAX)
        return head

    async def rows(self, query: str, *arguments: object) -> list[Any]:
        async with self.owner.connection() as connection:
            return await (await connection.execute(query, arguments or None)).fetchall()

    async def until(self, query: str, holds: Callable[[list[Any]], bool]) -> list[Any]:
        async with asyncio.timeout(SECONDS_MAX):
            while not holds(found := await self.rows(query)):
                await asyncio.sleep(POLL_SECONDS)
        return found

    async def contents(self, schema: str, table: str) -> list[Any]:
        """Every row as the text of all its columns."""
        query = sql.SQL("SELECT t::text FROM {} t ORDER BY 1")
        async with self.owner.connection() as connection:
            await connection.execute("SET LOCAL statement_timeout = 0")
            cursor = await connection.execute(query.format(sql.Identifier(schema, table)))
            return await cursor.fetchall()

    async def schemas(self, name: str) -> list[str]:
        """What is shown, and then what is kept behind it."""
        found = await self.rows(
            "SELECT schema FROM rm_admin.checkpoints WHERE name = %s AND followed "
            "ORDER BY live DESC, kept_since DESC",
            name,
        )
        return [row[0] for row in found]

    async def all_alike(self) -> None:
        """Every table of what is shown holds, byte for byte, the rows of what is kept."""
        for projection in PROJECTIONS:
            shown, *kept = await self.schemas(projection.name)
            assert kept, projection.name
            for table in projection.tables:
                rows = await self.contents(shown, table.name)
                for other in kept:
                    assert rows == await self.contents(other, table.name), table.name
                assert rows == await self.contents("rm", table.name), table.name

    async def end(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                process.terminate()
        for process in self.processes:
            try:
                await asyncio.wait_for(process.communicate(), 20)
            except TimeoutError:
                process.kill()
                await process.communicate()


@asynccontextmanager
async def opened(migrated: Migrated, nats_url: str) -> AsyncIterator[Site]:
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONUNBUFFERED": "1",
        "DATABASE_URL": migrated.app_dsn,
        "DATABASE_URL_OWNER": migrated.owner_dsn,
        "NATS_URL": nats_url,
        "NETWORKS": "local",
        "LOCAL_TOKENS": LOCAL_TOKENS,
    }
    async with (
        Postgres(migrated.app_dsn, name="test-site") as app,
        Postgres(migrated.owner_dsn, name="test-site-owner") as owner,
        PostgresEventStore(app, ids=SystemIds()) as store,
    ):
        site = Site(migrated, environment, app, owner, store)
        try:
            yield site
        finally:
            await site.end()

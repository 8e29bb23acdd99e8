"""Who listens to the ingester's reports, as the settlement worker does, and keeps what it heard.

Shapes  A report goes into the inbox and into `chaos.reports` in one transaction, and is acked
        after the commit: so what is in the table is what a consumer has acted upon, once.
Errors  outages of the bus and the database are waited for. TimeoutError when it does not stop
        listening in DEAF_SECONDS_MAX: it has ended, or hangs.
"""

import asyncio
from collections.abc import Sequence

import psycopg

from adapters.nats_bus import NatsBus
from adapters.postgres import Postgres
from application.chain_messages import ChainReport, decode_report, report_subjects
from application.outside import BusMessage
from application.ports import Unavailable

PULL_MAX = 500
WAIT_SECONDS = 0.2
RETRY_SECONDS = 0.3
DEAF_SECONDS_MAX = 30.0  # one pull, and what it brought, written and acked
TABLE = (
    "CREATE SCHEMA chaos",
    "CREATE TABLE chaos.reports (message_id text PRIMARY KEY, subject text, data bytea)",
    "GRANT USAGE ON SCHEMA chaos TO gw_app",
    "GRANT SELECT, INSERT ON chaos.reports TO gw_app",
)
_HEAR = """
WITH new AS (
    INSERT INTO es.inbox (source, message_id, position) VALUES ('chain', %(id)s, 0)
    ON CONFLICT DO NOTHING RETURNING message_id
)
INSERT INTO chaos.reports (message_id, subject, data)
SELECT message_id, %(subject)s, %(data)s FROM new
"""


def make_table(admin_url: str) -> None:
    with psycopg.connect(admin_url) as connection:
        for statement in TABLE:
            connection.execute(statement)


class Consumer:
    def __init__(self, postgres: Postgres, nats_url: str, network: str) -> None:
        self.repeats = 0
        self._listening = asyncio.Event()
        self._listening.set()
        self._deaf = asyncio.Event()
        self._postgres = postgres
        self._network = network
        self._bus = NatsBus(nats_url, name="chaos-consumer")

    async def run(self, stop: asyncio.Event) -> None:
        await self._bus.open()
        try:
            while not stop.is_set():
                if not self._listening.is_set():
                    self._deaf.set()
                    await self._listening.wait()
                try:
                    await self._pull()
                except Unavailable:
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            await self._bus.close()

    async def stop_listening(self) -> None:
        """Deaf once this returns: a pull that is under way would still hear what comes."""
        self._deaf.clear()
        self._listening.clear()
        try:
            await asyncio.wait_for(self._deaf.wait(), DEAF_SECONDS_MAX)
        except TimeoutError as late:
            raise TimeoutError(
                f"the consumer still listens after {DEAF_SECONDS_MAX:g} s: it has ended, or hangs"
            ) from late

    def listen(self) -> None:
        self._listening.set()

    async def reports(self) -> list[ChainReport]:
        async with self._postgres.connection() as connection:
            rows = await (
                await connection.execute("SELECT subject, data FROM chaos.reports")
            ).fetchall()
        return [decode_report(subject, bytes(data)) for subject, data in rows]

    async def count(self) -> int:
        async with self._postgres.connection() as connection:
            row = await (await connection.execute("SELECT count(*) FROM chaos.reports")).fetchone()
        return 0 if row is None else int(row[0])

    async def _pull(self) -> None:
        messages = await self._bus.pull(
            report_subjects(self._network), "chaos", limit=PULL_MAX, wait_seconds=WAIT_SECONDS
        )
        if not messages:
            return
        try:
            self.repeats += len(messages) - await self._recorded(messages)
        except Unavailable:
            for message in messages:
                await self._bus.retry_later(message, RETRY_SECONDS)
            raise
        for message in messages:
            await self._bus.ack(message)

    async def _recorded(self, messages: Sequence[BusMessage]) -> int:
        """How many of them were new."""
        added = 0
        async with self._postgres.connection() as connection:
            for message in messages:
                row = {"id": message.message_id, "subject": message.subject, "data": message.data}
                added += (await connection.execute(_HEAR, row)).rowcount
        return added

"""The ingester's memory in PostgreSQL: schema `ingest` (migration 0002).

Shapes  Every write is one transaction that first moves the cursor from where it was when the
        write was decided; no row to move means CursorMoved and nothing written.
        Leadership is a session advisory lock on a connection taken out of the pool.
Errors  CursorMoved, ports.StoreUnavailable.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from hashlib import sha256

import psycopg
from psycopg.rows import scalar_row

from adapters.ingest_sql import (
    BEGIN_CURSOR,
    CANONICAL_HEADER,
    CONFIRM,
    COVERAGE,
    CURSOR,
    EXTEND_COVERAGE,
    HEADER_AT,
    MARK_PUBLISHED,
    MOVE_CURSOR,
    OVERDUE,
    REATTEST,
    REPORT,
    SETTLE,
    SIGHT,
    SIGHTINGS_ABOVE,
    SIGHTINGS_IN,
    UNATTESTED,
    UNCONFIRMED,
    UNPUBLISHED,
    WITHDRAW,
)
from adapters.postgres import OUTAGES, Postgres, is_stale, reason_of
from application.chain_messages import SOURCE
from application.ingest import (
    BlockRef,
    CoveredRange,
    Cursor,
    CursorMoved,
    Lease,
    Orphaning,
    Passage,
    PassedHeader,
    Reexamination,
    StoredReport,
)
from application.outside import BusMessage, ParkedMessage
from application.ports import StoreUnavailable
from domain.events import Sighting

REPUBLISH_SECONDS_MAX = 300
TEXT_CHARACTERS_MAX = 4_000


class PostgresLease:
    """Leadership of one network; the lock dies with the connection."""

    def __init__(self, postgres: Postgres, connection: psycopg.AsyncConnection) -> None:
        self._postgres = postgres
        self._connection = connection
        self._released = False

    async def held(self) -> bool:
        return not self._released and not is_stale(self._connection)

    async def release(self) -> None:
        """Give the lock back at once, so that a standby need not wait for the session's end."""
        if self._released:
            return
        connection, self._released = self._connection, True
        try:
            await connection.execute("SELECT pg_advisory_unlock_all()")
            await connection.set_autocommit(False)
        except OUTAGES:
            await connection.close()
        with suppress(*OUTAGES):
            await self._postgres.give_back(connection)


class PostgresIngestStore:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    # ------------------------------------------------------------ leadership

    async def lead(self, network: str) -> Lease | None:
        try:
            connection = await self._postgres.take()
        except OUTAGES as error:
            raise StoreUnavailable(reason_of(error)) from error
        lease = PostgresLease(self._postgres, connection)
        try:
            await connection.set_autocommit(True)
            lock = "SELECT pg_try_advisory_lock(hashtextextended('ingest:' || %s, 0))"
            row = await (await connection.execute(lock, (network,))).fetchone()
        except BaseException as error:
            await lease.release()
            if isinstance(error, OUTAGES):
                raise StoreUnavailable(reason_of(error)) from error
            raise
        if row is not None and row[0]:
            return lease
        await lease.release()
        return None

    # ------------------------------------------------------------ reading

    async def cursor(self, network: str) -> Cursor | None:
        async with self._postgres.reading() as connection:
            row = await (await connection.execute(CURSOR, (network,))).fetchone()
        return None if row is None else Cursor(*row)

    async def header_at(self, network: str, number: int) -> PassedHeader | None:
        async with self._postgres.reading() as connection:
            row = await (await connection.execute(HEADER_AT, (network, number))).fetchone()
        return None if row is None else _header(row)

    async def unattested(self, network: str, limit: int) -> Sequence[PassedHeader]:
        async with self._postgres.reading() as connection:
            rows = await (await connection.execute(UNATTESTED, (network, limit))).fetchall()
        return [_header(row) for row in rows]

    async def sightings_above(self, network: str, number: int) -> Sequence[Sighting]:
        return await self._sightings(SIGHTINGS_ABOVE, (network, number))

    async def sightings_in(self, network: str, block_hash: str) -> Sequence[Sighting]:
        return await self._sightings(SIGHTINGS_IN, (network, block_hash))

    async def unconfirmed(
        self, network: str, *, up_to: int, attested_only: bool, limit: int
    ) -> Sequence[Sighting]:
        return await self._sightings(UNCONFIRMED, (network, up_to, attested_only, limit))

    async def coverage(self, network: str) -> Sequence[CoveredRange]:
        async with self._postgres.reading() as connection:
            rows = await (await connection.execute(COVERAGE, (network,))).fetchall()
        return [
            CoveredRange(first, parent, last, last_hash, tuple(providers), attested, at)
            for first, parent, last, last_hash, providers, attested, at in rows
        ]

    async def _sightings(self, query: str, values: tuple[object, ...]) -> Sequence[Sighting]:
        async with (
            self._postgres.reading() as connection,
            connection.cursor(row_factory=scalar_row) as cursor,
        ):
            await cursor.execute(query, values)
            return [Sighting.model_validate_json(text) for text in await cursor.fetchall()]

    # ------------------------------------------------------------ writing

    async def begin(self, network: str, anchor: PassedHeader, at: datetime) -> Cursor:
        ref = anchor.ref
        async with self._postgres.connection() as connection:
            began = await connection.execute(
                BEGIN_CURSOR, (network, ref.number, ref.hash, ref.number, at)
            )
            if began.rowcount == 1:
                await _write_header(connection, network, anchor, at)
            row = await (await connection.execute(CURSOR, (network,))).fetchone()
        assert row is not None, "it was there, or has just been written"
        return Cursor(*row)

    async def pass_blocks(self, passage: Passage) -> Cursor:
        header, ref = passage.header, passage.header.ref
        async with self._postgres.connection() as connection:
            cursor = await _move(
                connection, passage.network, passage.cursor, ref, passage.reports, passage.at
            )
            await _write_header(connection, passage.network, header, passage.at)
            await _write_sightings(connection, passage.sightings, passage.at)
            await _confirm(connection, passage)
            await _write_reports(connection, passage.network, passage.reports, passage.at)
            await connection.execute(
                EXTEND_COVERAGE,
                {
                    "network": passage.network,
                    "first": passage.first,
                    "parent_hash": passage.cursor.hash,
                    "last": ref.number,
                    "last_hash": ref.hash,
                    "providers": list(header.providers),
                    "attested": header.attested,
                    "at": passage.at,
                },
            )
        return cursor

    async def orphan(self, orphaning: Orphaning) -> Cursor:
        fork = orphaning.fork
        async with self._postgres.connection() as connection:
            cursor = await _move(
                connection,
                orphaning.network,
                orphaning.cursor,
                fork,
                orphaning.reports,
                orphaning.at,
            )
            values = {
                "network": orphaning.network,
                "fork": fork.number,
                "fork_hash": fork.hash,
                "at": orphaning.at,
            }
            for statement in WITHDRAW:
                await connection.execute(statement, values)
            await _write_reports(connection, orphaning.network, orphaning.reports, orphaning.at)
        return cursor

    async def reexamine(self, reexamination: Reexamination) -> Cursor:
        again = reexamination
        async with self._postgres.connection() as connection:
            stays = BlockRef(again.cursor.number, again.cursor.hash, "")
            cursor = await _move(
                connection, again.network, again.cursor, stays, again.reports, again.at
            )
            await _write_header(connection, again.network, again.header, again.at)
            await _write_sightings(connection, again.sightings, again.at)
            await _write_reports(connection, again.network, again.reports, again.at)
            await connection.execute(REATTEST, (again.network, again.header.ref.number))
        return cursor

    # ------------------------------------------------------------ outbox

    async def unpublished(self, network: str, limit: int) -> Sequence[StoredReport]:
        async with self._postgres.reading() as connection:
            rows = await (await connection.execute(UNPUBLISHED, (network, limit))).fetchall()
        return [StoredReport(*row) for row in rows]

    async def mark_published(self, network: str, numbers: Sequence[int], at: datetime) -> None:
        async with self._postgres.reading() as connection:
            await connection.execute(MARK_PUBLISHED, (at, network, list(numbers)))

    async def overdue(
        self, network: str, now: datetime, *, after_seconds: int, limit: int
    ) -> Sequence[StoredReport]:
        async with self._postgres.connection() as connection:
            await connection.execute(SETTLE, {"network": network, "source": SOURCE, "now": now})
            values = {
                "network": network,
                "now": now,
                "seconds": after_seconds,
                "seconds_max": REPUBLISH_SECONDS_MAX,
                "limit": limit,
            }
            rows = await (await connection.execute(OVERDUE, values)).fetchall()
        return [StoredReport(*row) for row in rows]


class PostgresParkedMessages:
    """application.outside.ParkedMessages."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def park(self, source: str, message: BusMessage, error: str) -> None:
        async with self._postgres.reading() as connection:
            await connection.execute(
                "INSERT INTO ingest.parked (source, message_id, subject, data, error, at) "
                "VALUES (%s, %s, %s, %s, %s, clock_timestamp()) ON CONFLICT DO NOTHING",
                (source, parked_id(message), message.subject, message.data, storable(error)),
            )

    async def list(self, limit: int) -> Sequence[ParkedMessage]:
        query = (
            "SELECT source, message_id, subject, data, error, at FROM ingest.parked "
            "ORDER BY at DESC, source, message_id LIMIT %s"
        )
        async with self._postgres.reading() as connection:
            rows = await (await connection.execute(query, (limit,))).fetchall()
        return [ParkedMessage(*row) for row in rows]


def parked_id(message: BusMessage) -> str:
    """The publisher's id, or for one who gave none the same digest for the same bytes."""
    if message.message_id:
        return storable(message.message_id)
    return "sha256:" + sha256(message.subject.encode() + b"\0" + message.data).hexdigest()


def storable(text: str) -> str:
    """PostgreSQL's text holds no NUL, and an error may quote anything at any length."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:TEXT_CHARACTERS_MAX]


# ---------------------------------------------------------------- parts of a transaction


async def _move(
    connection: psycopg.AsyncConnection,
    network: str,
    before: Cursor,
    to: BlockRef,
    reports: Sequence[StoredReport],
    at: datetime,
) -> Cursor:
    """First in every transaction: it also makes two writers of a network wait in line."""
    last = reports[-1].report_number if reports else before.report_number
    moved = await connection.execute(
        MOVE_CURSOR,
        (to.number, to.hash, last, at, network, before.number, before.hash, before.report_number),
    )
    if moved.rowcount != 1:
        raise CursorMoved(network)
    return Cursor(to.number, to.hash, last, before.anchor)


async def _write_header(
    connection: psycopg.AsyncConnection, network: str, header: PassedHeader, at: datetime
) -> None:
    ref = header.ref
    await connection.execute(
        CANONICAL_HEADER,
        (
            network,
            ref.hash,
            ref.number,
            ref.parent_hash,
            header.time,
            header.attested,
            list(header.providers),
            at,
        ),
    )


async def _write_sightings(
    connection: psycopg.AsyncConnection, sightings: Iterable[Sighting], at: datetime
) -> None:
    rows = [
        (
            sighting.network,
            sighting.block_hash,
            sighting.transfer_id,
            sighting.block_number,
            sighting.attested,
            sighting.model_dump_json(),
            at,
            at,
        )
        for sighting in sightings
    ]
    if rows:
        await connection.cursor().executemany(SIGHT, rows)


async def _confirm(connection: psycopg.AsyncConnection, passage: Passage) -> None:
    confirmed = passage.confirmed
    if not confirmed:
        return
    hashes = [sighting.block_hash for sighting in confirmed]
    transfers = [sighting.transfer_id for sighting in confirmed]
    done = await connection.execute(CONFIRM, (passage.at, hashes, transfers, passage.network))
    assert done.rowcount == len(confirmed), "only canonical, unconfirmed sightings are confirmed"


async def _write_reports(
    connection: psycopg.AsyncConnection,
    network: str,
    reports: Iterable[StoredReport],
    at: datetime,
) -> None:
    rows = [
        (network, report.report_number, report.message_id, report.subject, report.data, at)
        for report in reports
    ]
    if rows:
        await connection.cursor().executemany(REPORT, rows)


def _header(row: tuple[object, ...]) -> PassedHeader:
    number, block_hash, parent_hash, time, attested, providers = row
    assert isinstance(number, int)
    assert isinstance(time, datetime)
    assert isinstance(providers, list)
    ref = BlockRef(number, str(block_hash), str(parent_hash))
    return PassedHeader(ref, time, bool(attested), tuple(providers))

"""The ingester's memory in PostgreSQL: schema `ingest` (migrations 0002 and 0005).

Shapes  Every write is one transaction that first moves the cursor from where it was when the
        write was decided; no row to move means CursorMoved and nothing written.
        Leadership is a session advisory lock on a connection taken out of the pool. The server
        ends that session when it hears nothing of it for LEASE_SILENCE_SECONDS_MAX: so a leader
        that hangs, or that the network has cut off without a word, makes way for the standby.
        `held` is what is heard; it is asked every second.
Errors  CursorMoved, ports.StoreUnavailable.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

import psycopg

from adapters.ingest_rows import (
    confirm,
    header_of,
    move,
    sighted_of,
    terms_of,
    write_header,
    write_reports,
    write_sightings,
)
from adapters.ingest_sql import (
    AWAITED_TAGS,
    BEGIN_CURSOR,
    COVERAGE,
    CURSOR,
    EXTEND_COVERAGE,
    FIRST_TERMS,
    HEADER_AT,
    LEAD,
    MARK_PUBLISHED,
    NEWEST_ATTESTED,
    NEWEST_HEADER,
    OVERDUE,
    REATTEST,
    RECEIVED,
    SETTLE,
    SIGHTINGS_ABOVE,
    SIGHTINGS_IN,
    UNATTESTED,
    UNCONFIRMED,
    UNCONFIRMED_TAGGED,
    UNPROVED,
    UNPUBLISHED,
    WITHDRAW,
)
from adapters.postgres import OUTAGES, Postgres, is_stale, reason_of
from adapters.standing import PostgresStandings
from application.chain_messages import SOURCE
from application.ingest import (
    BlockRef,
    CoveredRange,
    Cursor,
    Lease,
    Orphaning,
    Passage,
    PassedHeader,
    Purse,
    Reexamination,
    Ripening,
    Sighted,
    StoredReport,
    Terms,
)
from application.ports import StoreUnavailable
from domain.networks import Finality

LEASE_SILENCE_SECONDS_MAX = 15  # with a standby's next try and its start well below 30 s
LEASE_ANSWER_SECONDS_MAX = 5.0
REPUBLISH_SECONDS_MAX = 300


class PostgresLease:
    """Leadership of one network; the lock dies with the connection."""

    def __init__(self, postgres: Postgres, connection: psycopg.AsyncConnection) -> None:
        self._postgres = postgres
        self._connection = connection
        self._released = False

    async def held(self) -> bool:
        if self._released or is_stale(self._connection):
            return False
        try:
            async with asyncio.timeout(LEASE_ANSWER_SECONDS_MAX):
                await self._connection.execute("SELECT 1")
        except (*OUTAGES, TimeoutError):
            return False
        return True

    async def release(self) -> None:
        """Give the lock back at once, so that a standby need not wait for the session's end."""
        if self._released:
            return
        connection, self._released = self._connection, True
        try:
            async with asyncio.timeout(LEASE_ANSWER_SECONDS_MAX):
                await connection.execute("SELECT pg_advisory_unlock_all()")
                await connection.execute("RESET idle_session_timeout")
                await connection.set_autocommit(False)
        except (*OUTAGES, TimeoutError):
            await connection.close()
        with suppress(*OUTAGES):
            await self._postgres.give_back(connection)


class PostgresIngestStore(PostgresStandings):
    # ------------------------------------------------------------ leadership

    async def lead(self, network: str) -> Lease | None:
        try:
            connection = await self._postgres.take()
        except OUTAGES as error:
            raise StoreUnavailable(reason_of(error)) from error
        lease = PostgresLease(self._postgres, connection)
        try:
            await connection.set_autocommit(True)
            silence = f"{LEASE_SILENCE_SECONDS_MAX}s"
            row = await (await connection.execute(LEAD, (network, silence))).fetchone()
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
        return await self._header(HEADER_AT, network, number)

    async def newest_header(self, network: str, up_to: int) -> PassedHeader | None:
        return await self._header(NEWEST_HEADER, network, up_to)

    async def newest_attested(self, network: str, *, above: int) -> PassedHeader | None:
        return await self._header(NEWEST_ATTESTED, network, above)

    async def _header(self, query: str, network: str, number: int) -> PassedHeader | None:
        async with self._postgres.reading() as connection:
            row = await (await connection.execute(query, (network, number))).fetchone()
        return None if row is None else header_of(row)

    async def unattested(self, network: str, limit: int) -> Sequence[PassedHeader]:
        async with self._postgres.reading() as connection:
            rows = await (await connection.execute(UNATTESTED, (network, limit))).fetchall()
        return [header_of(row) for row in rows]

    async def sightings_above(self, network: str, number: int) -> Sequence[Sighted]:
        return await self._sightings(SIGHTINGS_ABOVE, (network, number))

    async def sightings_in(self, network: str, block_hash: str) -> Sequence[Sighted]:
        return await self._sightings(SIGHTINGS_IN, (network, block_hash))

    async def first_terms(
        self, network: str, transfer_ids: Collection[str]
    ) -> Mapping[str, Terms]:
        values = (network, list(transfer_ids))
        async with self._postgres.reading() as connection:
            rows = await (await connection.execute(FIRST_TERMS, values)).fetchall()
        return {transfer_id: terms_of(*terms) for transfer_id, *terms in rows}

    async def received(
        self, network: str, purses: Collection[Purse], *, above: int
    ) -> Mapping[Purse, int]:
        recipients, assets = [purse[0] for purse in purses], [purse[1] for purse in purses]
        async with self._postgres.reading() as connection:
            rows = await (
                await connection.execute(RECEIVED, (recipients, assets, network, above))
            ).fetchall()
        known = {(recipient, asset): int(units) for recipient, asset, units in rows}
        return {purse: known.get(purse, 0) for purse in purses}

    async def unconfirmed(
        self,
        network: str,
        *,
        head: int,
        tag: Finality | None = None,
        attested_only: bool,
        limit: int,
    ) -> Sequence[Sighted]:
        if tag is None:
            return await self._sightings(UNCONFIRMED, (network, head, attested_only, limit))
        values = (network, tag, head, attested_only, limit)
        return await self._sightings(UNCONFIRMED_TAGGED, values)

    async def awaited_tags(self, network: str, *, attested_only: bool) -> Mapping[Finality, int]:
        async with self._postgres.reading() as connection:
            rows = await (
                await connection.execute(AWAITED_TAGS, (network, attested_only))
            ).fetchall()
        return dict(rows)

    async def coverage(self, network: str) -> Sequence[CoveredRange]:
        async with self._postgres.reading() as connection:
            rows = await (await connection.execute(COVERAGE, (network,))).fetchall()
        return [
            CoveredRange(first, parent, last, last_hash, tuple(providers), attested, at)
            for first, parent, last, last_hash, providers, attested, at in rows
        ]

    async def _sightings(self, query: str, values: tuple[object, ...]) -> Sequence[Sighted]:
        async with self._postgres.reading() as connection:
            rows = await (await connection.execute(query, values)).fetchall()
        return [sighted_of(row) for row in rows]

    # ------------------------------------------------------------ writing

    async def begin(self, network: str, anchor: PassedHeader, at: datetime) -> Cursor:
        ref = anchor.ref
        async with self._postgres.connection() as connection:
            began = await connection.execute(
                BEGIN_CURSOR, (network, ref.number, ref.hash, ref.number, at)
            )
            if began.rowcount == 1:
                await write_header(connection, network, anchor, at)
            row = await (await connection.execute(CURSOR, (network,))).fetchone()
        assert row is not None, "it was there, or has just been written"
        return Cursor(*row)

    async def pass_blocks(self, passage: Passage) -> Cursor:
        header, ref = passage.header, passage.header.ref
        async with self._postgres.connection() as connection:
            cursor = await move(
                connection, passage.network, passage.cursor, ref, passage.reports, passage.at
            )
            await write_header(connection, passage.network, header, passage.at)
            await write_sightings(connection, passage.sightings, passage.at)
            await confirm(connection, passage.network, passage.confirmed, passage.at)
            await write_reports(connection, passage.network, passage.reports, passage.at)
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
            cursor = await move(
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
            await write_reports(connection, orphaning.network, orphaning.reports, orphaning.at)
        return cursor

    async def reexamine(self, reexamination: Reexamination) -> Cursor:
        again = reexamination
        async with self._postgres.connection() as connection:
            stays = BlockRef(again.cursor.number, again.cursor.hash, "")
            cursor = await move(
                connection, again.network, again.cursor, stays, again.reports, again.at
            )
            await write_header(connection, again.network, again.header, again.at)
            gone = [each.sighting.transfer_id for each in again.unproved]
            block = again.header.ref
            await connection.execute(UNPROVED, (again.at, again.network, block.hash, gone))
            await write_sightings(connection, again.sightings, again.at)
            await write_reports(connection, again.network, again.reports, again.at)
            await connection.execute(REATTEST, (again.network, again.header.ref.number))
        return cursor

    async def confirm(self, ripening: Ripening) -> Cursor:
        network, at = ripening.network, ripening.at
        stays = BlockRef(ripening.cursor.number, ripening.cursor.hash, "")
        async with self._postgres.connection() as connection:
            cursor = await move(connection, network, ripening.cursor, stays, ripening.reports, at)
            await confirm(connection, network, ripening.confirmed, at)
            await write_reports(connection, network, ripening.reports, at)
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

"""Balances and transfers beside each other, in PostgreSQL: application/reconciling.py.

Errors  ports.StoreUnavailable.
"""

from collections.abc import Collection, Mapping, Sequence

import psycopg

from adapters.ingest_rows import sighted_of
from adapters.postgres import Postgres
from adapters.reconciling_sql import (
    ARRIVED,
    BOOKED,
    EXAMINED,
    KEEP_READING,
    KEEP_RUN,
    NEWEST_RUN,
    READINGS,
    RECEIVED_UNTIL,
    SIGHTINGS_OF,
)
from application.ingest import CoveredRange, Purse
from application.reconciling import (
    Arrived,
    Examined,
    KnownSighting,
    Mark,
    Reading,
    Reconciliation,
)
from domain.networks import NetworkBook

BOOKS_TIMEOUT_MS = 60_000  # the whole of the record, which a person waits for


class PostgresReconcileBook:
    """Implements application.reconciling.ReconcileBook."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def sightings_of(self, network: str, tx_hash: str) -> Sequence[KnownSighting]:
        async with self._postgres.reading() as connection:
            cursor = await connection.execute(SIGHTINGS_OF, (network, tx_hash))
            rows = await cursor.fetchall()
        return [KnownSighting(sighted_of(row[:-1]), bool(row[-1])) for row in rows]

    async def received_until(self, network: str, marks: Collection[Mark]) -> Mapping[Mark, int]:
        values = {
            "network": network,
            "recipients": [mark[0] for mark in marks],
            "assets": [mark[1] for mark in marks],
            "blocks": [mark[2] for mark in marks],
        }
        async with self._postgres.reading() as connection:
            rows = await (await connection.execute(RECEIVED_UNTIL, values)).fetchall()
        return {(recipient, asset, block): int(units) for recipient, asset, block, units in rows}

    async def readings(self, network: str, purses: Collection[Purse]) -> Mapping[Purse, Reading]:
        values = {
            "network": network,
            "addresses": [purse[0] for purse in purses],
            "assets": [purse[1] for purse in purses],
        }
        async with self._postgres.reading() as connection:
            rows = await (await connection.execute(READINGS, values)).fetchall()
        return {
            (address, asset): Reading((address, asset), number, block_hash, int(units))
            for address, asset, number, block_hash, units in rows
        }

    async def keep(self, run: Reconciliation, readings: Sequence[Reading]) -> None:
        rows = [
            (run.network, *each.purse, each.block_number, each.block_hash, each.units, run.at)
            for each in readings
        ]
        values = (
            run.network,
            run.at,
            run.block_number,
            run.block_hash,
            run.final,
            run.checked,
            run.undecided,
            run.differing,
            run.found,
            run.unexplained,
            run.rotated_to,
        )
        async with self._postgres.connection() as connection:
            await connection.execute(KEEP_RUN, values)
            if rows:
                await connection.cursor().executemany(KEEP_READING, rows)

    async def newest(self, network: str) -> Reconciliation | None:
        async with self._postgres.reading() as connection:
            row = await (await connection.execute(NEWEST_RUN, (network,))).fetchone()
        return None if row is None else Reconciliation(*row)

    async def examined(self, network: str, covered: CoveredRange) -> Examined:
        values = {
            "network": network,
            "first": covered.first,
            "last": covered.last,
            "attested": covered.attested,
        }
        async with self._postgres.reading() as connection:
            row = await (await connection.execute(EXAMINED, values)).fetchone()
        assert row is not None, "an aggregate answers one row"
        return Examined(int(row[0]), int(row[1]))


class PostgresBooksAndChain:
    """Implements application.reconciling.BooksAndChain: one moment of the whole record."""

    def __init__(self, postgres: Postgres, networks: NetworkBook) -> None:
        self._postgres = postgres
        self._networks = networks

    async def arrived(self, network: str) -> Sequence[Arrived]:
        ours = self._networks.get(network)
        known = [ours.asset(token) for token in ours.tokens]
        async with self._postgres.connection() as connection:
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            try:
                await connection.execute(f"SET LOCAL statement_timeout = {BOOKS_TIMEOUT_MS}")
                rows = await (await connection.execute(ARRIVED, {"network": network})).fetchall()
                assets = sorted({*known, *(row[0] for row in rows)})
                booked = dict(await (await connection.execute(BOOKED, (assets,))).fetchall())
                await connection.commit()
            finally:
                if not connection.closed:
                    await connection.rollback()
                    await connection.set_isolation_level(None)
        sums = {asset: [int(units) for units in rest] for asset, *rest in rows}
        found: list[Arrived] = []
        for asset in assets:
            confirmed, nobodys, settling, leaving = sums.get(asset, [0] * 4)
            held = int(booked.get(asset, 0))
            found.append(Arrived(asset, confirmed, nobodys, settling, leaving, held))
        return found

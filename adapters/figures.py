"""The figures of chain reading in PostgreSQL: hours that are added to, and provider states.

Errors  StoreUnavailable.
"""

from collections.abc import Sequence
from dataclasses import astuple
from datetime import datetime
from typing import Any

from adapters.postgres import Postgres
from application.chain_messages import SOURCE
from application.figures import (
    Backlog,
    CallCount,
    CallFigures,
    ProviderState,
    ReadingCount,
    ReadingFigures,
)

_ADD_CALLS = """
INSERT INTO ingest.figures AS old
    (network, provider, hour, method, outcome, calls, micros_sum, micros_max, buckets,
     first_at, last_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (network, hour, provider, method, outcome) DO UPDATE SET
    calls = old.calls + excluded.calls,
    micros_sum = old.micros_sum + excluded.micros_sum,
    micros_max = greatest(old.micros_max, excluded.micros_max),
    buckets = ARRAY(
        SELECT coalesce(a.calls, 0) + coalesce(b.calls, 0)
        FROM unnest(old.buckets) WITH ORDINALITY AS a (calls, place)
        FULL JOIN unnest(excluded.buckets) WITH ORDINALITY AS b (calls, place) USING (place)
        ORDER BY place),
    first_at = least(old.first_at, excluded.first_at),
    last_at = greatest(old.last_at, excluded.last_at)
"""
_ADD_READINGS = """
INSERT INTO ingest.reading_figures AS old
    (network, hour, blocks, proofs, disagreements, lies, reorgs, deepest_reorg, first_at, last_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (network, hour) DO UPDATE SET
    blocks = old.blocks + excluded.blocks,
    proofs = old.proofs + excluded.proofs,
    disagreements = old.disagreements + excluded.disagreements,
    lies = old.lies + excluded.lies,
    reorgs = old.reorgs + excluded.reorgs,
    deepest_reorg = greatest(old.deepest_reorg, excluded.deepest_reorg),
    first_at = least(old.first_at, excluded.first_at),
    last_at = greatest(old.last_at, excluded.last_at)
"""
_SET_STATE = """
INSERT INTO ingest.provider_states
    (network, provider, condition, head, answered_at, failed_at, failure, at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (network, provider) DO UPDATE SET
    condition = excluded.condition, head = excluded.head, answered_at = excluded.answered_at,
    failed_at = excluded.failed_at, failure = excluded.failure, at = excluded.at
"""
_FORGET = (
    "DELETE FROM ingest.figures WHERE hour < %s",
    "DELETE FROM ingest.reading_figures WHERE hour < %s",
)
_CALLS = """
SELECT network, provider, hour, method, outcome, calls, micros_sum, micros_max, buckets,
       first_at, last_at
FROM ingest.figures WHERE network = %s AND hour >= %s
ORDER BY hour, provider, method, outcome
"""
_READINGS = """
SELECT network, hour, blocks, proofs, disagreements, lies, reorgs, deepest_reorg,
       first_at, last_at
FROM ingest.reading_figures WHERE network = %s AND hour >= %s ORDER BY hour
"""
_STATES = """
SELECT network, provider, condition, head, answered_at, failed_at, failure, at
FROM ingest.provider_states WHERE network = %s ORDER BY provider
"""

# Each part by its partial index. Whether a published report is settled is noted there only when
# it is looked for again, so what its consumer has recorded or parked meanwhile is left out.
_BACKLOG = """
SELECT count(*) FILTER (WHERE NOT published), count(*) FILTER (WHERE published), min(created_at)
FROM (
    SELECT false AS published, created_at FROM ingest.outbox
    WHERE network = %(network)s AND published_at IS NULL
    UNION ALL
    SELECT true, created_at FROM ingest.outbox AS o
    WHERE network = %(network)s AND published_at IS NOT NULL AND settled_at IS NULL
        AND NOT EXISTS (SELECT FROM es.inbox AS i
                        WHERE i.source = %(source)s AND i.message_id = o.message_id)
        AND NOT EXISTS (SELECT FROM ingest.parked AS p
                        WHERE p.source = %(source)s AND p.message_id = o.message_id)
) AS waiting
"""


class PostgresFigures:
    """Implements application.figures.FiguresStore."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def add(
        self,
        calls: Sequence[CallFigures],
        readings: Sequence[ReadingFigures],
        states: Sequence[ProviderState],
    ) -> None:
        async with self._postgres.connection() as connection, connection.cursor() as cursor:
            if calls:
                await cursor.executemany(_ADD_CALLS, [_call_row(each) for each in calls])
            if readings:
                await cursor.executemany(_ADD_READINGS, [_reading_row(each) for each in readings])
            if states:
                await cursor.executemany(_SET_STATE, [astuple(each) for each in states])

    async def forget(self, before: datetime) -> None:
        async with self._postgres.connection() as connection:
            for statement in _FORGET:
                await connection.execute(statement, (before,))

    async def calls(self, network: str, since: datetime) -> Sequence[CallFigures]:
        rows = await self._rows(_CALLS, (network, since))
        return [_call_figures(*row) for row in rows]

    async def readings(self, network: str, since: datetime) -> Sequence[ReadingFigures]:
        rows = await self._rows(_READINGS, (network, since))
        return [
            ReadingFigures(where, hour, ReadingCount(*counts), first_at, last_at)
            for where, hour, *counts, first_at, last_at in rows
        ]

    async def states(self, network: str) -> Sequence[ProviderState]:
        return [ProviderState(*row) for row in await self._rows(_STATES, (network,))]

    async def backlog(self, network: str) -> Backlog:
        values = {"network": network, "source": SOURCE}
        async with self._postgres.reading() as connection:
            row = await (await connection.execute(_BACKLOG, values)).fetchone()
        assert row is not None, "an aggregate has one row"
        return Backlog(*row)

    async def _rows(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        async with self._postgres.reading() as connection:
            return await (await connection.execute(statement, values)).fetchall()


def _call_figures(*row: Any) -> CallFigures:
    where, provider, hour, method, outcome, calls, micros, slowest, buckets, first, last = row
    count = CallCount(calls, micros, slowest, tuple(buckets))
    return CallFigures(where, provider, hour, method, outcome, count, first, last)


def _call_row(each: CallFigures) -> tuple[object, ...]:
    count = each.count
    key = (each.network, each.provider, each.hour, each.method, each.outcome)
    sums = (count.calls, count.micros_sum, count.micros_max, list(count.buckets))
    return (*key, *sums, each.first_at, each.last_at)


def _reading_row(each: ReadingFigures) -> tuple[object, ...]:
    return (each.network, each.hour, *astuple(each.count), each.first_at, each.last_at)

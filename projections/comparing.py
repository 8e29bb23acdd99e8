"""Whether two schemas of one projection hold the same rows, at one position of the log.

Shapes  Nobody is held up: what is shown is read in a snapshot, in which rows and checkpoint are
        of one moment; a rebuilt schema is brought to exactly that position first. Of kept
        schemas, which the runner moves together with the live one, both are read in one snapshot.
        Rows are compared as the text of all their columns, by hashes over BUCKETS parts of each
        table: of two that differ, only the parts that differ are read row by row.
Units   positions of the log; seconds to wait for the runner.
Errors  NothingToCompare  there are not two schemas of this code's version
        LiveStandsStill   what is shown does not come to where the rebuilt one is
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from psycopg import AsyncConnection, sql

from application.ports import Clock, EventStore
from projections import checkpoints
from projections.applying import Applier
from projections.checkpoints import Place
from projections.database import Connections
from projections.projection import Projection
from projections.rebuild import Job
from projections.table import Table

BATCH_EVENTS_MAX = 10_000
BUCKETS = 1_024
BUCKETS_SHOWN_MAX = 3
KEYS_SHOWN_MAX = 5
LIVE_SECONDS_MAX = 30.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Difference:
    """One table of two schemas that does not hold the same rows, with a few of the keys."""

    table: str
    rows: tuple[int, int]
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """`live` and `other` at `position`; `rows` counts those of each table that was compared."""

    live: str
    other: str
    position: int
    rows: Mapping[str, tuple[int, int]]
    differences: tuple[Difference, ...]


class NothingToCompare(Exception):  # noqa: N818
    """There are not two schemas of this code's version."""


class LiveStandsStill(Exception):  # noqa: N818 - named for what is the case
    """The shown tables did not come to the position that the others contain already."""


async def compare_rebuilt(
    owner: Connections, work: AsyncConnection, store: EventStore, job: Job, clock: Clock
) -> Comparison | None:
    """A rebuilt schema beside what is shown; None when that is of another version's shape."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + LIVE_SECONDS_MAX
    while True:
        async with _snapshot(owner) as snapshot:
            live = await _live(snapshot, job.projection)
            if live is None:
                return None
            if live.position >= job.position:
                await _bring_to(work, store, job, live.position, clock)
                async with work.transaction():  # ended: what follows are transactions of their own
                    await work.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
                    return await _compare(snapshot, work, job.projection, live, job.follower.place)
        if loop.time() >= ends_at:
            raise LiveStandsStill(
                f"{live.schema} stands at {live.position} and does not come to {job.position}: "
                "is `gateway project` running?"
            )
        await asyncio.sleep(POLL_SECONDS)


async def compare_kept(owner: Connections, projection: Projection) -> Comparison:
    """The newest kept schema beside what is shown."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + LIVE_SECONDS_MAX
    while True:
        async with _snapshot(owner) as snapshot:
            live = await _live(snapshot, projection)
            kept = [
                place
                for place in await checkpoints.followed_places(snapshot, projection)
                if not place.live
            ]
            if live is None or not kept:
                raise NothingToCompare(f"{projection.name} has nothing beside what is shown")
            if live.position == kept[0].position:
                return await _compare(snapshot, snapshot, projection, live, kept[0])
        if loop.time() >= ends_at:
            raise LiveStandsStill(
                f"{live.schema} stands at {live.position}, {kept[0].schema} at "
                f"{kept[0].position}: is `gateway project` running?"
            )
        await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def _snapshot(owner: Connections) -> AsyncIterator[AsyncConnection]:
    """One moment of all tables, for as long as it takes to read them."""
    async with owner.connection() as connection, connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield connection


async def _live(connection: AsyncConnection, projection: Projection) -> Place | None:
    """The shown place, if it is of this code's version: others have other tables."""
    places = await checkpoints.followed_places(connection, projection)
    return next((place for place in places if place.live), None)


async def _bring_to(
    work: AsyncConnection, store: EventStore, job: Job, position: int, clock: Clock
) -> None:
    """Contain the log up to a position and no further: the log has no gaps."""
    applier = Applier(clock)
    while job.position < position:
        limit = min(position - job.position, BATCH_EVENTS_MAX)
        batch = await store.read_log(after=job.position, limit=limit)
        assert batch, f"the log ends before {position}"
        await applier.advance(work, [job.follower], batch)


async def _compare(
    live_side: AsyncConnection,
    other_side: AsyncConnection,
    projection: Projection,
    live: Place,
    other: Place,
) -> Comparison:
    rows: dict[str, tuple[int, int]] = {}
    differences: list[Difference] = []
    for table in projection.tables:
        ours = await _buckets(live_side, live.schema, table)
        theirs = await _buckets(other_side, other.schema, table)
        counts = (_count(ours), _count(theirs))
        rows[table.name] = counts
        wrong = sorted(b for b in ours.keys() | theirs.keys() if ours.get(b) != theirs.get(b))
        if wrong:
            shown = wrong[:BUCKETS_SHOWN_MAX]
            one = await _rows(live_side, live.schema, table, shown)
            two = await _rows(other_side, other.schema, table, shown)
            differences.append(Difference(table.name, counts, _keys(one, two)))
    return Comparison(live.schema, other.schema, other.position, rows, tuple(differences))


_Buckets = Mapping[int, tuple[int, object]]


def _count(buckets: _Buckets) -> int:
    return sum(count for count, _ in buckets.values())


async def _buckets(connection: AsyncConnection, schema: str, table: Table) -> _Buckets:
    """Rows and the sum of their hashes by part of the table; sums do not depend on order."""
    query = sql.SQL(
        "SELECT hashtext(ROW({key})::text) & {mask}, count(*), "
        "sum(hashtextextended(t::text, 0)::numeric) FROM {table} t GROUP BY 1"
    ).format(**_names(schema, table))
    cursor = await connection.execute(query)
    return {row[0]: (row[1], row[2]) for row in await cursor.fetchall()}


async def _rows(
    connection: AsyncConnection, schema: str, table: Table, buckets: Sequence[int]
) -> dict[str, int]:
    """Keys and hashes of the rows in some parts."""
    query = sql.SQL(
        "SELECT ROW({key})::text, hashtextextended(t::text, 0) FROM {table} t "
        "WHERE hashtext(ROW({key})::text) & {mask} = ANY(%s)"
    ).format(**_names(schema, table))
    cursor = await connection.execute(query, (list(buckets),))
    return dict(await cursor.fetchall())


def _names(schema: str, table: Table) -> dict[str, sql.Composable]:
    return {
        "key": sql.SQL(", ").join(map(sql.Identifier, table.key)),
        "mask": sql.Literal(BUCKETS - 1),
        "table": sql.Identifier(schema, table.name),
    }


def _keys(live: Mapping[str, int], other: Mapping[str, int]) -> tuple[str, ...]:
    """Which rows, and how they differ."""
    said: list[str] = []
    for key in sorted(live.keys() | other.keys()):
        if live.get(key) == other.get(key) or len(said) == KEYS_SHOWN_MAX:
            continue
        how = "differs"
        if key not in live:
            how = "is not in what is shown"
        elif key not in other:
            how = "is only in what is shown"
        said.append(f"{key} {how}")
    return tuple(said)

"""Read models built anew from the log, beside the live ones, compared, and shown instead.

Shapes  rebuild   replays the whole log into fresh schemas, indexes last; the live ones go on
        compare   rows and a hash of all rows per table of two schemas at the same position
        switch    brings a rebuilt schema to the live one's place and moves the views to it
Errors  those of the database and of the store: a rebuild that failed leaves a schema that is
        not live, which may be dropped. All of it needs the owner role.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection, sql

from application.ports import Clock, EventStore
from projections.applying import Applier, Follower
from projections.checkpoints import Place
from projections.collector import few_collections
from projections.database import Connections
from projections.following import BATCH_EVENTS_MAX, Procession
from projections.projection import Projection
from projections.schema import creation, index_statements, show

SWITCH_LOCK_TIMEOUT_MS = 2_000
# Larger than live: a stream's facts are close together, and each batch writes its row once.
REBUILD_BATCH_EVENTS_MAX = 30_000


@dataclass(frozen=True, slots=True)
class Rebuilt:
    projection: Projection
    schema: str
    position: int
    parked: int


@dataclass(frozen=True, slots=True)
class Difference:
    """One table of two schemas that does not hold the same rows."""

    table: str
    rows: tuple[int, int]


class RebuildBehind(Exception):  # noqa: N818
    """The rebuilt schema has more to catch up than a switch may hold the live one for."""


class NothingToSwitch(Exception):  # noqa: N818
    """Both schemas must exist, one of them live."""


async def rebuild(
    owner: Connections, store: EventStore, projections: Sequence[Projection], clock: Clock
) -> list[Rebuilt]:
    """Replay the log into a fresh schema each; they share what is read of it."""
    async with owner.connection() as connection:
        followers = [Follower(each, await _fresh_place(connection, each)) for each in projections]
    async with owner.connection() as connection:
        # An index over millions of rows takes longer than a statement of a request may.
        await connection.execute("SET statement_timeout = 0")
        # A large batch is folded in the transaction that writes it.
        await connection.execute("SET idle_in_transaction_session_timeout = 0")
        await connection.execute("SET synchronous_commit = off")
        await connection.commit()
        try:
            with few_collections():
                await _catch_up(connection, store, followers, clock)
                for follower in followers:
                    await _index(connection, follower)
                await _catch_up(connection, store, followers, clock)
            return [await _rebuilt(connection, follower) for follower in followers]
        finally:
            await connection.rollback()
            await connection.execute("RESET statement_timeout")
            await connection.execute("RESET idle_in_transaction_session_timeout")
            await connection.execute("RESET synchronous_commit")


async def _fresh_place(connection: AsyncConnection, projection: Projection) -> Place:
    cursor = await connection.execute(
        "SELECT schema FROM rm_admin.checkpoints WHERE name = %s AND version = %s FOR UPDATE",
        (projection.name, projection.version),
    )
    endings = [re.fullmatch(r".*_r([0-9]+)", row[0]) for row in await cursor.fetchall()]
    number = 1 + max((int(ending[1]) for ending in endings if ending), default=0)
    schema = f"{projection.schema}_r{number}"
    for statement in creation(projection, schema):
        await connection.execute(statement)
    await connection.execute(
        "INSERT INTO rm_admin.checkpoints (schema, name, version) VALUES (%s, %s, %s)",
        (schema, projection.name, projection.version),
    )
    return Place(schema, 0, live=False)


async def _catch_up(
    connection: AsyncConnection, store: EventStore, followers: Sequence[Follower], clock: Clock
) -> None:
    procession = Procession(store, Applier(clock), batch_events=REBUILD_BATCH_EVENTS_MAX)
    try:
        while procession.is_full(await procession.step(connection, followers)):
            pass
    finally:
        await procession.close()


async def _index(connection: AsyncConnection, follower: Follower) -> None:
    async with connection.transaction():
        for statement in index_statements(follower.projection, follower.schema):
            await connection.execute(statement)
        for table in follower.projection.tables:
            name = sql.Identifier(follower.schema, table.name)
            await connection.execute(sql.SQL("ANALYZE {}").format(name))


async def _rebuilt(connection: AsyncConnection, follower: Follower) -> Rebuilt:
    cursor = await connection.execute(
        "SELECT count(*) FROM rm_admin.parked WHERE schema = %s", (follower.schema,)
    )
    row = await cursor.fetchone()
    assert row is not None
    return Rebuilt(follower.projection, follower.schema, follower.position, row[0])


async def compare(
    connection: AsyncConnection, projection: Projection, one: str, other: str
) -> list[Difference]:
    """Tables whose rows differ. The sum of row hashes does not depend on their order."""
    different: list[Difference] = []
    for table in projection.tables:
        sums: list[tuple[int, object]] = []
        for schema in (one, other):
            cursor = await connection.execute(
                sql.SQL(
                    "SELECT count(*), sum(hashtextextended(t::text, 0)::numeric) FROM {} t"
                ).format(sql.Identifier(schema, table.name))
            )
            row = await cursor.fetchone()
            assert row is not None
            sums.append((row[0], row[1]))
        if sums[0] != sums[1]:
            different.append(Difference(table.name, (sums[0][0], sums[1][0])))
    return different


async def switch(
    owner: Connections, store: EventStore, projection: Projection, schema: str, clock: Clock
) -> list[Difference]:
    """Show another schema from now on; give what was different when that was done.

    The live checkpoint is held meanwhile, so the last facts are replayed, rows compared and
    views moved at one place in the log. Readers wait for the views only.
    """
    async with owner.connection() as connection, connection.transaction():
        await connection.execute(
            sql.SQL("SET LOCAL lock_timeout = {}").format(SWITCH_LOCK_TIMEOUT_MS)
        )
        live, fresh = await _locked_places(connection, projection, schema)
        batch = [
            recorded
            for recorded in await store.read_log(after=fresh.position, limit=BATCH_EVENTS_MAX)
            if recorded.position <= live.position
        ]
        if (batch[-1].position if batch else fresh.position) != live.position:
            raise RebuildBehind(f"{schema} stands at {fresh.position}, live at {live.position}")
        if batch:
            await Applier(clock).advance(connection, [Follower(projection, fresh)], batch)
        different = await compare(connection, projection, live.schema, schema)
        for statement in show(projection, schema):
            await connection.execute(statement)
        await connection.execute(
            "UPDATE rm_admin.checkpoints SET live = false WHERE schema = %s", (live.schema,)
        )
        await connection.execute(
            "UPDATE rm_admin.checkpoints SET live = true WHERE schema = %s", (schema,)
        )
        return different


async def _locked_places(
    connection: AsyncConnection, projection: Projection, schema: str
) -> tuple[Place, Place]:
    cursor = await connection.execute(
        "SELECT schema, position, live FROM rm_admin.checkpoints WHERE name = %s "
        "AND (live OR schema = %s) ORDER BY schema FOR UPDATE",
        (projection.name, schema),
    )
    places = [Place(*row) for row in await cursor.fetchall()]
    live = [place for place in places if place.live]
    fresh = [place for place in places if not place.live]
    if len(live) != 1 or len(fresh) != 1:
        raise NothingToSwitch(schema)
    return live[0], fresh[0]

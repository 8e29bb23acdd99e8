"""Which tables are shown: those rebuilt, those before again, and those nobody wants any more.

Shapes  One transaction holds the checkpoints, so that the runner waits; folds what the new tables
        lack, up to the live position; and then moves the views. Readers wait for the views only,
        for LOCK_TIMEOUT_MS at most: a reader who holds a view longer makes the switch give up
        and try again a little later.
        What was shown stays and is followed by the runner, so the way back is as short.
Units   milliseconds of one try; seconds by the event loop's clock.
Errors  RebuildBehind     more is missing than a switch may hold the live one for: catch up first
        SwitchBlocked     readers held the views at every try
        NothingToSwitch   there are not two schemas to choose from
        KeptBehind        the kept schema is of the code before: nobody follows it, or it lacks
                          facts that only that code could fold
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from psycopg import AsyncConnection, errors, sql

from application.ports import Clock, EventStore
from domain.events import Event, ProjectionDropped, ProjectionSwitched, ProjectionSwitchedBack
from projections.applying import Applier, Follower
from projections.checkpoints import Place
from projections.projection import Projection
from projections.rebuild import Order, drop_schema
from projections.runner import LEADER_LOCKS, leader_key
from projections.schema import APP, READONLY, VIEWS
from projections.upkeep import note

T = TypeVar("T")

SWITCH_EVENTS_MAX = 1_000  # folded while the runner waits: some milliseconds
LOCK_TIMEOUT_MS = 250
TRIES_MAX = 40
PAUSE_SECONDS = 0.25  # between two tries: long enough for a queue of readers to be served


@dataclass(frozen=True, slots=True)
class Switched:
    replaced: str
    schema: str
    position: int
    held_ms: float  # how long the runner waited
    views_ms: float  # how long readers may have waited, in the try that succeeded
    tries: int


class RebuildBehind(Exception):  # noqa: N818
    """The rebuilt schema has more to catch up than a switch may hold the live one for."""


class NothingToSwitch(Exception):  # noqa: N818
    """Both schemas must exist, one of them live."""


class KeptBehind(Exception):  # noqa: N818
    """The kept tables are of other code, and that is not there to keep them up to date."""


class SwitchBlocked(Exception):  # noqa: N818
    """Somebody held what was to be changed, at every try."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """What is to be shown instead of what, and the fact that tells it."""

    projection: Projection
    schema: str
    version: int
    fact: Callable[[Place, int], Event]
    by: str


async def switch(
    connection: AsyncConnection,
    store: EventStore,
    projection: Projection,
    schema: str,
    clock: Clock,
    order: Order,
    differing: Sequence[str] = (),
) -> Switched:
    """Show a rebuilt schema from now on."""

    def fact(live: Place, position: int) -> Event:
        return ProjectionSwitched(
            at=clock.now(),
            projection=projection.name,
            tables=schema,
            replaced=live.schema,
            position=position,
            differing=tuple(differing),
            reason=order.reason,
        )

    choice = _Choice(projection, schema, projection.version, fact, order.by)
    return await _shown(connection, store, choice, clock)


async def switch_back(
    connection: AsyncConnection,
    store: EventStore,
    projection: Projection,
    clock: Clock,
    order: Order,
) -> Switched:
    """Show again what was shown last before what is shown now."""
    cursor = await connection.execute(
        "SELECT schema, version FROM rm_admin.checkpoints WHERE name = %s AND followed "
        "AND NOT live ORDER BY kept_since DESC NULLS LAST LIMIT 1",
        (projection.name,),
    )
    row = await cursor.fetchone()
    await connection.commit()
    if row is None:
        raise NothingToSwitch(
            f"nothing is kept behind {projection.name}: it was not rebuilt, or the tables before "
            "were dropped"
        )
    schema, version = row

    def fact(live: Place, position: int) -> Event:
        return ProjectionSwitchedBack(
            at=clock.now(),
            projection=projection.name,
            tables=schema,
            replaced=live.schema,
            position=position,
            reason=order.reason or "",
        )

    choice = _Choice(projection, schema, version, fact, order.by)
    return await _shown(connection, store, choice, clock)


async def drop(
    connection: AsyncConnection, name: str, clock: Clock, order: Order, schema: str | None = None
) -> list[str]:
    """Of one projection what is not shown: all of it, or one schema; which were dropped."""
    cursor = await connection.execute(
        "SELECT schema FROM rm_admin.checkpoints WHERE name = %s AND NOT live "
        "AND (%s::text IS NULL OR schema = %s) ORDER BY schema",
        (name, schema, schema),
    )
    hidden = [row[0] for row in await cursor.fetchall()]
    await connection.commit()
    if not hidden:
        which = "nothing" if schema is None else f"no {schema}"
        raise NothingToSwitch(f"{name} has {which} that could be dropped")
    for each in hidden:
        fact = ProjectionDropped(
            at=clock.now(), projection=name, tables=each, reason=order.reason or ""
        )

        async def work(each: str = each, fact: Event = fact) -> None:
            await drop_schema(connection, each)
            await note(connection, name, fact, order.by)

        await _patiently(connection, work)
    return hidden


async def _shown(
    connection: AsyncConnection, store: EventStore, choice: _Choice, clock: Clock
) -> Switched:
    loop = asyncio.get_running_loop()

    async def work() -> tuple[str, int, float, float]:
        live, fresh = await _held(connection, choice.projection, choice.schema)
        held_at = loop.time()
        await _must_be_followed(connection, choice)
        position = await _caught_up(connection, store, choice, live, fresh, clock)
        await _move_flags(connection, live.schema, choice.schema)
        fact = choice.fact(live, position)
        await note(connection, choice.projection.name, fact, choice.by)
        statements = await _views(connection, live.schema, choice.schema)
        views_at = loop.time()  # from here on readers may wait
        for statement in statements:
            await connection.execute(statement)
        return live.schema, position, held_at, views_at

    (replaced, position, held_at, views_at), tries = await _patiently(connection, work)
    now = loop.time()
    return Switched(
        replaced, choice.schema, position, (now - held_at) * 1e3, (now - views_at) * 1e3, tries
    )


async def _patiently(
    connection: AsyncConnection, work: Callable[[], Awaitable[T]]
) -> tuple[T, int]:
    """In one transaction, without making others queue behind it for long; after how many tries."""
    for tries in range(1, TRIES_MAX + 1):
        try:
            async with connection.transaction():
                await connection.execute(
                    sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT_MS))
                )
                # Telling who asked is worth waiting for the disk.
                await connection.execute("SET LOCAL synchronous_commit = on")
                result = await work()
        except errors.LockNotAvailable:
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            return result, tries
    raise SwitchBlocked(
        f"readers held the tables at each of {TRIES_MAX} tries: try again, or look for a long "
        "transaction in pg_stat_activity"
    )


async def _held(
    connection: AsyncConnection, projection: Projection, schema: str
) -> tuple[Place, Place]:
    cursor = await connection.execute(
        "SELECT schema, position, live, epoch FROM rm_admin.checkpoints WHERE name = %s "
        "AND (live OR schema = %s) ORDER BY schema FOR UPDATE",
        (projection.name, schema),
    )
    places = [Place(*row) for row in await cursor.fetchall()]
    live = [place for place in places if place.live]
    fresh = [place for place in places if not place.live]
    if len(live) != 1 or len(fresh) != 1:
        raise NothingToSwitch(f"{schema} cannot be shown instead of what is shown now")
    return live[0], fresh[0]


async def _must_be_followed(connection: AsyncConnection, choice: _Choice) -> None:
    """Of another version than this code's, also while the log is quiet and nothing is missing."""
    projection, version = choice.projection, choice.version
    if version == projection.version:
        return
    cursor = await connection.execute(
        "SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = %s "
        "AND objid = %s "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        (LEADER_LOCKS, leader_key(projection.name, version)),
    )
    if await cursor.fetchone() is None:
        raise KeptBehind(
            f"{choice.schema} is of version {version}, and nobody keeps that up to date: run "
            "`gateway project` of its release first"
        )


async def _caught_up(
    connection: AsyncConnection,
    store: EventStore,
    choice: _Choice,
    live: Place,
    fresh: Place,
    clock: Clock,
) -> int:
    """Fold what is missing up to the live position: nobody may see an older state afterwards."""
    missing = live.position - fresh.position
    if missing <= 0:
        return fresh.position
    if choice.version != choice.projection.version:
        raise KeptBehind(
            f"{choice.schema} is of version {choice.version} and lacks {missing} events: run "
            "`gateway project` of its release until it has caught up"
        )
    if missing > SWITCH_EVENTS_MAX:
        raise RebuildBehind(f"{choice.schema} lacks {missing} events of the live {live.schema}")
    batch = await store.read_log(after=fresh.position, limit=missing)
    assert len(batch) == missing, "the log has no gaps"
    await Applier(clock).advance(connection, [Follower(choice.projection, fresh)], batch)
    return live.position


async def _views(connection: AsyncConnection, live: str, schema: str) -> list[sql.Composed]:
    """By the catalogue, not by our tables: either may be of another version's code."""
    before, after = await _tables(connection, live), await _tables(connection, schema)
    statements: list[sql.Composed] = []
    for table in sorted(before.keys() | after.keys()):
        view, source = sql.Identifier(VIEWS, table), sql.Identifier(schema, table)
        if after.get(table) == before.get(table):
            # The view itself stays: prepared statements and grants with it.
            replace = sql.SQL("CREATE OR REPLACE VIEW {} AS SELECT * FROM {}")
            statements.append(replace.format(view, source))
            continue
        statements.append(sql.SQL("DROP VIEW IF EXISTS {}").format(view))
        if table in after:
            statements += [
                sql.SQL("CREATE VIEW {} AS SELECT * FROM {}").format(view, source),
                sql.SQL(f"GRANT SELECT ON {{}} TO {APP}, {READONLY}").format(view),
            ]
    return statements


async def _tables(connection: AsyncConnection, schema: str) -> dict[str, list[str]]:
    """Each table's columns, in order, with their types."""
    cursor = await connection.execute(
        "SELECT c.relname, array_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) "
        "ORDER BY a.attnum) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
        "WHERE c.relnamespace = %s::regnamespace AND c.relkind = 'r' AND a.attnum > 0 "
        "AND NOT a.attisdropped GROUP BY c.relname",
        (schema,),
    )
    return dict(await cursor.fetchall())


async def _move_flags(connection: AsyncConnection, live: str, schema: str) -> None:
    await connection.execute(
        "UPDATE rm_admin.checkpoints SET live = false, kept_since = clock_timestamp(), "
        "epoch = epoch + 1 WHERE schema = %s",
        (live,),
    )
    await connection.execute(
        "UPDATE rm_admin.checkpoints SET live = true, followed = true, kept_since = NULL, "
        "epoch = epoch + 1 WHERE schema = %s",
        (schema,),
    )
    await connection.execute(
        "UPDATE rm_admin.rebuilds SET state = CASE WHEN schema = %(shown)s THEN 'switched' "
        "ELSE 'kept' END, switched_at = clock_timestamp() WHERE schema IN (%(shown)s, %(kept)s)",
        {"shown": schema, "kept": live},
    )

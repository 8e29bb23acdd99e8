"""Read models built anew from the log, beside the live ones, by an operator's command.

Shapes  begin     fresh schemas, or those that an earlier command has left unfinished
        replay    the whole log into them, indexes last, then what came meanwhile; it may be
                  killed at any moment and goes on from the last batch
        Comparing and showing them is in comparing.py and switching.py.
Units   positions of the log; the pace in positions a second, over PACE_SECONDS.
Errors  RebuildOfOtherCode  the unfinished schema was made by code with other tables
        BeingRebuilt        (upkeep.py) somebody else is at it
        those of the database and of the store. All of it needs the owner role.
"""

import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import psycopg
from psycopg import AsyncConnection, sql

from application.ports import Clock, EventStore
from domain.events import ProjectionDropped, ProjectionRebuildStarted
from projections import checkpoints
from projections.applying import Follower
from projections.checkpoints import Overtaken, Place
from projections.collector import no_collections
from projections.filling import Filler
from projections.projection import Projection
from projections.schema import creation, fingerprint, index_statements
from projections.upkeep import note
from projections.wording import without_values

PACE_SECONDS = 10.0
OVERTAKEN_MAX = 100  # in a row: an operator parks or retries one stream at a time
UNFINISHED = ("building", "ready", "failed")
Phase = Literal["replaying", "indexing", "catching up", "comparing", "switching"]


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants it and why; `restart` throws away what an earlier command has left."""

    by: str
    reason: str | None = None
    restart: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    phase: Phase
    projection: str | None  # the one it is about, if it is about one
    position: int
    head: int
    pace: float  # positions a second

    @property
    def seconds_left(self) -> float | None:
        return (self.head - self.position) / self.pace if self.pace > 0 else None


OnProgress = Callable[[Progress], None]


@dataclass(slots=True)
class Job:
    """One projection on its way into a schema of its own."""

    follower: Follower
    indexed: bool
    resumed: bool

    @property
    def projection(self) -> Projection:
        return self.follower.projection

    @property
    def schema(self) -> str:
        return self.follower.schema

    @property
    def position(self) -> int:
        return self.follower.position


class RebuildOfOtherCode(Exception):  # noqa: N818 - named for what is the case
    """The unfinished tables are not those of this code: begin anew."""


# ---------------------------------------------------------------- begin


async def begin(
    connection: AsyncConnection, projections: Sequence[Projection], order: Order, clock: Clock
) -> list[Job]:
    """All of them or none: a fresh schema each, or the one to go on with."""
    async with connection.transaction():
        # That it was begun, and by whom, is worth waiting for the disk.
        await connection.execute("SET LOCAL synchronous_commit = on")
        return [await _begin(connection, each, order, clock) for each in projections]


async def _begin(
    connection: AsyncConnection, projection: Projection, order: Order, clock: Clock
) -> Job:
    at = clock.now()
    if order.restart:
        for schema in await unfinished(connection, projection.name):
            reason = order.reason or "begun anew"
            dropped = ProjectionDropped(
                at=at, projection=projection.name, tables=schema, reason=reason
            )
            await drop_schema(connection, schema)
            await note(connection, projection.name, dropped, order.by)
    job = await resumed(connection, projection)
    if job is None:
        schema = await _fresh_schema(connection, projection)
        await connection.execute(
            "INSERT INTO rm_admin.rebuilds (schema, name, version, state, asked_by, asked_at, "
            "worked_by, worked_since) VALUES (%s, %s, %s, 'building', %s, %s, %s, %s)",
            (schema, projection.name, projection.version, order.by, at, order.by, at),
        )
        started = ProjectionRebuildStarted(
            at=at, projection=projection.name, tables=schema, reason=order.reason
        )
        await note(connection, projection.name, started, order.by)
        place = Place(schema, 0, live=False)
        return Job(Follower(projection, place), indexed=False, resumed=False)
    await connection.execute(
        "UPDATE rm_admin.rebuilds SET worked_by = %s, worked_since = %s, worked_from = %s "
        "WHERE schema = %s",
        (order.by, at, job.position, job.schema),
    )
    return job


async def unfinished(connection: AsyncConnection, name: str) -> list[str]:
    cursor = await connection.execute(
        "SELECT r.schema FROM rm_admin.rebuilds r JOIN rm_admin.checkpoints c USING (schema) "
        "WHERE r.name = %s AND r.state = ANY(%s) AND NOT c.live ORDER BY r.asked_at DESC",
        (name, list(UNFINISHED)),
    )
    return [row[0] for row in await cursor.fetchall()]


async def resumed(connection: AsyncConnection, projection: Projection) -> Job | None:
    """What an earlier command has left unfinished, if there is any."""
    cursor = await connection.execute(
        "SELECT r.schema, r.indexed, obj_description(n.oid, 'pg_namespace') "
        "FROM rm_admin.rebuilds r JOIN pg_namespace n ON n.nspname = r.schema "
        "WHERE r.name = %s AND r.version = %s AND r.state = ANY(%s) ORDER BY r.asked_at DESC",
        (projection.name, projection.version, list(UNFINISHED)),
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    schema, indexed, made_as = row
    if made_as != fingerprint(projection):
        raise RebuildOfOtherCode(
            f"{schema} was begun by code with other tables: begin anew with --restart"
        )
    place = (await checkpoints.places_in(connection, [schema]))[schema]
    return Job(Follower(projection, place), indexed=indexed, resumed=True)


async def _fresh_schema(connection: AsyncConnection, projection: Projection) -> str:
    cursor = await connection.execute(
        "SELECT schema FROM rm_admin.checkpoints WHERE name = %(name)s AND version = %(version)s "
        "UNION SELECT schema FROM rm_admin.rebuilds "
        "WHERE name = %(name)s AND version = %(version)s",
        {"name": projection.name, "version": projection.version},
    )
    endings = [re.fullmatch(r".*_r([0-9]+)", row[0]) for row in await cursor.fetchall()]
    number = 1 + max((int(ending[1]) for ending in endings if ending), default=0)
    schema = f"{projection.schema}_r{number}"
    for statement in creation(projection, schema):
        await connection.execute(statement)
    await connection.execute(
        "INSERT INTO rm_admin.checkpoints (schema, name, version, followed) "
        "VALUES (%s, %s, %s, false)",
        (schema, projection.name, projection.version),
    )
    return schema


async def drop_schema(connection: AsyncConnection, schema: str) -> None:
    """Of tables that are not shown. Whoever follows them waits, and then finds them gone."""
    places = await checkpoints.places_in(connection, [schema])
    assert not places[schema].live, f"{schema} is shown"
    await connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
    await connection.execute("DELETE FROM rm_admin.checkpoints WHERE schema = %s", (schema,))
    await connection.execute(
        "UPDATE rm_admin.rebuilds SET state = 'dropped' WHERE schema = %s", (schema,)
    )


# ---------------------------------------------------------------- replay


@dataclass(slots=True)
class Pace:
    """What is read, and how fast it goes over the last seconds; asks for the head each second."""

    store: EventStore
    clock: Clock
    tell: OnProgress
    head: int = 0
    beside: int | None = None  # how far another process has come with its share
    seen: deque[tuple[float, int]] = field(default_factory=deque)

    async def at(self, phase: Phase, position: int, projection: str | None = None) -> None:
        now = self.clock.now().timestamp()
        position = position if self.beside is None else min(position, self.beside)
        if not self.seen or now - self.seen[-1][0] >= 1:
            self.head = await self.store.head()
            self.seen.append((now, position))
        while now - self.seen[0][0] > PACE_SECONDS:
            self.seen.popleft()
            if not self.seen:
                self.seen.append((now, position))
        began_at, began = self.seen[0]
        pace = (position - began) / (now - began_at) if now > began_at else 0.0
        self.tell(Progress(phase, projection, position, max(self.head, position), pace))


async def replay(connection: AsyncConnection, jobs: Sequence[Job], pace: Pace) -> None:
    """Until nothing is left of the log and every index is there."""
    async with failing(connection, jobs):
        await catch_up(connection, jobs, pace, "replaying")
        for job in [each for each in jobs if not each.indexed]:
            await pace.at("indexing", job.position, job.projection.name)
            await _index(connection, job)
        await catch_up(connection, jobs, pace, "catching up")
        await _mark(connection, jobs, "ready")


@asynccontextmanager
async def failing(connection: AsyncConnection, jobs: Sequence[Job]) -> AsyncIterator[None]:
    """What the database refuses within the block is kept with the rebuild, for the list."""
    try:
        yield
    except psycopg.OperationalError:
        raise  # an outage: the same command goes on from here
    except psycopg.Error as error:
        await connection.rollback()
        said = f"{type(error).__name__}: {without_values(error)}"
        await _mark(connection, jobs, "failed", said)
        raise


async def _mark(
    connection: AsyncConnection, jobs: Sequence[Job], state: str, error: str | None = None
) -> None:
    async with connection.transaction():
        await connection.execute(
            "UPDATE rm_admin.rebuilds SET state = %s, error = %s "
            "WHERE schema = ANY(%s) AND state <> 'dropped'",
            (state, error, [job.schema for job in jobs]),
        )


async def catch_up(
    connection: AsyncConnection, jobs: Sequence[Job], pace: Pace, phase: Phase
) -> None:
    """Until there is nothing new for the moment."""
    with no_collections():
        filler = Filler(pace.store, pace.clock)
        far = True
        while far:
            head = await pace.store.head()
            far = filler.is_span(head - min(job.position for job in jobs))
            overtaken, more = 0, True
            while more:
                try:
                    more = await filler.step(connection, [job.follower for job in jobs], head)
                except Overtaken:  # somebody has parked a stream here, or had one folded again
                    overtaken += 1
                    if overtaken > OVERTAKEN_MAX:
                        raise
                    await look_again(connection, jobs)
                    continue
                overtaken = 0
                await pace.at(phase, min(job.position for job in jobs))


async def look_again(connection: AsyncConnection, jobs: Sequence[Job]) -> None:
    async with connection.transaction():
        places = await checkpoints.places_in(connection, [job.schema for job in jobs])
    for job in jobs:
        job.follower = Follower(job.projection, places[job.schema])


async def _index(connection: AsyncConnection, job: Job) -> None:
    async with connection.transaction():
        # Whoever was at it before, and was killed, may still be at it for a moment.
        cursor = await connection.execute(
            "SELECT indexed FROM rm_admin.rebuilds WHERE schema = %s FOR UPDATE", (job.schema,)
        )
        indexed = await cursor.fetchone() == (True,)
        for statement in [] if indexed else index_statements(job.projection, job.schema):
            await connection.execute(statement)
        for table in job.projection.tables:
            name = sql.Identifier(job.schema, table.name)
            await connection.execute(sql.SQL("ANALYZE {}").format(name))
        await connection.execute(
            "UPDATE rm_admin.rebuilds SET indexed = true WHERE schema = %s", (job.schema,)
        )
    job.indexed = True

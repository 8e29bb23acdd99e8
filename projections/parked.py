"""Streams left aside: which, why, and folding them again, while all others go on.

Shapes  park   leaves a stream aside from now on, in every schema of a projection
        retry  folds what is missing of a stream, by the very code that follows the log, in the
               live schema, in those kept behind it and in a rebuild under way: one transaction.
               A stream that fails again stays parked, with its new error, up to where it failed.
        Both hold the checkpoints for as long as one stream takes, and whoever follows them then
        looks again. The application's role may do all of it.
Errors  NotParked, ParkedAlready, StreamUnknown: each says what to do
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection

from application.ports import Clock, EventStore, Stream
from domain.events import ProjectionStreamParked, ProjectionStreamRetried
from projections import checkpoints
from projections.applying import Applier, Follower
from projections.checkpoints import Place
from projections.database import Connections
from projections.projection import Projection
from projections.upkeep import note
from projections.wording import ERROR_LENGTH_MAX

PARKED_SHOWN_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Parked:
    """One stream in one schema."""

    projection: str
    version: int
    schema: str
    live: bool
    stream: Stream
    position: int
    error: str
    parked_at: datetime
    attempts: int
    parked_by: str


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of one stream; `left` are the schemas in which it is parked still."""

    projection: str
    stream: Stream
    schemas: tuple[str, ...]
    left: tuple[str, ...]
    error: str | None

    @property
    def settled(self) -> bool:
        return not self.left


class NotParked(Exception):  # noqa: N818 - named for what is the case
    """This stream is not parked in any schema that this code can fold."""


class ParkedAlready(Exception):  # noqa: N818
    """This stream is left aside already."""


class StreamUnknown(Exception):  # noqa: N818
    """The log has no such stream."""


_COLUMNS = """
SELECT c.name, c.version, p.schema, c.live, p.stream_type, p.stream_id, p.position, p.error,
       p.parked_at, p.attempts, p.parked_by
FROM rm_admin.parked p JOIN rm_admin.checkpoints c USING (schema)
"""


async def parked_streams(
    connections: Connections, projection: str | None = None, stream_id: UUID | None = None
) -> list[Parked]:
    """The oldest first; what is shown before what is not."""
    async with connections.connection() as connection:
        cursor = await connection.execute(
            _COLUMNS
            + "WHERE (%(name)s::text IS NULL OR c.name = %(name)s) "
            + "AND (%(id)s::uuid IS NULL OR p.stream_id = %(id)s) "
            + "ORDER BY c.name, c.live DESC, p.position, p.schema LIMIT %(limit)s",
            {"name": projection, "id": stream_id, "limit": PARKED_SHOWN_MAX},
        )
        rows = await cursor.fetchall()
    return [
        Parked(name, version, schema, live, Stream(kind, key), position, error, at, tries, by)
        for name, version, schema, live, kind, key, position, error, at, tries, by in rows
    ]


async def park(
    connections: Connections,
    store: EventStore,
    projection: Projection,
    stream: Stream,
    clock: Clock,
    *,
    by: str,
    reason: str,
) -> tuple[str, ...]:
    """Leave a stream aside in every schema of this version; in which it was not yet."""
    try:
        facts = await store.read_stream(stream)
    except AssertionError:  # an id of another type of stream
        facts = ()
    if not facts:
        raise StreamUnknown(f"there is no stream {stream.type}/{stream.id}")
    at = clock.now()
    async with connections.connection() as connection, connection.transaction():
        schemas = await _schemas(connection, projection)
        places = await checkpoints.places_in(connection, schemas)
        done: list[Place] = []
        for place in places.values():
            cursor = await connection.execute(
                "INSERT INTO rm_admin.parked (schema, stream_type, stream_id, position, error, "
                "parked_at, parked_by) VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                (
                    *(place.schema, stream.type, stream.id, place.position + 1),
                    *(reason[:ERROR_LENGTH_MAX], at, by),
                ),
            )
            if cursor.rowcount:
                done.append(place)
        if not done:
            raise ParkedAlready(f"{stream.type}/{stream.id} is parked already")
        await checkpoints.overtake(connection, [place.schema for place in done])
        fact = ProjectionStreamParked(
            at=at,
            projection=projection.name,
            stream_type=stream.type,
            stream_id=stream.id,
            position=1 + max(place.position for place in done),
            reason=reason,
        )
        await note(connection, projection.name, fact, by)
    return tuple(place.schema for place in done)


async def _schemas(connection: AsyncConnection, projection: Projection) -> Sequence[str]:
    cursor = await connection.execute(
        "SELECT schema FROM rm_admin.checkpoints WHERE name = %s AND version = %s ORDER BY schema",
        (projection.name, projection.version),
    )
    return [row[0] for row in await cursor.fetchall()]


async def retry(
    connections: Connections,
    store: EventStore,
    projection: Projection,
    stream: Stream,
    clock: Clock,
    *,
    by: str,
    reason: str,
) -> Retried:
    """Fold a parked stream again wherever this version has it parked."""
    async with connections.connection() as connection, connection.transaction():
        schemas = await _parked_in(connection, projection, stream)
        if not schemas:
            raise NotParked(
                f"{projection.name} version {projection.version} has no {stream.type}/{stream.id} "
                "parked: `gateway projections parked` lists those there are"
            )
        places = await checkpoints.places_in(connection, schemas)
        # Held now: what somebody else settled meanwhile is not parked any more.
        schemas = await _parked_in(connection, projection, stream)
        if not schemas:
            raise NotParked(f"{stream.type}/{stream.id} was settled by somebody else just now")
        places = {schema: places[schema] for schema in schemas if schema in places}
        for place in places.values():
            follower = Follower(projection, place)
            await _fold_again(connection, store, Applier(clock), follower, stream)
            # It stands where it stood: the others' facts were all folded before.
            await checkpoints.move(connection, [place.schema], place.position, clock.now())
        left = await _parked_in(connection, projection, stream)
        error = await _error(connection, left, stream)
        fact = ProjectionStreamRetried(
            at=clock.now(),
            projection=projection.name,
            stream_type=stream.type,
            stream_id=stream.id,
            settled=not left,
            reason=reason,
        )
        await note(connection, projection.name, fact, by)
    return Retried(projection.name, stream, tuple(places), tuple(left), error)


async def _parked_in(
    connection: AsyncConnection, projection: Projection, stream: Stream
) -> list[str]:
    cursor = await connection.execute(
        "SELECT p.schema FROM rm_admin.parked p JOIN rm_admin.checkpoints c USING (schema) "
        "WHERE c.name = %s AND c.version = %s AND p.stream_type = %s AND p.stream_id = %s "
        "ORDER BY p.schema",
        (projection.name, projection.version, stream.type, stream.id),
    )
    return [row[0] for row in await cursor.fetchall()]


async def _error(
    connection: AsyncConnection, schemas: Sequence[str], stream: Stream
) -> str | None:
    if not schemas:
        return None
    cursor = await connection.execute(
        "SELECT error FROM rm_admin.parked WHERE schema = %s AND stream_id = %s",
        (schemas[0], stream.id),
    )
    row = await cursor.fetchone()
    return None if row is None else str(row[0])


async def _fold_again(
    connection: AsyncConnection,
    store: EventStore,
    applier: Applier,
    follower: Follower,
    stream: Stream,
) -> None:
    """Under the checkpoint's lock: as if the facts left out were the next ones of the log."""
    place = follower.place
    cursor = await connection.execute(
        "DELETE FROM rm_admin.parked WHERE schema = %s AND stream_type = %s AND stream_id = %s "
        "RETURNING position, attempts",
        (place.schema, stream.type, stream.id),
    )
    row = await cursor.fetchone()
    assert row is not None, "its checkpoint is held"
    first, attempts = row
    missed = [
        recorded
        for recorded in await store.read_stream(stream)
        if first <= recorded.position <= place.position
    ]
    if missed:
        await applier.advance(connection, [follower], missed)
    await connection.execute(
        "UPDATE rm_admin.parked SET attempts = %s WHERE schema = %s AND stream_type = %s "
        "AND stream_id = %s",
        (attempts + 1, place.schema, stream.type, stream.id),
    )
    await checkpoints.overtake(connection, [place.schema])

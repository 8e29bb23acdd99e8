"""How far each read model has come, and the streams it had to leave aside.

Shapes  rm_admin.checkpoints  a row a schema; of the schemas of one projection one is live: the
                              views in `rm` show it and `Progress` waits for it
        rm_admin.parked       a row a stream whose fact at `position` could not be folded; this
                              and all later facts of the stream are missing in that schema
Errors  NotMigrated           the tables for this code's version are not there yet
        Overtaken             another process has moved the checkpoint, or the views to other
                              tables: what we hold is stale
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection, errors

from application.ports import Stream
from projections.projection import Batch, Poison, Projection

TABLES = (
    """
    CREATE TABLE IF NOT EXISTS rm_admin.checkpoints (
        schema text PRIMARY KEY,
        name text NOT NULL,
        version int NOT NULL,
        position bigint NOT NULL DEFAULT 0,
        live boolean NOT NULL DEFAULT false,
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE UNIQUE INDEX IF NOT EXISTS one_live ON rm_admin.checkpoints (name) WHERE live",
    """
    CREATE TABLE IF NOT EXISTS rm_admin.parked (
        schema text NOT NULL REFERENCES rm_admin.checkpoints ON DELETE CASCADE,
        stream_type text NOT NULL,
        stream_id uuid NOT NULL,
        position bigint NOT NULL,
        error text NOT NULL,
        parked_at timestamptz NOT NULL,
        PRIMARY KEY (schema, stream_type, stream_id)
    )
    """,
)


class NotMigrated(Exception):  # noqa: N818
    """`gateway migrate` has not made this projection's tables in this database."""


class Overtaken(Exception):  # noqa: N818
    """Somebody else has been here since: find the place again."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a projection's rows live, and the last position they contain."""

    schema: str
    position: int
    live: bool


async def place_of(connection: AsyncConnection, projection: Projection) -> Place:
    """The live place of this version, else the newest one that is being built beside it."""
    try:
        cursor = await connection.execute(
            "SELECT schema, position, live FROM rm_admin.checkpoints WHERE name = %s AND version = %s "
            "ORDER BY live DESC, schema DESC LIMIT 1",
            (projection.name, projection.version),
        )
    except errors.UndefinedTable as error:
        raise NotMigrated(projection.name) from error
    row = await cursor.fetchone()
    if row is None:
        raise NotMigrated(projection.name)
    return Place(*row)


async def lock(
    connection: AsyncConnection, places: Collection[Place], batch: Batch
) -> set[tuple[str, Stream]]:
    """Hold the checkpoints for this transaction; give the batch's streams that are parked.

    The row lock fences a leader that has lost its session without noticing, and the switch.
    """
    cursor = await connection.execute(
        "SELECT c.schema, c.position, c.live, EXISTS (SELECT FROM rm_admin.parked p "
        "WHERE p.schema = c.schema) FROM rm_admin.checkpoints c "
        "WHERE c.schema = ANY(%s) ORDER BY c.schema FOR UPDATE OF c",
        ([place.schema for place in places],),
    )
    found = await cursor.fetchall()
    if {Place(*row[:3]) for row in found} != set(places):
        raise Overtaken
    leaving_aside = [schema for schema, *_, parked in found if parked]
    if not leaving_aside:
        return set()
    cursor = await connection.execute(
        "SELECT schema, stream_type, stream_id FROM rm_admin.parked "
        "WHERE schema = ANY(%s) AND stream_id = ANY(%s)",
        (leaving_aside, list({recorded.stream.id for recorded in batch})),
    )
    return {(schema, Stream(kind, key)) for schema, kind, key in await cursor.fetchall()}


async def move(
    connection: AsyncConnection, schemas: Sequence[str], position: int, at: datetime
) -> None:
    await connection.execute(
        "UPDATE rm_admin.checkpoints SET position = %s, updated_at = %s WHERE schema = ANY(%s)",
        (position, at, list(schemas)),
    )


async def park(connection: AsyncConnection, schema: str, poison: Poison, at: datetime) -> None:
    await connection.execute(
        "INSERT INTO rm_admin.parked (schema, stream_type, stream_id, position, error, parked_at) "
        "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (schema, poison.stream.type, poison.stream.id, poison.position, poison.error, at),
    )

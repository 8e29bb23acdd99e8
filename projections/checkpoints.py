"""How far each read model has come, and the streams it had to leave aside.

Shapes  rm_admin.checkpoints  a row a schema. Of the schemas of one projection one is live: the
                              views in `rm` show it and `Progress` waits for it. The runner keeps
                              up to date those that are `followed`: the live one, and those kept
                              behind it. `epoch` grows whenever somebody else than the one who
                              follows has changed rows or flags.
        rm_admin.parked       a row a stream whose fact at `position` could not be folded, or
                              which somebody left aside from there on; this and all later facts
                              of the stream are missing in that schema
        rm_admin.rebuilds     a row a rebuild, by the schema it made; kept when that is gone
        rm_admin.operations   what was done by hand and is still to be told in the log
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
    """
    CREATE TABLE IF NOT EXISTS rm_admin.rebuilds (
        schema text PRIMARY KEY,
        name text NOT NULL,
        version int NOT NULL,
        state text NOT NULL CHECK (state IN
            ('building', 'ready', 'switched', 'kept', 'dropped', 'failed')),
        asked_by text NOT NULL,
        asked_at timestamptz NOT NULL,
        worked_by text NOT NULL,
        worked_since timestamptz NOT NULL,
        worked_from bigint NOT NULL DEFAULT 0,
        indexed boolean NOT NULL DEFAULT false,
        error text,
        switched_at timestamptz
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS rm_admin.operations (
        operation_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        projection text NOT NULL,
        event text NOT NULL,
        event_version int NOT NULL,
        data bytea NOT NULL,
        actor text NOT NULL,
        told boolean NOT NULL DEFAULT false,
        number bigint GENERATED ALWAYS AS IDENTITY
    )
    """,
)
# Columns that came later: looked for first, since even a needless ALTER stops all who read.
ADDED = (
    ("checkpoints", "followed", "boolean NOT NULL DEFAULT true"),
    ("checkpoints", "epoch", "int NOT NULL DEFAULT 0"),
    ("checkpoints", "kept_since", "timestamptz"),
    ("parked", "attempts", "int NOT NULL DEFAULT 1"),
    ("parked", "parked_by", "text NOT NULL DEFAULT 'runner'"),
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
    epoch: int = 0


_PLACES = """
SELECT schema, position, live, epoch, followed FROM rm_admin.checkpoints
WHERE name = %s AND version = %s ORDER BY live DESC, kept_since DESC NULLS LAST, schema DESC
"""


async def place_of(connection: AsyncConnection, projection: Projection) -> Place:
    """The live place of this version, else the newest one that is being built beside it."""
    places = await _places(connection, projection)
    if not places:
        raise NotMigrated(projection.name)
    return places[0][0]


async def followed_places(connection: AsyncConnection, projection: Projection) -> list[Place]:
    """Those of this version to keep up to date; none while the first one is still rebuilt."""
    return [place for place, followed in await _places(connection, projection) if followed]


async def _places(connection: AsyncConnection, projection: Projection) -> list[tuple[Place, bool]]:
    try:
        cursor = await connection.execute(_PLACES, (projection.name, projection.version))
    except (errors.UndefinedTable, errors.UndefinedColumn) as error:
        raise NotMigrated(projection.name) from error
    rows = await cursor.fetchall()
    return [(Place(*row[:4]), row[4]) for row in rows]


async def places_in(connection: AsyncConnection, schemas: Sequence[str]) -> dict[str, Place]:
    """Where these schemas stand, held until the end of the transaction."""
    cursor = await connection.execute(
        "SELECT schema, position, live, epoch FROM rm_admin.checkpoints "
        "WHERE schema = ANY(%s) ORDER BY schema FOR UPDATE",
        (list(schemas),),
    )
    return {row[0]: Place(*row) for row in await cursor.fetchall()}


async def lock(
    connection: AsyncConnection, places: Collection[Place], batch: Batch
) -> set[tuple[str, Stream]]:
    """Hold the checkpoints for this transaction; give the batch's streams that are parked.

    The row lock fences a leader that has lost its session without noticing, and the switch.
    """
    cursor = await connection.execute(
        "SELECT c.schema, c.position, c.live, c.epoch, EXISTS (SELECT FROM rm_admin.parked p "
        "WHERE p.schema = c.schema) FROM rm_admin.checkpoints c "
        "WHERE c.schema = ANY(%s) ORDER BY c.schema FOR UPDATE OF c",
        ([place.schema for place in places],),
    )
    found = await cursor.fetchall()
    if {Place(*row[:4]) for row in found} != set(places):
        raise Overtaken
    schemas = [schema for schema, *_, parked in found if parked]
    return await parked_among(connection, schemas, batch) if schemas else set()


async def leaving_aside(connection: AsyncConnection, places: Collection[Place]) -> list[str]:
    """Those schemas in which streams are parked."""
    cursor = await connection.execute(
        "SELECT DISTINCT schema FROM rm_admin.parked WHERE schema = ANY(%s)",
        ([place.schema for place in places],),
    )
    return [row[0] for row in await cursor.fetchall()]


async def parked_among(
    connection: AsyncConnection, schemas: Sequence[str], batch: Batch
) -> set[tuple[str, Stream]]:
    """The batch's streams that are parked, with the schema in which each is."""
    cursor = await connection.execute(
        "SELECT schema, stream_type, stream_id FROM rm_admin.parked "
        "WHERE schema = ANY(%s) AND stream_id = ANY(%s)",
        (list(schemas), list({recorded.stream_id for recorded in batch})),
    )
    return {(schema, Stream(kind, key)) for schema, kind, key in await cursor.fetchall()}


async def move(
    connection: AsyncConnection, schemas: Sequence[str], position: int, at: datetime
) -> None:
    await connection.execute(
        "UPDATE rm_admin.checkpoints SET position = %s, updated_at = %s WHERE schema = ANY(%s)",
        (position, at, list(schemas)),
    )


async def overtake(connection: AsyncConnection, schemas: Sequence[str]) -> None:
    """Whoever follows these must look again: we have changed rows, or which are shown."""
    await connection.execute(
        "UPDATE rm_admin.checkpoints SET epoch = epoch + 1 WHERE schema = ANY(%s)",
        (list(schemas),),
    )


async def park(connection: AsyncConnection, schema: str, poison: Poison, at: datetime) -> None:
    await connection.execute(
        "INSERT INTO rm_admin.parked (schema, stream_type, stream_id, position, error, parked_at) "
        "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (schema, poison.stream.type, poison.stream.id, poison.position, poison.error, at),
    )

"""Whether a deploy is under way: `migrate --before` has run, and `--after` has not.

Shapes  migrations.deploys has one row from the one to the other. Meanwhile processes of two
        releases read the log, and the newer one writes nothing that the older cannot read.
        A deploy that was given up leaves the row, until somebody says so: `--given-up`.
Errors  NotKnown where this release has never migrated the database; ports.StoreUnavailable.
"""

from datetime import datetime
from typing import Any

import psycopg

from adapters.migrations import VERSION_SCHEMA
from adapters.postgres import Postgres
from adapters.revisions import Phase

READER = "gw_app"
TABLE = (
    f"""
    CREATE TABLE IF NOT EXISTS {VERSION_SCHEMA}.deploys (
        one      boolean PRIMARY KEY DEFAULT true CHECK (one),
        began_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    f"GRANT USAGE ON SCHEMA {VERSION_SCHEMA} TO {READER}",
    f"GRANT SELECT ON {VERSION_SCHEMA}.deploys TO {READER}",
)
# S608: the schema is the constant above.
_BEGUN = f"INSERT INTO {VERSION_SCHEMA}.deploys DEFAULT VALUES ON CONFLICT DO NOTHING"  # noqa: S608
_ENDED = f"DELETE FROM {VERSION_SCHEMA}.deploys"  # noqa: S608
_SINCE = f"SELECT began_at FROM {VERSION_SCHEMA}.deploys"  # noqa: S608
_SECONDS = (
    "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - began_at)), 0)::float "  # noqa: S608
    f"FROM {VERSION_SCHEMA}.deploys"
)


class NotKnown(Exception):  # noqa: N818 - named for what is the case
    """`gateway migrate` of this release has not been here."""


def keep(connection: psycopg.Connection, phase: Phase | None) -> None:
    """For the migration of that phase, once it is clear that nothing is in its way."""
    if phase == "before":
        connection.execute(_BEGUN.encode())
    else:
        end(connection)


def end(connection: psycopg.Connection) -> bool:
    """Whether one was under way."""
    return connection.execute(_ENDED.encode()).rowcount > 0


async def under_way_since(postgres: Postgres) -> datetime | None:
    row = await _asked(postgres, _SINCE)
    return None if row is None else row[0]


async def under_way_seconds(postgres: Postgres) -> float:
    """By the database's clock; 0 when none is."""
    row = await _asked(postgres, _SECONDS)
    assert row is not None, "an aggregate has a row"
    return float(row[0])


async def _asked(postgres: Postgres, statement: str) -> tuple[Any, ...] | None:
    async with postgres.reading() as connection:
        try:
            cursor = await connection.execute(statement.encode())
        except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege) as error:
            raise NotKnown from error
        return await cursor.fetchone()

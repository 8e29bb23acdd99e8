"""The schemas of the read models: made by the owner role, beside each other, never in place.

Shapes  rm_<name>_v<version>  the tables of one version; a rebuild gets a schema of its own
        rm                    a view a table, which people and processes read
        rm_admin              checkpoints, parked streams, rebuilds
        The first version of a projection is shown as soon as it is made. A later one is made
        beside the one that is shown, and shown when it has been rebuilt (projections/rebuild.py).
Errors  SchemaChanged when tables, or the states in them, were changed without a new version:
        old rows would be read as if they were new. psycopg's own errors pass: this runs before a
        deploy.
"""

import hashlib
import json
from collections.abc import Sequence

import psycopg
from psycopg import sql

from projections import checkpoints
from projections.catalogue import PROJECTIONS
from projections.projection import Projection, StreamProjection

OWNER, APP, READONLY = "gw_owner", "gw_app", "gw_readonly"
VIEWS, ADMIN = "rm", "rm_admin"
MIGRATION = "system:migrate"
LOCK_TIMEOUT_MS = 5_000
CONNECT_TIMEOUT_SECONDS = 5
_ENSURE_LOCK = 0x726D_6464  # "rmdd": one of these in a database at a time


class SchemaChanged(Exception):  # noqa: N818
    """A projection's rows are not what was made for this version: give it a new version."""


def ensure_schemas(owner_dsn: str, projections: Sequence[Projection] = PROJECTIONS) -> list[str]:
    """Make what is missing and name it.

    A new version is not shown: the one before it stays, and processes that still run the code
    before keep it up to date, until the new one is rebuilt and switched to.
    The DSN is gw_owner's, or an administrator's, who then acts as gw_owner.
    """
    with psycopg.connect(owner_dsn, connect_timeout=CONNECT_TIMEOUT_SECONDS) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(OWNER)))
        connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(LOCK_TIMEOUT_MS))
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_ENSURE_LOCK,))
        for statement in admin_statements():
            connection.execute(statement)
        made = [p.schema for p in projections if _ensure(connection, p)]
        connection.commit()
    return made


def _ensure(connection: psycopg.Connection, projection: Projection) -> bool:
    known = connection.execute(
        "SELECT c.schema, c.followed, obj_description(n.oid, 'pg_namespace') "
        "FROM rm_admin.checkpoints c JOIN pg_namespace n ON n.nspname = c.schema "
        "WHERE c.name = %s AND c.version = %s",
        (projection.name, projection.version),
    ).fetchall()
    for schema, followed, made_as in known:
        if followed and made_as != fingerprint(projection):
            raise SchemaChanged(
                f"the tables of {schema} are not those of this code; "
                f"raise the version of the projection {projection.name!r}"
            )
    if known:
        return False
    for statement in creation(projection, projection.schema):
        connection.execute(statement)
    shown = connection.execute(
        "SELECT FROM rm_admin.checkpoints WHERE name = %s AND live", (projection.name,)
    ).fetchone()
    if shown is None:
        _show_first(connection, projection)
    else:
        _leave_beside(connection, projection)
    return True


def _show_first(connection: psycopg.Connection, projection: Projection) -> None:
    for statement in (
        *index_statements(projection, projection.schema),
        *show(projection, projection.schema),
    ):
        connection.execute(statement)
    connection.execute(
        "INSERT INTO rm_admin.checkpoints (schema, name, version, live) VALUES (%s, %s, %s, true)",
        (projection.schema, projection.name, projection.version),
    )


def _leave_beside(connection: psycopg.Connection, projection: Projection) -> None:
    place = (projection.schema, projection.name, projection.version)
    connection.execute(
        "INSERT INTO rm_admin.checkpoints (schema, name, version, followed) "
        "VALUES (%s, %s, %s, false)",
        place,
    )
    connection.execute(
        "INSERT INTO rm_admin.rebuilds (schema, name, version, state, asked_by, asked_at, "
        "worked_by, worked_since) VALUES (%s, %s, %s, 'building', %s, now(), %s, now()) "
        "ON CONFLICT (schema) DO UPDATE SET state = 'building', asked_by = EXCLUDED.asked_by, "
        "asked_at = now(), worked_by = EXCLUDED.worked_by, worked_since = now(), "
        "worked_from = 0, indexed = false, error = NULL, switched_at = NULL",
        (*place, MIGRATION, MIGRATION),
    )


def admin_statements() -> list[sql.Composed]:
    made = [
        *(f"CREATE SCHEMA IF NOT EXISTS {schema}" for schema in (VIEWS, ADMIN)),
        *checkpoints.TABLES,
        *(_added(*column) for column in checkpoints.ADDED),
        *(f"GRANT USAGE ON SCHEMA {schema} TO {APP}, {READONLY}" for schema in (VIEWS, ADMIN)),
        f"GRANT SELECT, UPDATE ON {ADMIN}.checkpoints TO {APP}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {ADMIN}.parked TO {APP}",
        f"GRANT SELECT ON {ADMIN}.rebuilds TO {APP}",
        f"GRANT SELECT, INSERT, UPDATE ON {ADMIN}.operations TO {APP}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {ADMIN} TO {READONLY}",
    ]
    return [sql.SQL(statement).format() for statement in made]


def _added(table: str, column: str, kind: str) -> str:
    return f"""
    DO $$ BEGIN
        IF NOT EXISTS (
            SELECT FROM information_schema.columns
            WHERE table_schema = '{ADMIN}' AND table_name = '{table}' AND column_name = '{column}'
        ) THEN ALTER TABLE {ADMIN}.{table} ADD COLUMN {column} {kind}; END IF;
    END $$
    """


def creation(projection: Projection, schema: str) -> list[sql.Composed]:
    """Schema, tables and who may use them; indexes come apart, for a rebuild makes them last."""
    name = sql.Identifier(schema)
    return [
        sql.SQL("CREATE SCHEMA {}").format(name),
        sql.SQL("COMMENT ON SCHEMA {} IS {}").format(name, sql.Literal(fingerprint(projection))),
        *(table.create(schema) for table in projection.tables),
        sql.SQL(f"GRANT USAGE ON SCHEMA {{}} TO {APP}, {READONLY}").format(name),
        sql.SQL(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {{}} TO {APP}"
        ).format(name),
        sql.SQL(f"GRANT SELECT ON ALL TABLES IN SCHEMA {{}} TO {READONLY}").format(name),
    ]


def index_statements(projection: Projection, schema: str) -> list[sql.Composed]:
    return [index for table in projection.tables for index in table.create_indexes(schema)]


def show(projection: Projection, schema: str) -> list[sql.Composed]:
    """Point the views at a schema."""
    statements: list[sql.Composed] = []
    for table in projection.tables:
        view = sql.Identifier(VIEWS, table.name)
        source = sql.Identifier(schema, table.name)
        statements += [
            # A later version may have other columns, which REPLACE would refuse.
            sql.SQL("DROP VIEW IF EXISTS {}").format(view),
            sql.SQL("CREATE VIEW {} AS SELECT * FROM {}").format(view, source),
            sql.SQL(f"GRANT SELECT ON {{}} TO {APP}, {READONLY}").format(view),
        ]
    return statements


def fingerprint(projection: Projection) -> str:
    """The same for the same tables and states, whatever the schema is called."""
    parts = [
        statement.as_string(None)
        for table in projection.tables
        for statement in (table.create("_"), *table.create_indexes("_"))
    ]
    if isinstance(projection, StreamProjection):
        shape = projection.state_type.model_json_schema(mode="serialization")
        parts.append(json.dumps(shape, sort_keys=True))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()

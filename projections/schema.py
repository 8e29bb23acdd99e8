"""The schemas of the read models: made by the owner role, beside each other, never in place.

Shapes  rm_<name>_v<version>  the tables of one version; a rebuild gets a schema of its own
        rm                    a view a table, which people and processes read
        rm_admin              checkpoints and parked streams
Errors  SchemaChanged when tables, or the states in them, were changed without a new version:
        old rows would be read as if they were new. psycopg's own errors pass: this runs before a deploy.
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
LOCK_TIMEOUT_MS = 5_000
CONNECT_TIMEOUT_SECONDS = 5
_ENSURE_LOCK = 0x726D_6464  # "rmdd": one of these in a database at a time


class SchemaChanged(Exception):  # noqa: N818
    """A projection's rows are not what was made for this version: give it a new version."""


def ensure_schemas(owner_dsn: str, projections: Sequence[Projection] = PROJECTIONS) -> list[str]:
    """Make what is missing and name it. A new version is shown at once and filled by the runner.

    The one before it stays, and processes that still run the code before keep it up to date.
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
    found = connection.execute(
        "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s",
        (projection.schema,),
    ).fetchone()
    if found is not None:
        if found[0] != fingerprint(projection):
            raise SchemaChanged(
                f"the tables of {projection.schema} are not those of this code; "
                f"raise the version of the projection {projection.name!r}"
            )
        return False
    for statement in (
        *creation(projection, projection.schema),
        *index_statements(projection, projection.schema),
    ):
        connection.execute(statement)
    for statement in show(projection, projection.schema):
        connection.execute(statement)
    connection.execute(
        "UPDATE rm_admin.checkpoints SET live = false WHERE name = %s", (projection.name,)
    )
    connection.execute(
        "INSERT INTO rm_admin.checkpoints (schema, name, version, live) VALUES (%s, %s, %s, true)",
        (projection.schema, projection.name, projection.version),
    )
    return True


def admin_statements() -> list[sql.Composed]:
    made = [
        *(f"CREATE SCHEMA IF NOT EXISTS {schema}" for schema in (VIEWS, ADMIN)),
        *checkpoints.TABLES,
        *(f"GRANT USAGE ON SCHEMA {schema} TO {APP}, {READONLY}" for schema in (VIEWS, ADMIN)),
        f"GRANT SELECT, UPDATE ON {ADMIN}.checkpoints TO {APP}",
        f"GRANT SELECT, INSERT, DELETE ON {ADMIN}.parked TO {APP}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {ADMIN} TO {READONLY}",
    ]
    return [sql.SQL(statement).format() for statement in made]


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

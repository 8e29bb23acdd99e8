"""Roles and tables: what must exist in PostgreSQL before any process starts.

Shapes  create_roles(admin)   gw_owner owns everything and changes tables; gw_app serves;
                              gw_signer sees only the schema signer; gw_readonly looks;
                              gw_backup reads everything, for pg_dump and pg_basebackup.
                              Roles belong to the cluster, so several databases may ask at once.
        migrate(dsn)          apply what is missing, answer which revisions; with a phase only
                              what belongs before, or after, a deploy. The DSN is gw_owner's,
                              or an administrator's, who then acts as gw_owner.
        role_dsn(admin, role) the DSN of a role whose password create_roles derived.
Units   lock_timeout in ms: a migration that would queue behind long work, and make everybody
        queue behind itself, fails instead and can be tried again.
Errors  MigrationRefused where this release and the database do not fit together. Else psycopg's
        own: this runs by hand or before a deploy, where the reason must be seen.
"""

import hashlib
import hmac
import threading
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext, MigrationInfo
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from adapters import deploys, revisions
from adapters.migrations import VERSION_SCHEMA, VERSION_TABLE
from adapters.revisions import MigrationRefused, Phase

OWNER, APP, SIGNER, READONLY = "gw_owner", "gw_app", "gw_signer", "gw_readonly"
BACKUP = "gw_backup"
ROLES = (OWNER, APP, SIGNER, READONLY, BACKUP)
SCRIPTS = Path(__file__).parent / "migrations"
LOCK_TIMEOUT_MS = 5_000
OTHER_MIGRATION_TIMEOUT_MS = 60_000
CONNECT_TIMEOUT_SECONDS = 5
ROLE_ATTEMPTS_MAX = 20
_MIGRATION_LOCK = 0x6777_6D69  # "gwmi": one migration of a database at a time
_LARGE_OBJECT_WRITERS = (
    "lo_creat(integer)",
    "lo_create(oid)",
    "lo_from_bytea(oid, bytea)",
    "lo_put(oid, bigint, bytea)",
    "lo_truncate(integer, integer)",
    "lo_truncate64(integer, bigint)",
    "lo_unlink(oid)",
    "lowrite(integer, bytea)",
)
# Alembic keeps the running environment in module globals: one at a time in a process.
_ALEMBIC = threading.Lock()


def role_password(admin_dsn: str, role: str) -> str | None:
    """A password that follows from the administrator's, and does not lead back to it.

    None where the administrator needs none: then the roles need none either.
    """
    secret = conninfo_to_dict(admin_dsn).get("password")
    if not secret:
        return None
    return hmac.new(str(secret).encode(), f"role:{role}".encode(), hashlib.sha256).hexdigest()


def role_dsn(admin_dsn: str, role: str) -> str:
    """The same database as seen by a role that create_roles made without a password of its own."""
    assert "://" in admin_dsn, "the DSN is written as a URL"
    parts = urlsplit(admin_dsn)
    password = role_password(admin_dsn, role)
    user = role if password is None else f"{role}:{quote(password, safe='')}"
    return parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}").geturl()


def create_roles(admin_dsn: str, passwords: Mapping[str, str] | None = None) -> list[str]:
    """Make the roles, gw_owner able to build in this database and nobody else. Repeatable.

    Needs a role that may create roles. Without `passwords` each role gets a derived one. With
    them, those that are named get theirs, and a derived one only who has none yet: who is not
    named may have got another long ago, and goes on with it.
    gw_backup may replicate, which reads the whole cluster, only once it is given a password.
    The answer is what this administrator may not do: a sentence each, for who may.
    """
    with psycopg.connect(
        admin_dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS
    ) as admin:
        for role in ROLES:
            given = (passwords or {}).get(role) or None
            made = _create_role(admin, role)
            if given is None and (made or passwords is None):
                given = role_password(admin_dsn, role)
            if given is not None:
                _insist(admin, _set_password(role, given))
        _insist(admin, sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(OWNER)))
        database = sql.Identifier(admin.info.dbname)
        owner = sql.Identifier(OWNER)
        _insist(
            admin, sql.SQL("GRANT CONNECT, CREATE ON DATABASE {} TO {}").format(database, owner)
        )
        statements = _precautions(admin.info.dbname)
        if (passwords or {}).get(BACKUP):
            # pg_basebackup asks for it. It lets read the whole cluster, and write nothing.
            replicate = sql.SQL("ALTER ROLE {} REPLICATION").format(sql.Identifier(BACKUP))
            statements.append(replicate)
        return [told for each in statements for told in _refused(admin, each)]


def _refused(admin: psycopg.Connection, statement: sql.Composed) -> list[str]:
    """Some need a superuser, whom a hosted PostgreSQL does not lend; none is the lock.

    What cannot be granted is an error, what cannot be revoked only a warning.
    """
    reasons: list[str | None] = []

    def warned(diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            reasons.append(diagnostic.message_primary)

    admin.add_notice_handler(warned)
    try:
        _insist(admin, statement)
    except psycopg.errors.InsufficientPrivilege as error:
        reasons.append(error.diag.message_primary)
    finally:
        admin.remove_notice_handler(warned)
    if not reasons:
        return []
    return [f"not done: {statement.as_string(admin)} ({reasons[0]})"]


def _precautions(database: str) -> list[sql.Composed]:
    """What PostgreSQL lets everybody do, and nobody here has a use for."""
    writers = ", ".join(_LARGE_OBJECT_WRITERS)
    return [
        sql.SQL("REVOKE CREATE ON SCHEMA public FROM PUBLIC").format(),
        sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)),
        sql.SQL(f"REVOKE EXECUTE ON FUNCTION {writers} FROM PUBLIC").format(),
    ]


def _create_role(admin: psycopg.Connection, role: str) -> bool:
    """Whether it was made now."""
    statement = sql.SQL(
        "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
    ).format(sql.Identifier(role))
    # Two databases of one cluster may be set up at once: the second finds the role made.
    try:
        _insist(admin, statement)
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        return False
    return True


def _set_password(role: str, password: str) -> sql.Composed:
    return sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))


def _insist(admin: psycopg.Connection, statement: sql.Composed) -> None:
    """Changes of shared catalogue rows collide between databases instead of waiting."""
    for attempt in range(1, ROLE_ATTEMPTS_MAX + 1):
        try:
            admin.execute(statement)
        except psycopg.errors.InternalError_ as error:
            if "concurrently" not in str(error) or attempt == ROLE_ATTEMPTS_MAX:
                raise
        else:
            return


def give_up_deploy(owner_dsn: str) -> bool:
    """Forget that `--before` has run, of whichever release; whether it had. Revisions stay."""
    raw = _connect(owner_dsn)
    try:
        _prepare(raw)
        was_under_way = deploys.end(raw)
        raw.commit()
        return was_under_way
    finally:
        raw.close()


def _connect(owner_dsn: str) -> psycopg.Connection:
    return psycopg.connect(
        make_conninfo(owner_dsn, application_name="gateway-migrate"),
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
    )


def migrate(owner_dsn: str, phase: Phase | None = None, *, scripts: Path = SCRIPTS) -> list[str]:
    """Apply the revisions this database lacks, in order; the answer names them."""
    raw = _connect(owner_dsn)
    try:
        _prepare(raw)
        engine = create_engine("postgresql+psycopg://", creator=lambda: raw, poolclass=StaticPool)
        with engine.connect() as connection, _ALEMBIC:
            applied = _upgrade(connection, phase, scripts)
        deploys.keep(raw, phase)
        raw.commit()
        return applied
    finally:
        raw.close()


def _prepare(raw: psycopg.Connection) -> None:
    """Become gw_owner, wait for other migrations of this database, bound every later wait."""
    found = raw.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", (list(ROLES),))
    missing = sorted(set(ROLES) - {name for (name,) in found})
    if missing:
        raise MigrationRefused(
            f"the role {missing[0]} does not exist: let an administrator create it, or run "
            "`gateway migrate` once with an administrator's DATABASE_URL_OWNER and GW_APP_PASSWORD"
        )
    raw.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(OWNER)))
    raw.execute(sql.SQL("SET lock_timeout = {}").format(OTHER_MIGRATION_TIMEOUT_MS))
    raw.execute("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
    raw.execute(sql.SQL("SET lock_timeout = {}").format(LOCK_TIMEOUT_MS))
    raw.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(VERSION_SCHEMA)))
    for statement in (revisions.TABLE, *deploys.TABLE):
        raw.execute(statement.encode())
    raw.commit()


def _upgrade(connection: Connection, phase: Phase | None, scripts: Path) -> list[str]:
    config = Config()
    config.set_main_option("script_location", str(scripts))
    config.set_main_option("path_separator", "os")
    known = revisions.known(config)
    current = _applied(connection)
    revisions.compare(connection, known, current)
    connection.commit()
    due = revisions.due(revisions.pending(known, current), phase)
    if not due:
        return []
    by_name = {each.name: each for each in due}

    def applied(step: MigrationInfo, **_: object) -> None:
        (name,) = step.up_revision_ids
        revisions.keep(connection, by_name[name])

    config.attributes["connection"] = connection
    config.attributes["on_version_apply"] = applied
    command.upgrade(config, due[-1].name)
    connection.commit()
    return [each.name for each in due]


def _applied(connection: Connection) -> str | None:
    options = {"version_table": VERSION_TABLE, "version_table_schema": VERSION_SCHEMA}
    revision = MigrationContext.configure(connection, opts=options).get_current_revision()
    connection.commit()
    return revision

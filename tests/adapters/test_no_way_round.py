"""Append-only by force: every way round it, tried as each role the gateway runs as.

Whatever a role tries is refused, and afterwards all that was written is there, byte for byte.
The owner can take the guards away, and only by name: a slip of the hand is refused to it too.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from adapters import migrate
from adapters.clock import SystemIds
from adapters.event_store import PostgresEventStore
from adapters.postgres import Postgres
from gateway.embedded_postgres import bundled_binaries
from projections.schema import ensure_schemas
from tests.adapters import ways_round as ways
from tests.conftest import Databases, Migrated
from tests.ports.event_store_facts import answer, batch, entry, new_stream, on

pytestmark = pytest.mark.services
RUNNING = ("app", "signer", "readonly", "backup")
WRITTEN = 5
REFUSED = (psycopg.errors.InsufficientPrivilege, psycopg.IntegrityError)
MISWRITTEN = (
    psycopg.errors.SyntaxError,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
)
CONTENTS = " UNION ALL ".join(
    f"SELECT '{table}' AS name, count(*), coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '')"
    f" FROM {table} AS t"
    for table in ways.COLUMNS
)
GUARDS = """
SELECT tgrelid::regclass::text, tgname, tgenabled, tgfoid::regprocedure::text, prosrc
FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid WHERE NOT tgisinternal ORDER BY 1, 2
"""
RIGHTS = """
SELECT c.oid::regclass::text, c.relkind, pg_get_userbyid(c.relowner), c.relacl::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1
"""
Seen = list[tuple[object, ...]]


@pytest.fixture(scope="module")
async def log(databases: object, migrated_template: str) -> AsyncIterator[Migrated]:
    """One database for all the attempts: each must leave it as it was."""
    assert isinstance(databases, Databases)
    url = await databases.create(migrated_template)
    await asyncio.to_thread(migrate.create_roles, url)
    found = Migrated(url, *(migrate.role_dsn(url, role) for role in migrate.ROLES))
    await asyncio.to_thread(ensure_schemas, found.owner_dsn)
    async with (
        Postgres(found.app_dsn, name="test", max_size=2) as postgres,
        PostgresEventStore(postgres, ids=SystemIds()) as store,
    ):
        await store.append(batch(on(new_stream(), count=2), message="message-1"))
        await store.append(batch(entry("hot_wallet", "refund_float", 5), key=answer("key-1")))
        await store.append(batch(entry("hot_wallet", "refund_float", 5), on(new_stream())))
        assert await store.head() == WRITTEN
    yield found
    await databases.drop(url)


async def everything(dsn: str) -> tuple[Seen, Seen, Seen]:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        return (
            await (await connection.execute(CONTENTS)).fetchall(),
            await (await connection.execute(GUARDS)).fetchall(),
            await (await connection.execute(RIGHTS)).fetchall(),
        )


async def attempt(log: Migrated, role: str, script: str, *, keep: bool = True) -> None:
    """One connection and one transaction; raises what refused it."""
    dsn: str = getattr(log, f"{role}_dsn")
    database = urlsplit(dsn).path.removeprefix("/")
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        if script.startswith(ways.OUTSIDE_A_TRANSACTION):
            await connection.set_autocommit(True)
        for statement in script.replace("{database}", database).split(";; "):
            if statement.endswith("FROM STDIN"):
                async with connection.cursor().copy(statement) as copy:
                    await copy.write(b"")
            else:
                await connection.execute(statement)
        if not keep:
            await connection.rollback()


ATTEMPTS = {
    **ways.CHANGES,
    **ways.GUARDS_AWAY,
    **ways.SOMEBODY_ELSE,
    **ways.SIDE_DOORS,
    **{f"forged: {name}": script for name, script in ways.FORGERIES.items()},
}


@pytest.mark.parametrize("role", RUNNING)
async def test_no_role_the_gateway_runs_as_gets_round_it(log: Migrated, role: str) -> None:
    before = await everything(log.admin_dsn)
    got_through = []
    for name, script in {**ATTEMPTS, **ways.NO_EFFECT}.items():
        try:
            await attempt(log, role, script)
        except REFUSED:
            continue
        got_through.append(name)
    assert set(got_through) <= set(ways.NO_EFFECT)
    assert await everything(log.admin_dsn) == before


async def test_the_attempts_are_real(log: Migrated) -> None:
    """A superuser, whom nothing is forbidden, fails in none of them for how it is written."""
    for name, script in ATTEMPTS.items():
        if name in {"another's session", "a setting of the server"}:
            continue  # they would be felt by other tests
        try:
            await attempt(log, "admin", script, keep=False)
        except MISWRITTEN as error:
            pytest.fail(f"{name}: {error}")
        except psycopg.Error:
            continue


@pytest.mark.parametrize("role", ["owner", "admin"])
async def test_a_slip_of_the_owners_hand_is_refused(log: Migrated, role: str) -> None:
    for script in ways.CHANGES.values():
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"is refused"):
            await attempt(log, role, script, keep=False)


async def test_what_goes_on_at_the_head_is_let_in(log: Migrated) -> None:
    """Or the forgeries above would be refused for another reason."""
    good = ways.EVENT.format(position=f"{ways.HEAD} + 1", recorded_at="clock_timestamp()")
    await attempt(log, "app", good, keep=False)
    legs = ways.LEGS.format(position=ways.HEAD)
    await attempt(log, "app", f"{good};; {legs}", keep=False)
    # As the writer does where the server's clock has stepped back.
    again = ways.EVENT.format(position=f"{ways.HEAD} + 1", recorded_at=ways.LATEST)
    await attempt(log, "app", f"{again};; {legs}", keep=False)


async def test_nobody_who_runs_owns_or_inherits_anything(log: Migrated) -> None:
    roles = [role for role in migrate.ROLES if role != migrate.OWNER]
    async with await psycopg.AsyncConnection.connect(log.admin_dsn) as connection:
        for statement in (
            (
                "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s) AND (rolsuper OR rolcreaterole"
                " OR rolcreatedb OR rolbypassrls OR (rolreplication AND rolname <> 'gw_backup'))"
            ),
            "SELECT relname FROM pg_class WHERE pg_get_userbyid(relowner) = ANY(%s)",
            "SELECT proname FROM pg_proc WHERE pg_get_userbyid(proowner) = ANY(%s)",
            "SELECT nspname FROM pg_namespace WHERE pg_get_userbyid(nspowner) = ANY(%s)",
            "SELECT roleid::regrole FROM pg_auth_members WHERE member::regrole::text = ANY(%s)",
        ):
            assert await (await connection.execute(statement, (roles,))).fetchall() == []


async def test_only_two_functions_lend_the_owners_rights(log: Migrated) -> None:
    """Both only keep money from leaving; a third has to be thought about here."""
    async with await psycopg.AsyncConnection.connect(log.admin_dsn) as connection:
        cursor = await connection.execute(
            "SELECT oid::regprocedure::text, proconfig::text FROM pg_proc "
            "WHERE prosecdef AND pg_get_userbyid(proowner) = 'gw_owner' ORDER BY 1"
        )
        lent: dict[str, str] = dict(await cursor.fetchall())
    assert set(lent) == {"signer.stop_signing(text)", "signer.withdraw(uuid,text)"}
    assert all("search_path=pg_catalog" in each for each in lent.values())


async def test_no_guard_looks_where_its_caller_says(log: Migrated) -> None:
    async with await psycopg.AsyncConnection.connect(log.admin_dsn) as connection:
        cursor = await connection.execute(
            "SELECT DISTINCT p.oid::regprocedure::text FROM pg_trigger t "
            "JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace "
            "WHERE NOT tgisinternal AND n.nspname IN ('es', 'ledger', 'ingest', 'signer') "
            "AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY(p.proconfig), false)"
        )
        assert await cursor.fetchall() == []


# ---------------------------------------------------------------- a backup


def _run(program: str, *options: str) -> "subprocess.CompletedProcess[bytes]":
    command = [str(bundled_binaries() / program), *options]
    return subprocess.run(command, capture_output=True, timeout=60, check=False)


async def test_a_backup_sees_everything_there_is(log: Migrated) -> None:
    dump = await asyncio.to_thread(_run, "pg_dump", "--dbname", log.backup_dsn)
    assert dump.returncode == 0, dump.stderr.decode()
    text = dump.stdout.decode()
    for wanted in (
        "COPY es.events",
        "COPY vault.secrets",
        "COPY signer.wallets",
        "COPY rm_admin.",
    ):
        assert wanted in text
    rows = text.split("COPY es.events", 1)[1].split("\n\\.", 1)[0].splitlines()[1:]
    assert len(rows) == WRITTEN


async def test_the_whole_cluster_can_be_taken_by_the_same_role(
    log: Migrated, tmp_path: Path
) -> None:
    options = ("--format=tar", "--wal-method=fetch", "--checkpoint=fast", "--no-sync")
    target = str(tmp_path / "base")
    command = ("pg_basebackup", "--dbname", log.backup_dsn, "--pgdata", target, *options)
    refused = await asyncio.to_thread(_run, *command)
    assert b"REPLICATION" in refused.stderr, "nobody gave it a password of its own yet"
    password = urlsplit(log.backup_dsn).password or ""
    await asyncio.to_thread(migrate.create_roles, log.admin_dsn, {migrate.BACKUP: password})
    try:
        taken = await asyncio.to_thread(_run, *command)
        assert taken.returncode == 0, taken.stderr.decode()
        assert (tmp_path / "base" / "base.tar").stat().st_size > 0
    finally:
        with psycopg.connect(log.admin_dsn) as admin:
            admin.execute(f"ALTER ROLE {migrate.BACKUP} NOREPLICATION".encode())

"""Roles and tables, made by whoever may make them, once, in the order of a deploy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from adapters import migrate
from adapters.revisions import MigrationRefused, Phase
from tests.adapters.scripts import Scripts
from tests.conftest import Databases, Migrated

pytestmark = pytest.mark.services


async def test_a_second_migration_has_nothing_to_do(migrated: Migrated) -> None:
    assert await asyncio.to_thread(migrate.migrate, migrated.owner_dsn) == []


async def test_a_fresh_database_gets_every_revision_in_order(database: str) -> None:
    await asyncio.to_thread(migrate.create_roles, database)
    owner = migrate.role_dsn(database, migrate.OWNER)
    applied = await asyncio.to_thread(migrate.migrate, owner)
    assert applied[0] == "0001"
    assert applied == sorted(applied)


async def test_an_administrator_migrates_in_the_name_of_the_owner(database: str) -> None:
    await asyncio.to_thread(migrate.create_roles, database)
    assert await asyncio.to_thread(migrate.migrate, database)
    async with await psycopg.AsyncConnection.connect(database) as connection:
        cursor = await connection.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname IN ('es', 'ledger')"
        )
        assert await cursor.fetchall() == [(migrate.OWNER,)]


async def test_two_migrations_at_once_apply_each_revision_once(database: str) -> None:
    await asyncio.to_thread(migrate.create_roles, database)
    owner = migrate.role_dsn(database, migrate.OWNER)
    answers = await asyncio.gather(*(asyncio.to_thread(migrate.migrate, owner) for _ in range(3)))
    assert [bool(answer) for answer in sorted(answers, key=len)] == [False, False, True]


async def test_two_databases_of_one_cluster_can_be_set_up_at_once(databases: Databases) -> None:
    urls = [await databases.create() for _ in range(3)]

    async def set_up(url: str) -> list[str]:
        await asyncio.to_thread(migrate.create_roles, url)
        return await asyncio.to_thread(migrate.migrate, migrate.role_dsn(url, migrate.OWNER))

    answers = await asyncio.gather(*(set_up(url) for url in urls))
    for url in urls:
        await databases.drop(url)
    assert all(answer == answers[0] and answer for answer in answers)


async def test_a_role_without_privileges_cannot_migrate(migrated: Migrated) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await asyncio.to_thread(migrate.migrate, migrated.app_dsn)


def test_role_passwords_follow_from_the_administrators_and_differ() -> None:
    admin = "postgresql://postgres:secret@127.0.0.1:5432/gateway"
    app = migrate.role_dsn(admin, migrate.APP)
    assert app == migrate.role_dsn(admin, migrate.APP)
    assert app.startswith("postgresql://gw_app:")
    assert "secret" not in app
    assert migrate.role_password(admin, migrate.APP) != migrate.role_password(
        admin, migrate.SIGNER
    )


def test_roles_have_no_password_where_the_administrator_has_none() -> None:
    admin = "postgresql://postgres@127.0.0.1:5432/gateway"
    assert migrate.role_dsn(admin, migrate.APP) == "postgresql://gw_app@127.0.0.1:5432/gateway"


async def _logs_in(dsn: str, role: str, password: str | None) -> bool:
    try:
        async with await psycopg.AsyncConnection.connect(dsn, user=role, password=password):
            return True
    except psycopg.OperationalError as refused:
        if "password authentication failed" not in str(refused):
            raise
        return False


async def test_who_has_a_password_keeps_it_until_another_is_named(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles, ours = migrate.ROLES, ("gw_first", "gw_second", "gw_third")

    def derived(role: str) -> str | None:
        return migrate.role_password(database, role)

    try:
        monkeypatch.setattr(migrate, "ROLES", (*roles, *ours[:2]))
        await asyncio.to_thread(migrate.create_roles, database, {"gw_first": "its own"})
        assert await _logs_in(database, "gw_first", "its own")
        assert await _logs_in(database, "gw_second", derived("gw_second"))
        monkeypatch.setattr(migrate, "ROLES", (*roles, *ours))
        await asyncio.to_thread(migrate.create_roles, database, {"gw_second": "another"})
        assert await _logs_in(database, "gw_first", "its own")
        assert await _logs_in(database, "gw_second", "another")
        assert not await _logs_in(database, "gw_second", derived("gw_second"))
        assert await _logs_in(database, "gw_third", derived("gw_third"))
        await asyncio.to_thread(migrate.create_roles, database)
        for role in ours:
            assert await _logs_in(database, role, derived(role))
    finally:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            for role in ours:
                await connection.execute(f"DROP ROLE IF EXISTS {role}")


OURS = ("gw_test_owner", "gw_test_backup")  # roles are the cluster's, which others use as well


@pytest.fixture
async def own_roles(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The database of an administrator as hosts lend them: makes roles, and is no superuser."""
    owner, backup = OURS
    monkeypatch.setattr(migrate, "OWNER", owner)
    monkeypatch.setattr(migrate, "BACKUP", backup)
    monkeypatch.setattr(migrate, "ROLES", OURS)
    parts = urlsplit(database)
    name, hosted = parts.path.removeprefix("/"), "gw_test_hosted"
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(f"CREATE ROLE {hosted} LOGIN CREATEROLE PASSWORD 'hosted'")
        await connection.execute(f'ALTER DATABASE "{name}" OWNER TO {hosted}'.encode())
        netloc = f"{hosted}:hosted@{parts.netloc.rpartition('@')[2]}"
        try:
            yield parts._replace(netloc=netloc).geturl()
        finally:
            await connection.execute(f'ALTER DATABASE "{name}" OWNER TO postgres'.encode())
            for role in (*OURS, hosted):
                with suppress(psycopg.errors.UndefinedObject):
                    await connection.execute(f"DROP OWNED BY {role}")
                await connection.execute(f"DROP ROLE IF EXISTS {role}")


async def _replicates(database: str) -> bool:
    async with await psycopg.AsyncConnection.connect(database) as connection:
        query = "SELECT rolreplication FROM pg_roles WHERE rolname = %s"
        row = await (await connection.execute(query, (migrate.BACKUP,))).fetchone()
    assert row is not None
    return bool(row[0])


async def test_who_backs_up_may_replicate_once_it_has_a_password_and_not_before(
    database: str, own_roles: str
) -> None:
    del own_roles
    owner, backup = OURS
    for passwords in (None, {owner: "x"}, {owner: "x", backup: ""}):
        assert await asyncio.to_thread(migrate.create_roles, database, passwords) == []
        assert not await _replicates(database)
    assert await asyncio.to_thread(migrate.create_roles, database, {backup: "x"}) == []
    assert await _replicates(database)


async def test_what_an_administrator_may_not_do_is_told(database: str, own_roles: str) -> None:
    told = await asyncio.to_thread(migrate.create_roles, own_roles, {OURS[1]: "x"})
    assert not await _replicates(database)
    assert any("REPLICATION" in each for each in told), told
    assert any("lo_creat" in each for each in told), told
    assert all(each.startswith("not done: ") for each in told)


# ---------------------------------------------------------------- before and after a deploy


@pytest.fixture
async def owner(database: str) -> str:
    await asyncio.to_thread(migrate.create_roles, database)
    return migrate.role_dsn(database, migrate.OWNER)


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    return Scripts(tmp_path)


async def applied(owner: str, scripts: Scripts, phase: Phase | None = None) -> list[str]:
    return await asyncio.to_thread(partial(migrate.migrate, owner, phase, scripts=scripts.folder))


async def test_a_deploy_has_a_half_before_and_a_half_after(owner: str, scripts: Scripts) -> None:
    for phase in ("before", "before", "after"):
        scripts.add(phase)
    assert await applied(owner, scripts, "before") == ["0001", "0002"]
    assert await applied(owner, scripts, "before") == []
    assert await applied(owner, scripts, "after") == ["0003"]
    assert await applied(owner, scripts, "after") == []


async def test_without_a_phase_everything_is_applied_in_order(
    owner: str, scripts: Scripts
) -> None:
    for phase in ("before", "after", "before", "after"):
        scripts.add(phase)
    assert await applied(owner, scripts) == ["0001", "0002", "0003", "0004"]


async def test_neither_half_goes_over_the_head_of_the_other(owner: str, scripts: Scripts) -> None:
    scripts.add("before")
    with pytest.raises(MigrationRefused, match=r"0001 belongs before the deploy.*--before"):
        await applied(owner, scripts, "after")
    scripts.add("after")
    assert await applied(owner, scripts, "before") == ["0001"]
    scripts.add("before")
    with pytest.raises(MigrationRefused, match=r"0002 belongs after the last deploy.*--after"):
        await applied(owner, scripts, "before")
    assert await applied(owner, scripts, "after") == ["0002"]
    assert await applied(owner, scripts, "before") == ["0003"]


async def test_a_half_that_would_be_left_undone_is_refused_whole(
    owner: str, scripts: Scripts
) -> None:
    """A release was left out: what this one's code needs waits behind what old code cannot bear."""
    for phase in ("before", "after", "before"):
        scripts.add(phase)
    with pytest.raises(MigrationRefused, match=r"0003 .*waits for 0002.*--after.*brought 0002"):
        await applied(owner, scripts, "before")
    async with await psycopg.AsyncConnection.connect(owner) as connection:
        cursor = await connection.execute("SELECT to_regclass('migrations.made_0001')")
        assert await cursor.fetchone() == (None,)
    assert await applied(owner, scripts) == ["0001", "0002", "0003"]


async def test_every_revision_names_its_phase(owner: str, scripts: Scripts) -> None:
    path = scripts.add("before")
    path.write_text(path.read_text(encoding="utf-8").replace('phase = "before"\n', ""))
    with pytest.raises(MigrationRefused, match=r"v0001\.py names no phase"):
        await applied(owner, scripts)


# ---------------------------------------------------------------- what ran can be read


async def test_an_edited_revision_that_was_applied_is_refused_by_name(
    owner: str, scripts: Scripts
) -> None:
    path = scripts.add("before")
    await applied(owner, scripts)
    was = path.read_bytes()
    path.write_bytes(was + b"# one more thought\n")
    scripts.add("before")
    with pytest.raises(MigrationRefused, match=r"0001 was applied as something else: v0001\.py"):
        await applied(owner, scripts)
    path.write_bytes(was.replace(b"\n", b"\r\n"))  # as a checkout elsewhere may write it
    assert await applied(owner, scripts) == ["0002"]


async def test_one_that_is_not_applied_yet_may_be_edited(owner: str, scripts: Scripts) -> None:
    path = scripts.add("before", "SELECT no_such_column")
    with pytest.raises(Exception, match="no_such_column"):
        await applied(owner, scripts)
    path.write_text(path.read_text(encoding="utf-8").replace("no_such_column", "1"))
    assert await applied(owner, scripts) == ["0001"]


async def test_a_database_from_before_there_were_checksums_takes_those_it_is_given(
    owner: str, scripts: Scripts
) -> None:
    path = scripts.add("before")
    await applied(owner, scripts)
    async with await psycopg.AsyncConnection.connect(owner) as connection:
        await connection.execute("DROP TABLE migrations.checksums")
    assert await applied(owner, scripts) == []
    path.write_bytes(path.read_bytes() + b"# edited\n")
    with pytest.raises(MigrationRefused, match="0001"):
        await applied(owner, scripts)


async def test_an_older_release_says_that_the_database_is_newer(
    owner: str, scripts: Scripts
) -> None:
    scripts.add("before")
    newest = scripts.add("before")
    await applied(owner, scripts)
    newest.unlink()
    with pytest.raises(MigrationRefused, match="revision 0002, which this release does not have"):
        await applied(owner, scripts)


# ---------------------------------------------------------------- with others about


async def test_behind_long_work_it_fails_and_leaves_nothing_of_itself(
    owner: str, scripts: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT_MS", 200)
    scripts.add("before")
    scripts.add("before", "ALTER TABLE migrations.made_0001 ADD COLUMN wide int")
    async with await psycopg.AsyncConnection.connect(owner) as busy:
        await asyncio.to_thread(_first_of, owner, scripts)
        await busy.execute("SELECT * FROM migrations.made_0001")
        with pytest.raises(Exception, match="lock timeout"):
            await applied(owner, scripts)
    assert await applied(owner, scripts) == ["0002"]


def _first_of(owner: str, scripts: Scripts) -> None:
    second = scripts.folder / "versions" / "v0002.py"
    text = second.read_text(encoding="utf-8")
    second.unlink()
    assert migrate.migrate(owner, scripts=scripts.folder) == ["0001"]
    second.write_text(text, encoding="utf-8")


async def test_two_migrators_at_once_keep_one_checksum_a_revision(
    owner: str, scripts: Scripts
) -> None:
    scripts.add("before", "SELECT pg_sleep(0.3)")
    scripts.add("after")
    answers = await asyncio.gather(*(applied(owner, scripts) for _ in range(3)))
    assert sorted(answers) == [[], [], ["0001", "0002"]]
    async with await psycopg.AsyncConnection.connect(owner) as connection:
        cursor = await connection.execute("SELECT revision, phase FROM migrations.checksums")
        assert sorted(await cursor.fetchall()) == [("0001", "before"), ("0002", "after")]


async def test_a_missing_role_is_named_with_who_can_make_it(
    migrated: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "ROLES", (*migrate.ROLES, "gw_not_there"))
    with pytest.raises(MigrationRefused, match=r"gw_not_there does not exist.*administrator"):
        await asyncio.to_thread(migrate.migrate, migrated.owner_dsn)

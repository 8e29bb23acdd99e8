"""Roles and tables, made by whoever may make them, once."""

import asyncio

import psycopg
import pytest

from adapters import migrate
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

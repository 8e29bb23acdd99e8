"""Tables, views and grants."""

import asyncio

import psycopg
import pytest
from psycopg import AsyncConnection

from application.ports import StoreUnavailable
from projections import checkpoints
from projections.catalogue import PROJECTIONS
from projections.payments import PAYMENTS, Payments
from projections.refunds import Refunds
from projections.runner import ProjectionRunner
from projections.schema import SchemaChanged, ensure_schemas
from projections.table import Table
from tests.conftest import Migrated
from tests.projections.conftest import Stage
from tests.projections.test_runner import (
    append,
    caught_up,
    created,
    running,
    session_stream,
    shown,
)


async def test_a_second_time_there_is_nothing_to_make(migrated: Migrated) -> None:
    first = await asyncio.to_thread(ensure_schemas, migrated.owner_dsn)
    assert first == [projection.schema for projection in PROJECTIONS]
    assert await asyncio.to_thread(ensure_schemas, migrated.owner_dsn) == []


async def test_two_processes_may_make_them_at_once(migrated: Migrated) -> None:
    both = await asyncio.gather(
        *(asyncio.to_thread(ensure_schemas, migrated.owner_dsn) for _ in range(2))
    )
    assert sorted(map(len, both)) == [0, len(PROJECTIONS)]


async def test_changed_tables_need_a_new_version(
    migrated: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn)
    wider = Table("payments", (*PAYMENTS.columns, ("extra", "text")), PAYMENTS.key)
    monkeypatch.setattr(Payments, "tables", (wider,))
    with pytest.raises(SchemaChanged, match="payments"):
        await asyncio.to_thread(ensure_schemas, migrated.owner_dsn)


async def test_changed_states_need_a_new_version(
    migrated: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn)
    monkeypatch.setattr(Payments, "state_type", Refunds.state_type)
    with pytest.raises(SchemaChanged, match="payments"):
        await asyncio.to_thread(ensure_schemas, migrated.owner_dsn)


async def test_a_new_version_is_shown_and_filled_from_the_start(
    stage: Stage, migrated: Migrated
) -> None:
    class PaymentsAgain(Payments):
        version = 4

    await append(stage, session_stream(1), created(1))
    async with running(stage.runner()):
        await caught_up(stage)
    projections = (PaymentsAgain(), *PROJECTIONS[1:])
    made = await asyncio.to_thread(ensure_schemas, migrated.owner_dsn, projections)
    assert made == ["rm_payments_v4"]
    assert await shown(stage) == []
    newer = ProjectionRunner(stage.app, stage.store, projections, None, stage.clock)
    async with running(newer):
        await caught_up(stage)
    assert len(await shown(stage)) == 1


async def test_the_runner_waits_for_tables_that_are_not_there_yet(migrated: Migrated) -> None:
    async with await AsyncConnection.connect(migrated.app_dsn) as connection:
        with pytest.raises(checkpoints.NotMigrated):
            await checkpoints.place_of(connection, Payments())


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE rm_payments_v3.payments",
        "ALTER TABLE rm_payments_v3.payments ADD COLUMN extra text",
        "CREATE TABLE rm.mine (x int)",
        "DELETE FROM rm_admin.checkpoints",
    ],
)
async def test_the_application_cannot_change_what_the_owner_made(
    stage: Stage, statement: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with stage.app.connection() as connection:
            await connection.execute(statement)


async def test_who_only_looks_sees_rows_and_changes_none(stage: Stage, migrated: Migrated) -> None:
    async with await AsyncConnection.connect(migrated.readonly_dsn) as connection:
        for name in ("rm.payments", "rm_payments_v3.payments", "rm_admin.checkpoints"):
            await connection.execute(f"SELECT * FROM {name}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("DELETE FROM rm_payments_v3.payments")


async def test_a_database_that_is_away_is_named(stage: Stage) -> None:
    await stage.app.close()
    with pytest.raises(StoreUnavailable):
        await shown(stage)

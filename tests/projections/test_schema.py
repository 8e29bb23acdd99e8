"""Tables, views and grants."""

import asyncio
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from application.ports import StoreUnavailable
from projections import checkpoints
from projections.catalogue import PROJECTIONS
from projections.payments import PAYMENTS, Payments
from projections.rebuild import Order
from projections.refunds import Refunds
from projections.renewal import bring_up, renew
from projections.runner import LEADER_LOCKS, ProjectionRunner, leader_key
from projections.schema import SchemaChanged, ensure_schemas
from projections.switching import KeptBehind, NothingToSwitch, drop, switch_back
from projections.table import Table
from projections.upkeep import working
from tests.conftest import Migrated
from tests.projections.conftest import Stage
from tests.projections.test_runner import (
    append,
    caught_up,
    created,
    rows,
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


class PaymentsAgain(Payments):
    version = 5


LED = """
SELECT FROM pg_locks WHERE classid = %s AND objid = %s
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
NEWER = (PaymentsAgain(), *PROJECTIONS[1:])


async def test_a_new_version_is_built_beside_the_old_one_and_shown_when_it_is_whole(
    stage: Stage, migrated: Migrated
) -> None:
    await append(stage, session_stream(1), created(1))
    async with running(stage.runner()):  # the code before goes on running
        await caught_up(stage)
        made = await asyncio.to_thread(ensure_schemas, migrated.owner_dsn, NEWER)
        assert made == ["rm_payments_v5"]
        newer = ProjectionRunner(stage.app, stage.store, NEWER, None, stage.clock)
        async with running(newer):
            await append(stage, session_stream(2), created(2))
            await caught_up(stage)
            assert len(await shown(stage)) == 2, "by the code before"
            order = Order("system:migrate")
            (done,) = await bring_up(stage.owner, stage.store, NEWER, stage.clock, order)
            assert (done.schema, done.comparison) == ("rm_payments_v5", None)
            assert not await bring_up(stage.owner, stage.store, NEWER, stage.clock, order)
            await append(stage, session_stream(3), created(3))
            await caught_up(stage)
            async with asyncio.timeout(5):
                while await rows(stage, "SELECT count(*) FROM rm_payments_v4.payments") != [(3,)]:
                    await asyncio.sleep(0.02)
    assert len(await shown(stage)) == 3
    source = await rows(stage, "SELECT definition FROM pg_views WHERE viewname = 'payments'")
    assert "rm_payments_v5" in source[0][0]
    assert await asyncio.to_thread(ensure_schemas, migrated.owner_dsn, NEWER) == []


async def test_a_version_with_other_columns_takes_the_place_of_the_view(
    stage: Stage, migrated: Migrated
) -> None:
    class Leaner(Payments):
        version = 5
        tables = (PAYMENTS,)  # type: ignore[assignment]  # the transfers are gone

        def beside(self, state: Any, recorded: Any) -> tuple[()]:
            return ()

    await append(stage, session_stream(1), created(1))
    newer = (Leaner(), *PROJECTIONS[1:])
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn, newer)
    await bring_up(stage.owner, stage.store, newer, stage.clock, Order("system:migrate"))
    assert len(await shown(stage)) == 1
    with pytest.raises(psycopg.errors.UndefinedTable):
        await rows(stage, "SELECT * FROM rm.payment_transfers")
    async with running(stage.runner()):
        await caught_up_in(stage, "rm_payments_v4")
        async with working(stage.owner, ["payments"]) as connection:
            await switch_back(connection, stage.store, Leaner(), stage.clock, Order("ann", "no"))
    assert await rows(stage, "SELECT count(*) FROM rm.payment_transfers") == [(0,)]


async def test_tables_of_another_version_are_shown_again_only_while_somebody_follows_them(
    stage: Stage, migrated: Migrated
) -> None:
    async def back() -> None:
        async with working(stage.owner, ["payments"]) as connection:
            again, order = PaymentsAgain(), Order("ann", "no")
            await switch_back(connection, stage.store, again, stage.clock, order)

    await append(stage, session_stream(1), created(1))
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn, NEWER)
    await bring_up(stage.owner, stage.store, NEWER, stage.clock, Order("system:migrate"))
    with pytest.raises(KeptBehind, match=r"version 4.*nobody"):
        await back()
    async with running(stage.runner()):
        await caught_up_in(stage, "rm_payments_v4")
    with pytest.raises(KeptBehind, match=r"version 4.*nobody"):  # though it lacks nothing
        await back()
    assert await shown_schema(stage) == "rm_payments_v5"
    async with running(stage.runner()):
        async with asyncio.timeout(5):
            lock = (LEADER_LOCKS, leader_key("payments", Payments.version))
            while not await rows(stage, LED, *lock):
                await asyncio.sleep(0.02)
        await back()
        await append(stage, session_stream(2), created(2))
        await caught_up(stage)
    assert await shown_schema(stage) == "rm_payments_v4"
    assert len(await shown(stage)) == 2


async def shown_schema(stage: Stage) -> str:
    query = "SELECT schema FROM rm_admin.checkpoints WHERE name = 'payments' AND live"
    ((schema,),) = await rows(stage, query)
    assert isinstance(schema, str)
    return schema


async def caught_up_in(stage: Stage, schema: str) -> None:
    head = await stage.store.head()
    query = "SELECT position FROM rm_admin.checkpoints WHERE schema = %s"
    async with asyncio.timeout(5):
        while await rows(stage, query, schema) != [(head,)]:
            await asyncio.sleep(0.02)


async def test_a_version_that_was_taken_back_and_dropped_is_followed_when_it_comes_again(
    stage: Stage, migrated: Migrated
) -> None:
    await append(stage, session_stream(1), created(1))
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn, NEWER)
    order = Order("operator:ann", "a drill")
    newer = ProjectionRunner(stage.app, stage.store, NEWER, None, stage.clock)
    async with running(stage.runner()), running(newer):
        await caught_up(stage)
        await bring_up(stage.owner, stage.store, NEWER, stage.clock, order)
        await caught_up_in(stage, "rm_payments_v4")
        async with working(stage.owner, ["payments"]) as connection:
            await switch_back(connection, stage.store, PaymentsAgain(), stage.clock, order)
            assert await drop(connection, "payments", stage.clock, order) == ["rm_payments_v5"]
        await append(stage, session_stream(2), created(2))
        await caught_up(stage)
        (again,) = await renew(stage.owner, stage.store, [PaymentsAgain()], stage.clock, order)
        assert (again.schema, again.switched is not None) == ("rm_payments_v5_r1", True)
        await append(stage, session_stream(3), created(3))
        await caught_up(stage)
        assert len(await shown(stage)) == 3


async def test_tables_that_were_dropped_are_not_made_and_shown_again_empty(
    stage: Stage, migrated: Migrated
) -> None:
    await append(stage, session_stream(1), created(1))
    order = Order("operator:ann", "a drill")
    async with running(stage.runner()):
        await caught_up(stage)
        await renew(stage.owner, stage.store, [Payments()], stage.clock, order)
        async with working(stage.owner, ["payments"]) as connection:
            gone = await drop(connection, "payments", stage.clock, order)
            assert gone == ["rm_payments_v4"]
            with pytest.raises(NothingToSwitch, match="nothing that could be dropped"):
                await drop(connection, "payments", stage.clock, order)
        await append(stage, session_stream(2), created(2))
        await caught_up(stage)
    assert await asyncio.to_thread(ensure_schemas, migrated.owner_dsn) == []
    assert len(await shown(stage)) == 2


async def test_a_database_of_the_release_before_gets_what_came_later(migrated: Migrated) -> None:
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn)
    async with await AsyncConnection.connect(migrated.owner_dsn) as connection:
        for table, column, _ in checkpoints.ADDED:
            await connection.execute(f"ALTER TABLE rm_admin.{table} DROP COLUMN {column}")
        await connection.execute("DROP TABLE rm_admin.rebuilds, rm_admin.operations")
    async with await AsyncConnection.connect(migrated.app_dsn) as connection:
        with pytest.raises(checkpoints.NotMigrated):
            await checkpoints.place_of(connection, Payments())
    assert await asyncio.to_thread(ensure_schemas, migrated.owner_dsn) == []
    async with await AsyncConnection.connect(migrated.app_dsn) as connection:
        (place,) = await checkpoints.followed_places(connection, Payments())
    assert (place.schema, place.live) == ("rm_payments_v4", True)


async def test_the_runner_waits_for_tables_that_are_not_there_yet(migrated: Migrated) -> None:
    async with await AsyncConnection.connect(migrated.app_dsn) as connection:
        with pytest.raises(checkpoints.NotMigrated):
            await checkpoints.place_of(connection, Payments())


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE rm_payments_v4.payments",
        "ALTER TABLE rm_payments_v4.payments ADD COLUMN extra text",
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
        for name in ("rm.payments", "rm_payments_v4.payments", "rm_admin.checkpoints"):
            await connection.execute(f"SELECT * FROM {name}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("DELETE FROM rm_payments_v4.payments")


async def test_a_database_that_is_away_is_named(stage: Stage) -> None:
    await stage.app.close()
    with pytest.raises(StoreUnavailable):
        await shown(stage)

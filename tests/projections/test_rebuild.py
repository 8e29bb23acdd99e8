"""Rebuilt beside the live ones: equal, whatever the batches were."""

import asyncio
from typing import Any

import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from adapters.postgres import Postgres
from application.ports import StoreUnavailable
from gateway.embedded import Embedded
from projections import filling, switching
from projections.catalogue import PROJECTIONS
from projections.comparing import compare_kept
from projections.payments import Payments
from projections.rebuild import Order, Progress, RebuildOfOtherCode
from projections.renewal import Renewed, rebuild, renew
from projections.schema import ensure_schemas
from projections.switching import (
    NothingToSwitch,
    RebuildBehind,
    SwitchBlocked,
    switch,
    switch_back,
)
from projections.upkeep import BeingRebuilt, working
from projections.watchlist import WatchList
from tests.conftest import Migrated
from tests.examples import OBSERVED
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


async def contents(stage: Stage, schema: str, table: str) -> list[Any]:
    """Every row as the text of all its columns."""
    query = sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(sql.Identifier(schema, table))
    async with stage.owner.connection() as connection:
        return await (await connection.execute(query)).fetchall()


async def test_what_is_rebuilt_equals_what_was_live_byte_for_byte(stage: Stage) -> None:
    history = stage.history(seed=7)
    async with running(stage.runner()):
        for _ in range(12):  # many small batches live, one large one rebuilt
            await history.write(50)
            await append_poison(stage, len(history.sessions))
            await caught_up(stage)
    rebuilt = await rebuild(stage.owner, stage.store, PROJECTIONS, stage.clock)
    assert len(rebuilt) == len(PROJECTIONS)
    for each in rebuilt:
        assert each.position == await stage.store.head()
        for table in each.projection.tables:
            live = await contents(stage, each.projection.schema, table.name)
            assert live == await contents(stage, each.schema, table.name), table.name
            assert live, f"{table.name} is empty, which shows nothing"
    assert {each.projection.name: each.parked for each in rebuilt}["payments"] == 12


async def append_poison(stage: Stage, number: int) -> None:
    await append(stage, session_stream(0xBAD000 + number), OBSERVED)


ANN = Order("operator:ann", "a drill")


async def renewed(stage: Stage, *, accept: bool = False, restart: bool = False) -> Renewed:
    order = Order("operator:ann", "a drill", restart=restart)
    (done,) = await renew(
        stage.owner, stage.store, [Payments()], stage.clock, order, accept_differences=accept
    )
    return done


async def test_a_row_that_differs_is_found_and_nothing_is_shown(stage: Stage) -> None:
    await stage.history().write(100)
    async with running(stage.runner()):
        await caught_up(stage)
        before = await shown(stage)
        async with stage.owner.connection() as connection:
            cursor = await connection.execute(
                "UPDATE rm_payments_v4.payments SET due_units = due_units + 1 "
                "WHERE position = (SELECT min(position) FROM rm_payments_v4.payments) "
                "RETURNING session_id"
            )
            wrong = (await cursor.fetchall())[0][0]
        done = await renewed(stage)
        assert done.switched is None
        assert done.comparison is not None
        (difference,) = done.comparison.differences
        assert difference.table == "payments"
        assert difference.rows == (len(before), len(before))
        assert difference.keys == (f"({wrong}) differs",)
        again = await renewed(stage, accept=True)
    assert again.schema == done.schema, "the same rebuild, asked for once more"
    assert again.switched is not None
    assert await shown(stage) == before


async def test_a_switch_shows_the_rebuilt_rows_and_the_runner_goes_on_there(
    stage: Stage,
) -> None:
    await append(stage, session_stream(1), created(1))
    async with running(stage.runner()):
        await caught_up(stage)
        async with stage.owner.connection() as connection:
            await connection.execute("DELETE FROM rm_payments_v4.payments")
        await append(stage, session_stream(2), created(2))
        await caught_up(stage)
        done = await renewed(stage, accept=True)
        assert done.comparison is not None
        assert [(each.table, each.rows) for each in done.comparison.differences] == [
            ("payments", (1, 2))
        ]
        await append(stage, session_stream(3), created(3))
        await caught_up(stage)
    assert [session_id.int for session_id in await shown(stage)] == [1, 2, 3]


async def test_what_was_shown_before_is_followed_and_shown_again_whole(stage: Stage) -> None:
    history = stage.history()
    await history.write(100)
    async with running(stage.runner()):
        await caught_up(stage)
        done = await renewed(stage)
        await history.write(100)
        await caught_up(stage)
        assert not (await compare_kept(stage.owner, Payments())).differences
        async with working(stage.owner, ["payments"]) as connection:
            back = await switch_back(connection, stage.store, Payments(), stage.clock, ANN)
        assert (back.schema, back.replaced) == ("rm_payments_v4", done.schema)
        await history.write(50)
        await caught_up(stage)
        for table in Payments().tables:
            rebuilt = await contents(stage, done.schema, table.name)
            assert await contents(stage, "rm_payments_v4", table.name) == rebuilt
            assert await contents(stage, "rm", table.name) == rebuilt


async def test_only_a_schema_of_the_projection_can_be_shown(stage: Stage) -> None:
    async with working(stage.owner, ["payments"]) as connection:
        with pytest.raises(NothingToSwitch):
            await switch(
                connection, stage.store, Payments(), "rm_payments_v4_r9", stage.clock, ANN
            )
        with pytest.raises(NothingToSwitch):
            await switch_back(connection, stage.store, Payments(), stage.clock, ANN)


async def test_a_rebuild_too_far_behind_is_not_shown(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rebuilt,) = await rebuild(stage.owner, stage.store, [Payments()], stage.clock)
    monkeypatch.setattr(switching, "SWITCH_EVENTS_MAX", 3)
    for number in range(1, 6):
        await append(stage, session_stream(number), created(number))
    async with running(stage.runner()):
        await caught_up(stage)
    async with working(stage.owner, ["payments"]) as connection:
        with pytest.raises(RebuildBehind):
            await switch(connection, stage.store, Payments(), rebuilt.schema, stage.clock, ANN)
    assert len(await shown(stage)) == 5


async def test_a_rebuild_is_gone_on_with_unless_it_is_begun_anew(stage: Stage) -> None:
    await append(stage, session_stream(1), created(1))

    async def built(order: Order) -> str:
        (done,) = await rebuild(stage.owner, stage.store, [Payments()], stage.clock, order)
        return done.schema

    names = [await built(ANN), await built(ANN), await built(Order("operator:bo", restart=True))]
    assert names == ["rm_payments_v4_r1", "rm_payments_v4_r1", "rm_payments_v4_r2"]
    states = await rows(stage, "SELECT schema, state FROM rm_admin.rebuilds ORDER BY schema")
    assert states == [("rm_payments_v4_r1", "dropped"), ("rm_payments_v4_r2", "ready")]


async def test_a_reader_who_holds_a_view_delays_the_switch_and_nobody_else(stage: Stage) -> None:
    await append(stage, session_stream(1), created(1))
    waited: list[float] = []
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def look() -> None:
        while not stop.is_set():
            began = loop.time()
            assert len(await shown(stage)) == 1
            waited.append(loop.time() - began)
            await asyncio.sleep(0.005)

    async with running(stage.runner()):
        await caught_up(stage)
        async with stage.app.connection() as holder:
            await holder.execute("SELECT FROM rm.payments")  # and its transaction goes on
            looking = asyncio.create_task(look())
            rebuilding = asyncio.create_task(renewed(stage))
            await asyncio.sleep(2.0)
            assert not rebuilding.done()
            await holder.commit()
        done = await rebuilding
        stop.set()
        await looking
    assert done.switched is not None
    assert done.switched.tries > 1
    assert max(waited) < 1.5, "a quarter of a second, on a machine that others use too"


async def test_a_view_that_is_never_let_go_is_said_and_nothing_is_shown(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switching, "TRIES_MAX", 2)
    await append(stage, session_stream(1), created(1))
    async with running(stage.runner()):
        await caught_up(stage)
        async with stage.app.connection() as holder:
            await holder.execute("SELECT FROM rm.payments")
            with pytest.raises(SwitchBlocked, match="2 tries"):
                await renewed(stage)
        done = await renewed(stage)
    assert (done.resumed, done.switched is not None) == (True, True)


@pytest.mark.services
async def test_a_rebuild_outlives_a_database_that_went_down(
    stage: Stage, embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "SPAN_EVENTS_MAX", 20)
    history = stage.history()
    await history.write(300)
    async with running(stage.runner()):
        await caught_up(stage)
        half = await stage.store.head() // 2
        reached = asyncio.Event()

        def on_progress(progress: Progress) -> None:
            if progress.position > half:
                reached.set()

        work = asyncio.create_task(
            renew(stage.owner, stage.store, PROJECTIONS, stage.clock, ANN, on_progress=on_progress)
        )
        await reached.wait()
        await embedded.postgres.stop("immediate")
        with pytest.raises(StoreUnavailable):
            await work
        await embedded.postgres.start()
        await caught_up(stage)
        again = await renew(stage.owner, stage.store, PROJECTIONS, stage.clock, ANN)
        await history.write(50)
        await caught_up(stage)
    for each in again:
        assert each.resumed
        assert each.switched is not None
        for table in each.projection.tables:
            rows_now = await contents(stage, "rm", table.name)
            assert rows_now == await contents(stage, each.projection.schema, table.name)


async def test_a_rebuild_begun_by_other_code_is_begun_anew_on_request_only(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (begun,) = await rebuild(stage.owner, stage.store, [Payments()], stage.clock)
    async with stage.owner.connection() as connection:
        await connection.execute(f"COMMENT ON SCHEMA {begun.schema} IS 'other tables'")
    with pytest.raises(RebuildOfOtherCode, match="--restart"):
        await rebuild(stage.owner, stage.store, [Payments()], stage.clock)
    anew = Order("operator:ann", restart=True)
    (done,) = await rebuild(stage.owner, stage.store, [Payments()], stage.clock, anew)
    assert done.schema == "rm_payments_v4_r2"


async def test_two_may_not_work_on_one_and_the_second_is_told_who_does(stage: Stage) -> None:
    await rebuild(stage.owner, stage.store, [Payments()], stage.clock, Order("operator:ann"))
    async with working(stage.owner, ["payments"]):
        with pytest.raises(BeingRebuilt, match=r"by operator:ann, since 2026-11-22 12:00:00 UTC"):
            await rebuild(stage.owner, stage.store, [Payments()], stage.clock)
        await rebuild(stage.owner, stage.store, [WatchList()], stage.clock)
    await rebuild(stage.owner, stage.store, [Payments()], stage.clock)


@pytest.mark.services
async def test_the_session_that_holds_the_locks_may_be_idle_for_long(migrated: Migrated) -> None:
    """While another process works for it; a database may end sessions that are."""
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn)
    given = conninfo_to_dict(migrated.owner_dsn).get("options") or ""
    hasty = make_conninfo(migrated.owner_dsn, options=f"{given} -c idle_session_timeout=200")
    async with (
        Postgres(hasty, name="test-owner", max_size=1) as owner,
        working(owner, ["payments"]) as connection,
    ):
        await asyncio.sleep(0.6)
        await connection.execute("SELECT")

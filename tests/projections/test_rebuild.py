"""Rebuilt beside the live ones: equal, whatever the batches were."""

from typing import Any

import pytest
from psycopg import sql

from projections import rebuild as rebuilding
from projections.catalogue import PROJECTIONS
from projections.payments import Payments
from projections.rebuild import Difference, NothingToSwitch, compare, rebuild, switch
from tests.examples import OBSERVED
from tests.projections.conftest import Stage
from tests.projections.test_runner import (
    append,
    caught_up,
    created,
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
        async with stage.owner.connection() as connection:
            assert not await compare(
                connection, each.projection, each.projection.schema, each.schema
            )
    assert {each.projection.name: each.parked for each in rebuilt}["payments"] == 12


async def append_poison(stage: Stage, number: int) -> None:
    await append(stage, session_stream(0xBAD000 + number), OBSERVED)


async def test_a_row_that_differs_is_found(stage: Stage) -> None:
    await stage.history().write(100)
    (rebuilt,) = await rebuild(stage.owner, stage.store, [Payments()], stage.clock)
    async with running(stage.runner()):
        await caught_up(stage)
    async with stage.owner.connection() as connection:
        await connection.execute(
            "UPDATE rm_payments_v3.payments SET due_units = due_units + 1 "
            "WHERE position = (SELECT min(position) FROM rm_payments_v3.payments)"
        )
        found = await compare(connection, Payments(), "rm_payments_v3", rebuilt.schema)
    assert [difference.table for difference in found] == ["payments"]


async def test_a_switch_shows_the_rebuilt_rows_and_the_runner_goes_on_there(
    stage: Stage,
) -> None:
    await append(stage, session_stream(1), created(1))
    async with running(stage.runner()):
        await caught_up(stage)
        (rebuilt,) = await rebuild(stage.owner, stage.store, [Payments()], stage.clock)
        async with stage.owner.connection() as connection:
            await connection.execute("DELETE FROM rm_payments_v3.payments")
        await append(stage, session_stream(2), created(2))
        await caught_up(stage)
        different = await switch(stage.owner, stage.store, Payments(), rebuilt.schema, stage.clock)
        assert different == [Difference("payments", (1, 2))]
        await append(stage, session_stream(3), created(3))
        await caught_up(stage)
    assert [session_id.int for session_id in await shown(stage)] == [1, 2, 3]


async def test_only_a_schema_of_the_projection_can_be_shown(stage: Stage) -> None:
    with pytest.raises(NothingToSwitch):
        await switch(stage.owner, stage.store, Payments(), "rm_payments_v3_r9", stage.clock)


async def test_a_rebuild_too_far_behind_is_not_shown(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rebuilt,) = await rebuild(stage.owner, stage.store, [Payments()], stage.clock)
    monkeypatch.setattr(rebuilding, "BATCH_EVENTS_MAX", 3)
    for number in range(1, 6):
        await append(stage, session_stream(number), created(number))
    async with running(stage.runner()):
        await caught_up(stage)
    with pytest.raises(rebuilding.RebuildBehind):
        await switch(stage.owner, stage.store, Payments(), rebuilt.schema, stage.clock)
    assert len(await shown(stage)) == 5


async def test_rebuilding_twice_gives_two_schemas(stage: Stage) -> None:
    await append(stage, session_stream(1), created(1))
    names = [
        (await rebuild(stage.owner, stage.store, [Payments()], stage.clock))[0].schema
        for _ in range(2)
    ]
    assert names == ["rm_payments_v3_r1", "rm_payments_v3_r2"]

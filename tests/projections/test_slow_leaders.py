"""A leader that hangs, is suspended or is only slow: others take over, or it comes through."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.postgres import Postgres
from projections import runner
from projections.catalogue import PROJECTIONS
from projections.pace import FACT_TOO_SLOW
from projections.runner import ProjectionRunner
from tests.conftest import Migrated
from tests.projections.conftest import Stage
from tests.projections.test_runner import (
    CAUGHT_UP_SECONDS,
    append,
    caught_up,
    created,
    leaders,
    rows,
    running,
    session_stream,
    shown,
)


class Hanging:
    """A log whose answers stop coming once `hangs`; not an error, not an end."""

    def __init__(self, stage: Stage) -> None:
        self._store = stage.store
        self.hangs = False
        self._never = asyncio.Event()

    async def read_facts(self, *, after: int, limit: int) -> Any:
        if self.hangs:
            await self._never.wait()
        return await self._store.read_facts(after=after, limit=limit)


async def test_a_leader_that_hangs_makes_way_for_the_standby(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SILENCE_SECONDS_MAX", 1)
    monkeypatch.setattr(runner, "HEARTBEAT_SECONDS", 0.1)
    log: Any = Hanging(stage)
    hanging = ProjectionRunner(stage.app, log, PROJECTIONS, None, stage.clock)
    await append(stage, session_stream(1), created(1))
    task = asyncio.create_task(hanging.run(asyncio.Event()))
    await caught_up(stage)
    first = await leaders(stage)
    async with running(stage.runner()):
        log.hangs = True
        await append(stage, session_stream(2), created(2))
        await caught_up(stage)
        assert first.isdisjoint(await leaders(stage))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_step_that_never_ends_is_given_up_and_begun_anew(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "STEP_SECONDS_MAX", 0.2)
    log: Any = Hanging(stage)
    alone = ProjectionRunner(stage.app, log, PROJECTIONS, None, stage.clock)
    async with running(alone):
        await append(stage, session_stream(1), created(1))
        await caught_up(stage)
        log.hangs = True
        await asyncio.sleep(0.5)
        log.hangs = False  # for who asks now; who asked before is never answered
        await append(stage, session_stream(2), created(2))
        await caught_up(stage)


@asynccontextmanager
async def slow_disk(stage: Stage, seconds_a_row: float) -> AsyncIterator[None]:
    """Every new row of the sessions takes its time, as on a machine that can do no better."""
    async with stage.owner.connection() as connection:
        await connection.execute(
            "CREATE FUNCTION rm_payments_v4.wait() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN PERFORM pg_sleep({seconds_a_row}); RETURN NEW; END $$".encode()
        )
        await connection.execute(
            "CREATE TRIGGER waits BEFORE INSERT ON rm_payments_v4.payments "
            "FOR EACH ROW EXECUTE FUNCTION rm_payments_v4.wait()"
        )
    yield


async def test_a_slow_leader_goes_on_with_smaller_batches_until_it_comes_through(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SILENCE_SECONDS_MAX", 1)
    for number in range(1, 101):
        await append(stage, session_stream(number), created(number))
    with capture_logs() as logs:
        async with slow_disk(stage, 0.04), running(stage.runner()):
            await caught_up(stage)
    assert len(await shown(stage)) == 100
    reduced = [each for each in logs if each["event"] == "projections_batch_reduced"]
    assert reduced[0]["events"] == 50
    assert {each["reason"] for each in reduced} == {"TransactionTimeout"}
    stopped = [each for each in logs if each["event"] == "projections_stopped"]
    assert {each["reason"] for each in stopped} == {"TransactionTimeout"}
    assert not [each for each in logs if each["event"] == "postgresql_unavailable"]


async def test_a_single_fact_that_takes_too_long_is_named(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SILENCE_SECONDS_MAX", 1)
    for number in (1, 2):
        await append(stage, session_stream(number), created(number))
    with capture_logs() as logs:
        async with slow_disk(stage, 1.5), running(stage.runner()):
            async with asyncio.timeout(CAUGHT_UP_SECONDS):
                while not any(each["event"] == "projections_fact_too_slow" for each in logs):
                    await asyncio.sleep(0.1)
            await asyncio.sleep(1.5)  # it is tried again, and not said again
    (said,) = [each for each in logs if each["event"] == "projections_fact_too_slow"]
    assert said["after_position"] == 0
    assert said["hint"] == FACT_TOO_SLOW
    assert await shown(stage) == []


async def test_a_leader_with_nothing_to_do_is_heard_of_and_goes_on_leading(
    stage: Stage, migrated: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SILENCE_SECONDS_MAX", 1)
    monkeypatch.setattr(runner, "HEARTBEAT_SECONDS", 0.2)
    await append(stage, session_stream(1), created(1))
    async with Postgres(migrated.app_dsn, name="test-leader", max_size=1) as own:
        leader = ProjectionRunner(own, stage.store, PROJECTIONS, None, stage.clock)
        async with running(leader):
            await caught_up(stage)
            first = await leaders(stage)
            async with running(stage.runner()):
                await asyncio.sleep(2.5)
                assert await leaders(stage) == first
        for setting in ("idle_session_timeout", "transaction_timeout", "synchronous_commit"):
            async with own.connection() as connection:
                shown = await (await connection.execute(f"SHOW {setting}".encode())).fetchone()
            assert shown in {("0",), ("on",)}, f"{setting} is given back as it came"


async def test_a_leader_stopped_in_the_middle_of_a_pipeline_lets_go_too(stage: Stage) -> None:
    """The server owes it nothing, and counts no idle time while it awaits the rest."""
    frozen = await stage.app.take()
    try:
        for setting in runner.SILENCES:
            await frozen.execute(f"SET {setting} = '1s'".encode())
        await frozen.commit()
        pid = frozen.info.backend_pid
        frozen.pgconn.enter_pipeline_mode()
        for statement in (b"BEGIN", b"SELECT pg_advisory_xact_lock(1)"):
            frozen.pgconn.send_query_params(statement, None)
        frozen.pgconn.send_flush_request()
        frozen.pgconn.flush()
        there = "SELECT FROM pg_stat_activity WHERE pid = %s"
        async with asyncio.timeout(4):
            while await rows(stage, there, pid):
                await asyncio.sleep(0.1)
    finally:
        await frozen.close()
        await stage.app.give_back(frozen)

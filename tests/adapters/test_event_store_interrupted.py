"""Who stops in the middle of an append, and who stands behind them."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from adapters import event_store, event_store_rescue, event_store_write
from adapters.clock import SystemIds
from adapters.event_store import PostgresEventStore
from adapters.event_store_draft import draft
from adapters.event_store_sql import LOG_LOCK
from adapters.postgres import Postgres
from adapters.recorder_groups import Groups, Outcome, Request
from application.ports import StoreUnavailable
from tests.adapters.test_event_store_on_postgres import store_at
from tests.conftest import Migrated
from tests.ports.event_store_facts import batch, new_stream, on

SECONDS_MAX = 10.0


@pytest.mark.services
async def test_a_process_suspended_in_an_append_holds_the_log_for_seconds_only(
    migrated: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the server it is a client in a pipeline, for whom it has no idle time-out."""
    monkeypatch.setattr(event_store, "TRANSACTION_TIMEOUT_MS", 1_000)
    held, awake = asyncio.Event(), asyncio.Event()
    plain = event_store_write.Group._check

    async def suspended(group: event_store_write.Group, *given: Any) -> Any:
        found = await plain(group, *given)
        held.set()
        await awake.wait()
        return found

    async with store_at(migrated.app_dsn) as store:
        monkeypatch.setattr(event_store_write.Group, "_check", suspended)
        appending = asyncio.create_task(store.append(batch(on(new_stream()))))
        await held.wait()
        monkeypatch.setattr(event_store_write.Group, "_check", plain)
        async with await psycopg.AsyncConnection.connect(migrated.app_dsn) as other:
            await other.execute("SET lock_timeout = '5s'")
            await other.execute("SELECT pg_advisory_xact_lock(%s, %s)", LOG_LOCK)
        awake.set()
        with pytest.raises(StoreUnavailable) as lost:
            await appending
        assert not lost.value.outcome_unknown
        assert await store.append(batch(on(new_stream()))) == 1


@pytest.mark.services
async def test_a_question_that_fails_does_not_stop_the_writer(
    migrated: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_store, "ASK_AGAIN_SECONDS", 0.05)
    asked = asyncio.Event()

    async def broken(*_: object, **__: object) -> list[int | Exception]:
        asked.set()
        raise psycopg.errors.InsufficientPrivilege("a database restored without its grants")

    async with (
        Postgres(migrated.app_dsn, name="test", max_size=4) as postgres,
        PostgresEventStore(postgres, ids=SystemIds()) as store,
    ):
        assert await store.append(batch(on(new_stream()))) == 1
        monkeypatch.setattr(event_store, "look_up", broken)
        store._unknown.append(store_draft(store))
        assert await store.append(batch(on(new_stream()))) == 2
        await asyncio.wait_for(asked.wait(), SECONDS_MAX)
        assert await store.append(batch(on(new_stream()))) == 3
        monkeypatch.setattr(event_store, "look_up", event_store_rescue.look_up)
        async with asyncio.timeout(SECONDS_MAX):
            while store._unknown:
                await asyncio.sleep(0.02)
        assert store.figures.resolved["not_written"] == 1


def store_draft(store: PostgresEventStore) -> Any:
    future = asyncio.get_running_loop().create_future()
    return draft(batch(on(new_stream())), store._ids, future)


def test_who_is_interrupted_while_waiting_leaves_the_lead_to_the_next() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def write(group: Sequence[Request]) -> Sequence[Outcome]:
        begun.set()
        go_on.wait(SECONDS_MAX)
        return [[1] for _ in group]

    groups = Groups(write)
    first = threading.Thread(target=groups.insert, args=((), None))
    first.start()
    assert begun.wait(SECONDS_MAX)
    interrupted = Request((), None)
    groups._waiting.append(interrupted)
    interrupted.done.set_result(None)  # made the writer, just as it is told to end
    groups._leave(interrupted)
    go_on.set()
    first.join(SECONDS_MAX)
    assert not first.is_alive()
    assert groups.insert((), None) == [1]

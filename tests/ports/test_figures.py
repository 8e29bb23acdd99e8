"""One suite for the figures of chain reading: on PostgreSQL, and on the twin."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from adapters.figures import PostgresFigures
from adapters.ingest_store import PostgresIngestStore
from adapters.memory.figures import MemoryFigures
from adapters.memory.ingest_store import MemoryIngestStore
from adapters.postgres import Postgres
from application.figures import (
    BUCKETS,
    Backlog,
    CallCount,
    CallFigures,
    FiguresStore,
    ProviderState,
    ReadingCount,
    ReadingFigures,
)
from application.ingest import IngestStore
from tests.conftest import Migrated
from tests.ports.ingesting import (  # the fixture among them
    AT,
    NETWORK,
    Settle,
    database_or_none,
    header,
    passage,
    reports,
    seen,
)

__all__ = ["database_or_none"]

HOUR = AT.replace(minute=0, second=0, microsecond=0)
MINUTE = timedelta(minutes=1)


@dataclass
class Kit:
    figures: FiguresStore
    store: IngestStore
    settle: Settle


@pytest.fixture
async def kit(database_or_none: Migrated | None) -> AsyncIterator[Kit]:
    if database_or_none is None:
        inbox: set[str] = set()
        store = MemoryIngestStore(settled=lambda one: one in inbox)

        async def remember(message_id: str) -> None:
            inbox.add(message_id)

        yield Kit(MemoryFigures(store), store, remember)
        return
    async with Postgres(database_or_none.app_dsn, name="test") as postgres:

        async def record(message_id: str) -> None:
            async with postgres.connection() as connection:
                await connection.execute(
                    "INSERT INTO es.inbox (source, message_id, position) VALUES ('chain', %s, 1)",
                    (message_id,),
                )

        yield Kit(PostgresFigures(postgres), PostgresIngestStore(postgres), record)


def count(calls: int, micros: int, *, bucket: int = 0) -> CallCount:
    buckets = tuple(calls if place == bucket else 0 for place in range(BUCKETS))
    return CallCount(calls, calls * micros, micros, buckets)


def asked(
    count: CallCount,
    *,
    provider: str = "p0",
    method: str = "eth_getLogs",
    outcome: str = "answered",
) -> CallFigures:
    return CallFigures(NETWORK, provider, HOUR, method, outcome, count, AT, AT + MINUTE)


STATE = ProviderState(NETWORK, "p0", "answers", 70, AT, None, None, AT)


async def test_nothing_is_kept_at_first(kit: Kit) -> None:
    assert list(await kit.figures.calls(NETWORK, HOUR)) == []
    assert list(await kit.figures.readings(NETWORK, HOUR)) == []
    assert list(await kit.figures.states(NETWORK)) == []
    assert await kit.figures.backlog(NETWORK) == Backlog(0, 0, None)


async def test_what_is_kept_of_an_hour_adds_up(kit: Kit) -> None:
    await kit.figures.add([asked(count(3, 4_000, bucket=0))], [], [])
    later = replace(
        asked(count(2, 90_000, bucket=4)), first_at=AT + MINUTE, last_at=AT + 2 * MINUTE
    )
    await kit.figures.add([later], [], [])
    (kept,) = await kit.figures.calls(NETWORK, HOUR)
    assert kept.count.calls == 5
    assert kept.count.micros_sum == 192_000
    assert kept.count.micros_max == 90_000
    assert kept.count.buckets == (3, 0, 0, 0, 2, *(0,) * (BUCKETS - 5))
    assert (kept.first_at, kept.last_at) == (AT, AT + 2 * MINUTE)


async def test_hours_providers_methods_and_outcomes_are_kept_apart(kit: Kit) -> None:
    apart = [
        asked(count(1, 1)),
        asked(count(1, 1), provider="p1"),
        asked(count(1, 1), method="eth_chainId"),
        asked(count(1, 1), outcome="timeout"),
        replace(asked(count(1, 1)), hour=HOUR + timedelta(hours=1)),
        replace(asked(count(1, 1)), network="other"),
    ]
    await kit.figures.add(apart, [], [])
    kept = await kit.figures.calls(NETWORK, HOUR)
    assert sorted(kept, key=repr) == sorted(apart[:5], key=repr)
    assert [each.hour for each in kept] == [*[HOUR] * 4, HOUR + timedelta(hours=1)]


async def test_only_hours_from_then_on_are_read(kit: Kit) -> None:
    await kit.figures.add([asked(count(1, 1))], [], [])
    assert list(await kit.figures.calls(NETWORK, HOUR + MINUTE)) == []


async def test_readings_add_up_and_the_deepest_reorg_stays_the_deepest(kit: Kit) -> None:
    first = ReadingFigures(NETWORK, HOUR, ReadingCount(5, 1, 2, 1, 1, 7), AT, AT + MINUTE)
    again = replace(first, count=ReadingCount(3, 1, 0, 0, 1, 2), last_at=AT + 2 * MINUTE)
    await kit.figures.add([], [first], [])
    await kit.figures.add([], [again], [])
    (kept,) = await kit.figures.readings(NETWORK, HOUR)
    assert kept.count == ReadingCount(8, 2, 2, 1, 2, 7)
    assert (kept.first_at, kept.last_at) == (AT, AT + 2 * MINUTE)


async def test_a_state_is_replaced(kit: Kit) -> None:
    await kit.figures.add([], [], [STATE, replace(STATE, provider="p1")])
    down = replace(
        STATE, condition="down", failed_at=AT + MINUTE, failure="timeout", at=AT + MINUTE
    )
    await kit.figures.add([], [], [down])
    assert list(await kit.figures.states(NETWORK)) == [down, replace(STATE, provider="p1")]
    assert list(await kit.figures.states("other")) == []


async def test_old_hours_can_be_forgotten_and_states_stay(kit: Kit) -> None:
    young = replace(asked(count(1, 1)), hour=HOUR + timedelta(hours=1))
    reading = ReadingFigures(NETWORK, HOUR, ReadingCount(blocks=1), AT, AT)
    await kit.figures.add([asked(count(1, 1)), young], [reading], [STATE])
    await kit.figures.forget(HOUR + timedelta(hours=1))
    assert list(await kit.figures.calls(NETWORK, HOUR)) == [young]
    assert list(await kit.figures.readings(NETWORK, HOUR)) == []
    assert list(await kit.figures.states(NETWORK)) == [STATE]


async def test_the_backlog_is_what_nobody_has_published_or_recorded(kit: Kit) -> None:
    cursor = await kit.store.begin(NETWORK, header(9), AT)
    write = passage(cursor, header(10), seen(10))
    await kit.store.pass_blocks(write)
    (report,) = reports(cursor, 1)
    assert await kit.figures.backlog(NETWORK) == Backlog(1, 0, write.at)
    await kit.store.mark_published(NETWORK, [report.report_number], AT)
    assert await kit.figures.backlog(NETWORK) == Backlog(0, 1, write.at)
    assert await kit.figures.backlog("other") == Backlog(0, 0, None)
    await kit.settle(report.message_id)
    assert await kit.figures.backlog(NETWORK) == Backlog(0, 0, None)

"""Old answers are forgotten a few at a time, on PostgreSQL and in its twin."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from adapters.clock import SystemIds
from adapters.event_store import PostgresEventStore
from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.purge import MemoryStoredAnswers
from adapters.memory.store import MemoryEventStore
from adapters.postgres import Postgres
from adapters.purge import PostgresStoredAnswers
from application.ports import Batch, Context, EventStore, IdempotencyRecord, StoredAnswers
from tests.conftest import Migrated
from tests.examples import AT, MERCHANT_ID

CONTEXT = Context(actor="system", merchant_id=MERCHANT_ID, mode="test")


@dataclass
class Kit:
    store: EventStore
    answers: StoredAnswers
    made_at: Callable[[str, datetime], Awaitable[None]]

    async def answer(self, key: str, at: datetime) -> None:
        record = IdempotencyRecord(MERCHANT_ID, "test", key, "f" * 64, 201, b"{}")
        await self.store.append(Batch((), CONTEXT, None, record))
        await self.made_at(key, at)

    async def kept(self, *keys: str) -> list[str]:
        return [k for k in keys if await self.store.stored_response(MERCHANT_ID, "test", k)]


@pytest.fixture
async def twin() -> Kit:
    store = MemoryEventStore(ids=SeededIds(1), clock=FakeClock(AT))

    async def made_at(key: str, at: datetime) -> None:
        store.log.answered_at[MERCHANT_ID, "test", key] = at

    return Kit(store, MemoryStoredAnswers(store.log), made_at)


@pytest.fixture
async def postgres(migrated: Migrated) -> AsyncIterator[Kit]:
    """As the workers' role; only the ages are written by the owner."""
    async with (
        Postgres(migrated.app_dsn, name="test") as app,
        Postgres(migrated.owner_dsn, name="owner") as owner,
        PostgresEventStore(app, ids=SystemIds()) as store,
    ):

        async def made_at(key: str, at: datetime) -> None:
            async with owner.connection() as connection:
                statement = "UPDATE es.idempotency SET created_at = %s WHERE key = %s"
                await connection.execute(statement, (at, key))

        yield Kit(store, PostgresStoredAnswers(app), made_at)


@pytest.fixture(params=["twin", pytest.param("postgres", marks=pytest.mark.services)])
def kit(request: pytest.FixtureRequest) -> Kit:
    found: Kit = request.getfixturevalue(request.param)
    return found


async def test_the_oldest_answers_go_first_and_no_more_than_asked(kit: Kit) -> None:
    for minutes, key in ((2, "b"), (1, "a"), (3, "c"), (10, "young")):
        await kit.answer(key, AT + timedelta(minutes=minutes))
    before = AT + timedelta(minutes=10)
    assert await kit.answers.purge(before, 2) == 2
    assert await kit.kept("a", "b", "c", "young") == ["c", "young"]
    assert await kit.answers.purge(before, 2) == 1
    assert await kit.answers.purge(before, 2) == 0
    assert await kit.kept("a", "b", "c", "young") == ["young"]


async def test_a_key_whose_answer_was_purged_is_new_again(kit: Kit) -> None:
    await kit.answer("again", AT)
    assert await kit.answers.purge(AT + timedelta(seconds=1), 10) == 1
    await kit.answer("again", AT)
    assert await kit.kept("again") == ["again"]


async def test_the_same_key_of_another_merchant_stays(kit: Kit) -> None:
    await kit.answer("shared", AT)
    other = IdempotencyRecord(UUID(int=7), "test", "shared", "f" * 64, 201, b"{}")
    context = Context(actor="system", merchant_id=other.merchant_id, mode="test")
    await kit.store.append(Batch((), context, None, other))
    await kit.made_at("shared", AT)
    later = IdempotencyRecord(MERCHANT_ID, "live", "shared", "f" * 64, 201, b"{}")
    await kit.store.append(Batch((), CONTEXT, None, later))
    assert await kit.answers.purge(AT + timedelta(seconds=1), 1) == 1
    left = [
        await kit.store.stored_response(MERCHANT_ID, "test", "shared"),
        await kit.store.stored_response(other.merchant_id, "test", "shared"),
        await kit.store.stored_response(MERCHANT_ID, "live", "shared"),
    ]
    assert sum(one is not None for one in left) == 2

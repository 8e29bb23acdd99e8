"""One suite for what is remembered of providers' ranges: on PostgreSQL, and on its twin."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from adapters.memory.provider_ranges import MemoryProviderRanges
from adapters.postgres import Postgres
from adapters.provider_ranges import PostgresProviderRanges
from application.ingest import RangeMemory
from tests.conftest import Migrated
from tests.ports.ingesting import database_or_none

__all__ = ["database_or_none"]

AT = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)


@pytest.fixture
async def memory(database_or_none: Migrated | None) -> AsyncIterator[RangeMemory]:
    if database_or_none is None:
        yield MemoryProviderRanges()
        return
    async with Postgres(database_or_none.app_dsn, name="test-ranges") as postgres:
        yield PostgresProviderRanges(postgres)


async def test_of_a_network_never_asked_nothing_is_known(memory: RangeMemory) -> None:
    assert dict(await memory.widths("nowhere")) == {}


async def test_widths_are_kept_by_network_and_provider_and_replaced(memory: RangeMemory) -> None:
    await memory.keep("one", {"a": 500, "b": 10}, AT)
    await memory.keep("other", {"a": 7}, AT)
    await memory.keep("one", {"a": 525, "c": 1}, AT + timedelta(minutes=1))
    assert dict(await memory.widths("one")) == {"a": 525, "b": 10, "c": 1}
    assert dict(await memory.widths("other")) == {"a": 7}


async def test_keeping_nothing_changes_nothing(memory: RangeMemory) -> None:
    await memory.keep("third", {"a": 3}, AT)
    await memory.keep("third", {}, AT)
    assert dict(await memory.widths("third")) == {"a": 3}

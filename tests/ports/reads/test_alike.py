"""Twin and projections after the same history."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from adapters.postgres import Postgres
from application.reads import (
    Page,
    RefundRow,
    SessionQuery,
)
from projections.schema import ensure_schemas
from tests.conftest import Migrated
from tests.examples import AT
from tests.ports.reads.conftest import (
    Given,
    postgres_reads,
    twin_reads,
)


@pytest.mark.services
@pytest.mark.parametrize("seed", [1, 2])
async def test_twin_and_projections_answer_alike_after_the_same_history(
    migrated: Migrated, seed: int
) -> None:
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn)
    async with Postgres(migrated.app_dsn, name="test-reads", max_size=4) as pg:
        both = [twin_reads(), postgres_reads(pg)]
        for each in both:
            history = await each.history(seed, 250)
        for session_id, *_ in history.sessions:
            one, other = [await each.sessions.find(session_id) for each in both]
            assert one is not None
            assert one == other
        for merchant_id in history.merchants:
            one_page, other_page = [await _all_pages(each, merchant_id) for each in both]
            assert one_page == other_page
            assert one_page
        one_sum, other_sum = [await each.books.balances() for each in both]
        assert one_sum == other_sum
        one_open, other_open = [await each.refunds.unfinished(1000) for each in both]
        assert one_open == other_open
        one_done, other_done = [await each.refunds.not_final(1000) for each in both]
        assert one_done == other_done
        assert one_done.items
        all_final = [
            sum(row.refund.final_at is not None for row in page)
            for page in [await _refunds_of(each, history.merchants) for each in both]
        ]
        assert all_final[0] == all_final[1] > 0
        one_fell, other_fell = [
            await each.refunds.failed_on_chain_since(AT, 1000) for each in both
        ]
        assert one_fell == other_fell


async def _refunds_of(reads: Given, merchants: list[UUID]) -> list[RefundRow]:
    pages = [await reads.refunds.page(each, "test", limit=100) for each in merchants]
    return [row for page in pages for row in page.items]


async def _all_pages(reads: Given, merchant_id: UUID) -> list[Any]:
    """Every list there is, page by page."""

    async def whole(read: Callable[[str | None], Awaitable[Page[Any]]]) -> list[Any]:
        found: list[Any] = []
        cursor: str | None = None
        while True:
            page = await read(cursor)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                return found

    query = SessionQuery(merchant_id, "test", limit=7)
    return [
        *await whole(lambda cursor: reads.sessions.page(replace(query, cursor=cursor))),
        *await whole(
            lambda cursor: reads.refunds.page(merchant_id, "test", limit=3, cursor=cursor)
        ),
        *await whole(
            lambda cursor: reads.deliveries.page(merchant_id, "test", limit=3, cursor=cursor)
        ),
    ]

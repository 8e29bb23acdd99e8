"""Operators, releases and the runner at the same read model at the same time."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from application.ports import Stream
from application.reads import SessionQuery
from chain_ingest.watch import Watch
from projections import comparing, pages, renewal, upkeep
from projections import parked as parking
from projections.parked import NotParked, park, retry
from projections.payment_reads import PaymentReads
from projections.payments import Payments
from projections.progress import ProgressReads
from projections.projection import Batch, Folded, Held, Poison, Projection
from projections.rebuild import Order
from projections.renewal import renew
from projections.runner import ProjectionRunner
from projections.schema import ensure_schemas
from projections.switching import drop
from projections.switching import switch as switch_now
from projections.table import Table
from projections.upkeep import working
from projections.watchlist import WatchList
from projections.watchlist_reads import WatchListReads
from tests.conftest import Migrated
from tests.examples import CREATED
from tests.projections.conftest import Stage
from tests.projections.test_runner import append, caught_up, created, rows, running, session_stream
from tests.projections.test_schema import NEWER
from tests.projections.test_watch_list_reads import BOOK, address

pytestmark = pytest.mark.services
ANN = Order("operator:ann", "a drill")
BY = {"by": "operator:ann", "reason": "a drill"}
SHOWN = Payments().schema


async def set_aside(stage: Stage, projection: Projection, stream: Stream) -> None:
    await park(stage.app, stage.store, projection, stream, stage.clock, **BY)


async def take_in(stage: Stage, projection: Projection, stream: Stream) -> None:
    await retry(stage.app, stage.store, projection, stream, stage.clock, **BY)


async def test_the_switch_is_a_transaction_of_its_own(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(stage, session_stream(1), created(1))
    seen: list[str] = []
    plain = switch_now

    async def switch(connection: Any, *given: Any, **named: Any) -> Any:
        seen.append(connection.info.transaction_status.name)
        done = await plain(connection, *given, **named)
        seen.append(connection.info.transaction_status.name)
        return done

    monkeypatch.setattr(renewal, "switch", switch)
    async with running(stage.runner()):
        await caught_up(stage)
        await renew(stage.owner, stage.store, [Payments()], stage.clock, ANN)
    assert seen == ["IDLE", "IDLE"]


async def test_comparing_may_take_longer_than_a_transaction_may_idle(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(stage, session_stream(1), created(1))
    session = (*upkeep.SESSION, "SET idle_in_transaction_session_timeout = 300")
    monkeypatch.setattr(upkeep, "SESSION", session)
    plain = comparing._buckets

    async def slow(connection: Any, schema: str, table: Table) -> Any:
        if schema == SHOWN:
            await connection.execute("SELECT pg_sleep(0.6)")
        return await plain(connection, schema, table)

    monkeypatch.setattr(comparing, "_buckets", slow)
    async with running(stage.runner()):
        await caught_up(stage)
        (done,) = await renew(stage.owner, stage.store, [Payments()], stage.clock, ANN)
    assert done.switched is not None


async def test_rows_that_leave_a_page_while_it_is_read_take_none_with_them(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "ROWS_WALKED_MAX", 10)
    for number in range(1, 31):
        await append(stage, session_stream(number), created(number))
    async with running(stage.runner()):
        await caught_up(stage)
    wanted, dearer = UUID(int=18), CREATED.due.units + 5
    table = f"{SHOWN}.payments"
    async with stage.owner.connection() as connection:
        change = f"UPDATE {table} SET due_units = %s WHERE session_id = %s"
        await connection.execute(change.encode(), (dearer, wanted))
    plain, calls = pages.fetch, 0

    async def fetch(connection: Any, query: Any, arguments: Sequence[object]) -> list[Any]:
        nonlocal calls
        found = await plain(connection, query, arguments)
        calls += 1
        if calls == 1:  # the newest end while the first page is made
            async with stage.owner.connection() as other:
                ended = f"UPDATE {table} SET status = 'failed' WHERE position > 25"
                await other.execute(ended.encode())
        return found

    monkeypatch.setattr(pages, "fetch", fetch)
    reads, found, cursor = PaymentReads(stage.app), [], None
    for _ in range(20):
        query = SessionQuery(
            merchant_id=CREATED.merchant_id,
            mode=CREATED.mode,
            status="pending",
            units_min=dearer,
            limit=20,
            cursor=cursor,
        )
        page = await reads.page(query)
        found += [row.session.session_id for row in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == [wanted]


async def test_the_first_opening_of_an_hour_is_known_in_whatever_order_they_come(
    stage: Stage,
) -> None:
    await append(stage, session_stream(1), created(1))
    await set_aside(stage, Payments(), session_stream(1))
    await append(stage, session_stream(2), created(2, at=CREATED.at + timedelta(minutes=2)))
    async with running(stage.runner()):
        await caught_up(stage)
        await take_in(stage, Payments(), session_stream(1))
        (done,) = await renew(stage.owner, stage.store, [Payments()], stage.clock, ANN)
    assert done.comparison is not None
    assert not done.comparison.differences
    assert await PaymentReads(stage.app).opened_since(CREATED.network, CREATED.at) == CREATED.at


async def test_an_address_that_was_left_aside_is_watched_as_soon_as_it_is_taken_in(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the poisoned fact was in the very batch that the ingester waited for."""
    plain, broken = WatchList.fold, {session_stream(2).id}

    def fold(self: WatchList, batch: Batch, known: dict[int, Held[Any]]) -> Folded:
        folded = plain(self, [r for r in batch if r.stream.id not in broken], known)
        poisoned = [r for r in batch if r.stream.id in broken]
        folded.poison.extend(Poison(r.stream, r.position, "a bug") for r in poisoned)
        return folded

    monkeypatch.setattr(WatchList, "fold", fold)
    lists = WatchListReads(stage.app, BOOK)
    watch = Watch(stage.store, ProgressReads(stage.app), lists)
    await append(stage, session_stream(1), created(1))
    looking = asyncio.create_task(watch.addresses("local"))
    await asyncio.sleep(0.1)
    await append(stage, session_stream(2), created(2))
    await append(stage, session_stream(3), created(3))
    async with running(stage.runner()):
        await looking
        broken.clear()
        await take_in(stage, WatchList(), session_stream(2))
        await append(stage, session_stream(4), created(4))
        await caught_up(stage)
        watched = set(await watch.addresses("local"))
    assert watched == {address(number) for number in (1, 2, 3, 4)}


async def test_a_version_that_was_dropped_half_built_can_be_migrated_to_again(
    stage: Stage, migrated: Migrated
) -> None:
    await append(stage, session_stream(1), created(1))
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn, NEWER)
    async with running(stage.runner()):
        await caught_up(stage)
        async with working(stage.owner, ["payments"]) as connection:
            (gone,) = await drop(connection, "payments", stage.clock, ANN)
    assert await asyncio.to_thread(ensure_schemas, migrated.owner_dsn, NEWER) == [gone]


async def test_of_two_who_take_in_one_stream_the_second_is_told(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(stage, session_stream(1), created(1))
    await set_aside(stage, Payments(), session_stream(1))
    plain = parking._parked_in

    async def slow(*given: Any) -> Any:
        found = await plain(*given)
        await asyncio.sleep(0.1)
        return found

    monkeypatch.setattr(parking, "_parked_in", slow)
    done = await asyncio.gather(
        *(take_in(stage, Payments(), session_stream(1)) for _ in range(2)), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in done) == ["NoneType", NotParked.__name__]


async def test_a_projection_without_tables_stops_no_other(stage: Stage) -> None:
    await append(stage, session_stream(1), created(1))
    newer = ProjectionRunner(stage.app, stage.store, NEWER, None, stage.clock)
    reached = "SELECT position FROM rm_admin.checkpoints WHERE name = 'watch_list'"
    async with running(newer), asyncio.timeout(5):
        while await rows(stage, reached) != [(1,)]:
            await asyncio.sleep(0.02)

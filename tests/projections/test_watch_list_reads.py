"""The watch list in memory: what is new joins it, what was left out before is not forgotten."""

from uuid import UUID

import pytest
import structlog.testing

from application.reads import WATCH_LIST_MODEL
from domain.networks import NetworkBook
from projections import watchlist_reads
from projections.progress import ProgressReads
from projections.rebuild import Order
from projections.renewal import renew
from projections.watchlist import WatchList
from projections.watchlist_reads import WatchListReads
from tests.examples import LOCAL
from tests.projections.conftest import Stage
from tests.projections.test_runner import (
    CAUGHT_UP_SECONDS,
    append,
    caught_up,
    created,
    rows,
    running,
    session_stream,
)

pytestmark = pytest.mark.services
BOOK = NetworkBook(networks=(LOCAL,))


def address(number: int) -> str:
    return f"0x{number:040x}"


async def watch(stage: Stage, *numbers: int) -> None:
    for number in numbers:
        await append(stage, session_stream(number), created(number))
    await caught_up(stage)


async def test_more_than_a_statement_gives_are_all_read(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchlist_reads, "CHANGES_MAX", 7)
    async with running(stage.runner()):
        await watch(stage, *range(1, 23))
        reads = WatchListReads(stage.app, BOOK)
        assert await reads.addresses("local") == {address(n) for n in range(1, 23)}
        await watch(stage, *range(23, 30))
        assert await reads.addresses("local") == {address(n) for n in range(1, 30)}


async def test_a_row_that_a_rebuild_brings_back_is_watched_at_once(stage: Stage) -> None:
    async with running(stage.runner()):
        await watch(stage, 1, 2, 3)
    await _lose(stage, 2)
    reads = WatchListReads(stage.app, BOOK)
    assert await reads.addresses("local") == {address(1), address(3)}
    order = Order("operator:ann", "an address was lost")
    await renew(
        stage.owner, stage.store, [WatchList()], stage.clock, order, accept_differences=True
    )
    assert await reads.addresses("local") == {address(1), address(2), address(3)}


async def _lose(stage: Stage, number: int) -> None:
    async with stage.owner.connection() as connection:
        lost = await connection.execute(
            "DELETE FROM rm.watch_list WHERE address = %s", (address(number),)
        )
        assert lost.rowcount == 1


async def test_above_its_bound_it_goes_on_and_says_so_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchlist_reads, "ADDRESSES_MAX", 2)
    async with running(stage.runner()):
        await watch(stage, 1, 2, 3)
        reads = WatchListReads(stage.app, BOOK)
        with structlog.testing.capture_logs() as said:
            assert len(await reads.addresses("local")) == 3
            await watch(stage, 4)
            assert len(await reads.addresses("local")) == 4
    assert [line["event"] for line in said] == ["watch_list_large"]


async def test_only_the_watch_list_is_waited_for_where_it_is_named(stage: Stage) -> None:
    async with running(stage.runner()):
        await watch(stage, 1)
    progress, head = ProgressReads(stage.app), await stage.store.head()
    await _set_back(stage, "payments")
    assert not await progress.wait_for(head, timeout_seconds=0.05)
    assert await progress.wait_for(
        head, timeout_seconds=CAUGHT_UP_SECONDS, projection=WATCH_LIST_MODEL
    )
    await _set_back(stage, WATCH_LIST_MODEL)
    assert not await progress.wait_for(head, timeout_seconds=0.05, projection=WATCH_LIST_MODEL)


async def _set_back(stage: Stage, projection: str) -> None:
    async with stage.owner.connection() as connection:
        await connection.execute(
            "UPDATE rm_admin.checkpoints SET position = 0 WHERE name = %s", (projection,)
        )


async def test_a_watch_list_that_left_a_stream_aside_does_not_contain_it(stage: Stage) -> None:
    async with running(stage.runner()):
        await watch(stage, 1, 2, 3)
    progress = ProgressReads(stage.app)
    ((schema,),) = await rows(
        stage, "SELECT schema FROM rm_admin.checkpoints WHERE live AND name = 'watch_list'"
    )
    async with stage.owner.connection() as connection:
        await connection.execute(
            "INSERT INTO rm_admin.parked VALUES (%s, 'payment_session', %s, 2, 'a bug', now())",
            (schema, UUID(int=2)),
        )
    before = {"timeout_seconds": 0.02, "projection": WATCH_LIST_MODEL}
    assert await progress.wait_for(1, **before)  # type: ignore[arg-type]  # one dict for both
    assert not await progress.wait_for(2, **before)  # type: ignore[arg-type]  # as above
    assert await progress.wait_for(3, timeout_seconds=0.02), "who reads his own write goes on"

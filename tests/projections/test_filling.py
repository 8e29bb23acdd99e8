"""Spans of the log written at once: the rows that were live, whatever the bounds."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import pytest

from application.ports import Stream
from domain import events as e
from projections import checkpoints, filling
from projections import rebuild as rebuilding
from projections.catalogue import PROJECTIONS
from projections.checkpoints import overtake
from projections.parked import park
from projections.payments import Payments
from projections.renewal import rebuild
from projections.table import Table
from tests.examples import OBSERVED
from tests.projections.conftest import Stage
from tests.projections.test_folds import example
from tests.projections.test_rebuild import append_poison, contents
from tests.projections.test_runner import (
    append,
    caught_up,
    created,
    parked,
    rows,
    running,
    session_stream,
)

# Prime to each other, so that streams begin and go on at every kind of border.
TINY = {
    "SPAN_EVENTS_MAX": 53,
    "SPAN_EVENTS_MIN": 53,
    "PAGE_EVENTS_MAX": 7,
    "ROWS_AT_A_TIME": 5,
    "SPANS_A_COLLECTION": 2,
    "CAREFUL_EVENTS_MAX": 11,
}


def tiny(patch: pytest.MonkeyPatch, **more: int) -> None:
    for name, bound in {**TINY, **more}.items():
        patch.setattr(filling, name, bound)


@pytest.mark.services
async def test_borders_of_spans_and_pages_leave_no_trace_in_the_rows(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = stage.history(seed=11)
    async with running(stage.runner()):
        for _ in range(6):
            await history.write(60)
            await append_poison(stage, len(history.sessions))
        await caught_up(stage)
    tiny(monkeypatch)
    rebuilt = await rebuild(stage.owner, stage.store, PROJECTIONS, stage.clock)
    assert await stage.store.head() > 5 * filling.SPAN_EVENTS_MAX
    for each in rebuilt:
        for table in each.projection.tables:
            live = await contents(stage, each.projection.schema, table.name)
            assert live == await contents(stage, each.schema, table.name), table.name
            assert live, f"{table.name} is empty, which shows nothing"
    ours = {each.projection.name: each.schema for each in rebuilt}
    assert not await rows(
        stage,
        "SELECT session_id FROM rm.payment_payers AS p JOIN rm.payments AS s USING (session_id) "
        "WHERE (p.status, p.network, p.asset, p.due_units, p.created_at, p.position) "
        "IS DISTINCT FROM (s.status, s.network, s.asset, s.due_units, s.created_at, s.position)",
    )
    left = await rows(stage, "SELECT schema, stream_id, position FROM rm_admin.parked")
    assert len(left) == 12
    for schema in ("rm_payments_v4", ours["payments"]):
        assert sorted(row[1:] for row in left if row[0] == schema) == sorted(
            row[1:] for row in left if row[0] == "rm_payments_v4"
        )


@pytest.mark.services
async def test_a_row_the_database_refuses_in_a_span_parks_its_stream_and_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny(monkeypatch)
    for number in range(1, 60):
        await append(stage, session_stream(number), created(number))
    at = await append(stage, session_stream(60), created(60, merchant_reference="nul \x00"))
    await append(stage, session_stream(60), OBSERVED, after=1)
    for number in range(61, 120):
        await append(stage, session_stream(number), created(number))
    for number in (1, 58, 119):  # states from before, and from after, it was done again
        await append(stage, session_stream(number), OBSERVED, after=1)
    rebuilt = await rebuild(stage.owner, stage.store, PROJECTIONS, stage.clock)
    payments = next(each for each in rebuilt if each.projection.name == "payments")
    stored = await rows(
        stage, f"SELECT version, count(*) FROM {payments.schema}.payments GROUP BY 1"
    )
    assert sorted(stored) == [(1, 115), (2, 3)]
    assert await parked(stage) == [(payments.schema, session_stream(60).id, at)]
    watched = next(each for each in rebuilt if each.projection.name == "watch_list")
    assert await rows(stage, f"SELECT count(*) FROM {watched.schema}.watch_list") == [(119,)]


@pytest.mark.services
async def test_a_row_that_cannot_even_be_packed_parks_its_stream_and_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """COPY is under way by then, and has to be taken back."""
    tiny(monkeypatch)
    opened, won = example(e.DeliveryOpened), example(e.DeliverySucceeded)
    for number in range(1, 31):
        slow = won.changed(latency_ms=2**40 if number == 17 else 5)
        stream = Stream("webhook_delivery", UUID(int=number))
        await append(stage, stream, opened.changed(delivery_id=stream.id), slow)
    rebuilt = await rebuild(stage.owner, stage.store, PROJECTIONS, stage.clock)
    deliveries = next(each for each in rebuilt if each.projection.name == "deliveries")
    assert await parked(stage) == [(deliveries.schema, UUID(int=17), 34)]
    for table, count in (("deliveries", 30), ("delivery_attempts", 29)):
        found = await rows(stage, f"SELECT count(*) FROM {deliveries.schema}.{table}")
        assert found == [(count,)], table


@pytest.mark.services
async def test_a_stream_parked_while_its_span_is_folded_is_left_aside(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny(monkeypatch, SPAN_EVENTS_MAX=20)
    for number in range(1, 61):
        await append(stage, session_stream(number), created(number))
    await append(stage, session_stream(60), OBSERVED, after=1)
    plain, places = stage.store.read_span, list[int]()

    async def read_span(*, after: int, upto: int, skipping: Collection[str]) -> Any:
        if upto == 60 and not places:
            places.append(after)
            reason = {"by": "operator:ann", "reason": "a drill"}
            stream = session_stream(60)
            await park(stage.app, stage.store, Payments(), stream, stage.clock, **reason)
        return await plain(after=after, upto=upto, skipping=skipping)

    monkeypatch.setattr(stage.store, "read_span", read_span)
    (done,) = await rebuild(stage.owner, stage.store, [Payments()], stage.clock)
    assert places, "nobody parked anything"
    count = await rows(stage, f"SELECT count(*) FROM {done.schema}.payments")
    assert (count, done.parked, done.position) == ([(59,)], 1, 61)


@pytest.mark.services
async def test_a_span_that_is_overtaken_is_halved_and_grows_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a retry of many streams, each of which takes less than a span."""
    tiny(monkeypatch, SPAN_EVENTS_MAX=40, SPAN_EVENTS_MIN=4, PAGE_EVENTS_MAX=100)
    monkeypatch.setattr(rebuilding, "OVERTAKEN_MAX", 4)
    for number in range(1, 201):
        await append(stage, session_stream(number), created(number))
    plain, spans = stage.store.read_span, list[int]()

    async def read_span(*, after: int, upto: int, skipping: Collection[str]) -> Any:
        spans.append(upto - after)
        if after < 60 and upto - after > 10:
            async with stage.owner.connection() as connection:
                await overtake(connection, ["rm_payments_v4_r1"])
        return await plain(after=after, upto=upto, skipping=skipping)

    monkeypatch.setattr(stage.store, "read_span", read_span)
    (done,) = await rebuild(stage.owner, stage.store, [Payments()], stage.clock)
    assert spans == [40, 20, *[10, 20] * 6, 40, 40, 40]
    count = await rows(stage, f"SELECT count(*) FROM {done.schema}.payments")
    assert (count, done.position) == ([(200,)], 200)


@pytest.mark.services
async def test_large_facts_make_short_spans_and_the_same_rows(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is by bytes: a merchant's message may be a hundred times another's."""
    tiny(monkeypatch, SPAN_EVENTS_MAX=40, PAGE_EVENTS_MAX=5)
    one = created(1)
    monkeypatch.setattr(filling, "SPAN_BYTES_MAX", 12 * len(one.encoded()))
    for number in range(1, 61):
        large = created(number, merchant_reference="x" * 4_000 if 20 < number <= 30 else "x")
        await append(stage, session_stream(number), large)
    moved, plain = list[int](), checkpoints.move

    async def move(connection: Any, schemas: Any, position: int, at: Any) -> None:
        moved.append(position)
        await plain(connection, schemas, position, at)

    monkeypatch.setattr(checkpoints, "move", move)
    (done,) = await rebuild(stage.owner, stage.store, [Payments()], stage.clock)
    assert moved == [15, 25, 30, 45, 60]
    count = await rows(stage, f"SELECT count(*) FROM {done.schema}.payments")
    assert (count, done.position) == ([(60,)], 60)


def test_rows_of_one_key_are_one_row_the_one_that_counts_or_their_sum() -> None:
    columns = (("key", "text"), ("many", "bigint"))
    two = [("a", 1), ("b", 5), ("a", 2)]
    later = Table("t", columns, ("key",))
    assert sorted(later.distinct(two)) == [("a", 2), ("b", 5)]
    first = Table("t", columns, ("key",), keeps=True)
    assert sorted(first.distinct(two)) == [("a", 1), ("b", 5)]
    sums = Table("t", columns, ("key",), adds=("many",))
    assert sorted(sums.distinct(two)) == [("a", 3), ("b", 5)]
    least = Table("t", columns, ("key",), least=("many",))
    assert sorted(least.distinct([*two, ("a", 0), ("a", 7)])) == [("a", 0), ("b", 5)]

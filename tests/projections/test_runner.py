"""The runner on a real database, fed by a log in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from adapters.event_store import PostgresEventStore
from adapters.memory.clock import SeededIds
from application.deciders import PAYMENT
from application.handling import Handler
from application.ports import Batch, Context, StoreUnavailable, Stream, StreamAppend
from domain.events import Event
from gateway.embedded import Embedded
from projections import checkpoints, runner
from projections.applying import Applier, Follower
from projections.catalogue import PROJECTIONS
from projections.checkpoints import Overtaken, Place
from projections.following import Procession
from projections.pace import BATCH_EVENTS_MAX, Pace
from projections.payments import Payments
from projections.progress import ProgressReads
from projections.runner import ProjectionRunner
from projections.watchlist import WatchList
from tests.examples import CREATED, OBSERVED
from tests.projections.conftest import Stage
from tests.projections.history import History

SYSTEM = Context(actor="system")
CAUGHT_UP_SECONDS = 10


@asynccontextmanager
async def running(runner: ProjectionRunner) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(runner.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 2)


async def caught_up(stage: Stage) -> None:
    head = await stage.store.head()
    assert await ProgressReads(stage.app).wait_for(head, timeout_seconds=CAUGHT_UP_SECONDS)


async def rows(stage: Stage, statement: Any, *arguments: object) -> list[Any]:
    async with stage.app.connection() as connection:
        return await (await connection.execute(statement, arguments)).fetchall()


async def append(stage: Stage, stream: Stream, *events: Event, after: int = 0) -> int:
    return await stage.store.append(Batch((StreamAppend(stream, after, events),), SYSTEM))


def session_stream(number: int) -> Stream:
    return Stream("payment_session", UUID(int=number))


def created(number: int, **changes: Any) -> Event:
    own = {"session_id": UUID(int=number), "deposit_address": f"0x{number:040x}"}
    return CREATED.model_copy(update=own | changes)


async def shown(stage: Stage) -> list[UUID]:
    found = await rows(stage, "SELECT session_id FROM rm.payments ORDER BY position")
    return [row[0] for row in found]


async def parked(stage: Stage) -> list[tuple[str, UUID, int]]:
    return await rows(
        stage, "SELECT schema, stream_id, position FROM rm_admin.parked ORDER BY position, schema"
    )


async def leaders(stage: Stage) -> set[int]:
    """The sessions that hold a leader's lock; never two for one projection."""
    found = await rows(
        stage,
        "SELECT pid, objid FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        runner.LEADER_LOCKS,
    )
    assert len({key for _, key in found}) == len(found)
    return {pid for pid, _ in found}


async def test_every_session_becomes_a_row_with_its_folded_state(stage: Stage) -> None:
    history = stage.history()
    await history.write(200)
    async with running(stage.runner()):
        await caught_up(stage)
    statement = "SELECT session_id, version, status, state FROM rm.payments"
    found = {row[0]: row[1:] for row in await rows(stage, statement)}
    assert len(found) == len(history.sessions) > 20
    for session_id, *_ in history.sessions:
        events = await stage.store.read_stream(Stream("payment_session", session_id))
        state = None
        for recorded in events:
            state = PAYMENT.evolve(state, recorded.event)
        assert state is not None
        assert found[session_id] == (len(events), state.status, state.model_dump_json())


async def test_facts_that_come_while_it_runs_are_taken_in(stage: Stage) -> None:
    history = stage.history()
    async with running(stage.runner()):
        for _ in range(5):
            await history.write(20)
            await caught_up(stage)
    assert len(await shown(stage)) == len(history.sessions)


async def test_a_hint_brings_a_fact_in_without_waiting_for_the_poll(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "GATHER_SECONDS", 60.0)
    monkeypatch.setattr(runner, "IDLE_SECONDS_MAX", 60.0)
    heads: asyncio.Queue[bytes] = asyncio.Queue()

    async def hints() -> AsyncIterator[bytes]:
        while True:
            yield await heads.get()

    woken = ProjectionRunner(stage.app, stage.store, PROJECTIONS, hints(), stage.clock)
    async with running(woken):
        await asyncio.sleep(0.2)
        await append(stage, session_stream(1), created(1))
        heads.put_nowait(b"")
        await caught_up(stage)
    assert await shown(stage) == [UUID(int=1)]


async def test_a_fact_that_cannot_be_folded_parks_its_stream_and_no_other(stage: Stage) -> None:
    await append(stage, session_stream(1), created(1))
    at = await append(stage, session_stream(2), OBSERVED)  # before it was created
    await append(stage, session_stream(2), created(2), after=1)
    await append(stage, session_stream(3), created(3))
    async with running(stage.runner()):
        await caught_up(stage)
        await append(stage, session_stream(2), OBSERVED, after=2)
        await append(stage, session_stream(4), created(4))
        await caught_up(stage)
    assert await shown(stage) == [UUID(int=1), UUID(int=3), UUID(int=4)]
    assert await parked(stage) == [("rm_payments_v4", UUID(int=2), at)]


async def test_a_row_the_database_refuses_parks_its_stream_and_no_other(stage: Stage) -> None:
    for number in range(1, 30):
        await append(stage, session_stream(number), created(number))
    at = await append(stage, session_stream(30), created(30, merchant_reference="nul \x00"))
    await append(stage, session_stream(30), OBSERVED, after=1)
    for number in range(31, 60):
        await append(stage, session_stream(number), created(number))
    async with running(stage.runner()):
        await caught_up(stage)
    assert await shown(stage) == [UUID(int=number) for number in range(1, 60) if number != 30]
    assert await parked(stage) == [("rm_payments_v4", UUID(int=30), at)]
    watched = await rows(stage, "SELECT count(*) FROM rm.watch_list")
    assert watched == [(59,)], "another projection lost rows to the poison of the first"


async def test_a_second_runner_stands_by_and_takes_over(stage: Stage) -> None:
    await append(stage, session_stream(1), created(1))
    async with running(stage.runner()):
        await caught_up(stage)
        first = await leaders(stage)
        async with running(stage.runner()):
            await asyncio.sleep(0.1)
            await append(stage, session_stream(2), created(2))
            await caught_up(stage)
            assert await leaders(stage) == first
            await rows(stage, "SELECT pg_terminate_backend(%s)", *first)
            await append(stage, session_stream(3), created(3))
            await caught_up(stage)
            assert first.isdisjoint(await leaders(stage))
    assert await shown(stage) == [UUID(int=1), UUID(int=2), UUID(int=3)]


async def test_a_leader_that_was_overtaken_writes_nothing(stage: Stage) -> None:
    await append(stage, session_stream(1), created(1))
    batch = await stage.store.read_log(after=0, limit=10)
    applier = Applier(stage.clock)
    zombie = Follower(Payments(), Place("rm_payments_v4", 0, live=True))
    async with stage.app.connection() as connection:
        await applier.advance(connection, [Follower(Payments(), zombie.place)], batch)
        await connection.execute("DELETE FROM rm_payments_v4.payments")
        with pytest.raises(Overtaken):
            await applier.advance(connection, [zombie], batch)
    assert await shown(stage) == []


async def test_a_projection_that_is_behind_joins_the_others(stage: Stage) -> None:
    history = stage.history()
    await history.write(300)
    procession = Procession(stage.store, Applier(stage.clock), Pace(100))
    async with stage.app.connection() as connection:
        followers = [
            Follower(each, await checkpoints.place_of(connection, each))
            for each in (Payments(), WatchList())
        ]
        await connection.commit()
        await procession.step(connection, followers[:1])
        await procession.step(connection, followers[:1])
        assert [each.position for each in followers] == [200, 0]
        head = await stage.store.head()
        for _ in range(head // 100 + 1):  # enough for the one behind, batch by batch
            await procession.step(connection, followers)
        assert [each.position for each in followers] == [head, head]
        await append(stage, session_stream(9_999), created(9_999))
        assert await procession.step(connection, followers) == 1
        assert [each.position for each in followers] == [head + 1, head + 1]
        await procession.close()
    assert len(await shown(stage)) == len(history.sessions) + 1


async def test_a_log_longer_than_one_batch_is_read_to_its_end(stage: Stage) -> None:
    numbers = range(1, BATCH_EVENTS_MAX * 2 + 50)
    for number in numbers:
        await append(stage, session_stream(number), created(number))
    async with running(stage.runner()):
        await caught_up(stage)
    assert await shown(stage) == [UUID(int=number) for number in numbers]


async def test_waiting_for_a_position_ends_in_time(stage: Stage) -> None:
    assert not await ProgressReads(stage.app).wait_for(1, timeout_seconds=0.05)
    assert await ProgressReads(stage.app).wait_for(0, timeout_seconds=0.05)


@pytest.mark.services
async def test_it_follows_the_real_log_woken_by_its_appends(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "IDLE_SECONDS_MAX", 60.0)
    heads: asyncio.Queue[int] = asyncio.Queue()

    async def hints() -> AsyncIterator[bytes]:
        while True:
            yield str(await heads.get()).encode()

    real = PostgresEventStore(stage.app, ids=SeededIds(2), on_append=heads.put_nowait)
    async with real as store:
        history = History(Handler(store, stage.clock), stage.clock, seed=5)
        following = ProjectionRunner(stage.app, store, PROJECTIONS, hints(), stage.clock)
        async with running(following):
            await history.write(150)
            head = await store.head()
            progress = ProgressReads(stage.app)
            assert await progress.wait_for(head, timeout_seconds=CAUGHT_UP_SECONDS)
    assert len(await shown(stage)) == len(history.sessions)
    assert await parked(stage) == []


@pytest.mark.services
async def test_it_outlives_an_outage_of_the_database(stage: Stage, embedded: Embedded) -> None:
    await append(stage, session_stream(1), created(1))
    async with running(stage.runner()):
        await caught_up(stage)
        await embedded.postgres.stop("immediate")
        await append(stage, session_stream(2), created(2))
        await asyncio.sleep(0.5)
        await embedded.postgres.start()
        await caught_up(stage)
    assert await shown(stage) == [UUID(int=1), UUID(int=2)]


async def test_it_outlives_an_outage_of_the_log(stage: Stage) -> None:
    async with running(stage.runner()):
        await append(stage, session_stream(1), created(1))
        await caught_up(stage)
        stage.store.outage = StoreUnavailable("gone")
        await asyncio.sleep(0.5)
        stage.store.outage = None
        await append(stage, session_stream(2), created(2))
        await caught_up(stage)
    assert await shown(stage) == [UUID(int=1), UUID(int=2)]

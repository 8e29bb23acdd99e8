"""From the log to webhook deliveries: each message once for each endpoint that wants it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from adapters.clock import SystemClock
from adapters.event_store_read import RawEvent
from application.deciders import DELIVERY, MERCHANT
from application.handling import UnitOfWork
from application.messages import Message
from application.ports import Context, Recorded, StoreUnavailable
from domain import commands as c
from domain.events import Event, EventUnknown, SessionCreated
from domain.values import derived_id
from tests.examples import MERCHANT_ID
from tests.workers.webhook_rig import URL, Rig, caller, ready
from workers import dispatcher
from workers.dispatcher import BATCH_MAX, FOLLOWER, Dispatcher
from workers.wakeup import DELIVERIES_DUE, LOG_HEAD

OTHER_URL = "https://other.example/hook"


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.register()
    return made


async def test_an_endpoint_gets_one_delivery_a_message(rig: Rig) -> None:
    endpoint, _ = await rig.endpoint()
    session_id = await rig.session()
    await rig.cancel(session_id)
    await rig.dispatch()
    created, failed = await rig.deliveries()
    assert (created.message_type, failed.message_type) == ("payment.created", "payment.failed")
    assert created.endpoint_id == endpoint.endpoint_id
    assert created.delivery_id == derived_id(
        "webhook_delivery", created.message_id, endpoint.endpoint_id.hex
    )
    body = json.loads(created.body)
    assert (body["id"], body["type"]) == (created.message_id, "payment.created")
    assert body["data"]["payment_session_id"] == f"ps_{session_id.hex}"


async def test_each_endpoint_gets_only_the_types_and_the_mode_it_asked_for(rig: Rig) -> None:
    everything, _ = await rig.endpoint(URL)
    failures, _ = await rig.endpoint(OTHER_URL, "payment.failed")
    await rig.endpoint("https://live.example/hook", mode="live")
    await rig.cancel(await rig.session())
    await rig.dispatch()
    assert sorted((d.endpoint_id, d.message_type) for d in await rig.deliveries()) == sorted(
        [
            (everything.endpoint_id, "payment.created"),
            (everything.endpoint_id, "payment.failed"),
            (failures.endpoint_id, "payment.failed"),
        ]
    )


async def test_a_merchant_gets_nothing_of_another_one(rig: Rig) -> None:
    other = UUID(int=0xA2)
    await rig.register(other)
    await rig.endpoint(URL)
    mine, _ = await rig.endpoint(OTHER_URL, merchant_id=other)
    await rig.session(merchant_id=other)
    await rig.dispatch()
    assert (await rig.delivery()).endpoint_id == mine.endpoint_id


async def test_reading_the_log_again_opens_nothing_twice(rig: Rig) -> None:
    await rig.endpoint()
    await rig.session()
    await rig.dispatch()
    head = await rig.store.head()
    rig.checkpoints.positions.clear()
    rig.dispatcher = rig.new_dispatcher()
    await rig.dispatch()
    assert await rig.store.head() == head


async def test_two_dispatchers_at_once_open_each_delivery_once(rig: Rig) -> None:
    await rig.endpoint()
    for _ in range(20):
        await rig.session()
    await asyncio.gather(*(rig.new_dispatcher().dispatch() for _ in range(2)))
    opened = [f for f in await rig.log() if f.event.name == "delivery.opened"]
    assert len(opened) == len({f.stream for f in opened}) == 20


async def test_a_fact_from_before_the_endpoint_is_not_sent_however_late_we_look(rig: Rig) -> None:
    await rig.session()
    await rig.endpoint()
    await rig.dispatch()
    assert await rig.deliveries() == []
    await rig.session()
    await rig.dispatch()
    assert len(await rig.deliveries()) == 1


async def test_a_deleted_or_disabled_endpoint_gets_nothing_more(rig: Rig) -> None:
    deleted, _ = await rig.endpoint(URL)
    disabled, _ = await rig.endpoint(OTHER_URL)
    await rig.dispatch()
    await rig.session()
    await rig.webhooks.delete_endpoint(deleted.endpoint_id, caller())

    async def work(unit: UnitOfWork) -> None:
        command = c.DisableEndpoint(at=unit.now, endpoint_id=disabled.endpoint_id, reason="test")
        await unit.decide(MERCHANT, MERCHANT_ID, command)

    await rig.handler.execute(Context(actor="system"), work)
    await rig.dispatch()
    assert await rig.deliveries() == []


async def test_a_delivery_says_what_caused_it(rig: Rig) -> None:
    await rig.endpoint()
    await rig.session()
    await rig.dispatch()
    cause = next(f for f in await rig.log() if isinstance(f.event, SessionCreated))
    opened = next(f for f in await rig.log() if f.stream.type == DELIVERY.stream_type)
    assert opened.context.causation_id == str(cause.event_id)
    assert opened.context.correlation_id == "req_1"
    assert (opened.context.merchant_id, opened.context.mode) == (MERCHANT_ID, "test")


async def test_an_outage_loses_nothing_and_opens_nothing_twice(rig: Rig) -> None:
    await rig.endpoint()
    for _ in range(5):
        await rig.session()
    rig.store.lose_answers = 2
    with pytest.raises(StoreUnavailable):
        await rig.dispatcher.dispatch()
    assert rig.checkpoints.positions == {}
    await rig.dispatch()
    opened = [f for f in await rig.log() if f.event.name == "delivery.opened"]
    assert len(opened) == len({f.stream for f in opened}) == 5


async def test_a_restart_goes_on_from_the_checkpoint(rig: Rig) -> None:
    await rig.endpoint()
    await rig.session()
    await rig.dispatch()
    assert rig.checkpoints.positions[FOLLOWER] > 0
    again = rig.new_dispatcher()
    left = await rig.store.head() - rig.checkpoints.positions[FOLLOWER]
    assert await again.dispatch() == left < await rig.store.head()


async def test_more_facts_than_a_batch_holds_are_all_dealt_with(rig: Rig) -> None:
    await rig.endpoint()
    count = BATCH_MAX + 10
    await asyncio.gather(*(rig.session() for _ in range(count)))
    await rig.dispatch()
    assert len(await rig.deliveries()) == count


class Unspeakable:
    """Cannot make a message of one fact."""

    def __init__(self, rig: Rig, position: int) -> None:
        self._rig = rig
        self._position = position

    async def message_for(self, recorded: Recorded[Event]) -> Message | None:
        assert recorded.position != self._position, "no words for this"
        return await self._rig.messages.message_for(recorded)


async def test_a_fact_without_a_message_is_parked_and_the_rest_goes_on(rig: Rig) -> None:
    await rig.endpoint()
    await rig.session()
    poison = await rig.store.head()
    await rig.session()
    source = Unspeakable(rig, poison)
    rig.dispatcher = Dispatcher(rig.handler, source, rig.checkpoints, rig.bus, rig.clock)
    await rig.dispatch()
    assert len(await rig.deliveries()) == 1
    (place,) = rig.checkpoints.parked
    assert place == (FOLLOWER, poison)
    assert "no words for this" in rig.checkpoints.parked[place]


@pytest.fixture
async def running() -> AsyncIterator[Rig]:
    """A dispatcher at work, on the real clock."""
    rig = Rig(SystemClock())
    await rig.register()
    await rig.endpoint()
    stop = asyncio.Event()
    task = asyncio.create_task(rig.dispatcher.run(stop))
    yield rig
    rig.store.outage = None
    stop.set()
    async with asyncio.timeout(2):
        await task


async def opened(rig: Rig, count: int, *, timeout_seconds: float) -> float:
    """Seconds until so many deliveries are open."""
    began = time.perf_counter()
    for _ in range(int(timeout_seconds * 1_000)):
        if len(await rig.deliveries()) >= count:
            return time.perf_counter() - began
        await asyncio.sleep(0.001)
    raise TimeoutError


async def test_a_hint_wakes_it_before_the_next_poll(running: Rig) -> None:
    await asyncio.sleep(0.05)
    hints = running.bus.hints(DELIVERIES_DUE)
    await anext(hints)
    due = asyncio.ensure_future(anext(hints))
    await running.session()
    await running.bus.hint(LOG_HEAD)
    assert await opened(running, 1, timeout_seconds=2) < 0.2
    await due
    await hints.aclose()  # type: ignore[attr-defined]  # the twin's is a generator


async def test_a_lost_hint_costs_a_poll_and_nothing_else(running: Rig) -> None:
    running.bus.outage = True
    await asyncio.sleep(0.05)
    await running.session()
    await opened(running, 1, timeout_seconds=2)


async def test_it_goes_on_by_itself_after_an_outage(running: Rig) -> None:
    await running.session()
    running.store.outage = StoreUnavailable("stopped by a test")
    await asyncio.sleep(0.1)
    running.store.outage = None
    await opened(running, 1, timeout_seconds=3)


def become_newer(rig: Rig, position: int) -> RawEvent:
    """Of a shape that only a newer release can read; gives the fact as it was."""
    rows = rig.store.log.recorder.rows
    raw = rows[position - 1]
    assert raw is not None
    rows[position - 1] = raw._replace(schema_version=99)
    return raw


async def test_a_fact_of_a_newer_release_is_waited_at_and_left_to_that_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher, "OUTAGE_PAUSE_SECONDS", 0.001)
    rig = Rig(SystemClock())
    await rig.register()
    await rig.endpoint()
    await rig.dispatch()
    await rig.session()
    at = await rig.store.head()
    was = become_newer(rig, at)
    stop = asyncio.Event()
    with capture_logs() as logs:
        task = asyncio.create_task(rig.new_dispatcher().run(stop))
        await asyncio.sleep(0.1)
        assert not task.done(), "it must wait, and not end"
        stop.set()
        await task
    told = [each for each in logs if each["event"] == "dispatcher_is_outdated"]
    assert len(told) == 1, "once, however long it waits"
    assert told[0]["hint"] == dispatcher.REPLACE
    rig.store.log.recorder.rows[at - 1] = was  # as the newer release reads it
    rig.dispatcher = rig.new_dispatcher()
    await rig.dispatch()
    assert len(await rig.deliveries()) == 1


async def test_a_merchant_with_a_fact_of_a_newer_release_parks_no_message(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.endpoint()
    await rig.session()
    upto = await rig.store.head()
    await rig.endpoint(OTHER_URL)
    was = become_newer(rig, upto + 1)
    older = rig.new_dispatcher()
    read_log = rig.store.read_log

    async def not_so_far(*, after: int, limit: int) -> Sequence[Recorded[Event]]:
        return await read_log(after=after, limit=min(limit, upto - after))

    monkeypatch.setattr(rig.store, "read_log", not_so_far)
    with pytest.raises(EventUnknown):
        await older.dispatch()
    monkeypatch.undo()
    assert rig.checkpoints.parked == {}
    rig.store.log.recorder.rows[upto] = was
    await older.dispatch()
    assert len(await rig.deliveries()) == 1


async def test_without_endpoints_no_message_is_made() -> None:
    rig = Rig()
    await rig.register()
    await rig.session()
    poison = await rig.store.head()
    source = Unspeakable(rig, poison)
    rig.dispatcher = Dispatcher(rig.handler, source, rig.checkpoints, rig.bus, rig.clock)
    await rig.dispatch()
    assert rig.checkpoints.parked == {}


async def test_the_body_is_stored_once_and_for_ever() -> None:
    rig = await ready()
    first = (await rig.delivery()).body
    fact = next(f for f in await rig.log() if isinstance(f.event, SessionCreated))
    message = await rig.messages.message_for(fact)
    assert message is not None
    assert message.body.decode() == first

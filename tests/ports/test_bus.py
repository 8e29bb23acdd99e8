"""One suite for the bus: on NATS itself, and on its twin."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from unittest.mock import AsyncMock

import pytest
from nats.js.errors import NotFoundError

from adapters.memory.bus import MemoryBus
from adapters.memory.clock import FakeClock
from adapters.nats_bus import NatsBus
from application.outside import Bus, BusMessage, Publication
from application.ports import Unavailable
from gateway.embedded import Embedded

START = datetime(2026, 11, 22, tzinfo=UTC)
SUBJECT = "testbus.local.transfer.observed"
ALL = "testbus.>"


@pytest.fixture(params=["nats", "twin"])
async def bus(request: pytest.FixtureRequest, nats_url: str) -> AsyncIterator[Bus]:
    if request.param == "twin":
        yield MemoryBus(FakeClock(START))
        return
    real = NatsBus(nats_url, name="test", stream="TESTBUS")
    await real.open()
    yield real
    session = await real._connected()
    with suppress(NotFoundError):  # a test that only hints makes no stream
        await session.jetstream.delete_stream("TESTBUS")
    await real.close()


async def _pull(bus: Bus, *, limit: int = 10, wait_seconds: float = 0.05) -> list[BusMessage]:
    return list(await bus.pull(ALL, "settlement", limit=limit, wait_seconds=wait_seconds))


async def test_what_is_published_arrives_in_order_with_its_id(bus: Bus) -> None:
    for number in range(3):
        await bus.publish(SUBJECT, b"%d" % number, message_id=f"id-{number}")
    pulled = await _pull(bus)
    assert [message.data for message in pulled] == [b"0", b"1", b"2"]
    assert [message.message_id for message in pulled] == ["id-0", "id-1", "id-2"]
    assert {message.subject for message in pulled} == {SUBJECT}
    assert {message.deliveries for message in pulled} == {1}


async def test_the_same_message_id_is_stored_once(bus: Bus) -> None:
    await bus.publish(SUBJECT, b"a", message_id="same")
    await bus.publish(SUBJECT, b"a", message_id="same")
    assert len(await _pull(bus)) == 1


def _several(numbers: Iterable[int]) -> list[Publication]:
    return [Publication(SUBJECT, b"%d" % number, f"id-{number}") for number in numbers]


async def test_several_published_together_arrive_in_order_with_their_ids(bus: Bus) -> None:
    assert not any(await bus.publish_all(_several(range(20))))
    assert not any(await bus.publish_all(_several([20])))
    assert not any(await bus.publish_all([]))
    pulled = await _pull(bus, limit=50)
    assert [message.data for message in pulled] == [b"%d" % number for number in range(21)]
    assert [message.message_id for message in pulled] == [f"id-{number}" for number in range(21)]


async def test_of_several_those_stored_before_are_not_stored_again(bus: Bus) -> None:
    await bus.publish(SUBJECT, b"1", message_id="id-1")
    for _ in range(2):
        assert not any(await bus.publish_all(_several(range(3))))
    assert sorted(message.data for message in await _pull(bus)) == [b"0", b"1", b"2"]
    assert not any(await bus.publish_all(_several(range(3, 6))))
    assert [message.data for message in await _pull(bus)] == [b"3", b"4", b"5"]


async def test_an_acked_message_does_not_come_again(bus: Bus) -> None:
    await bus.publish(SUBJECT, b"a", message_id="once")
    (message,) = await _pull(bus)
    await bus.ack(message)
    assert await _pull(bus) == []


async def test_a_message_put_off_comes_again_and_counts(bus: Bus) -> None:
    await bus.publish(SUBJECT, b"a", message_id="again")
    (message,) = await _pull(bus)
    await bus.retry_later(message, 0)
    (again,) = await _pull(bus, wait_seconds=1)
    assert (again.deliveries, again.data) == (2, b"a")


async def test_a_message_given_up_does_not_come_again(bus: Bus) -> None:
    await bus.publish(SUBJECT, b"a", message_id="parked")
    (message,) = await _pull(bus)
    await bus.give_up(message)
    assert await _pull(bus) == []


async def test_a_waiting_pull_gets_what_is_published_meanwhile(bus: Bus) -> None:
    await _pull(bus)
    waiting = asyncio.create_task(_pull(bus, wait_seconds=5))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(1):
        await bus.publish(SUBJECT, b"a", message_id="late")
        (message,) = await waiting
    assert message.data == b"a"


async def test_a_pull_with_fewer_messages_than_asked_for_does_not_wait(bus: Bus) -> None:
    await bus.publish(SUBJECT, b"a", message_id="lonely")
    async with asyncio.timeout(1):
        assert len(await _pull(bus, limit=100, wait_seconds=10)) == 1


async def test_no_more_than_asked_for_is_pulled(bus: Bus) -> None:
    for number in range(5):
        await bus.publish(SUBJECT, b"", message_id=f"id-{number}")
    assert len(await _pull(bus, limit=2)) == 2
    assert len(await _pull(bus, limit=10)) == 3


async def test_a_consumer_sees_only_its_subject(bus: Bus) -> None:
    await bus.publish(SUBJECT, b"a", message_id="mine")
    await bus.publish("testbus.polygon.reorg.detected", b"b", message_id="other")
    pulled = await bus.pull("testbus.local.>", "narrow", limit=10, wait_seconds=0.05)
    assert [message.message_id for message in pulled] == ["mine"]


async def test_hints_reach_those_who_listen(bus: Bus) -> None:
    hints = bus.hints("hint.*.head")
    async with asyncio.timeout(2):
        assert await anext(hints) == b""  # listening from here on
        await bus.hint("hint.other.tail", b"no")
        await bus.hint("hint.local.head", b"7")
        assert await anext(hints) == b"7"
    await hints.aclose()  # type: ignore[attr-defined]  # both are async generators


@pytest.fixture
async def lonely_bus(embedded: Embedded, nats_url: str) -> AsyncIterator[NatsBus]:
    """A bus whose server the test may stop; the server runs again afterwards."""
    bus = NatsBus(nats_url, name="test", stream="TESTBUS")
    await bus.open()
    yield bus
    await embedded.nats.start()
    await bus.close()


async def _until_served(bus: NatsBus, message_id: str) -> None:
    async with asyncio.timeout(5):
        while True:
            try:
                await bus.publish(SUBJECT, b"a", message_id=message_id)
            except Unavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_stopped_server_is_unavailable_and_found_again(
    lonely_bus: NatsBus, embedded: Embedded
) -> None:
    await lonely_bus.publish(SUBJECT, b"a", message_id="before")
    await embedded.nats.stop()
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match="nats"):
            await lonely_bus.publish(SUBJECT, b"a", message_id="meanwhile")
        with pytest.raises(Unavailable, match="nats"):
            await lonely_bus.pull(ALL, "c", limit=1, wait_seconds=0.1)
        await lonely_bus.hint("hint.local.head")
    await embedded.nats.start()
    await _until_served(lonely_bus, "after")
    pulled = await lonely_bus.pull(ALL, "restarted", limit=10, wait_seconds=1)
    assert [message.message_id for message in pulled] == ["before", "after"]
    for message in pulled:
        await lonely_bus.ack(message)


async def test_a_wiped_store_gets_its_stream_and_consumers_again(
    lonely_bus: NatsBus, embedded: Embedded
) -> None:
    await lonely_bus.publish(SUBJECT, b"a", message_id="lost")
    await lonely_bus.pull(ALL, "wiped", limit=10, wait_seconds=0.1)
    await embedded.nats.stop()
    await embedded.nats.wipe_store()
    await embedded.nats.start()
    await _until_served(lonely_bus, "kept")
    pulled = await lonely_bus.pull(ALL, "wiped", limit=10, wait_seconds=1)
    assert [message.message_id for message in pulled] == ["kept"]


async def test_a_stream_deleted_under_a_live_connection_is_made_again(
    lonely_bus: NatsBus,
) -> None:
    await lonely_bus.publish(SUBJECT, b"a", message_id="first")
    await lonely_bus.pull(ALL, "deleted", limit=10, wait_seconds=0.1)
    session = await lonely_bus._connected()
    await session.jetstream.delete_stream("TESTBUS")
    await lonely_bus.publish(SUBJECT, b"a", message_id="second")
    pulled: list[BusMessage] = []
    async with asyncio.timeout(5):
        while not pulled:
            try:
                pulled += await lonely_bus.pull(ALL, "deleted", limit=10, wait_seconds=0.2)
            except Unavailable:
                await asyncio.sleep(0.05)
    assert [message.message_id for message in pulled] == ["second"]


async def test_hints_resume_after_an_outage_with_a_hint_to_look(
    lonely_bus: NatsBus, embedded: Embedded
) -> None:
    hints = lonely_bus.hints("hint.local.head")
    async with asyncio.timeout(10):
        assert await anext(hints) == b""
        await embedded.nats.restart()
        assert await anext(hints) == b""  # whoever listens looks what was missed
        await lonely_bus.hint("hint.local.head", b"8")
        assert await anext(hints) == b"8"
    await hints.aclose()  # type: ignore[attr-defined]  # an async generator


async def test_a_server_that_is_not_there_fails_fast_and_hints_cost_nothing() -> None:
    bus = NatsBus("nats://127.0.0.1:9", name="test")
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(20):
        await bus.hint("hint.log.head")
    assert loop.time() - began < 0.5
    with pytest.raises(Unavailable):
        await bus.publish("chain.local.transfer.observed", b"", message_id="x")
    await bus.close()


@pytest.fixture
async def real(nats_url: str) -> AsyncIterator[NatsBus]:
    """On a stream of its own, which is empty."""
    bus = NatsBus(nats_url, name="test", stream="BATCHBUS")
    await bus.open()
    yield bus
    await (await bus._connected()).jetstream.delete_stream("BATCHBUS")
    await bus.close()


def _batch(numbers: Iterable[int]) -> list[Publication]:
    return [Publication("batchbus.local", b"%d" % n, f"id-{n}") for n in numbers]


async def _stored(bus: Bus) -> list[int]:
    pulled = await bus.pull("batchbus.>", "settlement", limit=200, wait_seconds=0.05)
    return [int(message.data) for message in pulled]


async def test_several_are_one_batch_to_the_server_unless_it_holds_what_was_stored(
    real: NatsBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = AsyncMock(side_effect=real.publish)
    monkeypatch.setattr(real, "publish", alone)
    assert not any(await real.publish_all(_batch(range(100))))
    assert alone.await_count == 0
    assert not any(await real.publish_all(_batch(range(99, 101))))
    assert alone.await_count == 2
    assert await _stored(real) == list(range(101))


async def test_after_a_failed_batch_and_on_an_older_server_each_is_published_alone(
    real: NatsBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = AsyncMock(side_effect=real.publish)
    monkeypatch.setattr(real, "publish", alone)
    offered = AsyncMock(side_effect=TimeoutError)
    monkeypatch.setattr("adapters.nats_bus.offer", offered)
    outcomes = await real.publish_all(_batch(range(3)))
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3
    assert not any(await real.publish_all(_batch(range(3))))
    assert (offered.await_count, alone.await_count) == (1, 3)
    (await real._connected()).takes_batches = False
    assert not any(await real.publish_all(_batch(range(3, 5))))
    assert (offered.await_count, alone.await_count) == (1, 5)
    assert sorted(await _stored(real)) == list(range(5))


async def test_a_waiting_pull_brings_what_came_together(real: NatsBus) -> None:
    assert await _stored(real) == []
    waiting = asyncio.create_task(
        real.pull("batchbus.>", "settlement", limit=200, wait_seconds=2.0)
    )
    await asyncio.sleep(0.05)
    assert not any(await real.publish_all(_batch(range(100))))
    assert [int(message.data) for message in await waiting] == list(range(100))


async def test_what_came_first_is_kept_when_the_rest_cannot_be_had(
    real: NatsBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await _stored(real) == []
    asked = real._request
    outcomes = iter([None, None, TimeoutError()])  # nothing there; the first; the rest

    async def request(*given: Any) -> Any:
        outage = next(outcomes)
        if outage is not None:
            raise outage
        return await asked(*given)

    monkeypatch.setattr(real, "_request", request)
    waiting = asyncio.create_task(
        real.pull("batchbus.>", "settlement", limit=200, wait_seconds=2.0)
    )
    await asyncio.sleep(0.05)
    assert not any(await real.publish_all(_batch(range(3))))
    assert [int(message.data) for message in await waiting] == [0]
    monkeypatch.undo()
    assert await _stored(real) == [1, 2]


async def test_several_survive_a_stream_that_has_vanished(real: NatsBus) -> None:
    assert not any(await real.publish_all(_batch(range(2))))
    await (await real._connected()).jetstream.delete_stream("BATCHBUS")
    assert all(await real.publish_all(_batch(range(2))))
    assert not any(await real.publish_all(_batch(range(2))))
    assert sorted(await _stored(real)) == [0, 1]

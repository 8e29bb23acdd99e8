"""Windows close on time, whatever the view says and however many are due."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.reads import MemoryReads
from adapters.memory.store import MemoryEventStore
from application.deciders import PAYMENT
from application.handling import Handler, UnitOfWork
from application.ports import Context, StoreUnavailable, Stream
from domain import commands as c
from domain.payment import PaymentSession
from tests.examples import AT, BOOK, DEPOSIT, MERCHANT_ID, sighting, usd
from workers.expiry import BATCH_MAX, POLL_SECONDS, Expiry

WINDOW_SECONDS = 60


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock(AT)
        self.store = MemoryEventStore(ids=SeededIds(1), clock=self.clock)
        self.handler = Handler(self.store, self.clock)
        self.reads = MemoryReads(self.store, BOOK)
        self.expiry = Expiry(self.reads.sessions, self.handler, self.clock)

    async def open_session(self, number: int) -> UUID:
        session_id = UUID(int=number)

        async def work(unit: UnitOfWork) -> None:
            command = c.CreateSession(
                at=unit.now,
                session_id=session_id,
                merchant_id=MERCHANT_ID,
                mode="test",
                network="local",
                due=usd("10.00"),
                deposit_address=DEPOSIT,
                deposit_index=number,
                expires_at=unit.now + timedelta(seconds=WINDOW_SECONDS),
                grace_seconds=0,
            )
            await unit.decide(PAYMENT, session_id, command)

        await self.handler.execute(Context(actor="system"), work)
        return session_id

    async def pay(self, session_id: UUID) -> None:
        async def work(unit: UnitOfWork) -> None:
            seen = c.ObserveTransfer(at=unit.now, sighting=sighting(block_time=AT))
            await unit.decide(PAYMENT, session_id, seen)

        await self.handler.execute(Context(actor="system"), work)

    async def session(self, session_id: UUID) -> PaymentSession:
        session = await self.handler.load(PAYMENT, session_id)
        assert session is not None
        return session


@pytest.fixture
def rig() -> Rig:
    return Rig()


class StuckView:
    """Says for ever that these are due, as a view does that no longer follows."""

    def __init__(self, rig: Rig, *session_ids: UUID) -> None:
        self._sessions = rig.reads.sessions
        self._due = session_ids
        self.asked = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._sessions, name)

    async def due_to_expire(self, now: datetime, limit: int) -> Sequence[UUID]:
        del now
        self.asked += 1
        return self._due[:limit]


class TestExpiry:
    async def test_a_session_expires_at_its_moment_and_not_before(self, rig: Rig) -> None:
        session_id = await rig.open_session(1)
        rig.clock.advance(WINDOW_SECONDS - 0.001)
        assert await rig.expiry.expire_due() == 0
        assert (await rig.session(session_id)).status == "pending"
        rig.clock.advance(0.001)
        assert await rig.expiry.expire_due() == 1
        assert (await rig.session(session_id)).status == "failed"

    async def test_a_paid_session_is_left_alone(self, rig: Rig) -> None:
        session_id = await rig.open_session(1)
        await rig.pay(session_id)
        rig.clock.advance(WINDOW_SECONDS)
        expiry = Expiry(StuckView(rig, session_id), rig.handler, rig.clock)  # type: ignore[arg-type] # delegates the rest
        assert await expiry.expire_due() == 0
        assert (await rig.session(session_id)).status == "confirming"

    async def test_a_view_that_lags_adds_no_second_fact(self, rig: Rig) -> None:
        session_id = await rig.open_session(1)
        rig.clock.advance(WINDOW_SECONDS)
        expiry = Expiry(StuckView(rig, session_id), rig.handler, rig.clock)  # type: ignore[arg-type] # delegates the rest
        assert [await expiry.expire_due() for _ in range(3)] == [1, 0, 0]
        stream = Stream(PAYMENT.stream_type, session_id)
        assert len(await rig.store.read_stream(stream)) == 2

    async def test_the_fact_belongs_to_its_merchant(self, rig: Rig) -> None:
        session_id = await rig.open_session(1)
        rig.clock.advance(WINDOW_SECONDS)
        await rig.expiry.expire_due()
        expired = (await rig.store.read_stream(Stream(PAYMENT.stream_type, session_id)))[-1]
        assert expired.context.actor == "system"
        assert (expired.context.merchant_id, expired.context.mode) == (MERCHANT_ID, "test")

    async def test_more_than_a_batch_is_due_and_all_expire_without_waiting(self, rig: Rig) -> None:
        sessions = [await rig.open_session(n) for n in range(1, BATCH_MAX + 20)]
        rig.clock.advance(WINDOW_SECONDS)
        stop = asyncio.Event()
        running = asyncio.create_task(rig.expiry.run(stop))
        for _ in range(5_000):
            await asyncio.sleep(0)
            if (await rig.session(sessions[-1])).status == "failed":
                break
        assert {(await rig.session(one)).status for one in sessions} == {"failed"}
        stop.set()
        await asyncio.wait_for(running, timeout=1)

    async def test_one_broken_session_keeps_no_other_open(self, rig: Rig) -> None:
        sound = await rig.open_session(1)
        rig.clock.advance(WINDOW_SECONDS)
        nobodys = UUID(int=99)  # no such session: deciding about it is refused
        expiry = Expiry(StuckView(rig, nobodys, sound), rig.handler, rig.clock)  # type: ignore[arg-type] # delegates the rest
        assert await expiry.expire_due() == 1
        assert (await rig.session(sound)).status == "failed"

    async def test_it_outlives_an_outage_and_goes_on(self, rig: Rig) -> None:
        session_id = await rig.open_session(1)
        rig.clock.advance(WINDOW_SECONDS)
        rig.store.outage = StoreUnavailable("the connection failed")
        stop = asyncio.Event()
        running = asyncio.create_task(rig.expiry.run(stop))
        for _ in range(20):
            rig.clock.advance(POLL_SECONDS)
            await asyncio.sleep(0)
        assert not running.done()
        rig.store.outage = None
        for _ in range(50):
            rig.clock.advance(POLL_SECONDS)
            await asyncio.sleep(0)
        assert (await rig.session(session_id)).status == "failed"
        stop.set()
        await asyncio.wait_for(running, timeout=1)

"""Answers older than seven days are forgotten, in bounded rounds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.purge import MemoryStoredAnswers
from adapters.memory.store import MemoryEventStore
from application.ports import Batch, Context, IdempotencyRecord, StoreUnavailable
from tests.examples import AT, MERCHANT_ID
from workers.purge import BATCH_MAX, FULL_ROUND_SECONDS, KEPT_DAYS, ROUND_SECONDS, Purge

CONTEXT = Context(actor="system", merchant_id=MERCHANT_ID, mode="test")


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock(AT)
        self.store = MemoryEventStore(ids=SeededIds(1), clock=self.clock)
        self.down = False
        self.rounds: list[int] = []
        self._answers = MemoryStoredAnswers(self.store.log)
        self.purge_worker = Purge(self, self.clock)

    async def purge(self, before: datetime, limit: int) -> int:
        """The port, counted, and away when the test says so."""
        if self.down:
            raise StoreUnavailable("switched off by a test")
        self.rounds.append(await self._answers.purge(before, limit))
        return self.rounds[-1]

    async def answer(self, key: str) -> None:
        record = IdempotencyRecord(MERCHANT_ID, "test", key, "f" * 64, 201, b"{}")
        await self.store.append(Batch((), CONTEXT, None, record))

    @property
    def kept(self) -> int:
        return len(self.store.log.answers)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(self.purge_worker.run(stop))
        await self.passes(0)
        yield
        stop.set()
        await asyncio.wait_for(task, timeout=1)

    async def passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for _ in range(20):
            await asyncio.sleep(0)


async def test_an_answer_is_kept_for_seven_days_and_not_longer() -> None:
    rig = Rig()
    await rig.answer("one")
    rig.clock.advance(timedelta(days=KEPT_DAYS).total_seconds())
    assert await rig.purge_worker.purge_old() == 0
    rig.clock.advance(0.001)
    assert await rig.purge_worker.purge_old() == 1
    assert rig.kept == 0


async def test_a_full_batch_is_followed_soon_and_the_last_one_by_a_long_pause() -> None:
    rig = Rig()
    for number in range(BATCH_MAX + 5):
        await rig.answer(str(number))
    rig.clock.advance(timedelta(days=KEPT_DAYS, seconds=1).total_seconds())
    async with rig.running():
        assert rig.rounds == [BATCH_MAX]
        await rig.passes(FULL_ROUND_SECONDS)
        assert rig.rounds == [BATCH_MAX, 5]
        await rig.passes(FULL_ROUND_SECONDS)
        assert rig.rounds == [BATCH_MAX, 5]
        await rig.passes(ROUND_SECONDS)
        assert rig.rounds == [BATCH_MAX, 5, 0]


async def test_it_outlives_an_outage_and_goes_on() -> None:
    rig = Rig()
    await rig.answer("one")
    rig.clock.advance(timedelta(days=KEPT_DAYS, seconds=1).total_seconds())
    rig.down = True
    async with rig.running():
        await rig.passes(ROUND_SECONDS)
        assert rig.kept == 1
        rig.down = False
        await rig.passes(ROUND_SECONDS)
        assert rig.kept == 0

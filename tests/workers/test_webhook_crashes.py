"""What crashes, outages and a lagging projection do to webhook attempts: nothing is lost."""

import asyncio
import time
from datetime import timedelta

import pytest

from adapters.clock import SystemClock
from adapters.memory.poster import answered
from application.outside import Attempted
from application.ports import StoreUnavailable, Vault
from tests.examples import AT
from tests.workers.webhook_rig import URL, Rig, ready
from workers.webhook_delivery import LEASE_SECONDS, PER_ENDPOINT_MAX

HANGING_URL = "https://hanging.example/hook"


class Killed(Exception):  # noqa: N818 - what kill -9 looks like from inside
    pass


async def test_killed_between_attempt_and_record_it_is_attempted_again_after_the_lease() -> None:
    rig = await ready()
    rig.scripted.hanging[URL] = asyncio.Event()
    await rig.worker.fill()
    await asyncio.sleep(0)
    for task in tuple(rig.worker._running):
        task.cancel()
    await rig.worker.settled()
    assert len(rig.scripted.posts) == 1, "the receiver has it, nobody wrote it down"
    del rig.scripted.hanging[URL]
    rig.worker = rig.new_worker()
    rig.fake.advance(LEASE_SECONDS - 1)
    assert await rig.attempt() == 0
    rig.fake.advance(1)
    assert await rig.attempt() == 1
    delivery = await rig.delivery()
    assert (delivery.status, delivery.attempts) == ("delivered", 1)
    first, second = rig.scripted.posts
    assert (first.message_id, first.body) == (second.message_id, second.body)


async def test_an_attempt_whose_record_got_lost_on_the_way_back_counts_once() -> None:
    rig = await ready()
    rig.scripted.script(URL, answered(500))
    rig.store.lose_answers = 1
    await rig.worker.fill()
    await advance_until_settled(rig)
    delivery = await rig.delivery()
    assert (delivery.attempts, delivery.status) == (1, "due")
    assert len(rig.scripted.posts) == 1


async def test_a_short_outage_after_the_attempt_does_not_make_it_twice() -> None:
    rig = await ready()
    released = rig.scripted.hanging[URL] = asyncio.Event()
    await rig.worker.fill()
    await asyncio.sleep(0)
    rig.store.outage = StoreUnavailable("stopped by a test")
    released.set()
    for _ in range(20):
        await asyncio.sleep(0)
    rig.store.outage = None
    await advance_until_settled(rig)
    assert (await rig.delivery()).status == "delivered"
    assert len(rig.scripted.posts) == 1


async def test_after_a_long_outage_it_is_attempted_again_without_waiting_for_the_lease() -> None:
    rig = await ready()
    released = rig.scripted.hanging[URL] = asyncio.Event()
    await rig.worker.fill()
    await asyncio.sleep(0)
    rig.store.outage = StoreUnavailable("stopped by a test")
    released.set()
    await advance_until_settled(rig)
    rig.store.outage = None
    assert rig.clock.now() - AT < timedelta(seconds=LEASE_SECONDS - 10)
    await rig.attempt()
    rig.fake.advance(1)
    assert await rig.attempt() == 1
    assert (await rig.delivery()).attempts == 1


async def advance_until_settled(rig: Rig) -> None:
    """Let the clock run while attempts wait for it."""
    settled = asyncio.ensure_future(rig.worker.settled())
    for _ in range(100):
        for _ in range(20):
            await asyncio.sleep(0)
        if settled.done():
            break
        rig.fake.advance(0.5)
    await settled


async def test_a_projection_that_lags_does_not_make_a_second_attempt() -> None:
    rig = await ready()
    await rig.queue.claim(AT, slots=0, per_endpoint=4, busy={}, lease_seconds=1)
    rig.queue.lagging = True
    assert await rig.attempt() == 1
    rig.fake.advance(5)
    assert await rig.attempt() == 0
    assert len(rig.scripted.posts) == 1


async def test_an_attempt_recorded_by_another_worker_counts_once() -> None:
    """Two workers have it when a lease ran out under one of them: both fail, one counts."""
    rig = await ready()
    released = rig.scripted.hanging[URL] = asyncio.Event()
    rig.scripted.script(URL, answered(500))
    slow, quick = rig.worker, rig.new_worker()
    await slow.fill()
    await asyncio.sleep(0)
    rig.fake.advance(LEASE_SECONDS)
    assert await quick.fill() == 1
    await asyncio.sleep(0)
    released.set()
    await asyncio.gather(slow.settled(), quick.settled())
    assert len(rig.scripted.posts) == 2
    assert (await rig.delivery()).attempts == 1


async def test_secrets_are_read_once_while_the_process_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = await ready()
    reads: list[object] = []
    real = rig.vault.get_secret

    async def counted(secret_id: object) -> bytes:
        reads.append(secret_id)
        return await real(secret_id)  # type: ignore[arg-type]  # handed on

    vault: Vault = rig.vault
    monkeypatch.setattr(vault, "get_secret", counted)
    for _ in range(3):
        await rig.session()
    await rig.dispatch()
    await rig.attempt()
    assert len(rig.scripted.posts) == 4
    assert len(set(reads)) == 1
    assert len(reads) <= PER_ENDPOINT_MAX


async def test_a_new_delivery_is_attempted_within_tens_of_milliseconds() -> None:
    rig = Rig(SystemClock())
    await rig.register()
    await rig.endpoint()
    stop = asyncio.Event()
    tasks = [
        asyncio.create_task(rig.dispatcher.run(stop)),
        asyncio.create_task(rig.worker.run(stop)),
    ]
    await asyncio.sleep(0.1)
    began = time.perf_counter()
    await rig.session()
    await rig.bus.hint("hint.log.head")
    async with asyncio.timeout(2):
        await rig.scripted.posted(1)
    took = time.perf_counter() - began
    stop.set()
    async with asyncio.timeout(2):
        await asyncio.gather(*tasks)
    assert took < 0.2
    assert (await rig.delivery()).status == "delivered"


async def test_told_to_stop_it_lets_attempts_end() -> None:
    rig = await ready(clock=SystemClock())
    released = rig.scripted.hanging[URL] = asyncio.Event()
    stop = asyncio.Event()
    task = asyncio.create_task(rig.worker.run(stop))
    async with asyncio.timeout(2):
        await rig.scripted.posted(1)
    stop.set()
    await asyncio.sleep(0.05)
    assert not task.done()
    released.set()
    async with asyncio.timeout(2):
        await task
    assert (await rig.delivery()).status == "delivered"


async def test_it_goes_on_by_itself_after_an_outage() -> None:
    rig = await ready(clock=SystemClock())
    rig.store.outage = StoreUnavailable("stopped by a test")
    stop = asyncio.Event()
    task = asyncio.create_task(rig.worker.run(stop))
    await asyncio.sleep(0.1)
    assert rig.scripted.posts == []
    rig.store.outage = None
    async with asyncio.timeout(3):
        await rig.scripted.posted(1)
    stop.set()
    await task


async def test_a_poster_that_breaks_does_not_stop_the_worker() -> None:
    rig = await ready()

    async def broken(**_: object) -> Attempted:
        raise Killed

    rig.scripted.post = broken  # type: ignore[method-assign]  # a bug of ours
    assert await rig.worker.fill() == 1
    await rig.worker.settled()
    del rig.scripted.post
    rig.fake.advance(LEASE_SECONDS)
    assert await rig.attempt() == 1
    assert (await rig.delivery()).status == "delivered"

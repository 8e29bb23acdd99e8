"""One slow endpoint delays nobody else, and a crowd of them not either."""

import asyncio

from adapters.memory.poster import TIMED_OUT, answered
from tests.examples import AT
from tests.workers.webhook_rig import URL, Rig, ready
from workers.webhook_delivery import PER_ENDPOINT_MAX, SUSPECT_SLOTS_MAX

HANGING_URL = "https://hanging.example/hook"


async def test_a_hanging_endpoint_holds_four_slots_and_delays_nobody() -> None:
    rig = Rig()
    await rig.register()
    await rig.endpoint(HANGING_URL)
    rig.scripted.hanging[HANGING_URL] = asyncio.Event()
    for _ in range(100):
        await rig.session()
    await rig.endpoint(URL)
    for _ in range(30):
        await rig.session()
    await rig.dispatch()
    delivered = 0
    for _ in range(30):
        await rig.worker.fill()
        for _ in range(30):
            await asyncio.sleep(0)
        delivered = sum(post.url == URL for post in rig.scripted.posts)
    assert delivered == 30
    assert rig.clock.now() == AT, "and no time had to pass for it"
    assert rig.scripted.in_flight_max[HANGING_URL] == PER_ENDPOINT_MAX
    rig.scripted.hanging[HANGING_URL].set()
    await rig.worker.settled()


async def test_an_endpoint_that_was_slow_gets_one_slot_until_it_is_quick_again() -> None:
    rig = await ready()
    for _ in range(8):
        await rig.session()
    await rig.dispatch()
    rig.scripted.script(URL, *[TIMED_OUT] * PER_ENDPOINT_MAX, answered(200))
    assert await rig.worker.fill() == PER_ENDPOINT_MAX
    await rig.worker.settled()
    assert await rig.worker.fill() == 1, "once slow, one at a time"
    await rig.worker.settled()
    assert await rig.worker.fill() == PER_ENDPOINT_MAX
    await rig.worker.settled()


async def test_a_crowd_of_slow_endpoints_leaves_half_the_slots_to_the_others() -> None:
    rig = Rig()
    await rig.register()
    slow = [f"https://slow{n}.example/hook" for n in range(SUSPECT_SLOTS_MAX + 8)]
    merchants = [rig.ids.new() for _ in range(3)]  # a merchant has 20 endpoints at most
    for merchant_id in merchants:
        await rig.register(merchant_id)
    for place, url in enumerate(slow):
        await rig.endpoint(url, merchant_id=merchants[place % 3])
        rig.scripted.script(url, TIMED_OUT)
    for merchant_id in merchants:
        await rig.session(merchant_id=merchant_id)
    await rig.dispatch()
    assert await rig.attempt() == len(slow)
    for url in slow:
        rig.scripted.hanging[url] = asyncio.Event()
    rig.fake.advance(10)
    assert await rig.worker.fill() == SUSPECT_SLOTS_MAX
    assert await rig.worker.fill() == 0
    await rig.endpoint(URL)
    await rig.session()
    await rig.dispatch()
    assert await rig.worker.fill() == 1
    for url in slow:
        rig.scripted.hanging[url].set()
    await rig.worker.settled()

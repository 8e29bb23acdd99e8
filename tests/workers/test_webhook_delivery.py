"""Attempts: when, how often, with which bytes; what crashes, hangs and outages do to them."""

from adapters.memory.poster import TIMED_OUT, answered
from tests.examples import AT
from tests.workers.webhook_rig import URL, Rig, caller, ready
from workers.webhook_attempt import ENDPOINT_GONE, SECRET_GONE

HANGING_URL = "https://hanging.example/hook"


async def test_a_message_is_delivered_with_its_stored_bytes_and_the_endpoints_secret() -> None:
    rig = Rig()
    await rig.register()
    _, secret = await rig.endpoint()
    await rig.session()
    await rig.dispatch()
    assert await rig.attempt() == 1
    delivery = await rig.delivery()
    (post,) = rig.scripted.posts
    assert (delivery.status, delivery.attempts) == ("delivered", 1)
    assert (post.url, post.secrets) == (URL, (secret.encode(),))
    assert (post.message_id, post.body) == (delivery.message_id, delivery.body.encode())
    assert rig.queue.responses == {(delivery.delivery_id, 1): b"status 200"}
    assert await rig.attempt() == 0


async def test_four_attempts_at_0_10_60_and_600_seconds_and_not_one_earlier() -> None:
    rig = await ready()
    rig.scripted.script(URL, answered(500))
    seen: list[float] = []
    for _ in range(700):
        if await rig.attempt():
            seen.append((rig.clock.now() - AT).total_seconds())
        rig.fake.advance(1)
    assert seen == [0, 10, 70, 670]
    delivery = await rig.delivery()
    assert (delivery.status, delivery.attempts) == ("failed", 4)
    assert len({(post.message_id, post.body) for post in rig.scripted.posts}) == 1
    assert len(rig.scripted.posts) == 4


async def test_a_later_attempt_may_succeed() -> None:
    rig = await ready()
    rig.scripted.script(URL, answered(503), TIMED_OUT, answered(200))
    for pause in (0, 10, 60):
        rig.fake.advance(pause)
        assert await rig.attempt() == 1
    delivery = await rig.delivery()
    assert (delivery.status, delivery.attempts) == ("delivered", 3)
    rig.fake.advance(3_600)
    assert await rig.attempt() == 0


async def test_retry_after_puts_an_attempt_off_to_twice_the_delay_at_most() -> None:
    rig = await ready()
    rig.scripted.script(URL, answered(429, retry_after_seconds=3_600), answered(200))
    await rig.attempt()
    rig.fake.advance(19)
    assert await rig.attempt() == 0
    rig.fake.advance(1)
    assert await rig.attempt() == 1


async def test_a_replay_is_another_round_with_the_same_bytes_and_id() -> None:
    rig = await ready()
    rig.scripted.script(URL, answered(500))
    for pause in (0, 10, 60, 600):
        rig.fake.advance(pause)
        await rig.attempt()
    failed = await rig.delivery()
    assert failed.status == "failed"
    rig.scripted.script(URL, answered(500), answered(200))
    await rig.webhooks.replay(failed.delivery_id, caller())
    rig.fake.advance(1)
    assert await rig.attempt() == 1
    rig.fake.advance(10)
    assert await rig.attempt() == 1
    delivery = await rig.delivery()
    assert (delivery.status, delivery.attempts) == ("delivered", 6)
    assert len({(post.message_id, post.body) for post in rig.scripted.posts}) == 1


async def test_410_ends_the_delivery_and_disables_the_endpoint() -> None:
    rig = await ready()
    await rig.session()
    rig.scripted.script(URL, answered(410))
    await rig.attempt()
    (endpoint,) = await rig.webhooks.list_endpoints(caller())
    assert not endpoint.enabled
    assert (await rig.delivery()).status == "failed"
    await rig.dispatch()
    assert len(await rig.deliveries()) == 1, "nothing more is opened for it"
    facts = {fact.event.name: fact for fact in await rig.log()}
    disabled = facts["merchant.webhook_endpoint_disabled"]
    assert "410" in disabled.event.model_dump()["reason"]


async def test_what_is_due_for_a_deleted_endpoint_is_not_posted_and_ends_failed() -> None:
    rig = await ready()
    (endpoint,) = await rig.webhooks.list_endpoints(caller())
    await rig.webhooks.delete_endpoint(endpoint.endpoint_id, caller())
    for pause in (0, 10, 60, 600):
        rig.fake.advance(pause)
        await rig.attempt()
    assert rig.scripted.posts == []
    assert (await rig.delivery()).status == "failed"
    failed = [f.event for f in await rig.log() if f.event.name == "delivery.attempt_failed"]
    assert {event.model_dump()["error"] for event in failed} == {ENDPOINT_GONE}


async def test_a_missing_secret_is_a_failure_and_nothing_is_posted_unsigned() -> None:
    rig = await ready()
    rig.vault.secrets.clear()
    await rig.attempt()
    assert rig.scripted.posts == []
    failed = [f.event for f in await rig.log() if f.event.name == "delivery.attempt_failed"]
    assert failed[0].model_dump()["error"] == SECRET_GONE


async def test_an_endpoint_that_fails_for_five_days_is_disabled() -> None:
    rig = Rig()
    await rig.register()
    await rig.endpoint()
    rig.scripted.script(URL, answered(500))
    for hour in range(0, 24 * 5 + 6, 6):
        (endpoint,) = await rig.webhooks.list_endpoints(caller())
        assert endpoint.enabled, f"disabled after {hour} hours already"
        await rig.session()
        await rig.dispatch()
        await rig.attempt()
        rig.fake.advance(6 * 3_600)
    await rig.attempt()
    (endpoint,) = await rig.webhooks.list_endpoints(caller())
    assert not endpoint.enabled


async def test_one_success_in_five_days_keeps_an_endpoint() -> None:
    rig = Rig()
    await rig.register()
    await rig.endpoint()
    for hour in range(0, 24 * 8, 6):
        rig.scripted.script(URL, answered(200 if hour == 96 else 500))
        await rig.session()
        await rig.dispatch()
        await rig.attempt()
        rig.fake.advance(6 * 3_600)
    (endpoint,) = await rig.webhooks.list_endpoints(caller())
    assert endpoint.enabled

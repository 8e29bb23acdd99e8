"""Dispatcher, projection, queue, vault and HTTP on real parts: PostgreSQL and sockets."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiohttp import web

from adapters.addresses import checksum_address
from adapters.checkpoints import PostgresCheckpoints
from adapters.clock import SystemClock, SystemIds
from adapters.delivery_queue import PostgresDeliveryQueue, PostgresEndpointHealth
from adapters.event_store import PostgresEventStore
from adapters.http_delivery import HttpPoster
from adapters.key_vault import PostgresVault
from adapters.memory.bus import MemoryBus
from adapters.postgres import Postgres
from adapters.webhook_receiver import Received, WebhookReceiver
from application.handling import Handler
from application.messages import Messages
from application.webhooks import Webhooks
from projections.deliveries import Deliveries
from projections.runner import ProjectionRunner
from projections.schema import ensure_schemas
from tests.conftest import Migrated
from tests.examples import BOOK
from tests.workers.webhook_rig import MASTER_KEY, Rig
from workers.dispatcher import Dispatcher
from workers.webhook_attempt import Attempts
from workers.webhook_delivery import PER_ENDPOINT_MAX, WebhookWorker

QUEUED = 12
TIMEOUT_SECONDS = 20.0


@dataclass
class Whole:
    rig: Rig
    pg: Postgres
    receiver: WebhookReceiver


@pytest.fixture
async def whole(migrated: Migrated) -> AsyncIterator[Whole]:
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn, (Deliveries(),))
    clock, ids = SystemClock(), SystemIds()
    poster = HttpPoster(allow_private=True, clock=clock)
    stop = asyncio.Event()
    async with (
        Postgres(migrated.app_dsn, name="test") as pg,
        PostgresEventStore(pg, ids=ids) as store,
        WebhookReceiver(clock) as receiver,
    ):
        # Its merchants and sessions go to the real store; its twins are not used.
        rig = Rig(clock, poster)
        handler = rig.handler = Handler(store, clock)
        vault = PostgresVault(pg, MASTER_KEY, ids)
        rig.webhooks = Webhooks(handler, vault, poster, ids)
        bus = MemoryBus(clock)
        queue = PostgresDeliveryQueue(pg, clock, owner="test")
        health = PostgresEndpointHealth(pg)
        attempts = Attempts(handler, poster, vault, queue, health, clock)
        checkpoints = PostgresCheckpoints(pg)
        dispatcher = Dispatcher(
            handler, Messages(store, BOOK, checksum_address), checkpoints, bus, clock
        )
        processes = (
            dispatcher,
            ProjectionRunner(pg, store, (Deliveries(),), None, clock),
            WebhookWorker(queue, attempts, bus, clock),
        )
        tasks = [asyncio.create_task(process.run(stop)) for process in processes]
        yield Whole(rig, pg, receiver)
        stop.set()
        await asyncio.gather(*tasks)
    await poster.close()


async def test_a_fact_arrives_signed_and_its_answer_is_kept(whole: Whole) -> None:
    await whole.rig.register()
    _, secret = await whole.rig.endpoint(whole.receiver.url)
    whole.receiver.trust(secret)
    whole.receiver.answer = lambda _: web.Response(text="thank you")
    session_id = await whole.rig.session()
    received = await whole.receiver.wait_for(lambda _: True, timeout_seconds=TIMEOUT_SECONDS)
    assert received.type == "payment.created"
    assert received.message["data"]["payment_session_id"] == f"ps_{session_id.hex}"
    assert await _status(whole, "delivered", 1)
    async with whole.pg.connection() as connection:
        found = await connection.execute("SELECT attempt, excerpt FROM work.delivery_responses")
        assert await found.fetchall() == [(1, b"thank you")]
    assert whole.receiver.refused == []


async def test_a_receiver_that_hangs_holds_up_nobody(whole: Whole) -> None:
    """Structural: everybody else is served while it still hangs, and it gets four connections."""
    let_go, hanging = asyncio.Event(), list[str]()

    async def hang(request: web.Request) -> web.StreamResponse:
        hanging.append(request.path)
        await let_go.wait()
        return web.Response()

    app = web.Application()
    app.router.add_post("/hang", hang)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await whole.rig.register()
    await whole.rig.endpoint(f"http://127.0.0.1:{runner.addresses[0][1]}/hang")
    for _ in range(QUEUED):
        await whole.rig.session()
    _, secret = await whole.rig.endpoint(whole.receiver.url)
    whole.receiver.trust(secret)
    for _ in range(QUEUED):
        await whole.rig.session()

    def all_here(_: Received) -> bool:
        return len({each.body for each in whole.receiver.received}) == QUEUED

    await whole.receiver.wait_for(all_here, timeout_seconds=TIMEOUT_SECONDS)
    assert not let_go.is_set()
    assert len(hanging) == PER_ENDPOINT_MAX
    let_go.set()
    assert await _status(whole, "delivered", 3 * QUEUED)
    await runner.cleanup()


async def _status(whole: Whole, status: str, count: int) -> bool:
    """Whether so many deliveries come to stand there within the time."""
    for _ in range(int(TIMEOUT_SECONDS / 0.01)):
        async with whole.pg.connection() as connection:
            found = await connection.execute(
                "SELECT count(*) FROM rm.deliveries WHERE status = %s", (status,)
            )
            if await found.fetchone() == (count,):
                return True
        await asyncio.sleep(0.01)
    return False

"""One suite for the delivery queue and its neighbours: on PostgreSQL, and on their twins.

On PostgreSQL what is due comes from the real projection, run by the real runner.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest

from adapters.checkpoints import PostgresCheckpoints
from adapters.delivery_queue import PostgresDeliveryQueue, PostgresEndpointHealth
from adapters.memory.checkpoints import MemoryCheckpoints
from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.delivery_queue import MemoryDeliveryQueue, MemoryEndpointHealth
from adapters.memory.store import MemoryEventStore
from adapters.postgres import Postgres
from application.deciders import DELIVERY
from application.handling import Handler, UnitOfWork
from application.outside import Checkpoints, EndpointHealth
from application.ports import Context
from application.reads import DeliveryQueue
from domain import commands as c
from projections.deliveries import Deliveries
from projections.progress import ProgressReads
from projections.runner import ProjectionRunner
from projections.schema import ensure_schemas
from tests.conftest import Migrated
from tests.examples import AT, MERCHANT_ID

ENDPOINTS = tuple(UUID(int=0xE000 + n) for n in range(40))
SYSTEM = Context(actor="system")
LEASE_SECONDS = 45
DAY_SECONDS = 86_400


@dataclass
class Place:
    clock: FakeClock
    handler: Handler
    queue: DeliveryQueue
    other: DeliveryQueue  # of another worker
    health: EndpointHealth
    checkpoints: Checkpoints
    caught_up: Callable[[], Awaitable[None]]

    async def open(self, endpoint_id: UUID, count: int = 1) -> list[UUID]:
        made = [await self._open(endpoint_id) for _ in range(count)]
        await self.caught_up()
        return made

    async def _open(self, endpoint_id: UUID) -> UUID:
        delivery_id = UUID(int=await self.handler.store.head() + 1)

        async def work(unit: UnitOfWork) -> None:
            command = c.OpenDelivery(
                at=unit.now,
                delivery_id=delivery_id,
                merchant_id=MERCHANT_ID,
                mode="test",
                endpoint_id=endpoint_id,
                message_id=f"evt_{delivery_id.hex}",
                message_type="payment.created",
                body="{}",
            )
            await unit.decide(DELIVERY, delivery_id, command)

        await self.handler.execute(SYSTEM, work)
        return delivery_id

    async def attempted(self, delivery_id: UUID, error: str | None) -> None:
        async def work(unit: UnitOfWork) -> None:
            command = c.RecordAttempt(
                at=unit.now, status_code=500 if error else 200, latency_ms=1, error=error
            )
            await unit.decide(DELIVERY, delivery_id, command)

        await self.handler.execute(SYSTEM, work)
        await self.caught_up()

    async def claim(
        self,
        *,
        slots: int = 64,
        per_endpoint: int = 4,
        busy: dict[UUID, int] | None = None,
        queue: DeliveryQueue | None = None,
    ) -> Sequence[UUID]:
        return await (queue or self.queue).claim(
            self.clock.now(),
            slots=slots,
            per_endpoint=per_endpoint,
            busy=busy or {},
            lease_seconds=LEASE_SECONDS,
        )


@pytest.fixture(params=["postgres", "twin"])
async def place(request: pytest.FixtureRequest, migrated: Migrated) -> AsyncIterator[Place]:
    clock = FakeClock(AT)
    store = MemoryEventStore(ids=SeededIds(1), clock=clock)
    if request.param == "twin":
        yield _twin(store, clock)
        return
    projections = (Deliveries(),)
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn, projections)
    stop = asyncio.Event()
    async with Postgres(migrated.app_dsn, name="test") as pg:
        runner = ProjectionRunner(pg, store, projections, None, clock)
        following = asyncio.create_task(runner.run(stop))
        progress = ProgressReads(pg)

        async def caught_up() -> None:
            assert await progress.wait_for(await store.head(), timeout_seconds=10)

        yield Place(
            clock,
            Handler(store, clock),
            PostgresDeliveryQueue(pg, clock, owner="one"),
            PostgresDeliveryQueue(pg, clock, owner="two"),
            PostgresEndpointHealth(pg),
            PostgresCheckpoints(pg),
            caught_up,
        )
        stop.set()
        await following


def _twin(store: MemoryEventStore, clock: FakeClock) -> Place:
    queue = MemoryDeliveryQueue(store, clock)

    async def caught_up() -> None:
        """The twin looks at the log itself."""

    return Place(
        clock,
        Handler(store, clock),
        queue,
        queue,
        MemoryEndpointHealth(),
        MemoryCheckpoints(),
        caught_up,
    )


async def test_a_due_delivery_is_claimed_once_while_its_lease_lasts(place: Place) -> None:
    (delivery,) = await place.open(ENDPOINTS[0])
    assert await place.claim() == (delivery,)
    assert await place.claim() == ()
    assert await place.claim(queue=place.other) == ()


async def test_a_lease_that_ran_out_is_claimed_again(place: Place) -> None:
    (delivery,) = await place.open(ENDPOINTS[0])
    await place.claim()
    place.clock.advance(LEASE_SECONDS - 1)
    assert await place.claim(queue=place.other) == ()
    place.clock.advance(1)
    assert await place.claim(queue=place.other) == (delivery,)
    assert await place.claim() == ()


async def test_what_was_released_is_not_claimed_at_once_but_soon(place: Place) -> None:
    """The projection may still show it as due when it has just been settled."""
    (delivery,) = await place.open(ENDPOINTS[0])
    await place.claim()
    await place.queue.release(delivery)
    assert await place.claim() == ()
    place.clock.advance(1)
    assert await place.claim() == (delivery,)


async def test_what_is_delivered_or_not_due_yet_is_not_claimed(place: Place) -> None:
    delivered, failed = await place.open(ENDPOINTS[0], 2)
    await place.attempted(delivered, None)
    await place.attempted(failed, "answered 500")
    place.clock.advance(9)
    assert await place.claim() == ()
    place.clock.advance(1)
    assert await place.claim() == (failed,)


async def test_no_endpoint_gets_more_than_its_share(place: Place) -> None:
    await place.open(ENDPOINTS[0], 10)
    first = await place.claim()
    assert len(first) == 4
    assert await place.claim(queue=place.other) == (), "four in flight, over all workers"
    await place.queue.release(first[0])
    assert len(await place.claim()) == 1


async def test_attempts_in_flight_elsewhere_count(place: Place) -> None:
    await place.open(ENDPOINTS[0], 10)
    assert len(await place.claim(busy={ENDPOINTS[0]: 3})) == 1
    assert await place.claim(busy={ENDPOINTS[0]: 4}) == ()


async def test_a_crowd_at_one_endpoint_takes_no_slot_from_the_others(place: Place) -> None:
    crowd = set(await place.open(ENDPOINTS[0], 30))
    others = [(await place.open(endpoint))[0] for endpoint in ENDPOINTS[1:11]]
    claimed = await place.claim(slots=14)
    assert len(crowd.intersection(claimed)) == 4
    assert set(others) <= set(claimed)


async def test_with_few_slots_the_oldest_go_first(place: Place) -> None:
    order = []
    for endpoint in (ENDPOINTS[2], ENDPOINTS[0], ENDPOINTS[1]):
        order += await place.open(endpoint)
        place.clock.advance(1)
    claimed = [(await place.claim(slots=1))[0] for _ in order]
    assert claimed == order


async def test_two_workers_at_once_never_share_a_delivery(place: Place) -> None:
    made = [each for endpoint in ENDPOINTS[:20] for each in await place.open(endpoint, 2)]
    claims = await asyncio.gather(
        *(place.claim(slots=5, queue=(place.queue, place.other)[n % 2]) for n in range(10))
    )
    counted = Counter(each for claim in claims for each in claim)
    assert set(counted) == set(made)
    assert set(counted.values()) == {1}


async def test_a_failed_endpoint_is_counted_until_it_succeeds(place: Place) -> None:
    health, endpoint = place.health, ENDPOINTS[0]
    for hours in (0, 12, 24):
        failing = await health.failed(
            endpoint, AT + timedelta(hours=hours), quiet_seconds=DAY_SECONDS
        )
    assert (failing.since, failing.attempts) == (AT, 3)
    await health.succeeded(endpoint)
    later = AT + timedelta(hours=30)
    failing = await health.failed(endpoint, later, quiet_seconds=DAY_SECONDS)
    assert (failing.since, failing.attempts) == (later, 1)


async def test_after_a_quiet_day_the_count_starts_anew(place: Place) -> None:
    await place.health.failed(ENDPOINTS[0], AT, quiet_seconds=DAY_SECONDS)
    later = AT + timedelta(hours=25)
    failing = await place.health.failed(ENDPOINTS[0], later, quiet_seconds=DAY_SECONDS)
    assert (failing.since, failing.attempts) == (later, 1)


async def test_a_checkpoint_moves_forward_only(place: Place) -> None:
    assert await place.checkpoints.position("dispatcher") == 0
    await place.checkpoints.move("dispatcher", 7)
    await place.checkpoints.move("dispatcher", 5)
    assert await place.checkpoints.position("dispatcher") == 7
    assert await place.checkpoints.position("somebody else") == 0
    await place.checkpoints.park("dispatcher", 6, "unreadable")
    await place.checkpoints.park("dispatcher", 6, "unreadable still")


async def test_an_answer_is_kept_once_an_attempt_and_cut_at_16_kib(migrated: Migrated) -> None:
    clock = FakeClock(AT)
    delivery = UUID(int=1)
    async with Postgres(migrated.app_dsn, name="test") as pg:
        queue = PostgresDeliveryQueue(pg, clock, owner="one")
        await queue.keep_response(delivery, 1, b"first")
        await queue.keep_response(delivery, 1, b"again")
        await queue.keep_response(delivery, 2, b"x" * 20_000)
        async with pg.connection() as connection:
            rows = await (
                await connection.execute(
                    "SELECT attempt, octet_length(excerpt) FROM work.delivery_responses ORDER BY 1"
                )
            ).fetchall()
    assert rows == [(1, 5), (2, 16_384)]


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
async def test_leases_that_are_over_are_forgotten(place: Place, migrated: Migrated) -> None:
    (delivery,) = await place.open(ENDPOINTS[0])
    await place.claim()
    await place.attempted(delivery, None)
    await place.queue.release(delivery)
    place.clock.advance(60)
    await place.claim()
    async with await psycopg.AsyncConnection.connect(migrated.admin_dsn) as admin:
        row = await (await admin.execute("SELECT count(*) FROM work.delivery_leases")).fetchone()
    assert row == (0,)

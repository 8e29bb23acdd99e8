"""The read ports on the twin and on the projections, each fed by a log of its own.

reads  one after the other: every test of this folder runs on both
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.reads import MemoryReads
from adapters.memory.store import MemoryEventStore
from adapters.postgres import Postgres
from application.handling import Handler
from application.ports import Batch, Context, Stream, StreamAppend
from application.reads import (
    ApiKeys,
    Books,
    DeliveryReads,
    InboxReads,
    Page,
    Progress,
    RefundReads,
    SessionQuery,
    SessionReads,
)
from domain.events import Event
from domain.networks import NetworkBook
from projections.applying import Applier, Follower
from projections.catalogue import PROJECTIONS
from projections.checkpoints import place_of
from projections.delivery_reads import DeliveryReads as PostgresDeliveryReads
from projections.following import Procession
from projections.inbox_reads import InboxReads as PostgresInboxReads
from projections.journal_reads import JournalReads
from projections.merchant_reads import ApiKeyReads
from projections.pace import Pace
from projections.payment_reads import PaymentReads
from projections.progress import ProgressReads
from projections.refund_reads import RefundReads as PostgresRefundReads
from projections.schema import ensure_schemas
from projections.watchlist_reads import WatchListReads
from tests.conftest import Migrated
from tests.examples import (
    AT,
    CREATED,
    EXAMPLES,
    LOCAL,
    MERCHANT_ID,
)
from tests.projections.history import History

LIVE = LOCAL.model_copy(update={"name": "real", "chain_id": 1, "mode": "live"})
OTHER = LOCAL.model_copy(update={"name": "other", "chain_id": 31338})
NETWORKS = NetworkBook(networks=(LOCAL, LIVE, OTHER))
SYSTEM = Context(actor="system")


@dataclass
class Given:
    store: MemoryEventStore
    clock: FakeClock
    sessions: SessionReads
    refunds: RefundReads
    deliveries: DeliveryReads
    inbox: InboxReads
    api_keys: ApiKeys
    watch_list: Any  # a WatchList that also answers `addresses`
    books: Books
    progress: Progress
    catch_up: Callable[[], Awaitable[None]]
    answer: Callable[[UUID, int, bytes], Awaitable[None]]

    async def append(self, stream: Stream, *events: Event, after: int = 0) -> int:
        position = await self.store.append(Batch((StreamAppend(stream, after, events),), SYSTEM))
        await self.catch_up()
        return position

    async def history(self, seed: int, steps: int) -> History:
        history = History(Handler(self.store, self.clock), self.clock, seed)
        await history.write(steps)
        await self.catch_up()
        return history


def twin_reads() -> Given:
    clock = FakeClock(AT)
    store = MemoryEventStore(ids=SeededIds(1), clock=clock)
    reads = MemoryReads(store, NETWORKS)

    async def catch_up() -> None:
        """A twin never lags."""

    async def answer(delivery_id: UUID, attempt: int, excerpt: bytes) -> None:
        reads.deliveries.responses[delivery_id, attempt] = excerpt

    return Given(
        store,
        clock,
        reads.sessions,
        reads.refunds,
        reads.deliveries,
        reads.inbox,
        reads.api_keys,
        reads.watch_list,
        reads.books,
        reads.progress,
        catch_up,
        answer,
    )


def postgres_reads(pg: Postgres) -> Given:
    clock = FakeClock(AT)
    store = MemoryEventStore(ids=SeededIds(1), clock=clock)

    async def catch_up() -> None:
        procession = Procession(store, Applier(clock), Pace(40))
        async with pg.connection() as connection:
            followers = [Follower(each, await place_of(connection, each)) for each in PROJECTIONS]
            await connection.commit()
            while await procession.step(connection, followers):
                pass
            await procession.close()

    async def answer(delivery_id: UUID, attempt: int, excerpt: bytes) -> None:
        async with pg.connection() as connection:
            await connection.execute(
                "INSERT INTO work.delivery_responses (delivery_id, attempt, excerpt, at) "
                "VALUES (%s, %s, %s, %s)",
                (delivery_id, attempt, excerpt, AT),
            )

    return Given(
        store,
        clock,
        PaymentReads(pg),
        PostgresRefundReads(pg),
        PostgresDeliveryReads(pg),
        PostgresInboxReads(pg, NETWORKS),
        ApiKeyReads(pg),
        WatchListReads(pg, NETWORKS),
        JournalReads(pg),
        ProgressReads(pg),
        catch_up,
        answer,
    )


@pytest.fixture
async def twin() -> Given:
    return twin_reads()


@pytest.fixture
async def postgres(migrated: Migrated) -> AsyncIterator[Given]:
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn)
    async with Postgres(migrated.app_dsn, name="test-reads", max_size=4) as pg:
        yield postgres_reads(pg)


@pytest.fixture(params=["twin", pytest.param("postgres", marks=pytest.mark.services)])
def reads(request: pytest.FixtureRequest) -> Given:
    given: Given = request.getfixturevalue(request.param)
    return given


def example(kind: type[Event]) -> Any:
    return next(event for event in EXAMPLES if type(event) is kind)


def session_stream(number: int) -> Stream:
    return Stream("payment_session", UUID(int=number))


def created(number: int, **changes: Any) -> Event:
    own = {"session_id": UUID(int=number), "deposit_address": f"0x{number:040x}"}
    return CREATED.model_copy(update=own | changes)


QUERY = SessionQuery(merchant_id=MERCHANT_ID, mode="test")


def numbers(page: Page[Any]) -> list[int]:
    return [row.session.session_id.int for row in page.items]

"""What the books say arrived beside what the chain confirmed: on PostgreSQL, and on the twins."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from uuid import UUID

import pytest

from adapters.clock import SystemIds
from adapters.event_store import PostgresEventStore
from adapters.ingest_store import PostgresIngestStore
from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.ingest_store import MemoryIngestStore
from adapters.memory.reads import MemoryReads
from adapters.memory.reconciling import MemoryBooksAndChain
from adapters.memory.store import MemoryEventStore
from adapters.postgres import Postgres
from adapters.reconciling import PostgresBooksAndChain
from application.chain_messages import TransferReport
from application.deciders import TRANSFER, transfer_stream_id
from application.handling import Handler, UnitOfWork
from application.ingest import Cursor, IngestStore, Sighted
from application.ports import Batch, Context, EventStore, Stream, StreamAppend
from application.reconciling import Arrived, BooksAndChain
from application.settlement import Settlement
from domain import commands as c
from domain.events import Event, JournalEntryPosted, Posting, RefundWalletAssigned, Sighting
from projections.applying import Applier, Follower
from projections.catalogue import PROJECTIONS
from projections.checkpoints import place_of
from projections.following import Procession
from projections.pace import Pace
from projections.schema import ensure_schemas
from tests.conftest import Migrated
from tests.examples import (
    ASSET,
    AT,
    BOOK,
    CREATED,
    MERCHANT_ID,
    OTHER_ASSET,
    SESSION_ID,
    WALLET,
    sighting,
    usd,
)
from tests.examples import EXAMPLES as ALL
from tests.ports.ingesting import THREE_BLOCKS, header, orphaning, passage, reports

SYSTEM = Context(actor="system", mode="test")
NOBODY = "0x" + "57" * 20


@dataclass
class Kit:
    store: EventStore
    ingest: IngestStore
    books: BooksAndChain
    catch_up: Callable[[], Awaitable[None]]

    def __post_init__(self) -> None:
        reads = MemoryReads(self.store, BOOK)
        self.handler = Handler(self.store, FakeClock(AT))
        self.settlement = Settlement(self.handler, reads.watch_list, BOOK, reads.progress)
        self.cursor: Cursor | None = None
        self.told = 0

    async def begin(self) -> None:
        await self.append(Stream("payment_session", SESSION_ID), CREATED)
        assigned = next(each for each in ALL if isinstance(each, RefundWalletAssigned))
        await self.append(Stream("merchant", MERCHANT_ID), assigned)

    async def append(self, stream: Stream, *events: Event) -> None:
        await self.store.append(Batch((StreamAppend(stream, 0, events),), SYSTEM))

    async def confirmed(self, *sightings: Sighting) -> None:
        """On chain, in the next block, and confirmed at once."""
        if self.cursor is None:
            self.cursor = await self.ingest.begin("local", header(99), AT)
        seen = tuple(Sighted(each, THREE_BLOCKS) for each in sightings)
        number = self.cursor.number + 1
        told = passage(self.cursor, header(number), *seen, confirmed=seen, count=0)
        self.cursor = await self.ingest.pass_blocks(replace(told, reports=()))

    async def applied(self, one: Sighting) -> None:
        """What settlement does with its confirmation."""
        self.told += 1
        report = TransferReport(
            kind="confirmed",
            message_id=f"m-{self.told}",
            report_number=self.told,
            at=AT,
            sighting=one,
            confirmations=3,
            policy_version=1,
        )
        await self.settlement.apply(report)

    async def arrived(self) -> Arrived:
        await self.catch_up()
        first, other = await self.books.arrived("local")
        assert (first.asset, other.asset) == (ASSET, OTHER_ASSET)
        assert other == Arrived(OTHER_ASSET, 0, 0, 0, 0, 0)
        return first


@pytest.fixture
async def twin() -> Kit:
    store = MemoryEventStore(ids=SeededIds(1), clock=FakeClock(AT))
    ingest = MemoryIngestStore()

    async def catch_up() -> None:
        """A twin never lags."""

    kit = Kit(store, ingest, MemoryBooksAndChain(ingest, store, BOOK), catch_up)
    await kit.begin()
    return kit


@pytest.fixture
async def postgres(migrated: Migrated) -> AsyncIterator[Kit]:
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn)
    async with (
        Postgres(migrated.app_dsn, name="test-books", max_size=4) as pg,
        PostgresEventStore(pg, ids=SystemIds()) as store,
    ):

        async def catch_up() -> None:
            procession = Procession(store, Applier(FakeClock(AT)), Pace(40))
            async with pg.connection() as connection:
                followers = [Follower(p, await place_of(connection, p)) for p in PROJECTIONS]
                await connection.commit()
                while await procession.step(connection, followers):
                    pass
                await procession.close()

        kit = Kit(store, PostgresIngestStore(pg), PostgresBooksAndChain(pg, BOOK), catch_up)
        await kit.begin()
        yield kit


@pytest.fixture(params=["twin", pytest.param("postgres", marks=pytest.mark.services)])
def kit(request: pytest.FixtureRequest) -> Kit:
    kit: Kit = request.getfixturevalue(request.param)
    return kit


def to(recipient: str, tx: str, dollars: str, *, number: int = 100) -> Sighting:
    return sighting(usd(dollars), tx=tx, number=number, recipient=recipient)


async def test_nothing_has_arrived_and_nothing_differs(kit: Kit) -> None:
    assert await kit.arrived() == Arrived(ASSET, 0, 0, 0, 0, 0)


async def test_sessions_refund_wallets_and_the_inbox_add_up_to_what_was_confirmed(
    kit: Kit,
) -> None:
    paid, again = sighting(usd("10.00"), tx="11"), sighting(usd("4.00"), tx="22")
    top_up, stray = to(WALLET, "33", "50.00"), to(NOBODY, "44", "7.00")
    await kit.confirmed(paid, again, top_up, stray)
    for one in (paid, top_up, stray):
        await kit.applied(one)
    found = await kit.arrived()
    assert found == Arrived(
        ASSET,
        confirmed=71_000_000,
        nobodys=7_000_000,
        settling=4_000_000,
        leaving=0,
        booked=60_000_000,
    )
    assert found.difference == 0
    await kit.applied(again)
    found = await kit.arrived()
    assert (found.settling, found.booked, found.difference) == (0, 64_000_000, 0)


async def test_what_a_reorg_takes_is_named_until_the_books_have_heard_of_it(kit: Kit) -> None:
    paid = sighting(usd("10.00"), tx="11")
    await kit.confirmed(paid)
    await kit.applied(paid)
    assert kit.cursor is not None
    kit.cursor = await kit.ingest.orphan(
        replace(orphaning(kit.cursor, 99), reports=reports(kit.cursor, 0))
    )
    found = await kit.arrived()
    assert (found.confirmed, found.leaving, found.booked) == (0, 10_000_000, 10_000_000)
    assert found.difference == 0


async def test_what_was_dismissed_is_in_no_account(kit: Kit) -> None:
    late = to(CREATED.deposit_address, "11", "3.00")
    late = late.model_copy(update={"block_time": CREATED.expires_at.replace(year=2030)})
    await kit.confirmed(late)
    await kit.applied(late)
    assert (await kit.arrived()).booked == 3_000_000, "in the inbox, and in suspense"

    async def work(unit: UnitOfWork) -> None:
        dismiss = c.DismissTransfer(at=AT, reason="a test")
        await unit.decide(TRANSFER, transfer_stream_id(late.transfer_id), dismiss, mode="test")

    await kit.handler.execute(SYSTEM, work)
    found = await kit.arrived()
    assert (found.nobodys, found.booked, found.difference) == (3_000_000, 0, 0)


async def test_money_in_the_books_that_no_chain_brought_is_a_difference(kit: Kit) -> None:
    entry_id = UUID(int=0x99)
    posting = Posting(
        debit=f"customer_receipts:{MERCHANT_ID.hex}",
        credit=f"merchant_payable:{MERCHANT_ID.hex}",
        amount=usd("1.00"),
    )
    entry = JournalEntryPosted(
        at=AT,
        entry_id=entry_id,
        cause="a fault",
        merchant_id=MERCHANT_ID,
        postings=(posting,),
    )
    await kit.append(Stream("journal_entry", entry_id), entry)
    assert (await kit.arrived()).difference == 1_000_000

"""What the suites of the ingester's store share: both stores, blocks, sightings and writes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from adapters.chain_heads import PostgresChainHeads
from adapters.ingest_store import PostgresIngestStore
from adapters.memory.clock import FakeClock
from adapters.memory.ingest_store import (
    MemoryChainHeads,
    MemoryIngestStore,
)
from adapters.memory.parked import MemoryParkedMessages
from adapters.parked import PostgresParkedMessages
from adapters.postgres import Postgres
from application.ingest import (
    BlockRef,
    Cursor,
    IngestStore,
    Orphaning,
    Passage,
    PassedHeader,
    Ripening,
    Sighted,
    StoredReport,
    Terms,
)
from application.outside import ParkedMessages
from application.reads import ChainHeads
from domain.events import Sighting
from domain.networks import ConfirmationRule
from tests import examples
from tests.conftest import Migrated

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NETWORK = "local"
THREE_BLOCKS = Terms(1, ConfirmationRule(blocks=3))
Settle = Callable[[str], Awaitable[None]]


@dataclass
class Kit:
    store: IngestStore
    heads: ChainHeads
    parked: ParkedMessages
    settle: Settle  # what the consumer does: the message id goes into its inbox


@pytest.fixture(params=["postgres", "twin"])
def database_or_none(request: pytest.FixtureRequest) -> Migrated | None:
    """None for the twin, which needs none."""
    if request.param == "twin":
        return None
    migrated: Migrated = request.getfixturevalue("migrated")
    return migrated


@pytest.fixture
async def kit(database_or_none: Migrated | None) -> AsyncIterator[Kit]:
    if database_or_none is None:
        inbox: set[str] = set()
        parked = MemoryParkedMessages(FakeClock(AT))
        twin = MemoryIngestStore(settled=lambda one: one in inbox or parked.holds(one))

        async def remember(message_id: str) -> None:
            inbox.add(message_id)

        yield Kit(twin, MemoryChainHeads(twin), parked, remember)
        return
    async with Postgres(database_or_none.app_dsn, name="test") as postgres:

        async def record(message_id: str) -> None:
            async with postgres.connection() as connection:
                await connection.execute(
                    "INSERT INTO es.inbox (source, message_id, position) VALUES ('chain', %s, 1)",
                    (message_id,),
                )

        yield Kit(
            PostgresIngestStore(postgres),
            PostgresChainHeads(postgres),
            PostgresParkedMessages(postgres),
            record,
        )


def header(
    number: int, branch: str = "a", *, on: str = "a", attested: bool = True
) -> PassedHeader:
    ref = BlockRef(number, hash_at(number, branch), hash_at(number - 1, on))
    providers = ("p0", "p1") if attested else ("p0",)
    return PassedHeader(ref, AT + timedelta(seconds=number), attested, providers)


def hash_at(number: int, branch: str = "a") -> str:
    return examples.block_hash(number, branch)


def sighting(number: int, *, tx: str = "11", branch: str = "a", attested: bool = True) -> Sighting:
    found = examples.sighting(tx=tx, number=number, branch=branch)
    return found.model_copy(update={"attested": attested})


def seen(
    number: int,
    *,
    tx: str = "11",
    branch: str = "a",
    attested: bool = True,
    terms: Terms = THREE_BLOCKS,
) -> Sighted:
    return Sighted(sighting(number, tx=tx, branch=branch, attested=attested), terms)


def reports(cursor: Cursor, count: int) -> tuple[StoredReport, ...]:
    numbers = range(cursor.report_number + 1, cursor.report_number + count + 1)
    return tuple(StoredReport(n, f"id-{n}", f"chain.local.{n}", b"%d" % n) for n in numbers)


def passage(
    cursor: Cursor,
    block: PassedHeader,
    *sightings: Sighted,
    confirmed: tuple[Sighted, ...] = (),
    count: int | None = None,
) -> Passage:
    told = len(sightings) + len(confirmed) if count is None else count
    return Passage(
        network=NETWORK,
        cursor=cursor,
        first=cursor.number + 1,
        header=block,
        sightings=sightings,
        confirmed=confirmed,
        reports=reports(cursor, told),
        at=AT,
    )


def orphaning(cursor: Cursor, fork: int, count: int = 1) -> Orphaning:
    ref = BlockRef(fork, hash_at(fork), hash_at(fork - 1))
    return Orphaning(NETWORK, cursor, ref, reports(cursor, count), AT)


def ripening(cursor: Cursor, *confirmed: Sighted) -> Ripening:
    return Ripening(NETWORK, cursor, confirmed, reports(cursor, len(confirmed)), AT)


async def begun(kit: Kit) -> Cursor:
    return await kit.store.begin(NETWORK, header(9), AT)

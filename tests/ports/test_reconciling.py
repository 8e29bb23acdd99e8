"""One suite for what a reconcile remembers and asks: on PostgreSQL, and on its twin."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import psycopg
import pytest

from adapters.ingest_store import PostgresIngestStore
from adapters.memory.ingest_store import MemoryIngestStore
from adapters.memory.reconciling import MemoryReconcileBook
from adapters.postgres import Postgres
from adapters.reconciling import PostgresReconcileBook
from application.ingest import CoveredRange, IngestStore, Sighted
from application.reconciling import KnownSighting, Reading, ReconcileBook, Reconciliation
from domain.money import UINT256_MAX, Amount
from tests import examples
from tests.conftest import Migrated
from tests.ports.ingesting import (  # the fixtures among them
    AT,
    NETWORK,
    THREE_BLOCKS,
    database_or_none,
    hash_at,
    header,
    orphaning,
    passage,
    seen,
    sighting,
)

__all__ = ["database_or_none"]
PURSE, OTHER = ("0x" + "dd" * 20, examples.ASSET), ("0x" + "de" * 20, examples.ASSET)
RUN = Reconciliation(
    network=NETWORK,
    at=AT,
    block_number=40,
    block_hash="0x" + "40" * 32,
    final=True,
    checked=9,
    undecided=1,
    differing=3,
    found=2,
    unexplained=1,
    rotated_to=77,
)


@dataclass
class Kit:
    store: IngestStore
    book: ReconcileBook


@pytest.fixture
async def kit(database_or_none: Migrated | None) -> AsyncIterator[Kit]:
    if database_or_none is None:
        twin = MemoryIngestStore()
        yield Kit(twin, MemoryReconcileBook(twin))
        return
    async with Postgres(database_or_none.app_dsn, name="test") as postgres:
        yield Kit(PostgresIngestStore(postgres), PostgresReconcileBook(postgres))


def brought(units: int, number: int, tx: str, *, to: str = PURSE[0]) -> Sighted:
    changes = {"amount": Amount(units=units, asset=examples.ASSET), "recipient": to}
    return Sighted(sighting(number, tx=tx).model_copy(update=changes), THREE_BLOCKS)


async def test_every_sighting_of_a_transaction_is_told_also_of_blocks_that_left(kit: Kit) -> None:
    cursor = await kit.store.begin(NETWORK, header(9), AT)
    first, other = seen(10), seen(10, tx="22")
    cursor = await kit.store.pass_blocks(passage(cursor, header(10), first, other))
    cursor = await kit.store.orphan(orphaning(cursor, 9))
    again = seen(10, branch="b")
    later = replace(passage(cursor, header(10, "b"), again), at=AT + timedelta(seconds=1))
    await kit.store.pass_blocks(later)
    assert list(await kit.book.sightings_of(NETWORK, first.sighting.tx_hash)) == [
        KnownSighting(first, canonical=False),
        KnownSighting(again, canonical=True),
    ]
    assert list(await kit.book.sightings_of("polygon", first.sighting.tx_hash)) == []
    assert list(await kit.book.sightings_of(NETWORK, "0x" + "99" * 32)) == []


async def test_what_was_received_is_summed_up_to_each_block_and_orphans_do_not_count(
    kit: Kit,
) -> None:
    cursor = await kit.store.begin(NETWORK, header(9), AT)
    rows = (brought(UINT256_MAX, 10, "11"), brought(2, 10, "22", to=OTHER[0]))
    cursor = await kit.store.pass_blocks(passage(cursor, header(10), *rows))
    cursor = await kit.store.pass_blocks(passage(cursor, header(11), brought(5, 11, "33")))
    marks = {(*PURSE, 9), (*PURSE, 10), (*PURSE, 11), (*OTHER, 99), ("0xno", PURSE[1], 99)}
    assert await kit.book.received_until(NETWORK, marks) == {
        (*PURSE, 9): 0,
        (*PURSE, 10): UINT256_MAX,
        (*PURSE, 11): UINT256_MAX + 5,
        (*OTHER, 99): 2,
        ("0xno", PURSE[1], 99): 0,
    }
    assert await kit.book.received_until("polygon", {(*PURSE, 99)}) == {(*PURSE, 99): 0}
    await kit.store.orphan(orphaning(cursor, 10))
    assert await kit.book.received_until(NETWORK, {(*PURSE, 99)}) == {(*PURSE, 99): UINT256_MAX}
    assert await kit.book.received_until(NETWORK, set()) == {}


async def test_a_run_is_kept_and_a_reading_takes_the_place_of_the_one_before(kit: Kit) -> None:
    assert await kit.book.newest(NETWORK) is None
    assert await kit.book.readings(NETWORK, [PURSE]) == {}
    await kit.book.keep(
        RUN, [Reading(PURSE, 40, "0x40", UINT256_MAX), Reading(OTHER, 40, "0x40", 0)]
    )
    later = replace(RUN, at=AT + timedelta(hours=1), block_number=50, found=0)
    await kit.book.keep(later, [Reading(PURSE, 50, "0x50", 7)])
    assert await kit.book.newest(NETWORK) == later
    assert await kit.book.newest("polygon") is None
    assert await kit.book.readings(NETWORK, [PURSE, OTHER, ("0xno", PURSE[1])]) == {
        PURSE: Reading(PURSE, 50, "0x50", 7),
        OTHER: Reading(OTHER, 40, "0x40", 0),
    }
    assert await kit.book.readings("polygon", [PURSE]) == {}
    await kit.book.keep(replace(later, at=AT + timedelta(hours=2)), [])
    assert (await kit.book.readings(NETWORK, [PURSE]))[PURSE].units == 7


async def test_of_a_doubtful_range_the_blocks_read_again_count_as_attested(kit: Kit) -> None:
    cursor = await kit.store.begin(NETWORK, header(9), AT)
    cursor = await kit.store.pass_blocks(
        passage(cursor, header(10, attested=False), seen(10), seen(10, tx="22"))
    )
    cursor = await kit.store.pass_blocks(passage(cursor, header(11)))
    cursor = await kit.store.pass_blocks(passage(cursor, header(12), seen(12, tx="33")))
    doubtful = CoveredRange(10, hash_at(9), 12, hash_at(12), ("p0",), False, AT)
    found = await kit.book.examined(NETWORK, doubtful)
    assert (found.attested, found.proved) == (2, 2)
    sure = replace(doubtful, attested=True, first=11)
    found = await kit.book.examined(NETWORK, sure)
    assert (found.attested, found.proved) == (2, 1)


# ---------------------------------------------------------------- PostgreSQL only


async def test_no_run_can_be_changed_or_deleted_by_the_application(migrated: Migrated) -> None:
    for statement in (
        "DELETE FROM ingest.reconciliations",
        "UPDATE ingest.reconciliations SET unexplained = 0",
        "DELETE FROM ingest.balance_readings",
    ):
        async with await psycopg.AsyncConnection.connect(migrated.app_dsn) as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(statement)


async def test_the_questions_of_a_recheck_are_answered_from_indexes(migrated: Migrated) -> None:
    plans = {
        "sightings_by_transaction": "network = 'local' AND sighting ->> 'tx_hash' = '0x'",
        "sightings_received": "network = 'local' AND recipient = 'a' AND asset = 'b' "
        "AND block_number <= 9 AND state <> 'orphaned'",
    }
    async with await psycopg.AsyncConnection.connect(migrated.owner_dsn) as connection:
        await connection.execute("SET LOCAL enable_seqscan = off")
        for index, condition in plans.items():
            query = f"EXPLAIN SELECT FROM ingest.sightings WHERE {condition}"
            lines = await (await connection.execute(query)).fetchall()
            plan = " ".join(line[0] for line in lines)
            assert index in plan, plan

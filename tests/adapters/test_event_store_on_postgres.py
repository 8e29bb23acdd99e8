"""What only the real event store can get wrong: lost answers, outages, rivals, its own tables."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import psycopg
import pytest
from eventsourcing.persistence import InfrastructureFactory, StoredEvent

from adapters import event_store_rescue, event_store_write, migrate
from adapters.clock import SystemIds
from adapters.event_store import PostgresEventStore
from adapters.event_store_sql import LOG_LOCK
from adapters.postgres import Postgres
from application.ports import (
    Batch,
    Context,
    KeyAlreadyUsed,
    StoreUnavailable,
    StreamAppend,
    StreamConflict,
)
from domain.journal import NO_OVERDRAFT_CREDIT, NO_OVERDRAFT_DEBIT
from gateway import embedded_postgres
from tests.adapters.cutting_proxy import Cut, CuttingProxy
from tests.adapters.test_recorder import environment
from tests.conftest import Migrated
from tests.ports.event_store_facts import answer, batch, entry, expired, new_stream, on

pytestmark = pytest.mark.services
FAILS_WITHIN_SECONDS = 12.0
RECOVERS_WITHIN_SECONDS = 10.0
RETRY_SECONDS = 0.1


@asynccontextmanager
async def store_at(dsn: str) -> AsyncIterator[PostgresEventStore]:
    async with (
        Postgres(dsn, name="test", max_size=4) as postgres,
        PostgresEventStore(postgres, ids=SystemIds()) as store,
    ):
        yield store


@pytest.fixture
async def store(migrated: Migrated) -> AsyncIterator[PostgresEventStore]:
    async with store_at(migrated.app_dsn) as opened:
        yield opened


async def outcomes(store: PostgresEventStore, *batches: Batch) -> list[int | BaseException]:
    appends = (store.append(each) for each in batches)
    return list(await asyncio.gather(*appends, return_exceptions=True))


# ---------------------------------------------------------------- append-only by force

CHANGES = (
    "UPDATE es.events SET state = ''",
    "DELETE FROM es.events",
    "TRUNCATE es.events",
    "UPDATE ledger.postings SET units = 1",
    "DELETE FROM ledger.postings",
    "TRUNCATE ledger.postings",
)


@pytest.mark.parametrize("statement", CHANGES)
@pytest.mark.parametrize("role", ["app_dsn", "owner_dsn", "admin_dsn"])
async def test_what_is_written_cannot_be_changed_by_anybody(
    migrated: Migrated, store: PostgresEventStore, statement: str, role: str
) -> None:
    await store.append(batch(entry("hot_wallet", "refund_float", 5)))
    async with await psycopg.AsyncConnection.connect(getattr(migrated, role)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE es.events DISABLE TRIGGER append_only",
        "DROP TRIGGER append_only ON es.events",
        "SET session_replication_role = replica",
        "DROP TABLE es.events",
        "ALTER TABLE ledger.accounts DROP CONSTRAINT no_overdraft",
        "DELETE FROM es.inbox",
    ],
)
async def test_the_application_cannot_take_the_guards_away(
    migrated: Migrated, statement: str
) -> None:
    async with await psycopg.AsyncConnection.connect(migrated.app_dsn) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement)


POSTING = "INSERT INTO ledger.postings VALUES (1, %s, %s, %s, %s, 'asset', %s, %s, 0)"


async def test_the_signer_does_not_even_see_the_log(migrated: Migrated) -> None:
    async with await psycopg.AsyncConnection.connect(migrated.signer_dsn) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("SELECT 1 FROM es.events")


async def test_an_entry_that_does_not_sum_to_zero_is_refused(migrated: Migrated) -> None:
    async with await psycopg.AsyncConnection.connect(migrated.app_dsn) as connection:
        one = (1, UUID(int=1), UUID(int=2), "fee_revenue:a", 5, 1)
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="sum to zero"):
            await connection.execute(POSTING, one)


async def test_the_table_itself_refuses_an_overdraft(migrated: Migrated) -> None:
    insert = "INSERT INTO ledger.accounts VALUES (%s, 'asset', %s, %s, 1)"
    async with await psycopg.AsyncConnection.connect(migrated.app_dsn) as connection:
        for kind in NO_OVERDRAFT_CREDIT:
            with pytest.raises(psycopg.errors.CheckViolation):
                async with connection.transaction():
                    await connection.execute(insert, (f"{kind}:a", 2, 1))
        for kind in NO_OVERDRAFT_DEBIT:
            with pytest.raises(psycopg.errors.CheckViolation):
                async with connection.transaction():
                    await connection.execute(insert, (f"{kind}:a", 1, 2))
        await connection.execute(insert, ("suspense:a", 2, 1))


async def test_one_unreadable_state_does_not_hide_the_others(
    migrated: Migrated, store: PostgresEventStore
) -> None:
    await store.append(batch(on(new_stream())))
    with InfrastructureFactory.construct(environment(migrated.app_dsn)) as factory:
        log = factory.application_recorder()
        (seen,) = log.select_notifications(start=1, limit=5)
        assert (seen.topic, seen.state) == (expired().name, expired().encoded())
        log.insert_events([StoredEvent(UUID(int=9), 1, "unknown", b"\xff\x00")])
    await store.append(batch(on(new_stream())))
    async with await psycopg.AsyncConnection.connect(migrated.readonly_dsn) as connection:
        cursor = await connection.execute("SELECT data IS NULL FROM es.readable ORDER BY position")
        assert await cursor.fetchall() == [(False,), (True,), (False,)]


# ---------------------------------------------------------------- rivals and bad batches


async def test_two_processes_share_one_order(migrated: Migrated) -> None:
    async with store_at(migrated.app_dsn) as one, store_at(migrated.app_dsn) as two:
        contested = [new_stream() for _ in range(50)]
        got = await asyncio.gather(
            *(
                outcomes(store, *(batch(on(stream)) for stream in contested))
                for store in (one, two)
            )
        )
        assert Counter(type(each) for side in got for each in side) == {
            int: 50,
            StreamConflict: 50,
        }
        log = await one.read_log(after=0, limit=1_000)
    assert [each.position for each in log] == list(range(1, 51))


async def test_a_batch_postgresql_rejects_fails_alone(store: PostgresEventStore) -> None:
    broken = Batch((on(new_stream()),), Context(actor="nul \x00 in a text"))
    got = await outcomes(
        store, batch(on(new_stream())), broken, batch(on(new_stream())), batch(on(new_stream()))
    )
    assert isinstance(got[1], psycopg.DataError)
    assert [got[0], *got[2:]] == [1, 2, 3]
    assert await store.append(batch(on(new_stream()))) == 4


async def test_a_bug_in_the_middle_of_a_transaction_commits_nothing(
    store: PostgresEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = event_store_write.Group._insert_beside

    async def fail_once(group: event_store_write.Group, *given: Any) -> None:
        monkeypatch.setattr(event_store_write.Group, "_insert_beside", insert)
        raise RuntimeError("a bug after the events were sent")

    monkeypatch.setattr(event_store_write.Group, "_insert_beside", fail_once)
    with pytest.raises(RuntimeError):
        await store.append(batch(on(new_stream())))
    assert await store.append(batch(on(new_stream()))) == 1
    assert await store.head() == 1


async def test_the_lock_in_strange_hands_is_waited_for_seconds_only(
    migrated: Migrated, store: PostgresEventStore
) -> None:
    async with await psycopg.AsyncConnection.connect(migrated.app_dsn) as stranger:
        await stranger.execute("SELECT pg_advisory_xact_lock(%s, %s)", LOG_LOCK)
        async with asyncio.timeout(FAILS_WITHIN_SECONDS):
            with pytest.raises(StoreUnavailable, match="LockNotAvailable") as refused:
                await store.append(batch(on(new_stream())))
        assert not refused.value.outcome_unknown
    assert await store.append(batch(on(new_stream()))) == 1


async def test_a_closed_store_finishes_what_it_took_and_refuses_the_rest(
    migrated: Migrated,
) -> None:
    async with Postgres(migrated.app_dsn, name="test") as postgres:
        store = PostgresEventStore(postgres, ids=SystemIds())
        await store.start()
        waiting = [asyncio.create_task(store.append(batch(on(new_stream())))) for _ in range(600)]
        await asyncio.sleep(0)
        await store.close()
        got = await asyncio.gather(*waiting, return_exceptions=True)
        with pytest.raises(StoreUnavailable):
            await store.append(batch(on(new_stream())))
        written = [each for each in got if isinstance(each, int)]
        assert await store.head() == len(written)
        refused = [each for each in got if isinstance(each, StoreUnavailable)]
        assert len(written) + len(refused) == 600
        assert not any(each.outcome_unknown for each in refused)


# ---------------------------------------------------------------- lost connections and answers


async def test_a_connection_that_died_while_idle_costs_nobody_an_error(
    migrated: Migrated, store: PostgresEventStore
) -> None:
    await store.append(batch(on(new_stream())))
    await store.head()
    async with await psycopg.AsyncConnection.connect(migrated.admin_dsn) as admin:
        await admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'test'"
        )
    assert await store.append(batch(on(new_stream()))) == 2
    assert await store.head() == 2


@pytest.fixture
async def proxy(migrated: Migrated) -> AsyncIterator[CuttingProxy]:
    async with CuttingProxy(migrated.app_dsn).running() as running:
        yield running


@pytest.mark.parametrize("cut", get_args(Cut))
async def test_after_a_lost_answer_the_log_says_what_happened(
    proxy: CuttingProxy, cut: Cut
) -> None:
    async with store_at(proxy.dsn) as store:
        await store.append(batch(on(new_stream())))
        kept = answer("key-1")
        proxy.cut = cut
        got = await outcomes(
            store,
            batch(on(new_stream(), count=2), entry("hot_wallet", "refund_float", 5)),
            batch(message="message-1"),
            batch(key=kept),
        )
        assert proxy.cuts == 1
        if cut == "answer":
            assert got == [4, 0, 0]
            assert await store.head() == 4
            with pytest.raises(KeyAlreadyUsed):
                await store.append(batch(key=kept))
            return
        assert [type(each) for each in got] == [StoreUnavailable] * 3
        assert not any(each.outcome_unknown for each in got if isinstance(each, StoreUnavailable))
        assert await store.head() == 1
        assert await store.append(batch(on(new_stream()), message="message-1", key=kept)) == 2


async def test_an_unknown_outcome_is_found_out_once_the_server_answers(
    proxy: CuttingProxy, migrated: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody answers for as long as a caller is made to wait; the truth is told later."""
    found: list[tuple[str | None, int | Exception]] = []
    asked, asking = event_store_rescue.look_up, "adapters.event_store.look_up"

    async def nobody_answers(*_: object, **__: object) -> list[int | Exception]:
        raise StoreUnavailable("nobody could say whether it was written")

    def told(lost: Batch, outcome: int | Exception) -> None:
        found.append((lost.context.correlation_id, outcome))
        raise RuntimeError("a listener's bug, which must not stop the writer")

    async with (
        Postgres(proxy.dsn, name="test", max_size=4) as postgres,
        PostgresEventStore(postgres, ids=SystemIds(), on_resolved=told) as store,
    ):
        for cut in get_args(Cut):
            await store.append(batch(on(new_stream())))
            monkeypatch.setattr(asking, nobody_answers)
            proxy.cut = cut
            lost = batch(on(new_stream()))
            with pytest.raises(StoreUnavailable) as refused:
                await store.append(replace(lost, context=Context(actor="a", correlation_id=cut)))
            if not refused.value.outcome_unknown:
                assert cut != "answer"
                continue
            monkeypatch.setattr(asking, asked)
            async with asyncio.timeout(RECOVERS_WITHIN_SECONDS):
                while cut not in dict(found):
                    await asyncio.sleep(RETRY_SECONDS)
            written = dict(found)[cut]
            assert (written == await store.head()) == (cut == "answer"), "as the log has it"
        assert isinstance(dict(found)["answer"], int)
        assert await store.append(batch(on(new_stream()))) == await store.head()
        assert store.figures.resolved["written"] == 1


async def test_an_outage_fails_within_seconds_and_ends_without_a_restart(
    server_folder: Path,
) -> None:
    server = embedded_postgres.Postgres(server_folder / "postgres", password="test", durable=False)
    await server.start()
    try:
        await asyncio.to_thread(migrate.create_roles, server.url)
        await asyncio.to_thread(migrate.migrate, server.url)
        async with store_at(migrate.role_dsn(server.url, migrate.APP)) as store:
            await _write_through_an_outage(store, server)
    finally:
        await server.stop()


async def _write_through_an_outage(
    store: PostgresEventStore, server: embedded_postgres.Postgres
) -> None:
    stop = asyncio.Event()
    results: list[int | BaseException] = []

    async def write() -> None:
        while not stop.is_set():
            results.extend(await outcomes(store, batch(on(new_stream()))))

    writers = [asyncio.create_task(write()) for _ in range(8)]
    await asyncio.sleep(0.3)
    await server.stop("immediate")
    async with asyncio.timeout(FAILS_WITHIN_SECONDS):
        with pytest.raises(StoreUnavailable):
            await store.append(batch(on(new_stream())))
        with pytest.raises(StoreUnavailable):
            await store.head()
    await server.start()
    async with asyncio.timeout(RECOVERS_WITHIN_SECONDS):
        await _until_it_answers(store)
    stop.set()
    await asyncio.gather(*writers)
    acknowledged = [each for each in results if isinstance(each, int)]
    unknown = [
        each for each in results if isinstance(each, StoreUnavailable) and each.outcome_unknown
    ]
    positions = [each.position for each in await store.read_log(after=0, limit=100_000)]
    assert positions == list(range(1, len(positions) + 1))
    assert set(acknowledged) <= set(positions), "acknowledged and gone"
    # One more is the append of _until_it_answers.
    assert len(positions) - len(acknowledged) - 1 <= len(unknown), "written and denied"


async def _until_it_answers(store: PostgresEventStore) -> None:
    while True:
        try:
            await store.append(batch(on(new_stream())))
        except StoreUnavailable:
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return


async def test_a_store_may_start_before_its_database(server_folder: Path) -> None:
    server = embedded_postgres.Postgres(server_folder / "postgres", password="test", durable=False)
    async with store_at(migrate.role_dsn(server.url, migrate.APP)) as store:
        with pytest.raises(StoreUnavailable):
            await store.append(batch(StreamAppend(new_stream(), 0, (expired(),))))
        await server.start()
        try:
            await asyncio.to_thread(migrate.create_roles, server.url)
            await asyncio.to_thread(migrate.migrate, server.url)
            async with asyncio.timeout(RECOVERS_WITHIN_SECONDS):
                await _until_it_answers(store)
        finally:
            await server.stop()

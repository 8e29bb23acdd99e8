"""Leadership when the leader's end is silent: the server gives it up, and nobody leads twice."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from adapters import ingest_store
from adapters.ingest_store import PostgresIngestStore
from adapters.postgres import Postgres
from application.ingest import Lease
from tests.adapters.silent_proxy import SilentProxy
from tests.conftest import Migrated

pytestmark = pytest.mark.services
NETWORK = "local"
SILENCE_SECONDS = 1


@pytest.fixture
async def proxy(migrated: Migrated) -> AsyncIterator[SilentProxy]:
    async with SilentProxy(migrated.app_dsn).running() as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_store, "LEASE_SILENCE_SECONDS_MAX", SILENCE_SECONDS)
    monkeypatch.setattr(ingest_store, "LEASE_ANSWER_SECONDS_MAX", 0.2)


async def taken_over(standby: PostgresIngestStore) -> tuple[Lease, float]:
    begun = time.monotonic()
    async with asyncio.timeout(10):
        while True:
            lease = await standby.lead(NETWORK)
            if lease is not None:
                return lease, time.monotonic() - begun
            await asyncio.sleep(0.05)


async def test_a_leader_that_vanishes_without_a_word_makes_way(
    migrated: Migrated, proxy: SilentProxy
) -> None:
    async with (
        Postgres(proxy.dsn, name="leader") as cut_off,
        Postgres(migrated.app_dsn, name="standby") as postgres,
    ):
        standby = PostgresIngestStore(postgres)
        leader = await PostgresIngestStore(cut_off).lead(NETWORK)
        assert leader is not None
        assert await leader.held()
        proxy.silence()
        assert await standby.lead(NETWORK) is None, "the server does not know yet"
        lease, seconds = await taken_over(standby)
        assert seconds < SILENCE_SECONDS + 3
        looking = asyncio.create_task(_looks_and_lets_go(leader))
        while not looking.done():
            assert await lease.held(), "the old one cannot take it away from the new one"
            await asyncio.sleep(SILENCE_SECONDS / 5)
        assert not await looking, "nor does it believe to lead"
        await lease.release()


async def _looks_and_lets_go(leader: Lease) -> bool:
    held = await leader.held()
    await leader.release()
    return held


async def test_a_leader_that_hangs_makes_way_and_notices_when_it_wakes(
    migrated: Migrated,
) -> None:
    async with (
        Postgres(migrated.app_dsn, name="leader") as one,
        Postgres(migrated.app_dsn, name="standby") as other,
    ):
        leader = await PostgresIngestStore(one).lead(NETWORK)
        assert leader is not None  # and says nothing from here on
        lease, _ = await taken_over(PostgresIngestStore(other))
        assert not await leader.held()
        await leader.release()
        await lease.release()


async def test_a_leader_that_is_heard_of_goes_on_leading(migrated: Migrated) -> None:
    async with Postgres(migrated.app_dsn, name="leader") as postgres:
        leader = await PostgresIngestStore(postgres).lead(NETWORK)
        assert leader is not None
        for _ in range(6):
            await asyncio.sleep(SILENCE_SECONDS / 3)
            assert await leader.held()
        await leader.release()


async def test_a_lease_given_back_leaves_the_connection_as_it_was(migrated: Migrated) -> None:
    async with Postgres(migrated.app_dsn, name="leader", max_size=1) as postgres:
        store = PostgresIngestStore(postgres)
        lease = await store.lead(NETWORK)
        assert lease is not None
        await lease.release()
        async with postgres.connection() as connection:
            row = await (await connection.execute("SHOW idle_session_timeout")).fetchone()
        assert row == ("0",)
        async with postgres.connection() as connection:
            row = await (await connection.execute("SHOW tcp_keepalives_idle")).fetchone()
        assert row == ("10",), "the server too looks whether its client is still there"

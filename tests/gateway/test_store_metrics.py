"""What a process shows of its own appends, and that each process that appends shows it."""

import asyncio
import functools
from collections.abc import AsyncIterator

import aiohttp
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.clock import SystemIds
from adapters.event_store import PostgresEventStore
from adapters.event_store_queue import GROUP_MAX
from adapters.event_store_sql import LOG_LOCK
from adapters.postgres import Postgres
from gateway import serve
from gateway.metrics import Exposition
from gateway.settings import Settings
from gateway.store_metrics import METRICS, store_samples
from tests.adapters.cutting_proxy import CuttingProxy
from tests.conftest import Migrated
from tests.ports.event_store_facts import answer, batch, entry, new_stream, on

pytestmark = pytest.mark.services
Shown = dict[tuple[str, str], float]


def read(text: str) -> Shown:
    """A value by name and kind, or upper bound, or nothing."""
    return {
        (each.name, each.labels.get("kind") or each.labels.get("le") or ""): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


async def shown(store: PostgresEventStore) -> Shown:
    return read((await Exposition(functools.partial(store_samples, store)).text()).decode())


@pytest.fixture
async def store(migrated: Migrated) -> AsyncIterator[PostgresEventStore]:
    async with (
        Postgres(migrated.app_dsn, name="test", max_size=4) as postgres,
        PostgresEventStore(postgres, ids=SystemIds(), waiting_max=300) as opened,
    ):
        yield opened


async def test_every_batch_is_counted_by_what_became_of_it(store: PostgresEventStore) -> None:
    shared = new_stream()
    batches = [
        *(batch(on(new_stream(), count=2)) for _ in range(GROUP_MAX - 3)),
        batch(on(shared), key=answer("key-1")),
        batch(entry("refund_float", "refunds_pending", 5)),
        batch(on(shared)),
        *(batch(on(new_stream())) for _ in range(60)),
    ]
    await asyncio.gather(*(store.append(each) for each in batches), return_exceptions=True)
    with pytest.raises(Exception, match="key"):
        await store.append(batch(on(new_stream()), key=answer("key-1")))
    found = await shown(store)
    refusals = "gateway_append_refusals_total"
    # 300 found room. The stale one had to wait for the group after.
    assert {kind: found[refusals, kind] for kind in ("busy", "conflict", "overdraft")} == {
        "busy": len(batches) - 300,
        "conflict": 1,
        "overdraft": 1,
    }
    assert found[refusals, "repeated"] == 1
    size = "gateway_append_group_batches"
    assert found[f"{size}_sum", ""] == 300 + 1
    assert found[f"{size}_bucket", "+Inf"] == found[f"{size}_count", ""] == 3
    assert found[f"{size}_bucket", "128"] == 2, "one group was as large as groups get"
    assert found["gateway_append_wait_seconds_count", ""] == 301
    assert found["gateway_append_commit_seconds_count", ""] == 3
    assert found["gateway_append_waiting", ""] == 0
    assert found["gateway_append_events_total", ""] == await store.head()


async def test_who_waits_is_seen_while_it_waits_and_how_long_afterwards(
    migrated: Migrated, store: PostgresEventStore
) -> None:
    async with await psycopg.AsyncConnection.connect(migrated.app_dsn) as stranger:
        await stranger.execute("SELECT pg_advisory_xact_lock(%s, %s)", LOG_LOCK)
        first = asyncio.create_task(store.append(batch(on(new_stream()))))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(store.append(batch(on(new_stream()))))
        await asyncio.sleep(0.3)
        assert (await shown(store))["gateway_append_waiting", ""] == 1
    await asyncio.gather(first, second)
    found = await shown(store)
    assert found["gateway_append_waiting", ""] == 0
    for name in ("wait", "commit"):
        assert found[f"gateway_append_{name}_seconds_sum", ""] > 0.25
        assert found[f"gateway_append_{name}_seconds_bucket", "0.25"] == 1


async def test_a_lost_answer_that_was_looked_up_is_a_rescue_and_no_refusal(
    migrated: Migrated,
) -> None:
    async with (
        CuttingProxy(migrated.app_dsn).running() as proxy,
        Postgres(proxy.dsn, name="test", max_size=4) as postgres,
        PostgresEventStore(postgres, ids=SystemIds()) as store,
    ):
        await store.append(batch(on(new_stream())))
        proxy.cut = "answer"
        assert await store.append(batch(on(new_stream()))) == 2
        found = await shown(store)
    assert found["gateway_append_rescues_total", ""] == 1
    assert sum(v for (name, _), v in found.items() if name.endswith("refusals_total")) == 0


async def test_a_process_that_appends_shows_its_store_on_its_port(
    migrated: Migrated, nats_url: str, unused_tcp_port: int
) -> None:
    settings = Settings.model_validate(
        {
            "database_url": migrated.app_dsn,
            "nats_url": nats_url,
            "networks": ("polygon",),
            "metrics_port": unused_tcp_port,
        }
    )
    stop = asyncio.Event()
    process = asyncio.create_task(serve.settle(settings, stop))
    try:
        async with asyncio.timeout(10), aiohttp.ClientSession() as client:
            while True:
                try:
                    url = f"http://127.0.0.1:{unused_tcp_port}/metrics"
                    async with client.get(url) as response:
                        text = await response.text()
                        break
                except aiohttp.ClientConnectorError:
                    assert not process.done()
                    await asyncio.sleep(0.05)
    finally:
        stop.set()
        await process
    families = {name for name, _ in read(text)}
    for metric in METRICS:
        assert any(name.startswith(metric.name) for name in families), metric.name

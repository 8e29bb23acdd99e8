"""What Prometheus reads from the ingester, and the alerts that are made of it."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from application.figures import LATENCY_MICROS
from chain_ingest.metered import KINDS_MAX
from gateway import metrics, projection_metrics, store_metrics
from gateway.chain_metrics import CALLS, FAILURES, LATENCY, METRICS, chain_samples
from gateway.metrics import (
    LABELS,
    SCRAPE_FAILURES,
    SERIES_MAX,
    Exposition,
    Histogram,
    Metric,
    Sample,
    Samples,
    declared,
    families,
    served,
)
from tests.chain_ingest.test_measures import MeasuredWorld
from tests.chain_ingest.test_metered import METHODS

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "deploy" / "alerts.yml"
_METRICS = (*METRICS, *projection_metrics.METRICS, *store_metrics.METRICS, SCRAPE_FAILURES)
NAMES = {metric.name: metric for metric in _METRICS} | {
    f"{metric.name}_{part}": replace(metric, name=f"{metric.name}_{part}", kind="counter")
    for metric in _METRICS
    if metric.kind == "histogram"
    for part in ("sum", "count")
}
PROVIDERS_MAX = 3


async def shown(world: MeasuredWorld) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The exposition as a scraper reads it: a value by name and labels."""
    world.measures.leads = True

    async def origin() -> Samples:
        return await chain_samples(world.measures)

    text = (await Exposition(origin).text()).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


LOCAL = (("network", "local"),)


async def test_a_scrape_tells_how_far_the_chain_is_read_and_what_was_asked() -> None:
    world = MeasuredWorld()
    world.pay(5_000_000)
    await world.mine_and_follow(4)
    world.clock.advance(60)
    world.sources[1].down = True
    await world.try_step()
    found = await shown(world)
    first = (*LOCAL, ("provider", "provider-0"))
    second = (*LOCAL, ("provider", "provider-1"))
    assert found["gateway_chain_head_block", LOCAL] == 4
    assert found["gateway_chain_blocks_total", LOCAL] == 4
    assert found["gateway_chain_proofs_total", LOCAL] == 1
    assert found["gateway_chain_outbox_unpublished", LOCAL] == 2
    assert found["gateway_chain_head_lag_seconds", LOCAL] > 0
    assert found["gateway_chain_provider_up", first] == 1
    assert found["gateway_chain_provider_up", second] == 0
    failed = (("kind", "failed"), *second)
    assert found["gateway_chain_failures_total", failed] == 1
    method = (("method", "eth_getBlockByNumber"), *first)
    assert found["gateway_chain_calls_total", method] == world.sources[0].calls["header"]
    asked = sum(world.sources[0].calls.values())
    assert found["gateway_chain_call_seconds_count", first] == asked


async def test_counters_do_not_fall_when_figures_are_flushed() -> None:
    world = MeasuredWorld()
    await world.mine_and_follow(4)
    before = await shown(world)
    await world.measures.flush()
    after = await shown(world)
    for key, value in before.items():
        if key[0].startswith("gateway_chain") and key[0].endswith("_total"):
            assert after[key] >= value, key


async def test_without_the_store_the_providers_are_shown_all_the_same() -> None:
    world = MeasuredWorld()
    await world.mine_and_follow(2)
    world.store.outage = True
    found = await shown(world)
    assert ("gateway_chain_head_block", LOCAL) not in found
    assert found["gateway_chain_blocks_total", LOCAL] == 2
    assert found["gateway_scrape_failures_total", ()] == 0


async def test_names_and_labels_of_all_that_is_shown_keep_the_rules() -> None:
    world = MeasuredWorld()
    await world.mine_and_follow(2)
    suffixes = ("_bucket", "_count", "_sum", "_created")
    for name, labels in await shown(world):
        if not name.startswith("gateway_"):
            assert name.startswith("process_")
            continue
        base = name
        for suffix in suffixes:
            base = base.removesuffix(suffix)
        assert base in NAMES
        assert {label for label, _ in labels} - {"le"} == set(NAMES[base].labels)
        assert {label for label, _ in labels} <= LABELS | {"le"}


@pytest.mark.parametrize(
    "wrong",
    [
        Metric("gateway_chain_calls", "counter", "A counter without its ending."),
        Metric("chain_calls_total", "counter", "Not ours."),
        Metric("gateway_chainCalls_total", "counter", "Not in the style."),
        Metric("gateway_chain_head_total", "gauge", "A gauge that poses as a counter."),
        Metric("gateway_chain_paid", "gauge", "By merchant.", ("merchant",)),
        Metric("gateway_chain_call_millis", "histogram", "Not in the base unit."),
        Metric("gateway_chain_mute", "gauge", ""),
    ],
)
def test_a_metric_that_breaks_the_rules_cannot_be_declared(wrong: Metric) -> None:
    with pytest.raises(AssertionError):
        declared(wrong)


def test_a_name_is_declared_once() -> None:
    with pytest.raises(AssertionError):
        declared(METRICS[0], METRICS[0])


def test_no_metric_can_have_more_series_than_it_may() -> None:
    """The most there can be: every provider, every call, every kind of failure."""
    assert PROVIDERS_MAX * len(set(METHODS.values())) <= SERIES_MAX
    assert PROVIDERS_MAX * (KINDS_MAX + 1) <= SERIES_MAX
    assert PROVIDERS_MAX * (len(LATENCY_MICROS) + 1) <= SERIES_MAX
    assert CALLS.labels == ("network", "provider", "method")
    assert FAILURES.labels == ("network", "provider", "kind")
    assert LATENCY.labels == ("network", "provider")
    too_many = [Sample(CALLS, ("n", "p", f"m{each}"), 1) for each in range(SERIES_MAX + 1)]
    with pytest.raises(AssertionError):
        families(too_many)


def test_a_sample_has_the_labels_of_its_metric() -> None:
    with pytest.raises(AssertionError):
        families([Sample(CALLS, ("local",), 1)])


def test_buckets_are_cumulative() -> None:
    histogram = Histogram(LATENCY, ("local", "p0"), (0.1, 1.0), (3, 2, 1), 4.5)
    (family,) = families([histogram])
    told = {s.labels.get("le"): s.value for s in family.samples if s.name.endswith("_bucket")}
    assert told == {"0.1": 3, "1": 5, "+Inf": 6}


async def test_an_origin_that_fails_is_left_out_and_counted() -> None:
    async def broken() -> Samples:
        raise RuntimeError("our bug")

    async def sound() -> Samples:
        return [Sample(METRICS[0], ("local",), 1)]

    exposition = Exposition(broken, sound)
    await exposition.text()
    text = (await exposition.text()).decode()
    assert 'gateway_chain_leads{network="local"} 1.0' in text
    assert "gateway_scrape_failures_total 2.0" in text


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_it_is_served_on_its_port_until_the_block_ends(
    client: aiohttp.ClientSession,
) -> None:
    async with served(Exposition(), "127.0.0.1", 0) as port:
        url = f"http://127.0.0.1:{port}"
        async with client.get(f"{url}/metrics") as response:
            assert response.status == 200
            assert response.headers["Content-Type"].startswith("text/plain; version=")
            assert "gateway_scrape_failures_total 0.0" in await response.text()
        async with client.get(f"{url}/") as response:
            assert response.status == 404
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.get(f"{url}/metrics")


async def test_a_port_that_is_taken_is_warned_of_and_ends_nothing(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "LISTEN_AGAIN_SECONDS", 0.01)
    async with AsyncExitStack() as second:
        with capture_logs() as logs:
            async with served(Exposition(), "127.0.0.1", 0) as port:
                theirs = await second.enter_async_context(served(Exposition(), "127.0.0.1", port))
                assert theirs is None, "its block runs all the same"
                await asyncio.sleep(0.1)
            async with asyncio.timeout(5):
                while [each["event"] for each in logs].count("metrics_served") < 2:
                    await asyncio.sleep(0.01)
        (warned,) = [each for each in logs if each["event"] == "metrics_not_served"]
        assert (warned["port"], warned["hint"]) == (port, metrics.OWN_PORT)
        assert "METRICS_PORT" in metrics.OWN_PORT
        async with client.get(f"http://127.0.0.1:{port}/metrics") as response:
            assert response.status == 200, "once the first one is gone"
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.get(f"http://127.0.0.1:{port}/metrics")


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_a_host_that_is_not_ours_ends_the_process_instead_of_being_waited_for(
    host: str,
) -> None:
    with capture_logs() as logs, pytest.raises(OSError, match=r".+"):
        async with served(Exposition(), host, 0):
            pytest.fail("nothing listens, so the block must not run")
    assert "metrics_not_served" not in [each["event"] for each in logs]


async def test_without_a_port_nothing_listens() -> None:
    async with served(Exposition(), "127.0.0.1", None) as port:
        assert port is None


# ---------------------------------------------------------------- alerts


def rules() -> Sequence[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_metric_of_an_alert_exists() -> None:
    used = {name for rule in rules() for name in re.findall(r"\bgateway_\w+", rule["expr"])}
    assert used
    assert used <= NAMES.keys()


def test_every_alert_speaks_of_labels_that_its_metrics_have() -> None:
    for rule in rules():
        names = re.findall(r"\bgateway_\w+", rule["expr"])
        labels = {label for name in names for label in NAMES[name].labels}
        said = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        grouped = {
            label.strip()
            for group in re.findall(r"\b(?:by|on) \(([^)(]*)\)", rule["expr"])
            for label in group.split(",")
        }
        assert said <= labels, rule["alert"]
        assert grouped <= labels, rule["alert"]


def test_rates_and_increases_are_taken_of_counters_and_nothing_else() -> None:
    for rule in rules():
        taken = re.findall(r"(?:rate|increase)\((gateway_\w+)(?:{[^}]*})?\[", rule["expr"])
        assert all(NAMES[name].kind == "counter" for name in taken), rule["alert"]
        bare = set(re.findall(r"\bgateway_\w+(?!\w|\[)", rule["expr"])) - set(taken)
        assert all(NAMES[name].kind == "gauge" for name in bare), rule["alert"]


def test_every_alert_says_how_urgent_it_is_and_where_to_read_on() -> None:
    guide = (ROOT / "docs" / "guides" / "running.md").read_text(encoding="utf-8")
    assert "## Watching the chain side" in guide
    for rule in rules():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
        page, _, heading = rule["annotations"]["runbook"].partition("#")
        headings = re.findall(
            r"^#+ (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE
        )
        assert not heading or heading in {each.lower().replace(" ", "-") for each in headings}
        assert f"`{rule['alert']}`" in guide, f"{rule['alert']} is not in the guide"

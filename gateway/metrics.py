"""Prometheus figures of one process, over HTTP, for a scraper on the inside.

Shapes  A Metric declares name, kind, labels and meaning; `declared` refuses names and labels that
        break the rules below. An Origin gives samples when it is asked, so that nothing has to be
        kept up to date between two scrapes; a process serves as many origins as it likes.
        Every sample must be of a declared metric, with exactly its labels.
Rules   names begin with gateway_, counters end in _total, times are in _seconds; labels are only
        those of LABELS, so that no id, merchant, address or URL can become one; a metric has at
        most SERIES_MAX series.
Errors  a host that is not there or a port that is forbidden ends the process when it starts:
        only its settings can mend that. Nothing ends it later, for no payment may wait for a
        figure: a port that is taken is warned of once, and tried again until it is free; an
        origin that fails or is slow is left out of that scrape, and
        gateway_scrape_failures_total says so.
"""

import asyncio
import contextlib
import errno
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

log = structlog.get_logger(__name__)

LABELS = frozenset({"network", "provider", "method", "kind", "projection"})
SERIES_MAX = 100
SCRAPE_SECONDS_MAX = 2.0
LISTEN_AGAIN_SECONDS = 10.0  # the process before may still be ending on our port
OWN_PORT = "give each process of one machine a METRICS_PORT of its own"
_UNITS = ("_seconds", "_batches")  # of histograms
_NAME = re.compile(r"gateway_[a-z][a-z0-9_]*[a-z0-9]")


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    kind: Literal["gauge", "counter", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    metric: Metric
    labels: tuple[str, ...]
    value: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts by upper bound, the last one above all of them, and the sum; in the name's unit."""

    metric: Metric
    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


Samples = Sequence[Sample | Histogram]
Origin = Callable[[], Awaitable[Samples]]


def declared(*metrics: Metric) -> tuple[Metric, ...]:
    """The metrics given, if their names and labels keep the rules."""
    for metric in metrics:
        assert _NAME.fullmatch(metric.name), f"{metric.name}: not a name of ours"
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name
        assert metric.kind != "histogram" or metric.name.endswith(_UNITS), metric.name
        assert set(metric.labels) <= LABELS, f"{metric.name}: labels {metric.labels}"
        assert metric.help.endswith("."), f"{metric.name}: say what it means, in a sentence"
    assert len({metric.name for metric in metrics}) == len(metrics), "a name declared twice"
    return metrics


SCRAPE_FAILURES = Metric(
    "gateway_scrape_failures_total", "counter", "Origins that gave nothing, or too late."
)


class Exposition:
    """What one process shows."""

    def __init__(self, *origins: Origin) -> None:
        self._origins = origins
        self._failures = 0

    async def text(self) -> bytes:
        """The exposition format, of this moment."""
        gathered = await asyncio.gather(*(self._asked(origin) for origin in self._origins))
        samples = [sample for each in gathered for sample in each]
        samples.append(Sample(SCRAPE_FAILURES, (), self._failures))
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Once(families(samples)))
        return generate_latest(registry)

    async def _asked(self, origin: Origin) -> Samples:
        try:
            async with asyncio.timeout(SCRAPE_SECONDS_MAX):
                return await origin()
        except Exception as failure:  # noqa: BLE001 - whatever it is, the others are shown
            self._failures += 1
            log.warning("metrics_left_out", reason=repr(failure))
            return ()


class _Once(Collector):
    """Families made already: the client library collects when the text is made."""

    def __init__(self, made: Iterable[Family]) -> None:
        self._made = tuple(made)

    def collect(self) -> Iterator[Family]:
        yield from self._made


def families(samples: Iterable[Sample | Histogram]) -> list[Family]:
    """The client library's families, one a metric; the labels are those declared."""
    by_metric: dict[Metric, list[Sample | Histogram]] = {}
    for sample in samples:
        metric = sample.metric
        assert len(sample.labels) == len(metric.labels), f"{metric.name}: {sample.labels}"
        by_metric.setdefault(metric, []).append(sample)
    return [_family(metric, found) for metric, found in by_metric.items()]


def _family(metric: Metric, samples: Sequence[Sample | Histogram]) -> Family:
    assert len(samples) <= SERIES_MAX, f"{metric.name}: {len(samples)} series"
    made = _KINDS[metric.kind](metric.name, metric.help, labels=metric.labels)
    for sample in samples:
        if isinstance(sample, Sample):
            assert not isinstance(made, HistogramMetricFamily), metric.name
            made.add_metric(sample.labels, sample.value)
        else:
            assert isinstance(made, HistogramMetricFamily), metric.name
            made.add_metric(sample.labels, _buckets(sample), sample.total)
    return made


_KINDS: dict[str, type[GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily]] = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
    "histogram": HistogramMetricFamily,
}


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulative, as the format wants them."""
    bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
    reached = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip(bounds, histogram.counts, strict=True):
        reached += count
        buckets.append((bound, float(reached)))
    return buckets


@asynccontextmanager
async def served(exposition: Exposition, host: str, port: int | None) -> AsyncIterator[int | None]:
    """GET /metrics while the block runs, on the port that is given; nothing without a port.

    Gives the port it listens on, None while that is somebody else's.
    """
    if port is None:
        yield None
        return

    async def metrics(_: web.Request) -> web.Response:
        body = await exposition.text()
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    trying: asyncio.Task[None] | None = None
    try:
        try:
            bound: int | None = await _listen(runner, host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            bound, reason = None, error.strerror
            log.warning("metrics_not_served", host=host, port=port, reason=reason, hint=OWN_PORT)
            trying = asyncio.create_task(_listen_later(runner, host, port))
        yield bound
    finally:
        if trying is not None:
            trying.cancel()
            await asyncio.gather(trying, return_exceptions=True)
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> int:
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError:
        await site.stop()
        raise
    bound: int = runner.addresses[0][1]
    log.info("metrics_served", host=host, port=bound)
    return bound


async def _listen_later(runner: web.AppRunner, host: str, port: int) -> None:
    while True:
        await asyncio.sleep(LISTEN_AGAIN_SECONDS)
        with contextlib.suppress(OSError):
            await _listen(runner, host, port)
            return

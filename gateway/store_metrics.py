"""The figures of the event store of one process, as Prometheus metrics.

Shapes  every process that appends has a line of its own, so each shows its own; a scraper adds.
"""

from adapters.append_figures import KINDS, RESOLVED_KINDS, Spread
from adapters.event_store import PostgresEventStore
from gateway.metrics import Histogram, Metric, Sample, Samples, declared

WAITING = Metric("gateway_append_waiting", "gauge", "Batches that wait to be written now.")
SIZE = Metric(
    "gateway_append_group_batches", "histogram", "How many batches were written in one commit."
)
WAIT = Metric(
    "gateway_append_wait_seconds", "histogram", "How long batches waited for their group to begin."
)
WRITE = Metric(
    "gateway_append_commit_seconds",
    "histogram",
    "How long a group took, from asking for the log's lock to the answer of its commit.",
)
EVENTS = Metric("gateway_append_events_total", "counter", "Events written.")
REFUSALS = Metric(
    "gateway_append_refusals_total",
    "counter",
    "Batches not written, by kind: busy was told 503, unknown may have been written.",
    ("kind",),
)
RESCUES = Metric(
    "gateway_append_rescues_total",
    "counter",
    "Groups whose commit was never answered, looked up afterwards by event id.",
)
RESOLVED = Metric(
    "gateway_append_unknown_resolved_total",
    "counter",
    "Batches whose callers heard that the outcome is unknown, by what was found out later.",
    ("kind",),
)
METRICS = declared(WAITING, SIZE, WAIT, WRITE, EVENTS, REFUSALS, RESCUES, RESOLVED)


async def store_samples(store: PostgresEventStore) -> Samples:
    figures = store.figures
    return [
        Sample(WAITING, (), store.waiting),
        _histogram(SIZE, figures.sizes),
        _histogram(WAIT, figures.waits),
        _histogram(WRITE, figures.writes),
        Sample(EVENTS, (), figures.events),
        *(Sample(REFUSALS, (kind,), figures.refused[kind]) for kind in KINDS),
        Sample(RESCUES, (), figures.rescues),
        *(Sample(RESOLVED, (kind,), figures.resolved[kind]) for kind in RESOLVED_KINDS),
    ]


def _histogram(metric: Metric, spread: Spread) -> Histogram:
    return Histogram(metric, (), spread.bounds, tuple(spread.counts), spread.total)

"""How far the read models are, as Prometheus metrics of `gateway project`.

Shapes  Every process that follows shows all of them, whether it leads or stands by: they are read
        from the database. What is shown to people has the label of its projection alone; tables
        beside it, kept or being rebuilt, are counted by their state.
        A deploy that nobody ended shows here too: until then the log is told of no operation.
"""

from collections import Counter
from contextlib import suppress

from adapters import deploys
from adapters.postgres import Postgres
from gateway.metrics import Metric, Sample, Samples, declared
from projections.catalogue import PROJECTIONS
from projections.standing import standings, untold

_PROJECTION = ("projection",)
BESIDE = ("kept", "building", "ready", "failed")

LED = Metric(
    "gateway_projection_led",
    "gauge",
    "Whether a process keeps what is shown up to date: 1, or 0.",
    _PROJECTION,
)
LAG_EVENTS = Metric(
    "gateway_projection_lag_events",
    "gauge",
    "Events of the log that are not in what is shown.",
    _PROJECTION,
)
LAG_SECONDS = Metric(
    "gateway_projection_lag_seconds",
    "gauge",
    "How long ago the first of them was recorded; 0 when there is none.",
    _PROJECTION,
)
PARKED = Metric(
    "gateway_projection_parked_streams",
    "gauge",
    "Streams left aside in what is shown.",
    _PROJECTION,
)
TABLES_BESIDE = Metric(
    "gateway_projection_tables_beside",
    "gauge",
    "Schemas beside what is shown, by state: kept, building, ready, failed.",
    (*_PROJECTION, "kind"),
)
DEPLOY_SECONDS = Metric(
    "gateway_deploy_under_way_seconds",
    "gauge",
    "How long ago `gateway migrate --before` was run that nothing has ended yet; 0 without one.",
)
UNTOLD = Metric(
    "gateway_projection_untold_operations",
    "gauge",
    "What was done to read models and is noted, of which the log has not been told.",
)
METRICS = declared(LED, LAG_EVENTS, LAG_SECONDS, PARKED, TABLES_BESIDE, DEPLOY_SECONDS, UNTOLD)


async def projection_samples(connections: Postgres) -> Samples:
    noted = await untold(connections)
    samples = [Sample(UNTOLD, (), sum(noted.values()))]
    with suppress(deploys.NotKnown):
        samples.append(Sample(DEPLOY_SECONDS, (), await deploys.under_way_seconds(connections)))
    return samples + await _standing_samples(connections)


async def _standing_samples(connections: Postgres) -> list[Sample]:
    samples: list[Sample] = []
    beside: Counter[tuple[str, str]] = Counter()
    for each in await standings(connections, PROJECTIONS):
        name = (each.projection,)
        if each.state != "live":
            beside[each.projection, each.state] += 1
            continue
        samples += [
            Sample(LED, name, float(each.leader is not None)),
            Sample(LAG_EVENTS, name, each.lag_events),
            Sample(LAG_SECONDS, name, each.lag_seconds),
            Sample(PARKED, name, each.parked),
        ]
    names = sorted({sample.labels[0] for sample in samples})
    samples += [
        Sample(TABLES_BESIDE, (name, state), beside[name, state])
        for name in names
        for state in BESIDE
    ]
    return samples

"""The figures of one network's ingester, as Prometheus metrics.

Shapes  Only the process that leads shows them: one that stands by has read nothing, asked nobody
        and would be taken for a network that stands still. It shows that it does not lead.
        What is only true where two must agree is not shown of a network that believes one.
"""

from collections import Counter
from collections.abc import Mapping
from typing import get_args

from application.figures import ANSWERED, LATENCY_MICROS, CallCount, total
from application.standing import Standing, Trouble
from chain_ingest.measures import QUORUM as TWO
from chain_ingest.measures import Gauges, Measures
from chain_ingest.metered import Call
from gateway.metrics import Histogram, Metric, Sample, Samples, declared

_NETWORK = ("network",)
_PROVIDER = ("network", "provider")

LEADS = Metric(
    "gateway_chain_leads", "gauge", "Whether this process leads the network: 1, or 0.", _NETWORK
)
RESTING = Metric(
    "gateway_chain_resting",
    "gauge",
    "Whether nobody waits for a payment, so that the chain is read every other minute: 1, or 0.",
    _NETWORK,
)
HALTED = Metric(
    "gateway_chain_halted",
    "gauge",
    "Whether the network stands still until a person decides: 1, or 0.",
    _NETWORK,
)
TROUBLE = Metric(
    "gateway_chain_trouble",
    "gauge",
    "The gravest trouble with reading the network, by kind: 1 for that one, 0 for the others.",
    (*_NETWORK, "kind"),
)
UNEXPLAINED = Metric(
    "gateway_chain_unexplained_balances",
    "gauge",
    "Balances of the newest reconcile run that are above what was seen to arrive, for no reason.",
    _NETWORK,
)
QUORUM = Metric(
    "gateway_chain_quorum",
    "gauge",
    "How many providers must vouch for a block before anything in it is confirmed: 2, or 1.",
    _NETWORK,
)
BLOCK_SECONDS = Metric(
    "gateway_chain_block_seconds",
    "gauge",
    "Seconds between two blocks, as they should be.",
    _NETWORK,
)
HEAD = Metric("gateway_chain_head_block", "gauge", "The newest block passed.", _NETWORK)
HEAD_LAG = Metric(
    "gateway_chain_head_lag_seconds", "gauge", "How old the newest block passed is.", _NETWORK
)
HEAD_LAG_BLOCKS = Metric(
    "gateway_chain_head_lag_blocks",
    "gauge",
    "Blocks that two providers have and we have not passed.",
    _NETWORK,
)
ATTESTED_LAG = Metric(
    "gateway_chain_attested_lag_seconds",
    "gauge",
    "How old the oldest block is that one provider alone vouches for; 0 for none.",
    _NETWORK,
)
UNPUBLISHED = Metric(
    "gateway_chain_outbox_unpublished", "gauge", "Reports not yet on the bus.", _NETWORK
)
UNSETTLED = Metric(
    "gateway_chain_outbox_unsettled",
    "gauge",
    "Reports on the bus that nobody has recorded or parked.",
    _NETWORK,
)
OUTBOX_AGE = Metric(
    "gateway_chain_outbox_age_seconds", "gauge", "How old the oldest of these is.", _NETWORK
)
BLOCKS = Metric("gateway_chain_blocks_total", "counter", "Blocks passed.", _NETWORK)
PROOFS = Metric(
    "gateway_chain_proofs_total", "counter", "Blocks proved by their receipts.", _NETWORK
)
DISAGREEMENTS = Metric(
    "gateway_chain_disagreements_total",
    "counter",
    "Answers of two providers that contradicted each other.",
    _NETWORK,
)
REORGS = Metric("gateway_chain_reorgs_total", "counter", "Reorganisations followed.", _NETWORK)
DEEPEST = Metric(
    "gateway_chain_reorg_deepest_blocks",
    "gauge",
    "The deepest of them since this process began.",
    _NETWORK,
)
DEEP_REORGS = Metric(
    "gateway_chain_deep_reorgs_total", "counter", "Of these, those of 64 blocks or more.", _NETWORK
)
LIES = Metric("gateway_chain_lies_total", "counter", "Answers proved to be false.", _PROVIDER)
PROVIDER_UP = Metric(
    "gateway_chain_provider_up",
    "gauge",
    "Whether a provider answers and is believed: 1, or 0.",
    _PROVIDER,
)
PROVIDER_HEAD = Metric(
    "gateway_chain_provider_head_block",
    "gauge",
    "The newest block a provider has told of.",
    _PROVIDER,
)
CALLS = Metric(
    "gateway_chain_calls_total",
    "counter",
    "Calls made, failed ones among them, by JSON-RPC method.",
    (*_PROVIDER, "method"),
)
FAILURES = Metric(
    "gateway_chain_failures_total", "counter", "Calls that failed, by kind.", (*_PROVIDER, "kind")
)
LATENCY = Metric("gateway_chain_call_seconds", "histogram", "How long calls took.", _PROVIDER)

METRICS = declared(
    LEADS,
    RESTING,
    HALTED,
    TROUBLE,
    UNEXPLAINED,
    QUORUM,
    BLOCK_SECONDS,
    HEAD,
    HEAD_LAG,
    HEAD_LAG_BLOCKS,
    ATTESTED_LAG,
    UNPUBLISHED,
    UNSETTLED,
    OUTBOX_AGE,
    BLOCKS,
    PROOFS,
    DISAGREEMENTS,
    REORGS,
    DEEPEST,
    DEEP_REORGS,
    LIES,
    PROVIDER_UP,
    PROVIDER_HEAD,
    CALLS,
    FAILURES,
    LATENCY,
)


async def chain_samples(measures: Measures) -> Samples:
    """Everything of one network, at this moment."""
    if not measures.leads:
        return [Sample(LEADS, (measures.network.name,), 0)]
    found = await _standing(measures)
    for meter in measures.meters:
        labels = (measures.network.name, meter.provider)
        found += _asked(labels, meter.counts())
        found.append(Sample(LIES, labels, measures.tally.lies.get(meter.provider, 0)))
        if meter.head is not None:
            found.append(Sample(PROVIDER_HEAD, labels, meter.head))
    for state in measures.states():
        up = state.condition == "answers"
        found.append(Sample(PROVIDER_UP, (state.network, state.provider), up))
    return found


async def _standing(measures: Measures) -> list[Sample | Histogram]:
    gauges = await measures.gauges()
    labels = (measures.network.name,)
    values = {**_reading(measures, gauges), **_counts(measures)}
    shown = [(metric, value) for metric, value in values.items() if value is not None]
    return [*_trouble(labels, gauges.standing), *(Sample(m, labels, value) for m, value in shown)]


def _trouble(labels: tuple[str], standing: Standing | None) -> list[Sample | Histogram]:
    """Nothing before the ingester's first word."""
    if standing is None:
        return []
    return [
        Sample(HALTED, labels, standing.trouble == "halted"),
        *(Sample(TROUBLE, (*labels, k), standing.trouble == k) for k in get_args(Trouble)),
    ]


def _reading(measures: Measures, gauges: Gauges) -> dict[Metric, float | None]:
    backlog = gauges.backlog
    two = measures.quorum == TWO
    return {
        LEADS: gauges.leads,
        RESTING: gauges.resting,
        UNEXPLAINED: gauges.unexplained,
        QUORUM: measures.quorum,
        BLOCK_SECONDS: measures.network.block_seconds,
        HEAD: gauges.number,
        HEAD_LAG: gauges.head_lag_seconds,
        HEAD_LAG_BLOCKS: gauges.head_lag_blocks,
        ATTESTED_LAG: gauges.attested_lag_seconds if two else None,
        UNPUBLISHED: None if backlog is None else backlog.unpublished,
        UNSETTLED: None if backlog is None else backlog.unsettled,
        OUTBOX_AGE: gauges.backlog_seconds,
    }


def _counts(measures: Measures) -> dict[Metric, float | None]:
    count = measures.tally.count()
    return {
        BLOCKS: count.blocks,
        PROOFS: count.proofs,
        DISAGREEMENTS: count.disagreements,
        REORGS: count.reorgs,
        DEEPEST: count.deepest_reorg,
        DEEP_REORGS: measures.tally.deep_reorgs,
    }


def _asked(labels: tuple[str, str], counts: Mapping[Call, CallCount]) -> list[Sample | Histogram]:
    methods: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for (method, outcome), count in counts.items():
        methods[method] += count.calls
        if outcome != ANSWERED:
            kinds[outcome] += count.calls
    found: list[Sample | Histogram] = [
        *(Sample(CALLS, (*labels, method), calls) for method, calls in methods.items()),
        *(Sample(FAILURES, (*labels, kind), calls) for kind, calls in kinds.items()),
    ]
    if counts:
        whole = total(counts.values())
        bounds = tuple(bound / 1_000_000 for bound in LATENCY_MICROS)
        seconds = whole.micros_sum / 1_000_000
        found.append(Histogram(LATENCY, labels, bounds, whole.buckets, seconds))
    return found

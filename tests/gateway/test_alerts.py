"""What each alert of deploy/alerts.yml means: the series of a situation, and which rules fire.

Shapes  The series are those that chain_samples gives of worlds in memory, and figures set by hand
        where a world would take long to get there. tests/gateway/promql.py evaluates the rules,
        and says what of Prometheus it leaves out.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from adapters.memory.reconciling import MemoryReconcileBook
from application.policies import Policies
from application.standing import Standing, Trouble
from chain_ingest.reconcile import Reconciling
from chain_ingest.service import ingest_network
from gateway.chain_metrics import (
    ATTESTED_LAG,
    CALLS,
    DISAGREEMENTS,
    FAILURES,
    HEAD_LAG,
    LEADS,
    LIES,
    OUTBOX_AGE,
    PROVIDER_UP,
    RESTING,
    UNEXPLAINED,
    chain_samples,
)
from gateway.metrics import SCRAPE_FAILURES, Metric, Sample
from gateway.projection_metrics import DEPLOY_SECONDS, LAG_SECONDS, LED, PARKED
from gateway.store_metrics import REFUSALS, WAIT, WRITE
from tests.chain_ingest.second_look import Looking
from tests.chain_ingest.test_measures import MeasuredWorld
from tests.gateway.promql import Labels, Scrape, evaluated, firing
from tests.gateway.test_chain_metrics import rules
from tests.ports.test_reconciling import RUN

MINUTES = 20
Key = tuple[str, Labels]
Changes = Callable[[int], dict[tuple[Metric, tuple[str, ...]], float]]


class Target:
    """One process that is scraped: a network's ingester over a world in memory."""

    def __init__(self, *, network: str = "local", sources: int = 3, leads: bool = True) -> None:
        self.world = MeasuredWorld(sources=sources)
        self.network = network
        self.world.measures.leads = leads
        self.up = True
        self.trouble: Trouble | None = None
        self.changes: Changes = lambda _: {}
        self.reorgs: dict[int, int] = {}
        self.instance = f"{network}-{id(self)}"

    async def minute(self, number: int) -> dict[Key, float]:
        world = self.world
        if world.measures.leads:
            world.clock.advance(60)
            world.chain.mine()
            if self.trouble != "halted":
                await world.try_step()
            await world.store.keep_standing(self._standing())
        if number in self.reorgs:
            world.tally.reorganised(self.reorgs[number])
        if not self.up:
            return {}
        found = {
            (each.metric, each.labels): float(each.value)
            for each in await chain_samples(world.measures)
            if isinstance(each, Sample)
        }
        if (HEAD_LAG, ("local",)) in found:  # one block a minute is mined here, not thirty
            found[HEAD_LAG, ("local",)] = 2
        found |= self.changes(number)
        return {self._key(*each): value for each, value in found.items()}

    def _standing(self) -> Standing:
        now = self.world.clock.now()
        return Standing("local", now, trouble=self.trouble, since=now, detail="", pending=True)

    def _key(self, metric: Metric, labels: Sequence[str]) -> Key:
        names = zip(metric.labels, labels, strict=True)
        told = {name: self.network if name == "network" else value for name, value in names}
        return metric.name, frozenset({**told, "instance": self.instance}.items())


async def scraped(*targets: Target, minutes: int = MINUTES) -> list[Scrape]:
    """Each minute, and every other one for nobody."""
    scrapes = []
    for number in range(minutes + 1):
        series: dict[Key, float] = {}
        for target in targets:
            series |= await target.minute(number)
        scrapes.append(Scrape(number * 60.0, series))
    return scrapes


def alerts(scrapes: Sequence[Scrape]) -> set[str]:
    return {rule["alert"] for rule in rules() if firing(rule, scrapes)}


def networks(alert: str, scrapes: Sequence[Scrape]) -> set[str]:
    (rule,) = (each for each in rules() if each["alert"] == alert)
    return {dict(labels).get("network", "") for labels in firing(rule, scrapes)}


def one(metric: Metric, value: float, *labels: str) -> Changes:
    return lambda _: {(metric, ("local", *labels)): value}


def growing(metric: Metric, a_minute: float, *labels: str) -> Changes:
    return lambda minute: {(metric, ("local", *labels)): a_minute * minute}


def spread(
    histogram: Metric, minute: int, *, mean: float
) -> dict[tuple[Metric, tuple[str, ...]], float]:
    """Ten a minute, of that many seconds on average."""
    count, total = (replace(histogram, name=f"{histogram.name}_{of}") for of in ("count", "sum"))
    return {(count, ()): 10.0 * minute, (total, ()): 10.0 * minute * mean}


# ---------------------------------------------------------------- nothing is wrong


async def test_a_network_that_is_followed_calls_nobody() -> None:
    assert alerts(await scraped(Target())) == set()


async def test_a_standby_beside_its_leader_calls_nobody() -> None:
    assert alerts(await scraped(Target(), Target(leads=False))) == set()
    found = await chain_samples(Target(leads=False).world.measures)
    assert [(each.metric, each.labels) for each in found] == [(LEADS, ("local",))]


async def test_a_network_at_rest_calls_nobody() -> None:
    resting = Target()
    resting.world.tally.resting = True
    resting.changes = lambda _: {
        (RESTING, ("local",)): 1,
        (HEAD_LAG, ("local",)): 240,
        **{(PROVIDER_UP, ("local", f"provider-{n}")): 0 for n in range(3)},
    }
    assert alerts(await scraped(resting)) == set()


async def test_a_network_with_one_provider_lacks_no_quorum_until_that_one_is_gone() -> None:
    alone = Target(sources=1)
    scrapes = await scraped(alone)
    assert alerts(scrapes) == set()
    assert not any(name == ATTESTED_LAG.name for name, _ in scrapes[-1].series)
    alone = Target(sources=1)
    alone.world.sources[0].down = True
    assert {"ChainQuorumAtRisk", "ChainProviderDown"} <= alerts(await scraped(alone))


# ---------------------------------------------------------------- who leads


async def test_of_two_networks_the_one_whose_process_died_is_unattended() -> None:
    living, dead = Target(network="polygon"), Target(network="base")
    before = await scraped(living, dead, minutes=5)
    dead.up = False
    later = [replace(each, at=each.at + 360) for each in await scraped(living, dead)]
    scrapes = [*before, *later]
    assert alerts(scrapes) == {"ChainUnattended"}
    assert networks("ChainUnattended", scrapes) == {"base"}


async def test_a_standby_alone_leads_nothing() -> None:
    scrapes = await scraped(Target(leads=False))
    assert alerts(scrapes) == {"ChainUnattended"}
    assert networks("ChainUnattended", scrapes) == {"local"}


async def test_where_nobody_was_ever_seen_that_is_said_too() -> None:
    assert alerts(await scraped()) == {"ChainUnattended"}


# ---------------------------------------------------------------- troubles


async def test_a_halt_pages_at_once_and_for_nothing_that_follows_from_it() -> None:
    halted = Target()
    await scraped(halted, minutes=2)
    halted.trouble = "halted"
    scrapes = await scraped(halted, minutes=30)
    assert alerts(scrapes) == {"ChainHalted"}
    assert alerts(scrapes[:1]) == {"ChainHalted"}
    levels = {rule["alert"]: rule["labels"]["severity"] for rule in rules()}
    assert levels["ChainHalted"] == "page"


@pytest.mark.parametrize("trouble", [t for t in get_args(Trouble) if t != "halted"])
async def test_each_other_trouble_pages_as_what_it_is(trouble: Trouble) -> None:
    troubled = Target()
    troubled.trouble = trouble
    name = "ChainFinalityStalled" if trouble == "finality_stalled" else "ChainPending"
    expected = set() if trouble == "unattended" else {name}  # nobody would be there to say so
    assert alerts(await scraped(troubled)) == expected


async def test_a_balance_that_nothing_explains_pages() -> None:
    target = Target()
    book = target.world.measures.book = MemoryReconcileBook(target.world.store)
    assert alerts(await scraped(target, minutes=1)) == set()
    await book.keep(replace(RUN, network="local", unexplained=2), [])
    assert alerts(await scraped(target, minutes=1)) == {"ChainBalanceUnexplained"}
    await book.keep(replace(RUN, network="local", unexplained=0), [])
    assert alerts(await scraped(target, minutes=1)) == set()


async def test_the_ingester_that_reconciles_shows_what_its_reconciler_found() -> None:
    world = MeasuredWorld()
    looking = Looking(world)
    parts: dict[str, Any] = {
        "policies": Policies(looking.handler),
        "log_head": world.watched,
        "progress": world.watched,
        "watched": world.watched,
        "clock": world.clock,
        "meters": [source.meter for source in world.metered],
        "figures": world.figures,
    }
    ports = (world.network, world.metered, world.store, world.bus)
    reconciling = Reconciling(looking.book, looking.to_check, looking.handler)
    both = (
        ingest_network(*ports, **parts, reconciling=reconciling),
        ingest_network(*ports, **parts),
    )
    await looking.book.keep(replace(RUN, network="local", unexplained=2), [])
    shown = []
    for ingester in both:
        assert ingester.measures is not None
        ingester.measures.leads = True
        samples = await chain_samples(ingester.measures)
        shown.append(
            [s.value for s in samples if isinstance(s, Sample) and s.metric == UNEXPLAINED]
        )
    assert shown == [[2], []]


async def test_every_reorg_is_a_ticket_and_a_deep_one_pages_once() -> None:
    target = Target()
    target.reorgs = {5: 64, 40: 1}
    scrapes = await scraped(target, minutes=45)
    assert alerts(scrapes[:4]) == set()
    assert alerts(scrapes[:7]) == {"ChainReorg", "ChainReorgDeep"}
    assert alerts(scrapes) == {"ChainReorg"}, "the deep one is half an hour old"


# ---------------------------------------------------------------- figures


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (one(HEAD_LAG, 120), {"ChainHeadLags"}),
        (one(ATTESTED_LAG, 301), {"ChainAttestedLags"}),
        (one(PROVIDER_UP, 0, "provider-0"), {"ChainProviderDown"}),
        (
            lambda _: {(PROVIDER_UP, ("local", f"provider-{n}")): 0 for n in (0, 1)},
            {"ChainProviderDown", "ChainQuorumAtRisk"},
        ),
        (growing(LIES, 1, "provider-0"), {"ChainProviderLied"}),
        (growing(DISAGREEMENTS, 3), {"ChainProvidersDisagree"}),
        (growing(DISAGREEMENTS, 1), set()),
        (one(OUTBOX_AGE, 31), {"ChainOutboxLags"}),
        (
            lambda minute: {
                (CALLS, ("local", "provider-0", "eth_getLogs")): 100.0 * minute,
                (FAILURES, ("local", "provider-0", "timeout")): 40.0 * minute,
            },
            {"ChainProviderFails"},
        ),
        (
            lambda minute: {
                (CALLS, ("local", "provider-0", "eth_getLogs")): 100.0 * minute,
                (FAILURES, ("local", "provider-0", "timeout")): 10.0 * minute,
            },
            set(),
        ),
        (lambda minute: {(SCRAPE_FAILURES, ()): 1.0 * minute}, {"ScrapeIncomplete"}),
        (lambda _: {(RESTING, ("local",)): 1, (HEAD_LAG, ("local",)): 901},
         {"ChainHeadLagsAtRest"}),
        (lambda _: {(LED, ("payments",)): 1, (LAG_SECONDS, ("payments",)): 29,
                    (PARKED, ("payments",)): 0}, set()),
        (lambda _: {(LED, ("payments",)): 0}, {"ProjectionUnattended"}),
        (lambda minute: {(LED, ("payments",)): 1} if minute < 20 else {},
         {"ProjectionUnattended"}),
        (lambda _: {(LAG_SECONDS, ("payments",)): 31}, {"ProjectionBehind"}),
        (lambda _: {(PARKED, ("inbox",)): 1}, {"ProjectionParked"}),
        (lambda _: {(DEPLOY_SECONDS, ()): 86_401}, {"DeployUnfinished"}),
        (lambda _: {(DEPLOY_SECONDS, ()): 80_000}, set()),
        (lambda minute: {(REFUSALS, ("busy",)): 1.0 * (minute > 25)}, {"AppendsTurnedAway"}),
        (lambda minute: {(REFUSALS, ("busy",)): 1.0 * (minute > 5),
                         (REFUSALS, ("conflict",)): 9.0 * minute}, set()),
        (lambda minute: spread(WAIT, minute, mean=0.6), {"AppendsWait"}),
        (lambda minute: spread(WAIT, minute, mean=0.4), set()),
        (lambda minute: spread(WAIT, min(minute, 20), mean=0.6), set()),
        (lambda minute: spread(WRITE, minute, mean=0.3), {"AppendsCommitSlowly"}),
        (lambda minute: spread(WRITE, minute, mean=0.2), set()),
    ],
)  # fmt: skip
async def test_figures_beyond_their_bounds_fire_their_own_rule(
    changes: Changes, expected: set[str]
) -> None:
    target = Target()
    target.changes = changes
    assert alerts(await scraped(target, minutes=30)) == expected


def test_every_rule_is_fired_by_some_situation_here() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    for rule in rules():
        assert f'"{rule["alert"]}"' in here, rule["alert"]


def test_the_evaluator_refuses_what_it_does_not_know() -> None:
    scrapes = [Scrape(0, {})]
    for expression in (
        "predict_linear(gateway_chain_leads[1h], 60)",
        "gateway_chain_leads offset 5m",
        "sum without (network) (gateway_chain_leads)",
        'gateway_chain_leads{network!="x"}',
    ):
        with pytest.raises((AssertionError, KeyError)):
            evaluated(expression, scrapes)


def test_the_guide_about_a_halt_says_what_the_rules_do() -> None:
    guide = Path(__file__).resolve().parents[2] / "docs" / "guides" / "finality.md"
    said = re.sub(r"\s+", " ", guide.read_text(encoding="utf-8"))
    assert "`ChainHalted`" in said
    assert "`ChainFinalityStalled`" in said

"""What following a chain costs in calls: a day or a week of blocks like Polygon's, replayed.

The real ingester's follower, scanner, providers and hourly reconcile, over three providers of one
chain in memory, by a virtual clock. One block every two seconds, each with a transfer of the
token by strangers, so that no bloom rules a block out; in one of ten blocks of the busy merchant
a payment to one of two hundred addresses. The figure is the most that any of the three providers
is asked in a day by a merchant for whom nobody is to pay, though all these addresses stay watched.

Shapes  a scenario is a merchant and a setting; the baseline one provider that is believed, asked
        for the head and for the logs of each new block, and for nothing else
        a free tier is what an operator gives away, in its own units, with its price of a call
Units   calls; `--week` replays 302,400 blocks, else a day of 43,200.
Source  of the free tiers: bench/free_tiers.py; they change, and are the reader's to look up again.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import structlog

from adapters.memory.bus import MemoryBus
from adapters.memory.chain import MemoryChain, MemorySource
from adapters.memory.clock import SeededIds
from adapters.memory.figures import MemoryFigures
from adapters.memory.ingest_store import MemoryIngestStore
from adapters.memory.reconciling import MemoryReconcileBook
from adapters.memory.store import MemoryEventStore
from application.chain_source import Header, Holding, Tag
from application.figures import ANSWERED
from application.handling import Handler
from application.policies import Policies
from application.ports import Waker
from application.reconciling import WatchedAddress
from bench.free_tiers import TIERS
from bench.report import Report, arguments, finish, show
from chain_ingest.metered import MeteredSource
from chain_ingest.reconcile import RECONCILE_SECONDS, Reconciling
from chain_ingest.rest import REST_SECONDS
from chain_ingest.service import ingest_network, second_look
from chain_ingest.watch import Watch
from domain.networks import POLYGON

START = datetime(2026, 11, 23, tzinfo=UTC)
SEED = 4
BLOCK_SECONDS = POLYGON.block_seconds
DAY_SECONDS = 86_400
PAYMENTS_ONE_IN = 10  # blocks
FINAL_BLOCKS = 3  # milestones: two to five seconds
KEPT_BLOCKS = 256
PRUNE_BLOCKS = 512
ADDRESSES = 200
USDC = POLYGON.tokens[0].address
STRANGER, PAYER = "0x" + "57" * 20, "0x" + "11" * 20


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    addresses: int
    pays: bool
    rests: bool


SCENARIOS = (
    Scenario("idle, no address given out", 0, pays=False, rests=True),
    Scenario("idle", ADDRESSES, pays=False, rests=True),
    Scenario("idle, without rests", ADDRESSES, pays=False, rests=False),
    Scenario("busy", ADDRESSES, pays=True, rests=True),
)
IDLE = SCENARIOS[1]


# ---------------------------------------------------------------- the chain, and its time


class LongChain(MemoryChain):
    """Forgets what is so old that nobody asks for it any more."""

    def prune(self) -> None:
        for block in self.blocks[-PRUNE_BLOCKS - KEPT_BLOCKS - 1 : -KEPT_BLOCKS]:
            self._known.pop(block.header.hash, None)
            for tx in block.txs:
                self._places.pop(tx.hash, None)
        kept = self.blocks[-KEPT_BLOCKS]
        for number in range(
            max(self.head - PRUNE_BLOCKS - KEPT_BLOCKS, 1), self.head - KEPT_BLOCKS
        ):
            self.blocks[number] = kept  # one object in the place of many


class LongStore(MemoryIngestStore):
    """Forgets headers, settled sightings and reports that nothing is decided upon any more."""

    def prune(self, network: str) -> None:
        held = self._networks.get(network)
        if held is None:
            return
        lowest = held.cursor.number - KEPT_BLOCKS
        held.blocks = {
            key: block for key, block in held.blocks.items() if block.header.ref.number >= lowest
        }
        held.seen = {
            key: seen
            for key, seen in held.seen.items()
            if seen.state != "confirmed" or seen.sighting.block_number >= lowest
        }
        held.outbox.clear()


class Node(MemorySource):
    """A provider of a chain whose blocks are final within seconds, and that knows all balances."""

    async def header(self, block: int | Tag) -> Header | None:
        if block in {"safe", "finalized"}:
            return await super().header(max(self.chain.head - FINAL_BLOCKS, 0))
        return await super().header(block)

    async def balances(self, block_hash: str, holdings: Sequence[Holding]) -> Sequence[int]:  # noqa: ARG002 - none has moved
        self._serve("balances")
        return [self.chain.balance(*each) for each in holdings]


class Replay:
    """A clock whose sleepers find the time gone by, and the blocks of that time mined."""

    def __init__(self, scenario: Scenario, seconds: int) -> None:
        self.chain = LongChain(POLYGON, START)
        self.store = LongStore()
        self.blocks = 0
        self._hour_over = asyncio.Event()
        self._scenario = scenario
        self._now = START
        self._ends_at = self._hour_ends_at = START + timedelta(seconds=seconds)
        self._random = Random(SEED)

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float, *wakers: Waker) -> None:
        del wakers  # this time is over at once
        until = self._now + timedelta(seconds=seconds)
        while (due := self._next_block_at) <= until:
            self._now = due
            self._mine()
        self._now = max(until, self._now)
        if self._now >= self._hour_ends_at:
            self._hour_over.set()
        await asyncio.sleep(0)

    @property
    def over(self) -> bool:
        return self._now >= self._ends_at

    def an_hour(self) -> asyncio.Event:
        """Set when the next hour is over, or the whole replay."""
        until = self._now + timedelta(seconds=RECONCILE_SECONDS)
        self._hour_ends_at = min(until, self._ends_at)
        self._hour_over = asyncio.Event()
        return self._hour_over

    @property
    def _next_block_at(self) -> datetime:
        return START + timedelta(seconds=BLOCK_SECONDS * len(self.chain.blocks))

    def _mine(self) -> None:
        self.chain.transfer(USDC, PAYER, STRANGER, 1_000_000)
        if self._scenario.pays and self.blocks % PAYMENTS_ONE_IN == 0:
            payee = address_at(self._random.randrange(ADDRESSES))
            self.chain.transfer(USDC, PAYER, payee, self._random.randrange(1, 10**9))
        self.chain.mine()
        self.blocks += 1
        if self.blocks % PRUNE_BLOCKS == 0:
            self.chain.prune()
            self.store.prune(POLYGON.name)


def address_at(number: int) -> str:
    return f"0x{0xDD00 + number:040x}"


class Reads:
    """The read models, always caught up, of a merchant who has given out so many addresses."""

    def __init__(self, scenario: Scenario) -> None:
        self._expects = scenario.pays or not scenario.rests
        self._watched = frozenset(address_at(number) for number in range(scenario.addresses))
        # Checked by the reconcile: as many again, which nobody pays.
        self._others = tuple(
            WatchedAddress(address_at(ADDRESSES + number), "payment_session")
            for number in range(scenario.addresses)
        )

    async def addresses(self, _: str) -> Collection[str]:
        return self._watched

    async def expects(self, _: str) -> bool:
        return self._expects

    async def head(self) -> int:
        return 1

    async def position(self, _: str) -> int:
        return 1

    async def wait_for(
        self, _: int, *, timeout_seconds: float, projection: str | None = None
    ) -> bool:
        del projection
        return timeout_seconds > 0

    async def awaiting(self, _: str, limit: int) -> Sequence[WatchedAddress]:  # noqa: ARG002
        return ()

    async def below(
        self, _: str, position: int, limit: int
    ) -> tuple[Sequence[WatchedAddress], int]:
        first = position or 0
        chosen = self._others[first : first + limit]
        reached = first + len(chosen)
        return chosen, reached if reached < len(self._others) else 0


# ---------------------------------------------------------------- contenders


async def ours(scenario: Scenario, seconds: int) -> dict[str, Counter[str]]:
    """Calls by provider and method."""
    replay = Replay(scenario, seconds)
    reads: Any = Reads(scenario)
    nodes = [Node(replay.chain, f"provider {number}") for number in (1, 2, 3)]
    metered = [MeteredSource(node, replay) for node in nodes]
    handler = Handler(MemoryEventStore(ids=SeededIds(SEED), clock=replay), replay)
    ingester = ingest_network(
        POLYGON,
        metered,
        replay.store,
        MemoryBus(replay),
        policies=Policies(handler),
        log_head=reads,
        progress=reads,
        watched=reads,
        clock=replay,
        meters=[source.meter for source in metered],
        figures=MemoryFigures(replay.store),
        expecting=reads,
    )
    reconciling = Reconciling(MemoryReconcileBook(replay.store), reads, handler)
    await follow(ingester, replay, reconciling, metered, reads)
    cursor = await replay.store.cursor(POLYGON.name)
    behind = replay.chain.head - (cursor.number if cursor else 0)
    bound = 2 * REST_SECONDS / BLOCK_SECONDS
    assert behind <= bound, f"{scenario.name}: {behind} blocks behind at the end"
    return {source.name: called(source) for source in metered}


async def follow(
    ingester: Any, replay: Replay, reconciling: Reconciling, metered: Any, reads: Any
) -> None:
    """The follower on its own, with the hourly reconcile between its steps."""
    _, reconciler = second_look(
        POLYGON,
        metered,
        replay.store,
        MemoryBus(replay),
        reconciling,
        watch=Watch(reads, reads, reads),
        clock=replay,
    )
    while not replay.over:
        await ingester.follower.run(replay.an_hour())
        await reconciler.once()


def called(source: MeteredSource) -> Counter[str]:
    calls: Counter[str] = Counter()
    for (method, outcome), count in source.meter.counts().items():
        assert outcome == ANSWERED, f"{source.name}: {method} {outcome}"
        calls[method] += count.calls
    return calls


def naive(seconds: int) -> Counter[str]:
    """eth_blockNumber once a block time, and the logs of each block, of one provider."""
    blocks = seconds // BLOCK_SECONDS
    return Counter({"eth_blockNumber": blocks, "eth_getLogs": blocks})


# ---------------------------------------------------------------- what is printed


def busiest(calls: Mapping[str, Counter[str]]) -> Counter[str]:
    return max(calls.values(), key=lambda each: each.total())


def per_day(calls: Counter[str], days: int) -> Counter[str]:
    return Counter({method: count // days for method, count in calls.items()})


def tables(
    results: Mapping[str, Mapping[str, Counter[str]]], days: int, plain: Counter[str]
) -> None:
    methods = sorted({m for each in results.values() for calls in each.values() for m in calls})
    short = [method.removeprefix("eth_") for method in methods]
    rows = [
        (
            f"{name} {provider[-1]}",
            f"{per_day(calls, days).total():,}",
            *(f"{per_day(calls, days)[method]:,}" for method in methods),
        )
        for name, found in results.items()
        for provider, calls in found.items()
    ]
    show("Calls a day by provider and method", ("", "all", *short), rows)
    busy = {name: per_day(busiest(found), days) for name, found in results.items()}
    busy["one provider, believed"] = per_day(plain, days)
    share = [
        (
            name,
            f"{calls.total():,}",
            *(f"{100 * tier.spent(calls) / tier.per_day:.0f} %" for tier in TIERS),
        )
        for name, calls in busy.items()
    ]
    title = "What the provider that is asked most takes of a free tier, for one network"
    show(title, ("", "calls a day", *(tier.name for tier in TIERS)), share)


def report(
    results: Mapping[str, Mapping[str, Counter[str]]], days: int, conditions: dict[str, Any]
) -> Report:
    idle = per_day(busiest(results[IDLE.name]), days)
    plain = per_day(naive(days * DAY_SECONDS), days)
    return Report(
        figure=idle.total(),
        unit="calls a day to one of three providers, nobody to pay",
        baseline=plain.total(),
        ratio=round(idle.total() / plain.total(), 3),
        goal="an idle merchant within every free tier of the table",
        met=all(tier.spent(idle) <= tier.per_day for tier in TIERS),
        conditions={
            **conditions,
            "days": days,
            "block_seconds": BLOCK_SECONDS,
            "calls_per_day": {
                name: per_day(busiest(found), days).total() for name, found in results.items()
            },
        },
    )


def main() -> None:
    parser = arguments("Calls that following a chain takes.")
    parser.add_argument("--week", action="store_true", help="seven days instead of one")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    days = 7 if given.week else 1
    begun = time.perf_counter()
    results = {
        scenario.name: asyncio.run(ours(scenario, days * DAY_SECONDS)) for scenario in SCENARIOS
    }
    took = round(time.perf_counter() - begun, 1)
    if not given.json:
        print(f"{days} day{'s' if days > 1 else ''} of blocks, replayed in {took} s.")
        tables(results, days, naive(days * DAY_SECONDS))
    finish(report(results, days, {"replayed_in_seconds": took}), as_json=given.json)


if __name__ == "__main__":
    main()

"""A chain, its providers, a store and a bus in memory, and an ingester over them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from adapters.memory.bus import MemoryBus
from adapters.memory.chain import MemoryChain, MemorySource
from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.ingest_store import MemoryIngestStore
from adapters.memory.store import MemoryEventStore
from application.chain_messages import ChainReport, TransferReport, decode_report
from application.chain_source import ChainSource
from application.halts import Halts
from application.handling import Handler
from application.policies import Policies
from application.reads import WATCH_LIST_MODEL
from chain_ingest.beginning import Beginning
from chain_ingest.follower import Follower
from chain_ingest.halting import LOOK_SECONDS
from chain_ingest.outbox import OutboxPublisher
from chain_ingest.passing import Passing
from chain_ingest.providers import Providers
from chain_ingest.rest import Rest
from chain_ingest.tally import Tally
from chain_ingest.terms import Policy
from chain_ingest.watch import Watch
from domain.halts import NetworkHalts
from domain.networks import ConfirmationPolicy, Network, Token, local_network

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
USDC, BRIDGED, FAKE = "0x" + "aa" * 20, "0x" + "ab" * 20, "0x" + "fa" * 20
DEPOSIT, OTHER_DEPOSIT, STRANGER = "0x" + "dd" * 20, "0x" + "de" * 20, "0x" + "57" * 20
PAYER = "0x" + "11" * 20
STEPS_MAX = 5_000

LOCAL = local_network(
    chain_id=31337,
    tokens=(
        Token(symbol="USDC", address=USDC, decimals=6),
        Token(symbol="USDC.e", address=BRIDGED, decimals=6, accepted=False),
    ),
    blocks=3,
)
STRICT = LOCAL.model_copy(update={"policy": ConfirmationPolicy(version=2, blocks=3)})


class Watched:
    """A watch list that is always caught up, unless told otherwise."""

    def __init__(self) -> None:
        self.now = {DEPOSIT, OTHER_DEPOSIT}
        self.behind = False

    async def addresses(self, _: str) -> set[str]:
        return self.now

    async def head(self) -> int:
        return 1

    async def wait_for(
        self, _: int, *, timeout_seconds: float, projection: str | None = None
    ) -> bool:
        assert timeout_seconds > 0
        assert projection == WATCH_LIST_MODEL
        return not self.behind

    async def position(self, _: str) -> int:
        return 1


class World:
    def __init__(
        self, network: Network = LOCAL, *, sources: int = 1, start_block: int | None = 1
    ) -> None:
        self.network = network
        self.clock = FakeClock(START)
        self.chain = MemoryChain(network, START)
        self.sources = [MemorySource(self.chain, f"provider-{n}") for n in range(sources)]
        self.store = MemoryIngestStore(settled=lambda message_id: message_id in self.settled)
        self.settled: set[str] = set()
        self.log = MemoryEventStore(ids=SeededIds(1), clock=self.clock)
        self.bus = MemoryBus(self.clock)
        self.watched = Watched()
        self.asked: Sequence[ChainSource] = self.sources  # or something around them
        self.tally = Tally()
        self._start_block = start_block
        self.restart()

    def restart(self) -> None:
        """A new process: nothing is remembered but what the store holds."""
        providers = Providers(self.network, self.asked, self.clock, self.tally)
        self.outbox = OutboxPublisher(self.network.name, self.store, self.bus, self.clock)
        policy = Policy(self.network, Policies(Handler(self.log, self.clock)), self.store)
        passing = Passing(
            self.network, self.store, policy, self.outbox, self.bus, self.clock, self.tally
        )
        self.follower = Follower(
            self.network,
            providers,
            self.store,
            policy,
            Watch(self.watched, self.watched, self.watched),
            passing,
            self.clock,
            start_block=self._start_block,
            rest=self.rest(),
            beginning=self.beginning(providers),
        )

    def rest(self) -> Rest | None:
        """None: it never rests."""
        return None

    def beginning(self, _: Providers) -> Beginning | None:
        """None: without a start block it begins at the head."""
        return None

    async def halts(self) -> NetworkHalts:
        return await self._halts.of(self.network.name)

    async def resume(self) -> None:
        """What an operator does, and the time until the ingester notices."""
        await self._halts.resume(self.network, "looked into it", "operator:test")
        self.clock.advance(LOOK_SECONDS)

    @property
    def _halts(self) -> Halts:
        return Halts(Handler(self.log, self.clock))

    async def follow(self) -> None:
        """Step until there is nothing to do."""
        for _ in range(STEPS_MAX):
            if not await self.follower.step():
                return
        raise AssertionError(f"still busy after {STEPS_MAX} steps")

    async def mine_and_follow(self, blocks: int = 1) -> None:
        self.chain.mine(blocks)
        await self.follow()

    def pay(self, units: int, *, to: str = DEPOSIT, token: str = USDC) -> str:
        return self.chain.transfer(token, PAYER, to, units).hash

    @property
    def reports(self) -> list[ChainReport]:
        return [
            decode_report(report.subject, report.data)
            for report in self.store.reports(self.network.name)
        ]

    @property
    def transfers(self) -> list[TransferReport]:
        return [report for report in self.reports if isinstance(report, TransferReport)]

    def said(self, about: Callable[[ChainReport], str] = lambda report: report.kind) -> list[str]:
        return [about(report) for report in self.reports]

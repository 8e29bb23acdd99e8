"""The gateway's processes: how each is put together, started, killed and started again.

Shapes  As gateway/bootstrap.py does it, with a line to every server instead of an adapter. A
        Process outlives its lives: its clock's skew and its next death belong to the machine.
        There is one ingester and one settlement a network, and on one network a second
        ingester that stands by; of everything else there is one.
Errors  a worker that ends by itself has died of something nobody asked for: a Death.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random  # noqa: TID251 - seeded by history, process and life
from typing import Any

from adapters.addresses import checksum_address, parse_address
from adapters.memory.clock import SeededIds
from adapters.memory.store import MemoryEventStore
from api.views import Views
from application.claims import Claims
from application.handling import Handler
from application.inbox import Inbox
from application.merchant_settings import MerchantSettings
from application.messages import Messages
from application.policies import Policies
from application.refunds import Refunds
from application.sessions import Sessions
from application.settlement import Settlement
from application.webhooks import Webhooks
from chain_ingest.service import ingest_network
from simulation import setting
from simulation.faults import Plan
from simulation.loop import Life
from simulation.receivers import PosterWire
from simulation.servers import Servers, SimClock
from simulation.wallets import Wallets
from simulation.wires import BusWire, Line, StoreWire, wired
from simulation.wires_chain import NodeWire, SourceWire
from simulation.wires_writes import IngestWire, OutgoingWire
from workers.dispatcher import Dispatcher
from workers.expiry import Expiry
from workers.refund_sender import RefundSender
from workers.settlement import SettlementWorker
from workers.signer import SignerProcess
from workers.wakeup import LOG_HEAD, Wakeup
from workers.webhook_attempt import Attempts
from workers.webhook_delivery import WebhookWorker

PROJECTION_BATCH_MAX = 64
PROJECTION_POLL_SECONDS = 0.25

Worker = Coroutine[Any, Any, None]


class Desk:
    """What one life of a process has in its hands."""

    def __init__(self, servers: Servers, process: "Process", life: Life) -> None:
        loop = servers.loop
        seed = f"{servers.seed} {process.name} {process.lives}"
        self.servers = servers
        self.book = servers.book  # as it is configured when this life begins
        self.random = Random(seed)  # noqa: S311 - repeatable, not secret
        self.line = line = Line(life, servers.faults, lambda: process.plan)
        self.clock = clock = SimClock(loop, lambda: process.skew_us)
        self.ids = SeededIds(self.random.getrandbits(64))
        self.bus = BusWire(servers.bus, line)
        own = MemoryEventStore(
            ids=self.ids, clock=clock, log=servers.log, on_append=self._appended
        )
        self.store = StoreWire(own, line)
        self.handler = Handler(self.store, clock)
        self.vault = wired(servers.vault, line)
        self.reads = servers.reads
        self.poster = PosterWire(servers.receivers, line, clock, lambda: loop.now_us)
        self.stop = asyncio.Event()

    def _appended(self, position: int) -> None:
        self.servers.appended(position)
        faults = self.servers.faults
        if not (faults.active("bus.outage") or faults.strikes("bus.lost_hints", one_in=2)):
            self.servers.loop.call_soon(self.servers.bus.tell, LOG_HEAD)

    def nodes(self) -> dict[str, NodeWire]:
        loop = self.servers.loop
        return {
            name: NodeWire(node, self.line, lambda: loop.now_us)
            for name, node in self.servers.nodes.items()
        }


class _Begun:
    """The ingesters of a history read from block 1, whenever they start: nothing is before it."""

    async def head(self, network: str) -> int | None:
        del network
        return 0


@dataclass(eq=False)
class Api:
    """The use cases behind the routes, in one process."""

    desk: Desk
    sessions: Sessions
    refunds: Refunds
    webhooks: Webhooks
    inbox: Inbox
    claims: Claims
    settings: MerchantSettings
    views: Views


def api(desk: Desk) -> Api:
    servers, book = desk.servers, desk.book
    watch = wired(desk.reads.watch_list, desk.line)
    return Api(
        desk,
        Sessions(
            desk.handler,
            book,
            wired(servers.addresses, desk.line),
            desk.vault,
            desk.ids,
            _Begun(),
            amount_max=setting.AMOUNT_MAX,
        ),
        Refunds(
            desk.handler,
            book,
            watch,
            desk.ids,
            parse_address,
        ),
        Webhooks(desk.handler, desk.vault, desk.poster, desk.ids),
        Inbox(desk.handler, book),
        Claims(desk.handler, book, Wallets(desk.line), parse_address, checksum_address),
        MerchantSettings(desk.handler, book, watch, parse_address),
        Views(book, checksum_address, setting.PUBLIC_BASE_URL),
    )


# ---------------------------------------------------------------- workers


def ingest(desk: Desk, network: str) -> Worker:
    servers, line = desk.servers, desk.line
    sources = [
        SourceWire(
            servers.chains[network], (network, number), servers.forks, line, servers.told_tag
        )
        for number in range(setting.PROVIDERS[network])
    ]
    ingester = ingest_network(
        desk.book.get(network),
        sources,
        IngestWire(servers.ingest, line, servers.leading),
        desk.bus,
        policies=Policies(desk.handler),
        log_head=desk.store,
        progress=wired(desk.reads.progress, line),
        watched=wired(desk.reads.watch_list, line),
        clock=desk.clock,
        start_block=1,
    )
    return ingester.run(desk.stop)


def settlement(desk: Desk, network: str) -> Worker:
    watch = wired(desk.reads.watch_list, desk.line)
    progress = wired(desk.reads.progress, desk.line)
    use_case = Settlement(desk.handler, watch, desk.book, progress)
    parked = wired(desk.servers.parked, desk.line)
    worker = SettlementWorker(network, desk.bus, use_case, parked, desk.clock)
    return worker.run(desk.stop)


def dispatcher(desk: Desk) -> Worker:
    messages = Messages(desk.store, desk.book, checksum_address)
    checkpoints = wired(desk.servers.checkpoints, desk.line)
    worker = Dispatcher(desk.handler, messages, checkpoints, desk.bus, desk.clock)
    return worker.run(desk.stop)


def webhooks(desk: Desk) -> Worker:
    queue = wired(desk.servers.queue, desk.line)
    health = wired(desk.servers.health, desk.line)
    attempts = Attempts(desk.handler, desk.poster, desk.vault, queue, health, desk.clock)
    return WebhookWorker(queue, attempts, desk.bus, desk.clock).run(desk.stop)


def refunds(desk: Desk) -> Worker:
    outgoing = OutgoingWire(desk.servers.outgoing, desk.line)
    sender = RefundSender(
        desk.handler,
        wired(desk.reads.refunds, desk.line),
        outgoing,
        desk.nodes(),
        desk.book,
        desk.clock,
    )
    return sender.run(desk.stop)


def signer(desk: Desk) -> Worker:
    book = OutgoingWire(desk.servers.outgoing, desk.line)
    process = SignerProcess(
        book,
        setting.signer(),
        setting.BOOK,
        desk.clock,
        setting.CAPS,
    )
    return process.run(desk.stop)


def expiry(desk: Desk) -> Worker:
    worker = Expiry(
        wired(desk.reads.sessions, desk.line),
        wired(desk.servers.heads, desk.line),
        desk.nodes(),
        desk.handler,
        desk.clock,
    )
    return worker.run(desk.stop)


async def projections(desk: Desk) -> None:
    """As projections/runner.py: batches of any size, rows and checkpoint in one transaction."""
    tables = desk.servers.tables
    tables.forget()
    wakeup = Wakeup(desk.bus, LOG_HEAD, desk.clock)
    async with wakeup.listening(desk.stop):
        while not desk.stop.is_set():
            size = desk.random.randrange(1, PROJECTION_BATCH_MAX)
            try:
                batch = await desk.store.read_log(after=tables.position, limit=size)
            except Exception:  # noqa: BLE001 - an outage: the runner waits for its end
                batch = []
            if batch:
                await desk.line.reach("before_append")
                tables.advance(batch)
                await desk.line.reach("after_append")
            else:
                await wakeup.wait(PROJECTION_POLL_SECONDS)


# ---------------------------------------------------------------- lives


@dataclass(eq=False)
class Process:
    name: str  # "ingest.polygon", "refunds"
    work: Callable[[Desk], Worker] | None  # None: the API, which waits for calls
    skew_us: int = 0
    plan: Plan | None = None
    lives: int = 0
    life: Life | None = None
    desk: Desk | None = None
    api: Api | None = None
    task: "asyncio.Task[None] | None" = field(default=None, repr=False)

    @property
    def up(self) -> bool:
        return self.life is not None and self.life.alive


def all_processes() -> dict[str, Process]:
    found = [Process("api", None)]
    for network in setting.BOOK.networks:
        found.append(_of_network("ingest", ingest, network.name))
        found.append(_of_network("settlement", settlement, network.name))
    found.append(_of_network("standby", ingest, setting.STANDBY_NETWORK))
    found += [
        Process("dispatcher", dispatcher),
        Process("webhooks", webhooks),
        Process("refunds", refunds),
        Process("signer", signer),
        Process("expiry", expiry),
        Process("projections", projections),
    ]
    return {process.name: process for process in found}


def _of_network(kind: str, work: Callable[[Desk, str], Worker], network: str) -> Process:
    return Process(f"{kind}.{network}", lambda desk: work(desk, network))

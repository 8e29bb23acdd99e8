"""The wiring: the only place that names adapters.

Shapes  `core` opens what every process shares; the functions below it put together one worker
        from it. The API and the signer are in files of their own, so that no other process
        spends a second on importing a web framework or the signing library. Nothing connects eagerly: a process may start before its servers, says so
        once, and goes on by itself when they answer.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from adapters.addresses import checksum_address
from adapters.chain_heads import PostgresChainHeads
from adapters.checkpoints import PostgresCheckpoints
from adapters.clock import SystemClock, SystemIds
from adapters.delivery_queue import PostgresDeliveryQueue, PostgresEndpointHealth
from adapters.event_store import PostgresEventStore
from adapters.evm import EvmClient
from adapters.evm_wakeup import EvmWakeUps
from adapters.figures import PostgresFigures
from adapters.http_delivery import HttpPoster
from adapters.ingest_store import PostgresIngestStore
from adapters.key_vault import PostgresVault
from adapters.ledger_reads import PostgresLedger
from adapters.nats_bus import NatsBus
from adapters.outgoing import PostgresOutgoing
from adapters.parked import PostgresParkedMessages
from adapters.postgres import Postgres, acting_as
from adapters.provider_ranges import PostgresProviderRanges
from adapters.purge import PostgresStoredAnswers
from adapters.reconciling import PostgresReconcileBook
from adapters.wallet import HotWallets, XpubAddresses
from application.handling import Handler
from application.merchants import Merchants
from application.messages import Messages
from application.parked import ParkedReports
from application.policies import Policies
from application.settlement import Settlement
from application.statements import Statements
from application.upkeep import Upkeep
from chain_ingest.budget import REQUESTS_PER_SECOND_DEFAULT, Budget, BudgetedSource
from chain_ingest.metered import MeteredSource
from chain_ingest.reconcile import Reconciling
from chain_ingest.service import Ingester, ingest_network
from domain.errors import ExtendedKeyMalformed
from domain.networks import Network, NetworkBook
from gateway.failures import GatewayError
from gateway.heap import settled_heap
from gateway.hints import LOG_HEAD, HeadHints
from gateway.network_files import LOCAL
from gateway.settings import Settings
from projections.catalogue import PROJECTIONS
from projections.journal_reads import JournalReads
from projections.payment_reads import PaymentReads
from projections.progress import ProgressReads
from projections.refund_reads import RefundReads
from projections.runner import ProjectionRunner
from projections.schema import OWNER
from projections.to_check_reads import ToCheckReads
from projections.watchlist_reads import WatchListReads
from workers.dispatcher import Dispatcher
from workers.expiry import Expiry
from workers.purge import Purge
from workers.refund_sender import RefundSender
from workers.settlement import SettlementWorker
from workers.webhook_attempt import Attempts
from workers.webhook_delivery import WebhookWorker

OWNER_POOL_SIZE_MAX = 4  # one works, one compares, two ask
REACH_SECONDS = 5


@dataclass(frozen=True)
class Core:
    """What every process has."""

    settings: Settings
    networks: NetworkBook
    clock: SystemClock
    ids: SystemIds
    postgres: Postgres
    bus: NatsBus
    store: PostgresEventStore
    handler: Handler
    name: str


@asynccontextmanager
async def core(settings: Settings, name: str) -> AsyncIterator[Core]:
    ids, clock = SystemIds(), SystemClock()
    postgres = Postgres(settings.secret("database_url"), name=f"gateway-{name}")
    bus = NatsBus(settings.secret("nats_url"), name=f"gateway-{name}")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(postgres)
        await bus.open()
        stack.push_async_callback(bus.close)
        hints = await stack.enter_async_context(HeadHints(bus))
        store = PostgresEventStore(postgres, ids=ids, on_append=hints.appended)
        await stack.enter_async_context(store)
        handler = Handler(store, clock)
        stack.enter_context(settled_heap())
        yield Core(settings, settings.book(), clock, ids, postgres, bus, store, handler, name)


# ---------------------------------------------------------------- use cases


def merchants(of: Core) -> Merchants:
    xpub = of.settings.hot_wallet_xpub
    assert xpub is not None, "named among the needs of this command"
    try:
        wallets = HotWallets(of.postgres, xpub)
    except ExtendedKeyMalformed as malformed:
        raise GatewayError(f"HOT_WALLET_XPUB: {malformed.message}") from malformed
    return Merchants(of.handler, XpubAddresses(of.postgres), wallets, of.ids)


def vault(of: Core) -> PostgresVault:
    return PostgresVault(of.postgres, of.settings.master_key_bytes(), of.ids)


def poster(of: Core) -> HttpPoster:
    return HttpPoster(allow_private=of.settings.webhook_allow_private, clock=of.clock)


def books(of: Core) -> JournalReads:
    return JournalReads(of.postgres)


def statements(of: Core) -> Statements:
    return Statements(PostgresLedger(of.postgres), of.networks, of.clock)


def progress(of: Core) -> ProgressReads:
    return ProgressReads(of.postgres)


def owner(of: Core) -> Postgres:
    """Connections that act as the owner of tables, whoever DATABASE_URL_OWNER logs in as."""
    name = f"gateway-{of.name}"
    return Postgres(owner_conninfo(of.settings), name=name, max_size=OWNER_POOL_SIZE_MAX)


def owner_conninfo(settings: Settings) -> str:
    return acting_as(settings.secret("database_url_owner"), OWNER)


def upkeep(of: Core) -> Upkeep:
    return Upkeep(of.handler)


# ---------------------------------------------------------------- processes


def providers(of: Core, network: Network) -> tuple[EvmClient, ...]:
    urls = of.settings.rpc_urls[network.name]
    return tuple(
        EvmClient(url, network, provider_name=f"{network.name}-{number}")
        for number, url in enumerate(urls, start=1)
    )


def figures(of: Core) -> PostgresFigures:
    return PostgresFigures(of.postgres)


def ingester(of: Core, network: Network, sources: tuple[EvmClient, ...]) -> Ingester:
    metered = [MeteredSource(source, of.clock) for source in sources]
    urls = of.settings.rpc_ws_urls.get(network.name)
    return ingest_network(
        network,
        [_budgeted(of, network, source, place) for place, source in enumerate(metered)],
        PostgresIngestStore(of.postgres),
        of.bus,
        policies=Policies(of.handler),
        log_head=of.store,
        progress=ProgressReads(of.postgres),
        watched=WatchListReads(of.postgres, of.networks),
        clock=of.clock,
        start_block=of.settings.start_block.get(network.name),
        meters=[source.meter for source in metered],
        figures=figures(of),
        reconciling=reconciling(of),
        expecting=_expecting(of, network),
        openings=PaymentReads(of.postgres),
        range_memory=PostgresProviderRanges(of.postgres),
        bell=None if urls is None else EvmWakeUps(urls, network, of.clock),
    )


def _expecting(of: Core, network: Network) -> PaymentReads | None:
    """None: never rest. A node of this machine costs nothing, and people wait for it."""
    if network.name == LOCAL or not of.settings.ingest_rests:
        return None
    return PaymentReads(of.postgres)


def _budgeted(of: Core, network: Network, source: MeteredSource, place: int) -> BudgetedSource:
    rate = of.settings.requests_per_second(network.name, place) or REQUESTS_PER_SECOND_DEFAULT
    return BudgetedSource(source, Budget(source.name, rate, of.clock))


def reconciling(of: Core) -> Reconciling:
    addresses = ToCheckReads(of.postgres, of.networks)
    return Reconciling(PostgresReconcileBook(of.postgres), addresses, of.handler)


def settlement(of: Core, network: Network) -> SettlementWorker:
    return SettlementWorker(
        network.name, of.bus, _settlement(of), PostgresParkedMessages(of.postgres), of.clock
    )


def parked_reports(of: Core) -> ParkedReports:
    return ParkedReports(PostgresParkedMessages(of.postgres), _settlement(of), of.clock)


def _settlement(of: Core) -> Settlement:
    watch = WatchListReads(of.postgres, of.networks)
    return Settlement(of.handler, watch, of.networks, ProgressReads(of.postgres))


def projector(of: Core) -> ProjectionRunner:
    return ProjectionRunner(of.postgres, of.store, PROJECTIONS, of.bus.hints(LOG_HEAD), of.clock)


def dispatcher(of: Core) -> Dispatcher:
    return Dispatcher(
        of.handler,
        Messages(of.store, of.networks, checksum_address),
        PostgresCheckpoints(of.postgres),
        of.bus,
        of.clock,
    )


def webhook_worker(of: Core, http: HttpPoster) -> WebhookWorker:
    queue = PostgresDeliveryQueue(of.postgres, of.clock, owner=of.ids.new().hex)
    health = PostgresEndpointHealth(of.postgres)
    attempts = Attempts(of.handler, http, vault(of), queue, health, of.clock)
    return WebhookWorker(queue, attempts, of.bus, of.clock)


def refund_sender(of: Core, chains: dict[str, EvmClient]) -> RefundSender:
    return RefundSender(
        of.handler,
        RefundReads(of.postgres),
        PostgresOutgoing(of.postgres),
        chains,
        of.networks,
        of.clock,
    )


def expiry(of: Core, chains: dict[str, EvmClient]) -> Expiry:
    return Expiry(
        PaymentReads(of.postgres), PostgresChainHeads(of.postgres), chains, of.handler, of.clock
    )


def purge(of: Core) -> Purge:
    return Purge(PostgresStoredAnswers(of.postgres), of.clock)

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
from adapters.http_delivery import HttpPoster
from adapters.ingest_store import (
    PostgresIngestStore,
    PostgresParkedMessages,
)
from adapters.key_vault import PostgresVault
from adapters.ledger_reads import PostgresLedger
from adapters.nats_bus import NatsBus
from adapters.outgoing import PostgresOutgoing
from adapters.postgres import Postgres
from adapters.purge import PostgresStoredAnswers
from adapters.wallet import HotWallets, XpubAddresses
from application.handling import Handler
from application.merchants import Merchants
from application.messages import Messages
from application.policies import Policies
from application.settlement import Settlement
from application.statements import Statements
from chain_ingest.service import Ingester, ingest_network
from domain.errors import ExtendedKeyMalformed
from domain.networks import Network, NetworkBook
from gateway.failures import GatewayError
from gateway.hints import LOG_HEAD, HeadHints
from gateway.settings import Settings
from projections.catalogue import PROJECTIONS
from projections.journal_reads import JournalReads
from projections.payment_reads import PaymentReads
from projections.progress import ProgressReads
from projections.refund_reads import RefundReads
from projections.runner import ProjectionRunner
from projections.watchlist_reads import WatchListReads
from workers.dispatcher import Dispatcher
from workers.expiry import Expiry
from workers.purge import Purge
from workers.refund_sender import RefundSender
from workers.settlement import SettlementWorker
from workers.webhook_attempt import Attempts
from workers.webhook_delivery import WebhookWorker


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


# ---------------------------------------------------------------- processes


def providers(of: Core, network: Network) -> tuple[EvmClient, ...]:
    urls = of.settings.rpc_urls[network.name]
    return tuple(
        EvmClient(url, network, provider_name=f"{network.name}-{number}")
        for number, url in enumerate(urls, start=1)
    )


def ingester(of: Core, network: Network, sources: tuple[EvmClient, ...]) -> Ingester:
    return ingest_network(
        network,
        sources,
        PostgresIngestStore(of.postgres),
        of.bus,
        policies=Policies(of.handler),
        log_head=of.store,
        progress=ProgressReads(of.postgres),
        watched=WatchListReads(of.postgres, of.networks),
        clock=of.clock,
        start_block=of.settings.start_block.get(network.name),
    )


def settlement(of: Core, network: Network) -> SettlementWorker:
    watch = WatchListReads(of.postgres, of.networks)
    return SettlementWorker(
        network.name,
        of.bus,
        Settlement(of.handler, watch, of.networks, ProgressReads(of.postgres)),
        PostgresParkedMessages(of.postgres),
        of.clock,
    )


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

"""The wiring: the only place that names adapters.

Shapes  `core` opens what every process shares; the functions below it put together one process's
        work from it. Nothing connects eagerly: a process may start before its servers, says so
        once, and goes on by itself when they answer.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal

from fastapi import FastAPI

from adapters.addresses import checksum_address, parse_address
from adapters.checkpoints import PostgresCheckpoints
from adapters.clock import SystemClock, SystemIds
from adapters.delivery_queue import PostgresDeliveryQueue, PostgresEndpointHealth
from adapters.event_store import PostgresEventStore
from adapters.evm import EvmClient
from adapters.http_delivery import HttpPoster
from adapters.ingest_store import (
    PostgresChainHeads,
    PostgresIngestStore,
    PostgresParkedMessages,
)
from adapters.key_vault import PostgresVault
from adapters.keystore import open_keystore
from adapters.nats_bus import NatsBus
from adapters.outgoing import PostgresOutgoing
from adapters.postgres import Postgres
from adapters.signing_book import PostgresSigningBook
from adapters.wallet import HotWallets, XpubAddresses
from api.app import create_app
from api.services import ApiServices, HealthCheck
from application.handling import Handler
from application.merchants import Merchants
from application.messages import Messages
from application.paying_out import MICROS_PER_DOLLAR, Caps
from application.refunds import Refunds
from application.sessions import Sessions
from application.settlement import Settlement
from application.webhooks import Webhooks
from chain_ingest.service import Ingester, ingest_network
from domain.networks import Network, NetworkBook
from gateway.failures import GatewayError
from gateway.hints import LOG_HEAD, HeadHints
from gateway.settings import Settings
from projections.catalogue import PROJECTIONS
from projections.delivery_reads import DeliveryReads
from projections.journal_reads import JournalReads
from projections.merchant_reads import ApiKeyReads
from projections.payment_reads import PaymentReads
from projections.progress import ProgressReads
from projections.refund_reads import RefundReads
from projections.runner import ProjectionRunner
from projections.watchlist_reads import WatchListReads
from web.app import create_web
from web.services import WebServices
from workers.dispatcher import Dispatcher
from workers.expiry import Expiry
from workers.refund_sender import RefundSender
from workers.settlement import SettlementWorker
from workers.signer import SignerProcess
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
    postgres = Postgres(settings.database_url.get_secret_value(), name=f"gateway-{name}")
    bus = NatsBus(settings.nats_url.get_secret_value(), name=f"gateway-{name}")
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
    if xpub is None:
        raise GatewayError("HOT_WALLET_XPUB is not set: `gateway keystore` prints it")
    return Merchants(of.handler, XpubAddresses(of.postgres), HotWallets(of.postgres, xpub), of.ids)


def vault(of: Core) -> PostgresVault:
    return PostgresVault(of.postgres, of.settings.master_key_bytes(), of.ids)


def poster(of: Core) -> HttpPoster:
    return HttpPoster(allow_private=of.settings.webhook_allow_private, clock=of.clock)


def books(of: Core) -> JournalReads:
    return JournalReads(of.postgres)


def progress(of: Core) -> ProgressReads:
    return ProgressReads(of.postgres)


# ---------------------------------------------------------------- processes


def api(of: Core, http: HttpPoster, stopping: asyncio.Event) -> FastAPI:
    """REST for merchants and the checkout for their customers, in one process."""
    sessions = PaymentReads(of.postgres)
    heads = PostgresChainHeads(of.postgres)
    secrets = vault(of)
    base = of.settings.public_base_url.rstrip("/")
    services = ApiServices(
        sessions=Sessions(
            of.handler,
            of.networks,
            XpubAddresses(of.postgres),
            secrets,
            of.ids,
            amount_max=of.settings.amount_max,
        ),
        refunds=Refunds(
            of.handler,
            of.networks,
            WatchListReads(of.postgres, of.networks),
            of.ids,
            parse_address,
        ),
        webhooks=Webhooks(of.handler, secrets, http, of.ids),
        handler=of.handler,
        api_keys=ApiKeyReads(of.postgres),
        session_reads=sessions,
        refund_reads=RefundReads(of.postgres),
        delivery_reads=DeliveryReads(of.postgres),
        heads=heads,
        networks=of.networks,
        clock=of.clock,
        ids=of.ids,
        write_address=checksum_address,
        public_base_url=base,
        health=_health(of),
    )
    app = create_app(services)
    pages = WebServices(
        handler=of.handler,
        session_reads=sessions,
        heads=heads,
        networks=of.networks,
        clock=of.clock,
        write_address=checksum_address,
        public_base_url=base,
        hints=of.bus.hints,
        stopping=stopping,
    )
    app.include_router(create_web(pages))
    return app


def _health(of: Core) -> tuple[HealthCheck, ...]:
    """Sessions need PostgreSQL alone; without NATS or a provider confirmations wait."""
    return (
        HealthCheck("postgresql", of.store.head),
        HealthCheck("nats", of.bus.check, required=False),
    )


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
        Settlement(of.handler, watch, of.networks),
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


def expiry(of: Core) -> Expiry:
    return Expiry(PaymentReads(of.postgres), of.handler, of.clock)


@asynccontextmanager
async def signer(settings: Settings) -> AsyncIterator[SignerProcess]:
    """The signing process: its own role, the keystore, and nothing else of the gateway."""
    url, path, passphrase = (
        settings.database_url_signer,
        settings.keystore_path,
        settings.keystore_passphrase,
    )
    if url is None or path is None or passphrase is None:
        raise GatewayError(
            "the signer needs DATABASE_URL_SIGNER, KEYSTORE_PATH and KEYSTORE_PASSPHRASE"
        )
    keys = await asyncio.to_thread(open_keystore, path, passphrase.get_secret_value())
    postgres = Postgres(url.get_secret_value(), name="gateway-sign")
    async with postgres:
        yield SignerProcess(
            PostgresSigningBook(postgres), keys, settings.book(), SystemClock(), _caps(settings)
        )


def _caps(settings: Settings) -> Caps:
    return Caps(
        per_transaction=_micros(settings.signer_max_per_transaction),
        per_merchant_day=_micros(settings.signer_max_per_merchant_day),
        per_day=_micros(settings.signer_max_per_day),
    )


def _micros(dollars: str) -> int:
    return int(Decimal(dollars) * MICROS_PER_DOLLAR)

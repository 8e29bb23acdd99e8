"""The wiring of the API process: REST for merchants, the checkout for their customers.

Shapes  `chains` are opened clients of the networks' providers, asked only whether a contract
        wallet has signed; without them everything else works.
"""

import asyncio
from collections.abc import Mapping, Sequence

from fastapi import FastAPI

from adapters.addresses import checksum_address, parse_address
from adapters.chain_heads import PostgresChainHeads
from adapters.evm import EvmClient
from adapters.http_delivery import HttpPoster
from adapters.signatures import EvmSignatures
from adapters.wallet import XpubAddresses
from api.app import create_app
from api.services import ApiServices, HealthCheck
from application.claims import Claims
from application.inbox import Inbox
from application.merchant_settings import MerchantSettings
from application.refunds import Refunds
from application.sessions import Sessions
from application.webhooks import Webhooks
from gateway.bootstrap import Core, progress, statements, vault
from projections.delivery_reads import DeliveryReads
from projections.inbox_reads import InboxReads
from projections.merchant_reads import ApiKeyReads
from projections.payment_reads import PaymentReads
from projections.refund_reads import RefundReads
from projections.watchlist_reads import WatchListReads
from web.app import create_web
from web.services import WebServices


def api(
    of: Core,
    http: HttpPoster,
    stopping: asyncio.Event,
    chains: Mapping[str, Sequence[EvmClient]],
) -> FastAPI:
    """REST for merchants and the checkout for their customers, in one process."""
    services = _services(of, http, chains)
    app = create_app(services)
    pages = WebServices(
        handler=of.handler,
        claims=services.claims,
        session_reads=services.session_reads,
        inbox_reads=services.inbox_reads,
        heads=services.heads,
        networks=of.networks,
        clock=of.clock,
        write_address=checksum_address,
        public_base_url=services.public_base_url,
        hints=of.bus.hints,
        stopping=stopping,
    )
    app.include_router(create_web(pages))
    return app


def _services(
    of: Core, http: HttpPoster, chains: Mapping[str, Sequence[EvmClient]]
) -> ApiServices:
    secrets = vault(of)
    watch = WatchListReads(of.postgres, of.networks)
    sessions = Sessions(
        of.handler,
        of.networks,
        XpubAddresses(of.postgres),
        secrets,
        of.ids,
        PostgresChainHeads(of.postgres),
        amount_max=of.settings.amount_max,
    )
    signatures = EvmSignatures(chains, of.clock)
    claims = Claims(of.handler, of.networks, signatures, parse_address, checksum_address)
    return ApiServices(
        sessions=sessions,
        refunds=Refunds(of.handler, of.networks, watch, of.ids, parse_address),
        webhooks=Webhooks(of.handler, secrets, http, of.ids),
        claims=claims,
        inbox=Inbox(of.handler, of.networks),
        settings=MerchantSettings(of.handler, of.networks, watch, parse_address),
        statements=statements(of),
        handler=of.handler,
        api_keys=ApiKeyReads(of.postgres),
        session_reads=PaymentReads(of.postgres),
        refund_reads=RefundReads(of.postgres),
        delivery_reads=DeliveryReads(of.postgres),
        inbox_reads=InboxReads(of.postgres, of.networks),
        progress=progress(of),
        heads=PostgresChainHeads(of.postgres),
        networks=of.networks,
        clock=of.clock,
        ids=of.ids,
        write_address=checksum_address,
        parse_address=parse_address,
        public_base_url=of.settings.public_base_url.rstrip("/"),
        health=_health(of),
    )


def _health(of: Core) -> tuple[HealthCheck, ...]:
    """Sessions need PostgreSQL alone; without NATS or a provider confirmations wait."""
    return (
        HealthCheck("postgresql", of.store.head),
        HealthCheck("nats", of.bus.check, required=False),
    )

"""The wiring of the API process: REST for merchants, the checkout for their customers."""

import asyncio

from fastapi import FastAPI

from adapters.addresses import checksum_address, parse_address
from adapters.chain_heads import PostgresChainHeads
from adapters.http_delivery import HttpPoster
from adapters.wallet import XpubAddresses
from api.app import create_app
from api.services import ApiServices, HealthCheck
from application.refunds import Refunds
from application.sessions import Sessions
from application.webhooks import Webhooks
from gateway.bootstrap import Core, vault
from projections.delivery_reads import DeliveryReads
from projections.merchant_reads import ApiKeyReads
from projections.payment_reads import PaymentReads
from projections.refund_reads import RefundReads
from projections.watchlist_reads import WatchListReads
from web.app import create_web
from web.services import WebServices


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

"""The API as one ASGI application; gateway/bootstrap.py adds the pages for people beside it."""

from fastapi import FastAPI

from api import (
    docs,
    errors,
    health,
    openapi,
    payment_sessions,
    refunds,
    settings,
    statements,
    transfers,
    webhook_deliveries,
    webhook_endpoints,
)
from api.auth import KeyRing
from api.edge import Edge
from api.services import ApiServices

VERSION = "1"
DESCRIPTION = (
    "Payments in USDC and USDT to addresses only the merchant controls. "
    "Amounts are decimal strings; ids are opaque; every answer has an X-Request-Id."
)


def create_app(services: ApiServices) -> FastAPI:
    app = FastAPI(
        title="Stablecoin Gateway",
        version=VERSION,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.keys = KeyRing(services.api_keys, services.clock)
    resources = (
        payment_sessions,
        refunds,
        transfers,
        settings,
        statements,
        webhook_endpoints,
        webhook_deliveries,
    )
    for resource in resources:
        app.include_router(resource.router)
    app.include_router(health.router)
    app.include_router(docs.router)
    errors.install(app)
    openapi.install(app, services.public_base_url)
    https = services.public_base_url.startswith("https://")
    app.add_middleware(Edge, ids=services.ids, https=https)
    return app

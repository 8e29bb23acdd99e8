"""What the API is made of, handed in by gateway/bootstrap.py."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from api.views import Views
from application.callers import Caller
from application.claims import Claims
from application.handling import Handler
from application.inbox import Inbox
from application.instructions import WriteAddress
from application.merchant_settings import MerchantSettings
from application.ports import Clock, Ids, ParseAddress
from application.reads import (
    ApiKeys,
    ChainHeads,
    DeliveryReads,
    InboxReads,
    Progress,
    RefundReads,
    SessionReads,
)
from application.refunds import Refunds
from application.sessions import Sessions
from application.statements import Statements
from application.webhooks import Webhooks
from domain.networks import NetworkBook


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One thing this process needs. `check` raises Unavailable, or anything, when it is away."""

    name: str
    check: Callable[[], Awaitable[object]]
    # Without an optional one part of the work goes on: said, and still ready.
    required: bool = True


@dataclass(frozen=True, kw_only=True)
class ApiServices:
    sessions: Sessions
    refunds: Refunds
    webhooks: Webhooks
    claims: Claims
    inbox: Inbox
    settings: MerchantSettings
    statements: Statements
    handler: Handler
    api_keys: ApiKeys
    session_reads: SessionReads
    refund_reads: RefundReads
    delivery_reads: DeliveryReads
    inbox_reads: InboxReads
    progress: Progress
    heads: ChainHeads
    networks: NetworkBook
    clock: Clock
    ids: Ids
    write_address: WriteAddress
    parse_address: ParseAddress
    public_base_url: str  # "https://pay.example", no slash at the end
    health: tuple[HealthCheck, ...] = ()

    @cached_property
    def views(self) -> Views:
        return Views(self.networks, self.write_address, self.public_base_url)


async def _services(request: Request) -> ApiServices:
    services: ApiServices = request.app.state.services
    return services


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


# Both async: FastAPI would send a plain function to a thread.
Gateway = Annotated[ApiServices, Depends(_services)]
Who = Annotated[Caller, Depends(_caller)]

"""The merchant's books over HTTP: balances at any position of the log, statements by month."""

from typing import Annotated

import structlog
from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.routing import gateway_router, json_response, needs
from api.services import Gateway, Who
from api.statement_views import BalancesView, StatementView, Units
from application.statements import AHEAD_SECONDS, month_of

POSITION_MAX = 2**62
log = structlog.get_logger(__name__)
router = gateway_router("/v1", "Books")


class BalancesQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    at_position: Annotated[
        int | None, Field(ge=0, le=POSITION_MAX, description="of the log; without it, its end")
    ] = None


@router.get(
    "/balances",
    responses={200: {"model": BalancesView}},
    response_model=None,
    openapi_extra=needs("read"),
)
async def get_balances(
    query: Annotated[BalancesQuery, Query()], who: Who, gateway: Gateway
) -> Response:
    """What each of your accounts holds, now or at an earlier position of the log."""
    position, held = await gateway.statements.balances(
        who.merchant_id, who.mode, query.at_position
    )
    shown = BalancesView.of(
        held, position, Units(gateway.statements.units), live=who.mode == "live"
    )
    return json_response(shown.encoded())


@router.get(
    "/statements/{month}",
    responses={200: {"model": StatementView}},
    response_model=None,
    openapi_extra=needs("read"),
)
async def get_statement(month: str, who: Who, gateway: Gateway) -> Response:
    """A month of your books, in UTC, with its invoice; preliminary until the month is over."""
    statement = await gateway.statements.statement(who.merchant_id, who.mode, month_of(month))
    if statement.recorded_ahead:
        log.error("recorded_in_the_future", seconds_min=AHEAD_SECONDS)
    return json_response(StatementView.of(statement, gateway.statements.units).encoded())

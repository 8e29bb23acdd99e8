"""Refunds over HTTP. An Idempotency-Key is required: a repeat must not pay twice."""

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import NewRefund, RefundsQuery, id_in
from api.idempotency import Answering, claim_of, once
from api.lookup import find_refund
from api.routing import gateway_router, json_response, needs
from api.services import Gateway, Who
from api.views import SESSION, ListView, RefundView
from domain.refund import Refund

router = gateway_router("/v1/refunds", "Refunds")


@router.post(
    "",
    status_code=201,
    responses={201: {"model": RefundView}},
    response_model=None,
    openapi_extra=needs("refund", idempotency="required"),
)
async def create_refund(body: NewRefund, who: Who, gateway: Gateway, request: Request) -> Response:
    """Give money back. It is set aside at once and paid on chain shortly after."""
    claim = await claim_of(request, required=True)
    session_id = id_in("payment_session_id", SESSION, body.payment_session_id)
    answer = Answering[Refund](201, lambda one: gateway.views.refund(one).encoded())

    async def work() -> Response:
        refund = await gateway.refunds.request(
            session_id, body.amount, body.reason, body.to_address, who, claim, answer
        )
        return answer.response(refund)

    return await once(gateway.handler.store, who, claim, work)


@router.get(
    "",
    responses={200: {"model": ListView[RefundView]}},
    response_model=None,
    openapi_extra=needs("read", views=True),
)
async def list_refunds(
    query: Annotated[RefundsQuery, Query()], who: Who, gateway: Gateway
) -> Response:
    """Newest first, a page at a time."""
    asked = query.payment_session_id
    page = await gateway.refund_reads.page(
        who.merchant_id,
        who.mode,
        session_id=id_in("payment_session_id", SESSION, asked) if asked else None,
        limit=query.limit,
        cursor=query.cursor,
    )
    listed = ListView[RefundView](
        data=tuple(gateway.views.refund(row.refund) for row in page.items),
        next_cursor=page.next_cursor,
        has_more=page.next_cursor is not None,
    )
    return json_response(listed.encoded())


@router.get(
    "/{refund_id}",
    responses={200: {"model": RefundView}},
    response_model=None,
    openapi_extra=needs("read", views=True),
)
async def get_refund(refund_id: str, who: Who, gateway: Gateway) -> Response:
    """Where a refund stands now."""
    refund = await find_refund(gateway, who, refund_id)
    return json_response(gateway.views.refund(refund).encoded())

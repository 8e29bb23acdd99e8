"""The delivery log over HTTP: what was sent, what was answered, and once more, please."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.bodies import DeliveriesQuery, id_in
from api.lookup import delivery_id_of, find_delivery
from api.routing import gateway_router, json_response, needs
from api.services import Gateway, Who
from api.views import ENDPOINT, ListView
from api.webhook_views import (
    DeliveryDetailView,
    DeliveryView,
    delivery_detail,
    delivery_view,
)

router = gateway_router("/v1/webhook-deliveries", "Webhook deliveries")


@router.get(
    "",
    responses={200: {"model": ListView[DeliveryView]}},
    response_model=None,
    openapi_extra=needs("read", views=True),
)
async def list_webhook_deliveries(
    query: Annotated[DeliveriesQuery, Query()], who: Who, gateway: Gateway
) -> Response:
    """Newest first, a page at a time."""
    asked = query.webhook_endpoint_id
    page = await gateway.delivery_reads.page(
        who.merchant_id,
        who.mode,
        endpoint_id=id_in("webhook_endpoint_id", ENDPOINT, asked) if asked else None,
        status=query.status,
        limit=query.limit,
        cursor=query.cursor,
    )
    listed = ListView[DeliveryView](
        data=tuple(delivery_view(row.delivery) for row in page.items),
        next_cursor=page.next_cursor,
        has_more=page.next_cursor is not None,
    )
    return json_response(listed.encoded())


@router.get(
    "/{delivery_id}",
    responses={200: {"model": DeliveryDetailView}},
    response_model=None,
    openapi_extra=needs("read", views=True),
)
async def get_webhook_delivery(delivery_id: str, who: Who, gateway: Gateway) -> Response:
    """One message for one endpoint, with every attempt and what was answered."""
    row = await find_delivery(gateway, who, delivery_id)
    attempts = await gateway.delivery_reads.attempts(row.delivery.delivery_id)
    return json_response(delivery_detail(row.delivery, attempts).encoded())


@router.post(
    "/{delivery_id}/replay",
    responses={200: {"model": DeliveryView}},
    response_model=None,
    openapi_extra=needs("write"),
)
async def replay_webhook_delivery(delivery_id: str, who: Who, gateway: Gateway) -> Response:
    """Another round of attempts with the same bytes; nothing changes while one is running."""
    delivery = await gateway.webhooks.replay(delivery_id_of(delivery_id), who)
    return json_response(delivery_view(delivery).encoded())

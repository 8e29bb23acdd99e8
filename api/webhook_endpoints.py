"""Webhook endpoints over HTTP. The secret is in the answer to the creation, and nowhere else."""

from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from api.bodies import NewWebhookEndpoint
from api.idempotency import REPLAYED, claim_of, once
from api.routing import gateway_router, json_response, needs
from api.services import ApiServices, Gateway, Who
from api.views import ENDPOINT, ListView
from api.webhook_views import (
    EndpointView,
    NewEndpointView,
    endpoint_view,
    new_endpoint_view,
)
from application.callers import Caller
from domain.errors import EndpointUnknown, PublicIdMalformed
from domain.merchant import Endpoint
from domain.values import parse_public_id

router = gateway_router("/v1/webhook-endpoints", "Webhook endpoints")


@router.post(
    "",
    status_code=201,
    responses={201: {"model": NewEndpointView}},
    response_model=None,
    openapi_extra=needs("write", idempotency="optional"),
)
async def create_webhook_endpoint(
    body: NewWebhookEndpoint, who: Who, gateway: Gateway, request: Request
) -> Response:
    """Where messages go from now on. Keep the secret: it is shown this once."""
    claim = await claim_of(request)
    event_types = tuple(dict.fromkeys(body.event_types))

    def respond(endpoint: Endpoint) -> tuple[int, bytes]:
        return 201, endpoint_view(endpoint).encoded()

    async def work() -> Response:
        endpoint, secret = await gateway.webhooks.create_endpoint(
            body.url, event_types, who, claim, respond
        )
        return json_response(new_endpoint_view(endpoint, secret).encoded(), 201)

    response = await once(gateway.handler.store, who, claim, work, look_first=True)
    if REPLAYED in response.headers:
        return await _with_secret(gateway, who, response)
    return response


async def _with_secret(gateway: ApiServices, who: Caller, stored: Response) -> Response:
    """Stored answers hold no secret; a repeat of the creation must still give the same one."""
    view = EndpointView.model_validate_json(bytes(stored.body))
    try:
        secret = await gateway.webhooks.secret_of(_endpoint_id(view.id), who)
    except EndpointUnknown:
        return stored  # deleted since
    whole = NewEndpointView(**dict(view), secret=secret)
    response = json_response(whole.encoded(), stored.status_code)
    response.headers[REPLAYED] = "true"
    return response


@router.get(
    "",
    responses={200: {"model": ListView[EndpointView]}},
    response_model=None,
    openapi_extra=needs("read"),
)
async def list_webhook_endpoints(who: Who, gateway: Gateway) -> Response:
    """All of them: a merchant has at most twenty."""
    endpoints = await gateway.webhooks.list_endpoints(who)
    listed = ListView[EndpointView](data=tuple(endpoint_view(one) for one in endpoints))
    return json_response(listed.encoded())


@router.get(
    "/{endpoint_id}",
    responses={200: {"model": EndpointView}},
    response_model=None,
    openapi_extra=needs("read"),
)
async def get_webhook_endpoint(endpoint_id: str, who: Who, gateway: Gateway) -> Response:
    """One endpoint; `enabled` is false once we have given up on it."""
    wanted = _endpoint_id(endpoint_id)
    for endpoint in await gateway.webhooks.list_endpoints(who):
        if endpoint.endpoint_id == wanted:
            return json_response(endpoint_view(endpoint).encoded())
    raise EndpointUnknown("there is no such webhook endpoint")


@router.delete(
    "/{endpoint_id}",
    status_code=204,
    response_model=None,
    openapi_extra=needs("write"),
)
async def delete_webhook_endpoint(endpoint_id: str, who: Who, gateway: Gateway) -> Response:
    """No new messages go there. What has been delivered stays on record."""
    await gateway.webhooks.delete_endpoint(_endpoint_id(endpoint_id), who)
    return Response(status_code=204)


def _endpoint_id(text: str) -> UUID:
    try:
        return parse_public_id(ENDPOINT, text)
    except PublicIdMalformed as error:
        raise EndpointUnknown("there is no such webhook endpoint") from error

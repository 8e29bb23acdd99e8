"""Routes that authenticate before anything of the request is read.

Shapes  a router of GatewayRoute, its operations declared with `openapi_extra=needs("write")`.
        An operation without a scope does not start: there is no way to forget one.
        Reads from read models are declared with `views=True`, and take `min_position`; answers
        to commands have X-Position (api/positions.py).
"""

from collections.abc import Callable, Coroutine
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from api.auth import KeyRing, authenticate
from api.positions import HEADER, OPENAPI_PARAMETER, wait_for_position
from api.services import ApiServices
from api.wire import StrictRequest
from application.positions import noted

Scope = Literal["read", "write", "refund"]
SCOPE = "x-required-scope"
JSON = "application/json"


def needs(
    scope: Scope,
    *,
    idempotency: Literal["required", "optional"] | None = None,
    views: bool = False,
) -> dict[str, Any]:
    """What the route asks for, where both the program and the OpenAPI document read it."""
    extra: dict[str, Any] = {SCOPE: scope, "security": [{"api_key": []}]}
    if views:
        extra["parameters"] = [OPENAPI_PARAMETER]
    if idempotency is not None:
        extra["parameters"] = [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": idempotency == "required",
                "description": "1 to 255 visible ASCII characters, new for every intended "
                "operation. The same key and body give the same answer.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            }
        ]
    return extra


class GatewayRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        extra = self.openapi_extra or {}
        scope: str = extra[SCOPE]
        views = OPENAPI_PARAMETER in extra.get("parameters", ())
        reads = "GET" in (self.methods or ())

        async def guarded(request: Request) -> Response:
            keys: KeyRing = request.app.state.keys
            gateway: ApiServices = request.app.state.services
            request.state.caller = await authenticate(request, keys, scope)
            if views:
                request = await wait_for_position(request, gateway)
            strict = StrictRequest(request.scope, request.receive)
            if reads:
                return await answer(strict)
            with noted() as written:
                response = await answer(strict)
            # What changed nothing, or was answered before, is in the log as it stands now.
            position = written.position or await gateway.handler.store.head()
            response.headers[HEADER] = str(position)
            return response

        return guarded


def gateway_router(prefix: str, tag: str) -> APIRouter:
    return APIRouter(prefix=prefix, tags=[tag], route_class=GatewayRoute)


def json_response(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type=JSON)

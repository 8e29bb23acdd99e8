"""The outermost layer: a request id, security headers, and 500 instead of a trace.

Shapes  X-Request-Id is taken over when it is 1 to 64 safe characters, else a new one is made;
        it is on every answer, in every problem and in every log line of the request.
        A route's own header wins over the one written here.
Errors  an exception that reaches this layer is our bug: logged whole, answered without a word
        of it. Once an answer has begun it can only be cut off.
"""

import re
from urllib.parse import quote

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import Problem, response_of
from application.ports import Ids

log = structlog.get_logger(__name__)

_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
STRICT_TRANSPORT = {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"}


class Edge:
    def __init__(self, app: ASGIApp, *, ids: Ids, https: bool) -> None:
        self._app = app
        self._ids = ids
        self._headers = HEADERS | STRICT_TRANSPORT if https else HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = self._request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        begun = False

        async def marked(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self._mark(MutableHeaders(scope=message), request_id)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, marked)
            except Exception:
                log.exception("request_failed", path=scope["path"], method=scope["method"])
                if begun:
                    raise
                await _our_mistake(scope, request_id)(scope, receive, marked)

    def _request_id(self, scope: Scope) -> str:
        asked = Headers(scope=scope).get("x-request-id", "")
        return asked if _SAFE_ID.fullmatch(asked) else f"req_{self._ids.new().hex}"

    def _mark(self, headers: MutableHeaders, request_id: str) -> None:
        headers["X-Request-Id"] = request_id
        for name, value in self._headers.items():
            headers.setdefault(name, value)


def _our_mistake(scope: Scope, request_id: str) -> ASGIApp:
    problem = Problem(500, "internal", "this is our mistake; tell us the request id")
    return response_of(problem, instance=quote(scope["path"]), request_id=request_id)

"""From exceptions to problems: the only place where the two meet.

Errors  Refusal: by its class. RequestValidationError: 422, each field named. Unavailable: 503
        with the service and Retry-After, but AskedTooOften 429. KeyAlreadyUsed never comes here (api/idempotency.py).
        Anything else is our bug: api/edge.py answers 500 and logs it.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.problems import (
    Details,
    Problem,
    refused,
    response_of,
    too_often,
    unavailable,
    unknown_resource,
)
from api.wire import NUMBERS
from application.ports import AskedTooOften, NotReadYet, StoreBusy, StoreUnavailable, Unavailable
from domain.errors import Refusal

log = structlog.get_logger(__name__)

_ISSUES = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "string_unicode": "holds half of a surrogate pair",
}
_NUMBER_AS_TEXT = 'write it as a string, such as "10.00"; JSON numbers are refused'


def install(app: FastAPI) -> None:
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(Refusal, _on_refusal)
    app.add_exception_handler(Unavailable, _on_unavailable)


def answer(request: Request, problem: Problem) -> Response:
    return response_of(
        problem,
        instance=quote(request.scope["path"]),
        request_id=request.state.request_id,
    )


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, Problem):
        return answer(request, error)
    if error.status_code == 405:
        message = f"{request.method} is not possible here"
        problem = Problem(405, "method.not_allowed", message, headers=error.headers)
        return answer(request, problem)
    if error.status_code == 404:
        return answer(request, unknown_resource())
    code = "request.invalid" if error.status_code < 500 else "internal"
    return answer(request, Problem(error.status_code, code, "the request cannot be answered"))


async def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return answer(request, refused(error))


async def _on_unavailable(request: Request, error: Exception) -> Response:
    assert isinstance(error, Unavailable)
    path = request.scope["path"]
    log.warning("service_unavailable", service=error.service, reason=error.reason, path=path)
    if isinstance(error, AskedTooOften):
        return answer(request, too_often(error.reason, error.retry_after_seconds))
    if isinstance(error, StoreBusy):
        seconds = error.retry_after_seconds
        return answer(
            request, unavailable(error.service, error.reason, retry_after_seconds=seconds)
        )
    return answer(request, unavailable(error.service, _said(error)))


def _said(error: Unavailable) -> str:
    """What a merchant may read: never an address or a driver's words."""
    if isinstance(error, StoreUnavailable) and error.outcome_unknown:
        return "the answer was lost; repeat the request with the same Idempotency-Key"
    if isinstance(error, NotReadYet):
        return error.reason
    return "it does not answer; nothing was changed, try again"


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    details = details_of(error.errors())
    field, issue = details[0]
    problem = Problem(422, "request.invalid", f"{field}: {issue}", details=details)
    return answer(request, problem)


def details_of(found: Sequence[Any]) -> Details:
    return tuple((_field(one["loc"]), _issue(one)) for one in found)


def _field(loc: Sequence[object]) -> str:
    """The path a caller recognises: without the place it was read from, unless that is all."""
    steps = [str(step) for step in loc if step != "[key]"]
    return ".".join(steps[1:] or steps)


def _issue(one: dict[str, Any]) -> str:
    kind: str = one["type"]
    if kind == "string_type" and isinstance(one.get("input"), NUMBERS):
        return _NUMBER_AS_TEXT
    if kind in _ISSUES:
        return _ISSUES[kind]
    message: str = one["msg"]
    return message.removeprefix("Value error, ")

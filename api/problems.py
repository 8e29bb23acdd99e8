"""Every error the API answers: one shape, permanent codes, the field named.

Shapes  application/problem+json (RFC 9457) with type, title, status, detail, instance, and a
        member `error`: {type, message, details: [{field, issue}], request_id}. `error.type` is
        the permanent code; `type` is the place in /docs that explains it.
Errors  a Problem carries no trace, no value the caller sent, and nothing of our insides.
"""

import json
import re
from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.responses import Response

from domain import errors as refusals

MEDIA_TYPE = "application/problem+json"
DETAILS_MAX = 20
INSTANCE_LENGTH_MAX = 200
RETRY_AFTER_SECONDS = 2

Details = tuple[tuple[str, str], ...]  # field, issue

CONFLICTS: frozenset[type[refusals.Refusal]] = frozenset(
    {
        refusals.ClaimNotNeeded,
        refusals.EndpointLimitReached,
        refusals.ReceivingAddressMissing,
        refusals.RefundFloatTooSmall,
        refusals.RefundNotPossible,
        refusals.SessionNotOpen,
        refusals.TooManyClaims,
        refusals.TransferNotConfirmed,
        refusals.TransferNotOnChain,
        refusals.TransferNotUnmatched,
        refusals.WalletMissing,
    }
)
UNKNOWNS: frozenset[type[refusals.Refusal]] = frozenset(
    {
        refusals.ApiKeyUnknown,
        refusals.DeliveryUnknown,
        refusals.EndpointUnknown,
        refusals.RefundUnknown,
        refusals.SessionUnknown,
        refusals.TransferUnknown,
    }
)
# Codes of the API itself; the others are those of domain/errors.py.
API_CODES = {
    "api_key.missing": "Send the API key: Authorization: Bearer sk_test_...",
    "api_key.invalid": "The API key is mistyped, unknown or revoked.",
    "api_key.scope_missing": "The API key lacks the scope this operation needs.",
    "idempotency_key_missing": "This operation needs the header Idempotency-Key.",
    "idempotency_key_malformed": "An Idempotency-Key is 1 to 255 visible ASCII characters.",
    "idempotency_key_reused": "The Idempotency-Key was used before for another request.",
    "request.body_malformed": "The body is not one well-formed JSON document.",
    "request.body_too_large": "The body is larger than the bound.",
    "request.body_too_slow": "The body did not arrive in time.",
    "request.media_type_unsupported": "Send JSON: Content-Type: application/json.",
    "request.invalid": "One or more fields are wrong; details names each.",
    "request.too_often": "Too much of this was asked; Retry-After says when to try again.",
    "resource.unknown": "No route leads here.",
    "method.not_allowed": "This resource does not know the method.",
    "service.unavailable": "Something we need does not answer; try again later.",
    "view.behind": "What you asked to see is not in the read models yet; try again.",
    "internal": "Our mistake. Nothing was promised; tell us the request id.",
}


class Problem(HTTPException):
    """An answer that is no success. Of HTTPException, so that no framework layer swallows it."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Details = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.code = code
        self.message = message
        self.details = details


def unknown_resource() -> Problem:
    """No route leads here."""
    return Problem(404, "resource.unknown", "there is no such resource")


def refused(refusal: refusals.Refusal) -> Problem:
    kind = type(refusal)
    status = 404 if kind in UNKNOWNS else 409 if kind in CONFLICTS else 422
    field = refusal.at_field
    details = ((field, refusal.message),) if field else ()
    return Problem(status, refusal.code, refusal.message, details=details)


def unavailable(
    service: str, reason: str, *, retry_after_seconds: int = RETRY_AFTER_SECONDS
) -> Problem:
    return Problem(
        503,
        "service.unavailable",
        f"{service} is not available right now: {reason}",
        details=((service, reason),),
        headers={"Retry-After": str(retry_after_seconds)},
    )


def too_often(reason: str, retry_after_seconds: int) -> Problem:
    message = f"{reason}; try again in {retry_after_seconds} seconds"
    headers = {"Retry-After": str(retry_after_seconds)}
    return Problem(429, "request.too_often", message, headers=headers)


def body_of(problem: Problem, *, instance: str, request_id: str) -> bytes:
    details = [{"field": field, "issue": issue} for field, issue in problem.details[:DETAILS_MAX]]
    content = {
        "type": f"/docs#{problem.code}",
        "title": title_of(problem.code, problem.status_code),
        "status": problem.status_code,
        "detail": problem.message,
        "instance": instance[:INSTANCE_LENGTH_MAX],
        "error": {
            "type": problem.code,
            "message": problem.message,
            "details": details,
            "request_id": request_id,
        },
    }
    # ASCII, so that whatever a caller made us quote cannot break the encoding.
    return json.dumps(content, ensure_ascii=True).encode()


def title_of(code: str, status: int) -> str:
    for refusal in refusals.Refusal.__subclasses__():
        if refusal.code == code:
            return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", refusal.__name__).capitalize()
    words = re.sub(r"[._]", " ", code)
    return words.capitalize() if code in API_CODES else HTTPStatus(status).phrase


def response_of(problem: Problem, *, instance: str, request_id: str) -> Response:
    return Response(
        body_of(problem, instance=instance, request_id=request_id),
        problem.status_code,
        headers=dict(problem.headers or {}),
        media_type=MEDIA_TYPE,
    )

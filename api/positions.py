"""Reading what one has just written: X-Position out, min_position in.

Shapes  Every answer to a command has X-Position, a position of the log that contains what the
        command did. A read with `min_position` waits until the read models contain it.
Units   BEHIND_SECONDS_MAX bounds the wait; a read model is usually a tenth of that behind.
Errors  422 for what is no position, or, at once, one the log has not reached; 503 `view.behind` with
        Retry-After when the time is over.
"""

from typing import Any

from starlette.requests import Request

from api.problems import RETRY_AFTER_SECONDS, Problem
from api.services import ApiServices

HEADER = "X-Position"
PARAMETER = "min_position"
BEHIND_SECONDS_MAX = 3.0
POSITION_DIGITS_MAX = 18
DESCRIPTION = (
    f"Answer only from read models that contain this position of the log, the `{HEADER}` of an "
    f"earlier answer; at most {BEHIND_SECONDS_MAX:g} seconds are waited for it."
)
OPENAPI_PARAMETER: dict[str, Any] = {
    "name": PARAMETER,
    "in": "query",
    "required": False,
    "description": DESCRIPTION,
    "schema": {"type": "integer", "minimum": 0},
}
OPENAPI_HEADER: dict[str, Any] = {
    "description": "A position of the log that contains what this did: give it as "
    f"`{PARAMETER}` to a read that must show it.",
    "schema": {"type": "integer"},
}


async def wait_for_position(request: Request, gateway: ApiServices) -> Request:
    """The request without the parameter, once the read models contain what it asks for."""
    asked = request.query_params.getlist(PARAMETER)
    if not asked:
        return request
    position = _position_of(asked)
    progress = gateway.progress
    if not await progress.wait_for(position, timeout_seconds=0):
        # What the log has not reached cannot be from us, and no waiting would bring it.
        if position > await gateway.handler.store.head():
            raise _wrong(f"is a position that the log has not reached: give an {HEADER} you got")
        if not await progress.wait_for(position, timeout_seconds=BEHIND_SECONDS_MAX):
            raise _behind()
    return Request(_without_parameter(request), request.receive)


def _behind() -> Problem:
    issue = f"not contained after {BEHIND_SECONDS_MAX:g} seconds; try again"
    return Problem(
        503,
        "view.behind",
        f"{PARAMETER}: {issue}",
        details=((PARAMETER, issue),),
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def _position_of(asked: list[str]) -> int:
    text = asked[0]
    if len(asked) > 1 or not text.isascii() or not text.isdigit():
        raise _wrong("must be one whole number")
    if len(text) > POSITION_DIGITS_MAX:
        raise _wrong("is larger than any position")
    return int(text)


def _wrong(issue: str) -> Problem:
    details = ((PARAMETER, issue),)
    return Problem(422, "request.invalid", f"{PARAMETER}: {issue}", details=details)


def _without_parameter(request: Request) -> dict[str, Any]:
    """Query models are closed, and this one is not theirs."""
    pairs = request.scope["query_string"].split(b"&")
    name = PARAMETER.encode() + b"="
    left = b"&".join(pair for pair in pairs if not pair.startswith(name))
    return {**request.scope, "query_string": left}

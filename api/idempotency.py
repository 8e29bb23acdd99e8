"""One answer for one Idempotency-Key, whatever is repeated and in whatever order.

Shapes  a key is 1 to 255 visible ASCII characters, bare or as a quoted string; its scope is the
        merchant and the mode. The fingerprint is the SHA-256 of method, route template, path
        parameters and canonical body. The answer is stored in the transaction of the facts it
        speaks of, so the two are never apart, and a second request in flight waits there.
Errors  400 for a missing key where one is needed, 400 for a malformed one, 422 for a key that
        was used for another request. Refused requests store nothing.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from api.problems import Problem
from api.routing import json_response
from api.wire import canonical
from application.callers import Caller, Claim
from application.ports import EventStore, KeyAlreadyUsed, StoredResponse
from domain.errors import Refusal

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
T = TypeVar("T")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class Answering(Generic[T]):
    """Renders what was decided, once: the bytes that are stored are the bytes that are sent."""

    def __init__(self, status: int, encode: Callable[[T], bytes]) -> None:
        self._status = status
        self._encode = encode
        self._rendered: tuple[T, bytes] | None = None

    def __call__(self, decided: T) -> tuple[int, bytes]:
        if self._rendered is None or self._rendered[0] is not decided:
            self._rendered = (decided, self._encode(decided))
        return self._status, self._rendered[1]

    def response(self, decided: T) -> Response:
        status, body = self(decided)
        return json_response(body, status)


async def claim_of(request: Request, *, required: bool = False) -> Claim | None:
    header = request.headers.get(HEADER)
    if header is None:
        if required:
            issue = "is required here: a repeated request must not pay twice"
            raise _refused(400, "idempotency_key_missing", issue)
        return None
    key = header.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not _KEY.fullmatch(key):
        raise _refused(400, "idempotency_key_malformed", "needs 1 to 255 visible ASCII characters")
    return Claim(key, await _fingerprint(request))


async def _fingerprint(request: Request) -> str:
    said = {
        "method": request.method,
        "route": request.scope["route"].path,
        "path": request.path_params,
        "body": await request.json(),
    }
    return hashlib.sha256(canonical(said)).hexdigest()


async def once(
    store: EventStore,
    caller: Caller,
    claim: Claim | None,
    work: Callable[[], Awaitable[Response]],
    *,
    look_first: bool = False,
) -> Response:
    """Do the work, or give the answer it had the first time.

    `look_first` spares work with effects beside the log. A refusal is looked at twice: what is
    impossible now may be exactly what this key has done already.
    """
    if claim is None:
        return await work()
    if look_first:
        stored = await store.stored_response(caller.merchant_id, caller.mode, claim.key)
        if stored is not None:
            return _replay(stored, claim)
    try:
        return await work()
    except KeyAlreadyUsed as used:
        return _replay(used.stored, claim)
    except Refusal:
        stored = await store.stored_response(caller.merchant_id, caller.mode, claim.key)
        if stored is None:
            raise
        return _replay(stored, claim)


def _replay(stored: StoredResponse, claim: Claim) -> Response:
    if stored.fingerprint != claim.fingerprint:
        issue = "was used before for another request; take a new one"
        raise _refused(422, "idempotency_key_reused", issue)
    response = json_response(stored.body, stored.status)
    response.headers[REPLAYED] = "true"
    return response


def _refused(status: int, code: str, issue: str) -> Problem:
    return Problem(status, code, f"{HEADER} {issue}", details=((HEADER, issue),))

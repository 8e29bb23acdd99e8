"""API keys: who calls, and whether the key opens this operation.

Shapes  `Authorization: Bearer sk_test_...`. The checksum is looked at first, so a mistyped or
        invented key never reaches the database. Holders are remembered for KEY_TRUST_SECONDS:
        a revoked key is refused everywhere within that time.
Errors  401 for no key, a malformed one, an unknown one; 403 for a missing scope. Both before
        anything of the request is read, and before the idempotency key is.
"""

from collections import OrderedDict
from datetime import datetime, timedelta

from starlette.requests import Request

from api.problems import Problem
from application.api_keys import hash_of, parse
from application.callers import Caller
from application.ports import Clock
from application.reads import ApiKeys, KeyHolder

KEY_TRUST_SECONDS = 0.5
KEYS_REMEMBERED_MAX = 10_000
HEADER = "Authorization"


class KeyRing:
    """Who holds a key, asked at most once per key and trust window."""

    def __init__(self, api_keys: ApiKeys, clock: Clock) -> None:
        self._api_keys = api_keys
        self._clock = clock
        self._known: OrderedDict[str, tuple[datetime, KeyHolder]] = OrderedDict()

    async def holder(self, key: str) -> KeyHolder | None:
        key_hash = hash_of(key)
        known = self._known.get(key_hash)
        asked_at = self._clock.now()
        if known is not None and asked_at < known[0]:
            return known[1]
        holder = await self._api_keys.holder(key_hash)
        self._known.pop(key_hash, None)
        if holder is not None:
            # Counted from before the question: the answer may be as old as that.
            until = asked_at + timedelta(seconds=KEY_TRUST_SECONDS)
            self._known[key_hash] = (until, holder)
            if len(self._known) > KEYS_REMEMBERED_MAX:
                self._known.popitem(last=False)
        return holder


async def authenticate(request: Request, keys: KeyRing, scope: str) -> Caller:
    key = _bearer(request.headers.get(HEADER))
    mode = parse(key)
    holder = await keys.holder(key) if mode is not None else None
    if holder is None or holder.mode != mode:
        raise _unauthorized("api_key.invalid", "the API key is mistyped, unknown or revoked")
    if scope not in holder.scopes:
        issue = f"the API key lacks the scope {scope!r}"
        raise Problem(403, "api_key.scope_missing", issue, details=((HEADER, issue),))
    return Caller(
        merchant_id=holder.merchant_id,
        mode=holder.mode,
        key_id=holder.key_id,
        scopes=holder.scopes,
        request_id=request.state.request_id,
    )


def _bearer(header: str | None) -> str:
    scheme, _, key = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise _unauthorized(
            "api_key.missing", "send the API key as Authorization: Bearer sk_test_..."
        )
    return key.strip()


def _unauthorized(code: str, message: str) -> Problem:
    return Problem(
        401,
        code,
        message,
        details=((HEADER, message),),
        headers={"WWW-Authenticate": 'Bearer realm="stablecoin-gateway"'},
    )

"""JSON-RPC calls to one provider over HTTP: the wire, and how each way to fail is told apart.

Shapes  `call` gives the result, which may be None. Two time-outs and two bounds of size: for
        small answers, and for answers of many logs or receipts.
Units   seconds; bytes of an answer as it arrives.
Errors  application.chain_source.ProviderFailed, with its kind; RpcRefused is the answer of a
        node that says no. They name the provider, never its URL, which may hold a key; and
        where a provider repeats that key in its own words, it is taken out of them (keys_of).
"""

import asyncio
import gc
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import aiohttp
import orjson

from adapters.evm_errors import (
    backoff_seconds,
    kind_of_refusal,
    parts_of,
    retry_after_seconds,
)
from application.chain_source import FailureKind, ProviderFailed

TIMEOUT_SECONDS = 2.0
BULK_TIMEOUT_SECONDS = 10.0  # receipts and logs of many blocks
BODY_BYTES_MAX = 64 * 1024**2  # receipts and logs of many blocks
SMALL_BODY_BYTES_MAX = 4 * 1024**2  # everything else; a header names its transactions
CONNECTIONS_MAX = 16
LONG_BYTES = 256 * 1024
_TOO_MANY_REQUESTS, _PAYLOAD_TOO_LARGE, _UNAVAILABLE = 429, 413, 503
_REVERTED_CODE = 3
_REVERTS = ("revert", "vm execution error", "invalid opcode", "out of gas")
_JSON = {"Content-Type": "application/json"}
KEY_CHARACTERS_MIN = 8  # shorter parts of a URL are its version or the chain's name
HIDDEN = "…"


def keys_of(url: str) -> Sequence[str]:
    """What of a URL may be a secret, the longest first."""
    parts = urlsplit(url)
    values = [value for _, value in parse_qsl(parts.query)]
    raw = [*parts.path.split("/"), *values, parts.username or "", parts.password or ""]
    raw += parts.query.replace("=", "&").split("&")
    found = {each for text in raw for each in (text, unquote(text))}
    return sorted((each for each in found if len(each) >= KEY_CHARACTERS_MIN), key=len)[::-1]


def _any_of(keys: Sequence[str]) -> re.Pattern[str]:
    """Also one that was cut: a word that begins like a key is taken for it."""
    begins = [re.escape(key[:KEY_CHARACTERS_MIN]) + r"[\w.~%+@-]*" for key in keys]
    whole = [re.escape(key) for key in keys]
    return re.compile("|".join((*whole, *begins)) or r"(?!)", re.IGNORECASE)


class RpcRefused(ProviderFailed):
    """The node understood and said no."""

    def __init__(
        self,
        reason: str,
        code: int,
        message: str,
        *,
        kind: FailureKind = "refused",
        text: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(reason, kind, retry_after_seconds=retry_after_seconds)
        self.code = code
        self.message = message
        self.text = message if text is None else text  # with what `data` adds

    @property
    def reverted(self) -> bool:
        """Whether the contract refused, and not the node."""
        said = self.message.lower()
        return self.code == _REVERTED_CODE or any(word in said for word in _REVERTS)


class JsonRpc:
    """One provider's endpoint. `open` before use, `close` after."""

    def __init__(self, url: str, name: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.name = name
        self._url = url
        self._keys = _any_of(keys_of(url))
        self._timeout_seconds = timeout_seconds
        self._session: aiohttp.ClientSession | None = None
        self._last_id = 0

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
            # A provider that answers with a redirect or a cookie gets neither.
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(self, method: str, params: Sequence[object], *, bulk: bool = False) -> Any:
        seconds, bytes_max = self._timeout_seconds, SMALL_BODY_BYTES_MAX
        if bulk:
            seconds, bytes_max = max(seconds, BULK_TIMEOUT_SECONDS), BODY_BYTES_MAX
        self._last_id += 1
        request_id = self._last_id
        request = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        try:
            async with asyncio.timeout(seconds):
                return await self._answered(method, request_id, orjson.dumps(request), bytes_max)
        except TimeoutError as error:
            raise self.failure(f"{method}: no answer in {seconds} s", "timeout") from error
        except aiohttp.ClientPayloadError as error:
            raise self.failure(f"{method}: the answer breaks off", "truncated") from error
        except aiohttp.ClientError as error:
            raise self.failure(f"{method}: {type(error).__name__}", "connection") from error
        except orjson.JSONDecodeError as error:
            raise self.failure(f"{method}: the answer is not JSON", "truncated") from error

    def failure(
        self, reason: str, kind: FailureKind, *, retry_after_seconds: float | None = None
    ) -> ProviderFailed:
        return ProviderFailed(
            f"{self.name}: {self.hidden(reason)}", kind, retry_after_seconds=retry_after_seconds
        )

    def hidden(self, text: str) -> str:
        """Without our key: logs are read, kept and passed on by people who may not have it."""
        return self._keys.sub(HIDDEN, text)

    async def _answered(self, method: str, request_id: int, body: bytes, bytes_max: int) -> Any:
        session = self._session
        if session is None:
            raise self.failure("the client is closed", "connection")
        async with session.post(
            self._url, data=body, headers=_JSON, allow_redirects=False
        ) as response:
            answer = await self._body(response, bytes_max)
            wait_seconds = retry_after_seconds(response.headers.get("Retry-After"))
            # Nodes send JSON-RPC errors with 4xx as well: those are worth reading.
            if response.status != 200 and not answer.lstrip().startswith(b"{"):
                raise self._http_failure(response.status, wait_seconds)
        return self._result(method, request_id, response.status, _parsed(answer), wait_seconds)

    async def _body(self, response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
        answer = bytearray()
        async for chunk in response.content.iter_any():
            answer += chunk
            if len(answer) > bytes_max:
                raise self.failure(f"more than {bytes_max} bytes in one answer", "too_large")
        return bytes(answer)

    def _http_failure(self, status: int, wait_seconds: float | None) -> ProviderFailed:
        kind: FailureKind = "http_status"
        if status == _PAYLOAD_TOO_LARGE:
            kind = "too_large"
        elif status == _TOO_MANY_REQUESTS or (status == _UNAVAILABLE and wait_seconds is not None):
            kind = "rate_limited"
        return self.failure(f"HTTP status {status}", kind, retry_after_seconds=wait_seconds)

    def _result(
        self, method: str, request_id: int, status: int, answer: Any, wait_seconds: float | None
    ) -> Any:
        if not isinstance(answer, dict):
            raise self.failure(f"{method}: no JSON-RPC answer", "wrong_shape")
        error = answer.get("error")
        if error is not None:
            raise self._refusal(method, status, error, wait_seconds)
        if status != 200:
            raise self._http_failure(status, wait_seconds)
        if answer.get("id") != request_id:
            raise self.failure(f"{method}: the answer to another request", "wrong_id")
        if "result" not in answer:
            raise self.failure(f"{method}: an answer without a result", "wrong_shape")
        return answer["result"]

    def _refusal(
        self, method: str, status: int, error: Any, wait_seconds: float | None
    ) -> RpcRefused:
        code, message, text = parts_of(error, self.hidden)
        kind = kind_of_refusal(code, text)
        if kind == "range_refused" and method != "eth_getLogs":
            kind = "refused"
        if status == _TOO_MANY_REQUESTS and kind != "range_refused":
            kind = "rate_limited"
        return RpcRefused(
            f"{self.name}: {method}: {code} {message}",
            code,
            message,
            kind=kind,
            text=text,
            retry_after_seconds=backoff_seconds(error) if wait_seconds is None else wait_seconds,
        )


def _parsed(answer: bytes) -> Any:
    """A long answer is parsed without looking for garbage, which takes two fifths of the time.

    Nothing that is just being made can be garbage, and there are no cycles in JSON.
    """
    if len(answer) < LONG_BYTES or not gc.isenabled():
        return orjson.loads(answer)
    gc.disable()
    try:
        return orjson.loads(answer)
    finally:
        gc.enable()

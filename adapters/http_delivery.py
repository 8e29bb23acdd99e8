"""Signs one webhook message and posts it once; tells what came back.

Shapes  URLs come from merchants. What they say is checked when they are registered; where they
        lead is checked on every attempt, for each address, right before the socket connects: a
        name that changes its mind (rebinding) and a literal in odd clothes meet the same check.
        Each attempt has a connection of its own: a kept one that the receiver closes in the
        same moment would cost an attempt, and would not be checked again.
Units   latency in ms until the status line and headers are there.
Errors  EndpointUrlRefused from `check_url`, with one message for every target we do not post
        to, so that the answer says nothing about our network. `post` raises nothing for what a
        receiver does: `Attempted.error` is one of the words below.
Source  the address check hangs on aiohttp's `socket_factory`, which runs inside its connect.
"""

import asyncio
import contextlib
import email.utils
import socket
import time
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
import structlog
from yarl import URL

from adapters.name_lookup import NameLookup
from adapters.public_addresses import may_post_to
from adapters.webhook_signatures import signed_headers
from application.outside import Attempted
from application.ports import Clock
from domain.errors import EndpointUrlRefused

log = structlog.get_logger(__name__)

RESPONSE_BYTES_MAX = 16_384
RESPONSE_SECONDS_MAX = 2.0  # for the body; the status alone decides
HEADER_LINE_BYTES_MAX = 8_190
HEADERS_MAX = 64
URL_LENGTH_MAX = 2_048
LOOKUP_SECONDS_MAX = 5.0
LOOKUP_KEPT_SECONDS = 10
RETRY_AFTER_SECONDS_MAX = 86_400
CONNECTIONS_MAX = 256
PORTS = frozenset({443, 8443})
USER_AGENT = "StablecoinGateway-Webhooks/1"

TIMED_OUT: Final = "timed out"
NOT_REACHED: Final = "could not connect"
CERTIFICATE_REFUSED: Final = "certificate refused"
REDIRECTED: Final = "redirects are not followed"
BROKEN: Final = "the connection broke"
URL_REFUSED: Final = "url refused"

_UNREACHABLE = "the URL's host must be reachable on a public address"


class _AddressRefused(OSError):  # noqa: N818 - named like the refusals
    """An address of a network we do not post to."""


class HttpPoster:
    """The WebhookPoster of a process. Made inside or outside the loop; closed once."""

    def __init__(self, *, allow_private: bool, clock: Clock, timeout_seconds: float = 15) -> None:
        self._allow_private = allow_private
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._lookup = NameLookup()
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        await self._lookup.close()

    async def check_url(self, url: str) -> None:
        parsed = self._parsed(url)
        assert parsed.host is not None
        try:
            async with asyncio.timeout(LOOKUP_SECONDS_MAX):
                found = await self._lookup.resolve(parsed.host, parsed.port or 0)
        except (OSError, UnicodeError, ValueError) as error:
            raise EndpointUrlRefused(_UNREACHABLE) from error
        if not found or not all(self._may_post_to(answer["host"]) for answer in found):
            raise EndpointUrlRefused(_UNREACHABLE)

    async def post(
        self, *, url: str, secrets: Sequence[bytes], message_id: str, body: bytes
    ) -> Attempted:
        began = time.perf_counter_ns()
        try:
            target = self._parsed(url)
        except EndpointUrlRefused:
            return _unanswered(URL_REFUSED, began)
        timestamp = int(self._clock.now().timestamp())
        headers = signed_headers(secrets, message_id=message_id, timestamp=timestamp, body=body)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._exchange(target, headers, body, began)
        except Exception as error:  # noqa: BLE001 - whatever a receiver does is an answer
            return _unanswered(_word_for(error, target), began)

    async def _exchange(
        self, target: URL, headers: dict[str, str], body: bytes, began: int
    ) -> Attempted:
        request = self._opened().post(
            target, data=body, headers=headers, allow_redirects=False, proxy=None
        )
        async with request as response:
            latency_ms = _since(began)
            status = response.status
            retry_after = response.headers.get("Retry-After")
            excerpt = await _excerpt(response)
            response.close()
        error = _word_for_status(status)
        return Attempted(
            status_code=status,
            latency_ms=latency_ms,
            error=error,
            response_excerpt=excerpt,
            retry_after_seconds=self._seconds(retry_after) if error else None,
        )

    def _opened(self) -> aiohttp.ClientSession:
        """Made at the first attempt, because a session belongs to the loop it is made in."""
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=self._lookup,
                socket_factory=self._socket,
                ttl_dns_cache=LOOKUP_KEPT_SECONDS,
                limit=CONNECTIONS_MAX,
                force_close=True,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                trust_env=False,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                max_line_size=HEADER_LINE_BYTES_MAX,
                max_field_size=HEADER_LINE_BYTES_MAX,
                max_headers=HEADERS_MAX,
                headers={
                    "User-Agent": USER_AGENT,
                    "Content-Type": "application/json",
                    "Accept": "*/*",
                    "Accept-Encoding": "identity",
                },
            )
        return self._session

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        """Called for each address right before it is connected to: the check that counts."""
        family, kind, protocol, _, place = address
        if not self._may_post_to(str(place[0])):
            raise _AddressRefused(f"{place[0]} is not a public address")
        if not self._allow_private and place[1] not in PORTS:
            raise _AddressRefused(f"port {place[1]} is not one of {sorted(PORTS)}")
        return socket.socket(family, kind, protocol)

    def _may_post_to(self, address: str) -> bool:
        return may_post_to(address, allow_private=self._allow_private)

    def _parsed(self, url: str) -> URL:
        """The URL when what it says is allowed; where it leads is another question."""
        if len(url) > URL_LENGTH_MAX or not url.isprintable() or " " in url or "\\" in url:
            raise EndpointUrlRefused(f"a URL has at most {URL_LENGTH_MAX} plain characters")
        try:
            parsed = URL(url)
            port = parsed.port
        except ValueError as error:
            raise EndpointUrlRefused("this is no URL") from error
        schemes = ("https", "http") if self._allow_private else ("https",)
        if parsed.scheme not in schemes or not parsed.host:
            raise EndpointUrlRefused("the URL must begin with https:// and name a host")
        if "@" in url.split("://", 1)[1].split("/", 1)[0] or parsed.user or parsed.password:
            raise EndpointUrlRefused("the URL must not carry a user name or a password")
        if not self._allow_private and port not in PORTS:
            raise EndpointUrlRefused("the URL's port must be 443 or 8443")
        return parsed

    def _seconds(self, retry_after: str | None) -> int | None:
        """Retry-After in whole seconds from now: a count, or a date (RFC 9110, 10.2.3)."""
        text = (retry_after or "").strip()
        if text.isascii() and text.isdigit():
            return min(int(text[:9]), RETRY_AFTER_SECONDS_MAX)
        try:
            moment = email.utils.parsedate_to_datetime(text)
            seconds = int((moment - self._clock.now()).total_seconds())
        except (ValueError, TypeError, OverflowError):
            return None
        return min(max(seconds, 0), RETRY_AFTER_SECONDS_MAX)


async def _excerpt(response: aiohttp.ClientResponse) -> bytes:
    """What the receiver says, as far as it says it at once: its status has decided already."""
    kept = bytearray()
    with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(RESPONSE_SECONDS_MAX):
            while len(kept) < RESPONSE_BYTES_MAX:
                piece = await response.content.read(RESPONSE_BYTES_MAX - len(kept))
                if not piece:
                    break
                kept += piece
    return bytes(kept)


def _word_for_status(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    return REDIRECTED if 300 <= status < 400 else f"answered {status}"


def _word_for(error: Exception, target: URL) -> str:
    """What the merchant reads. A refused address reads like one where nobody listens."""
    if isinstance(error, TimeoutError):
        return TIMED_OUT
    if isinstance(
        error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError
    ):
        return CERTIFICATE_REFUSED
    if isinstance(error, aiohttp.ClientConnectorError):
        if isinstance(error.os_error, _AddressRefused):
            log.warning("webhook_address_refused", host=target.host, reason=str(error.os_error))
        return NOT_REACHED
    if isinstance(error, aiohttp.InvalidURL):
        return URL_REFUSED
    if not isinstance(error, aiohttp.ClientError | OSError):
        # Without the traceback: a renderer that shows locals would show the secrets.
        log.error("webhook_post_failed", host=target.host, error=repr(error))
    return BROKEN


def _unanswered(error: str, began: int) -> Attempted:
    return Attempted(
        status_code=None,
        latency_ms=_since(began),
        error=error,
        response_excerpt=b"",
        retry_after_seconds=None,
    )


def _since(began: int) -> int:
    return (time.perf_counter_ns() - began) // 1_000_000

"""A merchant's side of a webhook: an HTTP server that checks both signatures and remembers.

Shapes  WebhookReceiver(...).start() listens on a loopback port; `url` is what to register. The
        secret is known only after that: `trust` it then. Until it is trusted, and for a message
        that does not verify, the answer is 4xx, and the message is in `refused`.
        X-Webhook-* is checked by us, webhook-* by the `standardwebhooks` library: the receiver
        fails when either would not accept the message.
Units   a timestamp may be 300 seconds away; a body has at most 256 KiB.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from adapters.webhook_signatures import SignatureRefused, verify_plain
from application.ports import Clock

BODY_BYTES_MAX = 262_144
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came in, in the order of arrival."""

    body: bytes
    headers: Mapping[str, str] = field(repr=False)
    path: str

    @property
    def message(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed

    @property
    def type(self) -> str:
        return str(self.message["type"])


class WebhookReceiver:
    def __init__(self, clock: Clock, *, host: str = LOOPBACK, port: int = 0) -> None:
        self.received: list[Received] = []
        self.refused: list[tuple[Received, str]] = []
        # What to answer to a message that verifies; a test may put another one in.
        self.answer: Callable[[Received], web.StreamResponse] = lambda _: web.Response(status=204)
        self._clock = clock
        self._host = host
        self._port = port
        self._secrets: list[str] = []
        self._runner: web.AppRunner | None = None
        self._news = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}/webhooks"

    def trust(self, secret: str) -> None:
        self._secrets.append(secret)

    async def start(self) -> None:
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_post("/{path:.*}", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def wait_for(
        self, wanted: Callable[[Received], bool], *, timeout_seconds: float
    ) -> Received:
        """The first message that is wanted, already here or yet to come. Raises TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            while True:
                self._news.clear()
                for received in self.received:
                    if wanted(received):
                        return received
                await self._news.wait()

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        received = Received(await request.read(), request.headers.copy(), request.path)
        reason = self._reason_to_refuse(received)
        if reason is not None:
            self.refused.append((received, reason))
            return web.Response(status=401, text=reason)
        self.received.append(received)
        self._news.set()
        return self.answer(received)

    def _reason_to_refuse(self, received: Received) -> str | None:
        """None when one of the trusted secrets signed the message, in both schemes."""
        reason = "no secret is trusted yet"
        for secret in self._secrets:
            try:
                now = int(self._clock.now().timestamp())
                verify_plain(secret.encode(), received.headers, received.body, now=now)
                Webhook(secret).verify(received.body, dict(received.headers))
            except (SignatureRefused, WebhookVerificationError) as refused:
                reason = str(refused)
            else:
                return None
        return reason

"""The live status of one checkout page as server-sent events.

Shapes  `event: status`, `id:` the version of the session, data a JSON object with the public
        fields and the panel as HTML the server has rendered, so the page has one author.
        `event: end` when nothing more will change. Every event is the whole state, so a
        reconnecting page is right at once, whatever it missed.
Units   a hint makes a stream look again, no sooner than LOOK_GAP_SECONDS; without hints it
        looks every POLL_SECONDS. A comment every KEEP_ALIVE_SECONDS, an end after
        STREAM_SECONDS_MAX: the browser then opens a new one.
Errors  at most STREAMS_MAX at once, then 503 and the page polls by itself. An outage keeps the
        stream open and is asked again.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import structlog
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from application.ports import Unavailable
from web.checkout import Checkout
from web.loading import Loader
from web.services import Hints

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.5
LOOK_GAP_SECONDS = 0.25
KEEP_ALIVE_SECONDS = 15
STREAM_SECONDS_MAX = 30 * 60
STREAMS_MAX = 500
RECONNECT_MILLISECONDS = 2_000
SUBJECT = "hint.*.head"  # the log's and every network's


class Wakeups:
    """One listener a process; every stream waits for the next hint after its last look."""

    def __init__(self, hints: Hints | None) -> None:
        self._hints = hints
        self._next = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Begin with the first stream: a process without pages subscribes to nothing."""
        if self._hints is not None and self._listening is None:
            self._listening = asyncio.create_task(self._pass_on(self._hints(SUBJECT)))

    async def _pass_on(self, hints: AsyncIterator[bytes]) -> None:
        try:
            async for _ in hints:
                self._wake()
        except Exception:
            # Hints are a courtesy: the streams poll on.
            log.exception("hints_ended")

    def _wake(self) -> None:
        passed, self._next = self._next, asyncio.Event()
        passed.set()

    async def wait(self, timeout_seconds: float) -> None:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._next.wait()
        except TimeoutError:
            return

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listening = None


class Streams:
    """The open streams of this process."""

    def __init__(
        self,
        loader: Loader,
        wakeups: Wakeups,
        stopping: asyncio.Event,
        *,
        streams_max: int = STREAMS_MAX,
    ) -> None:
        self._loader = loader
        self._wakeups = wakeups
        self._stopping = stopping
        self._streams_max = streams_max
        self._open = 0

    @property
    def full(self) -> bool:
        return self._open >= self._streams_max

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places, held as long as the answer is being sent."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def follow(
        self, session_id: str, render: Callable[[Checkout], str]
    ) -> AsyncIterator[bytes]:
        now = asyncio.get_running_loop().time
        until, spoken_at = now() + STREAM_SECONDS_MAX, now()
        shown: tuple[object, ...] | None = None
        self._wakeups.listen()
        yield f"retry: {RECONNECT_MILLISECONDS}\n\n".encode()
        while now() < until and not self._stopping.is_set():
            checkout = await self._look(session_id)
            if checkout is not None and checkout.state() != shown:
                shown, spoken_at = checkout.state(), now()
                yield event_of(checkout, render(checkout))
                if checkout.final:
                    yield b"event: end\ndata: {}\n\n"
                    return
            elif now() - spoken_at >= KEEP_ALIVE_SECONDS:
                spoken_at = now()
                yield b": still here\n\n"
            await asyncio.sleep(LOOK_GAP_SECONDS)
            await self._wakeups.wait(POLL_SECONDS - LOOK_GAP_SECONDS)

    async def _look(self, session_id: str) -> Checkout | None:
        try:
            return await self._loader.load(session_id)
        except Unavailable:
            return None


def event_of(checkout: Checkout, html: str) -> bytes:
    confirmations = checkout.confirmations
    data = {
        "stage": checkout.stage,
        "amount": checkout.amount,
        "amount_received": checkout.received,
        "confirmations": (
            {
                "seen": confirmations.seen,
                "required": confirmations.required,
                "waiting_for": confirmations.waiting_for,
            }
            if confirmations
            else None
        ),
        "tx_hash": checkout.tx_hash,
        "html": html,
    }
    return f"id: {checkout.version}\nevent: status\ndata: {json.dumps(data)}\n\n".encode()


class LiveResponse(StreamingResponse):
    """Holds its place until the last byte is sent or the reader has gone."""

    media_type = "text/event-stream"

    def __init__(self, streams: Streams, events: AsyncIterator[bytes]) -> None:
        # Proxies must pass each event on as it comes.
        super().__init__(events, headers={"X-Accel-Buffering": "no"})
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._streams.place():
            await super().__call__(scope, receive, send)

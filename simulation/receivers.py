"""Merchants' servers, to which webhooks are posted, and how they behave.

Shapes  Receivers are known by URL. A ReceiverFault sets how the next posts of one are treated;
        otherwise it answers 200 at once. Each post is kept as it reached the receiver.
        PosterWire signs as adapters/http_delivery.py does and waits as long.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from adapters.http_delivery import BROKEN, TIMED_OUT
from adapters.webhook_signatures import signed_headers
from application.outside import Attempted
from application.ports import Clock
from simulation.evidence import Post
from simulation.faults import Faults, Trace
from simulation.steps import Manner
from simulation.wires import Line

TIMEOUT_SECONDS = 15
SLOW_SECONDS = 8
WAIT_ASKED_SECONDS = 25


@dataclass
class Receivers:
    faults: Faults
    trace: Trace
    posts: list[Post] = field(default_factory=list)
    _manners: dict[str, list[Manner]] = field(default_factory=dict)

    def treat(self, url: str, manner: Manner, posts: int) -> None:
        self._manners[url] = [manner] * posts

    def be_fine(self) -> None:
        self._manners.clear()

    def manner(self, url: str) -> Manner:
        left = self._manners.get(url)
        manner = left.pop() if left else "fine"
        if manner != "fine":
            self.faults.count(f"receiver.{manner}")
        return manner


class PosterWire:
    """application.outside.WebhookPoster of one process."""

    def __init__(
        self, receivers: Receivers, line: Line, clock: Clock, now_us: Callable[[], int]
    ) -> None:
        self._receivers = receivers
        self._line = line
        self._clock = clock
        self._now_us = now_us

    async def check_url(self, url: str) -> None:
        del url  # they are all public here
        await asyncio.sleep(0)

    async def post(
        self, *, url: str, secrets: Sequence[bytes], message_id: str, body: bytes
    ) -> Attempted:
        await asyncio.sleep(0)
        await self._line.reach("before_post")
        now = self._clock.now()
        headers = signed_headers(
            secrets, message_id=message_id, timestamp=int(now.timestamp()), body=body
        )
        manner = self._receivers.manner(url)
        answered = _STATUS[manner]
        sent = Post(
            url=url,
            headers=headers,
            body=body.decode(),
            at_us=self._now_us(),
            answered=answered,
            heard=False,
            sender_at_us=int(now.timestamp() * 1_000_000),
        )
        place = len(self._receivers.posts)
        self._receivers.posts.append(sent)
        self._receivers.trace.add("post", url, message_id, sent.at_us, manner)
        await self._line.reach("after_post")
        attempted = await _answer(manner, answered)
        self._receivers.posts[place] = replace(sent, heard=attempted.status_code is not None)
        return attempted


_STATUS: dict[Manner, int | None] = {
    "fine": 200,
    "slow": 200,
    "error": 500,
    "lost_answer": 200,
    "gone": 410,
    "hanging": None,
    "asks_to_wait": 429,
}


async def _answer(manner: Manner, status: int | None) -> Attempted:
    if manner == "slow":
        await asyncio.sleep(SLOW_SECONDS)
    if manner == "hanging" or status is None:
        await asyncio.sleep(TIMEOUT_SECONDS)
        return _attempted(None, TIMEOUT_SECONDS, TIMED_OUT)
    if manner == "lost_answer":
        return _attempted(None, 1, BROKEN)
    seconds = SLOW_SECONDS if manner == "slow" else 0
    error = None if status < 300 else f"answered {status}"
    wait = WAIT_ASKED_SECONDS if manner == "asks_to_wait" else None
    return _attempted(status, seconds, error, wait)


def _attempted(
    status: int | None, seconds: int, error: str | None, wait: int | None = None
) -> Attempted:
    return Attempted(
        status_code=status,
        latency_ms=seconds * 1_000,
        error=error,
        response_excerpt=b"" if status is None else f"status {status}".encode(),
        retry_after_seconds=wait,
    )

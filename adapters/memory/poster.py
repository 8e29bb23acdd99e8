"""The webhook poster's twin: answers by script and remembers what was posted."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from application.outside import Attempted
from domain.errors import EndpointUrlRefused


@dataclass(frozen=True, slots=True)
class Post:
    url: str
    secrets: tuple[bytes, ...]
    message_id: str
    body: bytes


def answered(status_code: int, *, retry_after_seconds: int | None = None) -> Attempted:
    return Attempted(
        status_code=status_code,
        latency_ms=1,
        error=None if 200 <= status_code < 300 else f"answered {status_code}",
        response_excerpt=f"status {status_code}".encode(),
        retry_after_seconds=retry_after_seconds,
    )


TIMED_OUT = Attempted(
    status_code=None,
    latency_ms=15_000,
    error="timed out",
    response_excerpt=b"",
    retry_after_seconds=None,
)


class MemoryPoster:
    """Every URL answers 200 until told otherwise; a URL in `hanging` answers when it is set."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.in_flight: dict[str, int] = defaultdict(int)
        self.in_flight_max: dict[str, int] = defaultdict(int)
        self.hanging: dict[str, asyncio.Event] = {}
        self.refused: set[str] = set()
        self._news = asyncio.Event()
        self._answers: dict[str, deque[Attempted]] = defaultdict(deque)

    def script(self, url: str, *answers: Attempted) -> None:
        """The next answers of a URL; the last one is given for ever."""
        self._answers[url] = deque(answers)

    async def posted(self, count: int) -> None:
        """Wait until so many posts were made."""
        while len(self.posts) < count:
            self._news.clear()
            await self._news.wait()

    async def post(
        self, *, url: str, secrets: Sequence[bytes], message_id: str, body: bytes
    ) -> Attempted:
        self.posts.append(Post(url, tuple(secrets), message_id, body))
        self._news.set()
        self.in_flight[url] += 1
        self.in_flight_max[url] = max(self.in_flight_max[url], self.in_flight[url])
        try:
            if url in self.hanging:
                await self.hanging[url].wait()
            return self._next(url)
        finally:
            self.in_flight[url] -= 1

    async def check_url(self, url: str) -> None:
        if url in self.refused:
            raise EndpointUrlRefused("the URL's host must be reachable on a public address")

    def _next(self, url: str) -> Attempted:
        answers = self._answers[url]
        if not answers:
            return answered(200)
        return answers[0] if len(answers) == 1 else answers.popleft()

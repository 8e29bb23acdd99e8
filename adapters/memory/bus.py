"""An in-memory twin of the bus: one stream, durable consumers, hints.

Shapes  As NATS: a message id seen before is dropped silently, an unacked message comes again
        after ACK_WAIT_SECONDS, counted. `outage` makes every call fail; `wipe` loses the stream
        with its consumers.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from application.outside import BusMessage, Publication
from application.ports import Clock, Unavailable

ACK_WAIT_SECONDS = 30


@dataclass(slots=True)
class _Stored:
    subject: str
    data: bytes
    message_id: str


@dataclass(slots=True)
class _Consumer:
    next_place: int = 0
    deliveries: dict[int, int] = field(default_factory=dict)
    waiting: dict[int, datetime] = field(default_factory=dict)  # place -> comes again at


class MemoryBus:
    def __init__(self, clock: Clock) -> None:
        self.outage = False
        self._clock = clock
        self._stream: list[_Stored] = []
        self._seen: set[str] = set()
        self._consumers: dict[str, _Consumer] = {}
        self._listeners: list[tuple[str, asyncio.Queue[bytes]]] = []
        self._news = asyncio.Event()

    def wipe(self) -> None:
        self._stream.clear()
        self._seen.clear()
        self._consumers.clear()

    @property
    def published(self) -> list[tuple[str, str]]:
        """Subject and message id of everything in the stream, in order."""
        return [(stored.subject, stored.message_id) for stored in self._stream]

    async def publish(self, subject: str, data: bytes, *, message_id: str) -> None:
        self._insist_on_service()
        if message_id not in self._seen:
            self._seen.add(message_id)
            self._stream.append(_Stored(subject, data, message_id))
            self._news.set()

    async def publish_all(
        self, publications: Sequence[Publication]
    ) -> Sequence[BaseException | None]:
        return await asyncio.gather(
            *(self.publish(p.subject, p.data, message_id=p.message_id) for p in publications),
            return_exceptions=True,
        )

    async def pull(
        self, subject: str, durable: str, *, limit: int, wait_seconds: float
    ) -> Sequence[BusMessage]:
        self._insist_on_service()
        found = self._take(subject, durable, limit)
        if found:
            return found
        self._news.clear()
        try:
            async with asyncio.timeout(wait_seconds):
                await self._news.wait()
        except TimeoutError:
            return self._take(subject, durable, limit)
        self._insist_on_service()
        return self._take(subject, durable, limit)

    def _take(self, subject: str, durable: str, limit: int) -> list[BusMessage]:
        consumer = self._consumers.setdefault(durable, _Consumer())
        now = self._clock.now()
        again = [place for place, at in sorted(consumer.waiting.items()) if at <= now]
        fresh = range(consumer.next_place, len(self._stream))
        found: list[BusMessage] = []
        for place in (*again, *fresh):
            if len(found) == limit:
                break
            consumer.next_place = max(consumer.next_place, place + 1)
            stored = self._stream[place]
            if not _matches(subject, stored.subject):
                continue
            consumer.deliveries[place] = consumer.deliveries.get(place, 0) + 1
            consumer.waiting[place] = now + timedelta(seconds=ACK_WAIT_SECONDS)
            found.append(
                BusMessage(
                    subject=stored.subject,
                    data=stored.data,
                    deliveries=consumer.deliveries[place],
                    handle=(durable, place),
                    message_id=stored.message_id,
                )
            )
        return found

    async def ack(self, message: BusMessage) -> None:
        self._done(message)

    async def give_up(self, message: BusMessage) -> None:
        self._done(message)

    async def retry_later(self, message: BusMessage, delay_seconds: float) -> None:
        self._insist_on_service()
        consumer, place = self._place(message)
        if place in consumer.waiting:
            consumer.waiting[place] = self._clock.now() + timedelta(seconds=delay_seconds)

    def _done(self, message: BusMessage) -> None:
        self._insist_on_service()
        consumer, place = self._place(message)
        consumer.waiting.pop(place, None)

    def _place(self, message: BusMessage) -> tuple[_Consumer, int]:
        assert isinstance(message.handle, tuple)
        durable, place = message.handle
        return self._consumers.setdefault(durable, _Consumer()), place

    async def hint(self, subject: str, data: bytes = b"") -> None:
        self.tell(subject, data)

    def tell(self, subject: str, data: bytes = b"") -> None:
        """Everybody who listens now."""
        if self.outage:
            return
        for pattern, queue in self._listeners:
            if _matches(pattern, subject):
                queue.put_nowait(data)

    async def hints(self, subject: str) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        listener = (subject, queue)
        self._listeners.append(listener)
        try:
            yield b""
            while True:
                yield await queue.get()
        finally:
            self._listeners.remove(listener)

    def _insist_on_service(self) -> None:
        if self.outage:
            raise Unavailable("nats", "switched off by a test")


def _matches(pattern: str, subject: str) -> bool:
    """NATS subjects: `*` is one token, a last `>` is one or more."""
    wanted, given = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted = wanted[:-1]
        if len(given) <= len(wanted):
            return False
        given = given[: len(wanted)]
    return len(wanted) == len(given) and all(
        one in {"*", other} for one, other in zip(wanted, given, strict=True)
    )

"""The event store in memory, on the in-memory recorder of the eventsourcing library.

Shapes  The same answers as adapters/event_store.py, from the same encoding and the same books.
        A MemoryLog outlives the stores on it, as a database outlives processes; its `recorder`
        is the library's own face of it: the library's contract tests run against that, and its
        projections can follow it.
Faults  `outage` is raised by every call while it is set. `lose_answers` makes that many appends
        succeed and raise StoreUnavailable with an unknown outcome.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from eventsourcing.popo import POPOProcessRecorder

from adapters.event_store_books import Account, AccountKey, Books, Leg, accounts_of
from adapters.event_store_draft import Draft, Row, draft
from adapters.event_store_read import RawEvent
from application.ports import (
    STREAMS_MAX,
    AlreadyProcessed,
    Batch,
    Clock,
    Ids,
    InboxMessage,
    KeyAlreadyUsed,
    Recorded,
    Span,
    StoreBusy,
    StoredResponse,
    StoreUnavailable,
    Stream,
    StreamConflict,
)
from domain.events import Event
from domain.values import Mode

WAITING_MAX = 4_096
RETRY_AFTER_SECONDS = 1


class MemoryRecorder(POPOProcessRecorder):
    """The library's recorder, which also keeps what our rows have beside its four columns."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[RawEvent | None] = []  # None: written through the library

    def _update_table(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        ids = super()._update_table(stored_events, **kwargs)
        self.rows.extend(kwargs.get("rows") or [None] * len(stored_events))
        return ids

    def version_of(self, stream_id: UUID) -> int:
        with self._database_lock:
            return max(self._stored_events_index[str(stream_id)], default=0)

    def rows_of(self, stream_id: UUID) -> list[RawEvent]:
        """Ours only, in order of version."""
        with self._database_lock:
            index = self._stored_events_index[str(stream_id)]
            found = (self.rows[index[version]] for version in sorted(index))
            return [row for row in found if row is not None]


@dataclass(frozen=True, slots=True)
class PostedLeg:
    position: int
    leg: Leg


class MemoryLog:
    """What the database holds."""

    def __init__(self) -> None:
        self.recorder = MemoryRecorder()
        self.accounts: dict[AccountKey, Account] = {}
        self.postings: list[PostedLeg] = []
        self.inbox: set[InboxMessage] = set()
        self.answers: dict[tuple[UUID, Mode, str], StoredResponse] = {}
        self.answered_at: dict[tuple[UUID, Mode, str], datetime] = {}
        self._decoded: dict[int, Recorded[Event]] = {}

    def decoded(self, raw: RawEvent) -> Recorded[Event]:
        """A row's bytes are read once: facts never change, so everybody may share the value."""
        known = self._decoded.get(raw.position)
        if known is None:
            known = self._decoded[raw.position] = raw.decoded()
        return known


class MemoryEventStore:
    """application.ports.EventStore, without a server."""

    def __init__(
        self,
        *,
        ids: Ids,
        clock: Clock,
        on_append: Callable[[int], None] | None = None,
        waiting_max: int = WAITING_MAX,
        log: MemoryLog | None = None,
    ) -> None:
        self.log = log or MemoryLog()
        self.outage: StoreUnavailable | None = None
        self.lose_answers = 0
        self._ids = ids
        self._clock = clock
        self._on_append = on_append
        self._waiting_max = waiting_max
        self._waiting = 0

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    # ------------------------------------------------------------ append

    async def append(self, batch: Batch) -> int:
        if self._waiting >= self._waiting_max:
            raise StoreBusy(RETRY_AFTER_SECONDS)
        ready = draft(batch, self._ids, asyncio.get_running_loop().create_future())
        if not (ready.rows or ready.claims):
            return 0
        self._waiting += 1
        try:
            # As with a server, others run before the answer comes.
            await asyncio.sleep(0)
            position = self._write(ready)
            await asyncio.sleep(0)
        finally:
            self._waiting -= 1
        if self.lose_answers:
            self.lose_answers -= 1
            raise StoreUnavailable("the answer was lost", outcome_unknown=True)
        return position

    def _write(self, ready: Draft) -> int:
        """All of it or none: whatever can be refused is refused before anything changes."""
        self._raise_outage()
        self._refuse_repeats(ready.batch)
        if any(self.log.recorder.version_of(id_) != after for id_, after in ready.streams):
            raise StreamConflict("a stream has moved on")
        entries = [entry for _, entry in ready.entries]
        keys = accounts_of(entries)
        books = Books({key: self.log.accounts[key] for key in keys if key in self.log.accounts})
        booked = books.book(entries)
        head = len(self.log.recorder.rows)
        for (place, _), legs in zip(ready.entries, booked, strict=True):
            self.log.postings.extend(PostedLeg(head + place + 1, leg) for leg in legs)
        self.log.accounts.update(books.touched())
        self._remember(ready.batch)
        return self._insert(head, ready.rows)

    def _refuse_repeats(self, batch: Batch) -> None:
        key = batch.idempotency
        if key is not None:
            stored = self.log.answers.get((key.merchant_id, key.mode, key.key))
            if stored is not None:
                raise KeyAlreadyUsed(stored)
        if batch.inbox in self.log.inbox:
            raise AlreadyProcessed("the message was processed before")

    def _remember(self, batch: Batch) -> None:
        if batch.inbox is not None:
            self.log.inbox.add(batch.inbox)
        key = batch.idempotency
        if key is not None:
            answer = StoredResponse(key.status, key.body, key.fingerprint)
            place = (key.merchant_id, key.mode, key.key)
            self.log.answers[place] = answer
            self.log.answered_at[place] = self._clock.now()

    def _insert(self, head: int, rows: Sequence[Row]) -> int:
        if not rows:
            return 0
        before = self.log.recorder.rows[-1] if head else None
        now = max(self._clock.now(), before.recorded_at) if before else self._clock.now()
        raw = [
            RawEvent(position, *row[:9], now, *row[9:])
            for position, row in enumerate(rows, head + 1)
        ]
        stored = [StoredEvent(row.stream_id, row.version, row.topic, row.state) for row in rows]
        self.log.recorder.insert_events(stored, rows=raw)
        if self._on_append is not None:
            self._on_append(head + len(rows))
        return head + len(rows)

    # ------------------------------------------------------------ read

    async def read_stream(self, stream: Stream) -> Sequence[Recorded[Event]]:
        self._raise_outage()
        return [self.log.decoded(raw) for raw in self._rows_of(stream)]

    async def read_streams(
        self, streams: Collection[Stream]
    ) -> Mapping[Stream, Sequence[Recorded[Event]]]:
        assert len(streams) <= STREAMS_MAX, f"at most {STREAMS_MAX} streams at a time"
        self._raise_outage()
        return {
            stream: [self.log.decoded(raw) for raw in self._rows_of(stream)] for stream in streams
        }

    def _rows_of(self, stream: Stream) -> list[RawEvent]:
        found = self.log.recorder.rows_of(stream.id)
        assert all(raw.stream_type == stream.type for raw in found), "one id, two kinds of stream"
        return found

    async def read_log(self, *, after: int, limit: int) -> Sequence[Recorded[Event]]:
        rows = await self.read_raw(after=after, limit=limit)
        return [self.log.decoded(raw) for raw in rows]

    async def read_facts(self, *, after: int, limit: int) -> Sequence[Recorded[Event]]:
        return await self.read_log(after=after, limit=limit)

    async def read_span(self, *, after: int, upto: int, skipping: Collection[str]) -> Span:
        rows = await self.read_raw(after=after, limit=upto - after)
        rows = [raw for raw in rows if raw.topic not in skipping]
        return Span([self.log.decoded(raw) for raw in rows], sum(len(raw.state) for raw in rows))

    async def read_raw(self, *, after: int, limit: int) -> list[RawEvent]:
        self._raise_outage()
        return [raw for raw in self.log.recorder.rows[after : after + limit] if raw is not None]

    async def head(self) -> int:
        self._raise_outage()
        return len(self.log.recorder.rows)

    async def stored_response(
        self, merchant_id: UUID, mode: Mode, key: str
    ) -> StoredResponse | None:
        self._raise_outage()
        return self.log.answers.get((merchant_id, mode, key))

    def _raise_outage(self) -> None:
        if self.outage is not None:
            raise StoreUnavailable(self.outage.reason, outcome_unknown=self.outage.outcome_unknown)

"""Writers that append for ever, each with a store of its own, and what each was told.

Shapes  an Attempt is one batch and the answer to it. Its mark is the correlation id of its events,
        so that the log itself says whose they are. What attempts share, they share on purpose:
        a few streams, messages that come again, keys that are used again.
Answers `position`; `refused` (nothing is written, and why); `unknown`, and then what the store
        found out later, in `resolved`.
Units   seconds.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from uuid import UUID

from adapters.clock import SystemIds
from adapters.event_store import PostgresEventStore
from adapters.postgres import Postgres
from application.ports import (
    AlreadyProcessed,
    Batch,
    Context,
    IdempotencyRecord,
    InboxMessage,
    KeyAlreadyUsed,
    StoreBusy,
    StoreUnavailable,
    Stream,
    StreamAppend,
    StreamConflict,
)
from domain.events import JournalEntryPosted, Posting, SessionExpired
from domain.journal import account
from domain.money import Amount

WRITERS, IN_FLIGHT = 8, 4
SHARED_STREAMS = 6
REPEATS = 40  # messages, and keys, that are about at one time
PAUSE_SECONDS = 0.02  # after an outage, before the next try
MERCHANT = UUID(int=0xA1)
ASSET = "eip155:31337/erc20:0x" + "aa" * 20
AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

MakeStore = Callable[..., PostgresEventStore]


@dataclass(slots=True)
class Attempt:
    mark: str
    events: int
    message: str | None = None
    key: str | None = None
    position: int | None = None
    refused: Exception | None = None
    unknown: bool = False
    resolved: int | Exception | None = None


@dataclass
class Load:
    """All writers of a campaign. `attempts` are those that have an answer."""

    rng: Random
    attempts: list[Attempt] = field(default_factory=list)
    versions: dict[UUID, int] = field(default_factory=dict)  # of the shared streams, as last seen
    _numbers: int = 0
    _unknown: dict[str, Attempt] = field(default_factory=dict)
    _found_out: dict[str, int | Exception] = field(default_factory=dict)

    @property
    def unknown(self) -> int:
        """Callers who heard that nobody knows."""
        return len(self._unknown)

    @property
    def unresolved(self) -> int:
        return sum(each.resolved is None for each in self._unknown.values())

    def resolved(self, batch: Batch, outcome: int | Exception) -> None:
        mark = batch.context.correlation_id
        assert mark is not None, "every attempt has one"
        self._found_out[mark] = outcome
        if mark in self._unknown:
            self._unknown[mark].resolved = outcome

    async def write(self, store: PostgresEventStore, stop: asyncio.Event) -> None:
        while not stop.is_set():
            attempt, batch, shared = self._next()
            try:
                attempt.position = await store.append(batch)
                if shared is not None:
                    self._seen(shared)
            except (StreamConflict, AlreadyProcessed, KeyAlreadyUsed, StoreBusy) as refusal:
                attempt.refused = refusal
                if shared is not None and isinstance(refusal, StreamConflict):
                    await self._look(store, shared)
            except StoreUnavailable as outage:
                attempt.unknown = outage.outcome_unknown
                attempt.refused = None if outage.outcome_unknown else outage
                if attempt.unknown:
                    self._unknown[attempt.mark] = attempt
                    attempt.resolved = self._found_out.get(attempt.mark)
                await asyncio.sleep(PAUSE_SECONDS)
            self.attempts.append(attempt)

    def _next(self) -> tuple[Attempt, Batch, StreamAppend | None]:
        self._numbers += 1
        number = self._numbers
        mark = f"attempt-{number}"
        kind = self.rng.choice(("alone", "alone", "shared", "message", "key", "entry"))
        shared = None
        appends = [self._alone(number)]
        if kind == "shared":
            shared = self._shared()
            appends.append(shared)
        elif kind == "entry":
            appends.append(self._entry(number))
        # What comes again comes within a while: number by number the pool moves on.
        again = f"{kind}-{number // (REPEATS * 4)}-{self.rng.randrange(REPEATS)}"
        message = again if kind == "message" else None
        key = again if kind == "key" else None
        batch = Batch(
            tuple(appends),
            Context(actor="chaos", merchant_id=MERCHANT, mode="test", correlation_id=mark),
            inbox=None if message is None else InboxMessage("chaos", message),
            idempotency=None
            if key is None
            else IdempotencyRecord(MERCHANT, "test", key, "f" * 64, 201, mark.encode()),
        )
        events = sum(len(each.events) for each in appends)
        return Attempt(mark, events, message, key), batch, shared

    def _alone(self, number: int) -> StreamAppend:
        facts = tuple(SessionExpired(at=AT) for _ in range(self.rng.randint(1, 3)))
        return StreamAppend(Stream("payment_session", UUID(int=number << 64)), 0, facts)

    def _shared(self) -> StreamAppend:
        stream = UUID(int=self.rng.randrange(SHARED_STREAMS) + 1)
        after = self.versions.get(stream, 0)
        return StreamAppend(Stream("payment_session", stream), after, (SessionExpired(at=AT),))

    def _entry(self, number: int) -> StreamAppend:
        stream = Stream("journal_entry", UUID(int=(number << 64) + 1))
        posting = Posting(
            debit=account("hot_wallet", MERCHANT),
            credit=account("refund_float", MERCHANT),
            amount=Amount(units=self.rng.randint(1, 9), asset=ASSET),
        )
        posted = JournalEntryPosted(
            at=AT, entry_id=stream.id, cause="chaos", merchant_id=MERCHANT, postings=(posting,)
        )
        return StreamAppend(stream, 0, (posted,))

    def _seen(self, shared: StreamAppend) -> None:
        known = self.versions.get(shared.stream.id, 0)
        self.versions[shared.stream.id] = max(known, shared.after_version + 1)

    async def _look(self, store: PostgresEventStore, shared: StreamAppend) -> None:
        """As a caller does that is told that a stream has moved on."""
        try:
            found = await store.read_stream(shared.stream)
        except StoreUnavailable:
            return
        known = self.versions.get(shared.stream.id, 0)
        self.versions[shared.stream.id] = max(known, len(found))


@asynccontextmanager
async def writing(
    load: Load, dsn: str, make_store: MakeStore = PostgresEventStore
) -> AsyncIterator[asyncio.Event]:
    """The writers run while the block does, and until the event is set; then all is answered."""
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        stores = []
        for number in range(WRITERS):
            postgres = Postgres(dsn, name=f"chaos-{number}", max_size=3)
            await stack.enter_async_context(postgres)
            store = make_store(postgres, ids=SystemIds(), on_resolved=load.resolved)
            stores.append(await stack.enter_async_context(store))
        async with asyncio.TaskGroup() as group:
            for store in stores:
                for _ in range(IN_FLIGHT):
                    group.create_task(load.write(store, stop))
            try:
                yield stop
            finally:
                stop.set()

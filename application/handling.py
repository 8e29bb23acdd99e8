"""Load, decide, append facts and journal entries in one write, and retry a conflict.

Shapes  A unit of work holds the streams it has read, each with its state and version, and the
        facts decided so far. `work` is run again from the start when another writer was
        quicker, so it must have no effect outside its unit.
Ahead   Streams read beforehand, many in one question, serve the first try. It stands only where
        every stream it took from there is also written, and so checked at that moment;
        otherwise the unit is decided anew on what the store says.
Errors  refusals pass through; TooManyConflicts after TRIES_MAX rounds on one hot stream.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from application.callers import Claim
from application.deciders import TRANSFER, Decider
from application.ports import (
    Batch,
    Clock,
    Context,
    EventStore,
    IdempotencyRecord,
    InboxMessage,
    Recorded,
    Stream,
    StreamAppend,
    StreamConflict,
    Unavailable,
)
from application.positions import note
from domain.events import Event, JournalEntryPosted, Posting
from domain.journal import postings_for, postings_for_transfer
from domain.values import Mode, derived_id

S = TypeVar("S")
C = TypeVar("C", bound=Any)
T = TypeVar("T")

TRIES_MAX = 8
Answer = tuple[int, bytes]  # status and body


class TooManyConflicts(Unavailable):
    """Others kept writing to the same stream; asking again will find it calmer."""

    def __init__(self) -> None:
        super().__init__("event store", f"{TRIES_MAX} writers in a row were quicker")


@dataclass(slots=True)
class _Loaded:
    state: Any
    version: int
    new: list[Event] = field(default_factory=list)
    merchant_id: UUID | None = None
    mode: Mode | None = None
    postings: list[tuple[int, Event, tuple[Posting, ...]]] = field(default_factory=list)


class Ahead:
    """Streams as they once were, and as units that used them have since made them.

    For units that come one after the other. Nothing here is believed unless a write checks it.
    """

    def __init__(self, streams: Mapping[Stream, Sequence[Recorded[Event]]]) -> None:
        self._facts = dict(streams)
        self._folded: dict[Stream, _Loaded] = {}

    def loaded(self, decider: Decider[S, C], stream: Stream) -> _Loaded | None:
        """A copy that a unit may add to; None for a stream that was not read."""
        known = self._folded.get(stream)
        if known is None:
            facts = self._facts.pop(stream, None)
            if facts is None:
                return None
            known = self._folded[stream] = _folded(decider, facts)
        return _Loaded(known.state, known.version)

    def written(self, stream: Stream, state: object, version: int) -> None:
        if stream in self._folded:
            self._folded[stream] = _Loaded(state, version)


class UnitOfWork:
    """One decision over one or more streams."""

    def __init__(self, store: EventStore, now: datetime, ahead: Ahead | None = None) -> None:
        self._store = store
        self._ahead = ahead
        self._from_ahead: set[Stream] = set()
        self._streams: dict[Stream, _Loaded] = {}
        self.now = now

    async def load(self, decider: Decider[S, C], stream_id: UUID) -> S | None:
        state: S | None = (await self._loaded(decider, stream_id)).state
        return state

    async def _loaded(self, decider: Decider[S, C], stream_id: UUID) -> _Loaded:
        stream = Stream(decider.stream_type, stream_id)
        found = self._streams.get(stream)
        if found is None:
            found = self._streams[stream] = await self._first_seen(decider, stream)
        return found

    async def _first_seen(self, decider: Decider[S, C], stream: Stream) -> _Loaded:
        known = self._ahead.loaded(decider, stream) if self._ahead is not None else None
        if known is None:
            return _folded(decider, await self._store.read_stream(stream))
        self._from_ahead.add(stream)
        return known

    def unchecked(self) -> bool:
        """It builds on a stream read ahead that its write would not find to have moved."""
        return any(not self._streams[stream].new for stream in self._from_ahead)

    def confirm(self, ahead: Ahead) -> None:
        """The write was made: bring what is ahead up to it."""
        for stream, loaded in self._streams.items():
            if loaded.new:
                ahead.written(stream, loaded.state, loaded.version + len(loaded.new))

    async def decide(
        self,
        decider: Decider[S, C],
        stream_id: UUID,
        command: C,
        *,
        merchant_id: UUID | None = None,
        mode: Mode | None = None,
    ) -> S | None:
        """Decide on the stream's state and fold the facts in; None for a stream still empty.

        The owner of the facts is the state's merchant, unless `merchant_id` names it.
        """
        loaded = await self._loaded(decider, stream_id)
        for event in decider.decide(command, loaded.state):
            loaded.state = decider.evolve(loaded.state, event)
            loaded.new.append(event)
            owner = merchant_id or getattr(loaded.state, "merchant_id", None)
            loaded.merchant_id = owner
            loaded.mode = mode or getattr(loaded.state, "mode", None)
            self._book(decider, loaded, event, owner)
        state: S | None = loaded.state
        return state

    def record(self, stream: Stream, event: Event, *, after_version: int) -> None:
        """A fact that needs no decision, on a stream whose version the caller knows."""
        self._streams[stream] = _Loaded(None, after_version, [event])

    @staticmethod
    def _book(
        decider: Decider[S, C], loaded: _Loaded, event: Event, merchant_id: UUID | None
    ) -> None:
        if merchant_id is None:
            return
        postings = postings_for(event, merchant_id)
        if decider.stream_type == TRANSFER.stream_type:
            postings = postings_for_transfer(event, loaded.state)
        if postings:
            loaded.postings.append((loaded.version + len(loaded.new), event, postings))

    def appends(self) -> tuple[StreamAppend, ...]:
        facts: list[StreamAppend] = []
        entries: list[StreamAppend] = []
        for stream, loaded in self._streams.items():
            if not loaded.new:
                continue
            facts.append(
                StreamAppend(
                    stream=stream,
                    after_version=loaded.version,
                    events=tuple(loaded.new),
                    merchant_id=loaded.merchant_id,
                    mode=loaded.mode,
                )
            )
            entries.extend(_entries(stream, loaded))
        return (*facts, *entries)


def _folded(decider: Decider[S, C], facts: Sequence[Recorded[Event]]) -> _Loaded:
    state: S | None = None
    version = 0
    for recorded in facts:
        state = decider.evolve(state, recorded.event)
        version = recorded.version
    return _Loaded(state, version)


def _entries(stream: Stream, loaded: _Loaded) -> Iterable[StreamAppend]:
    """Journal entries on streams named after their cause: exactly once, or not at all."""
    for version, event, postings in loaded.postings:
        assert loaded.merchant_id is not None
        entry_id = derived_id("journal_entry", stream.type, stream.id.hex, str(version))
        entry = JournalEntryPosted(
            at=event.at,
            entry_id=entry_id,
            cause=f"{event.name} {stream.type}/{stream.id.hex}@{version}",
            merchant_id=loaded.merchant_id,
            postings=postings,
        )
        yield StreamAppend(
            stream=Stream("journal_entry", entry_id),
            after_version=0,
            events=(entry,),
            merchant_id=loaded.merchant_id,
            mode=loaded.mode,
        )


class Handler:
    """Runs units of work against the event store."""

    def __init__(self, store: EventStore, clock: Clock) -> None:
        self.store = store
        self.clock = clock

    async def load(self, decider: Decider[S, C], stream_id: UUID) -> S | None:
        return await UnitOfWork(self.store, self.clock.now()).load(decider, stream_id)

    async def execute(
        self,
        context: Context,
        work: Callable[[UnitOfWork], Awaitable[T]],
        *,
        inbox: InboxMessage | None = None,
        claim: Claim | None = None,
        respond: Callable[[T], Answer] | None = None,
        ahead: Ahead | None = None,
    ) -> T:
        """Run `work`, append what it decided, and give its result.

        With a claim the answer of `respond` is stored beside the facts; a key already used
        raises KeyAlreadyUsed with the answer of the first time. With an inbox message a
        second time raises AlreadyProcessed. The first try begins with what is `ahead`.
        """
        first = ahead
        for _ in range(TRIES_MAX):
            unit, first = UnitOfWork(self.store, self.clock.now(), first), None
            result = await work(unit)
            if unit.unchecked():
                continue
            appends = unit.appends()
            if not appends and inbox is None and claim is None:
                return result
            record = _record(context, claim, respond, result)
            try:
                note(await self.store.append(Batch(appends, context, inbox, record)))
            except StreamConflict:
                continue
            if ahead is not None:
                unit.confirm(ahead)
            return result
        raise TooManyConflicts


def _record(
    context: Context,
    claim: Claim | None,
    respond: Callable[[T], Answer] | None,
    result: T,
) -> IdempotencyRecord | None:
    if claim is None or respond is None:
        return None
    assert context.merchant_id is not None
    assert context.mode is not None
    status, body = respond(result)
    return IdempotencyRecord(
        merchant_id=context.merchant_id,
        mode=context.mode,
        key=claim.key,
        fingerprint=claim.fingerprint,
        status=status,
        body=body,
    )

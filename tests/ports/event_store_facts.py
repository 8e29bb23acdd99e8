"""Batches for the event store's tests, and what a test may ask of a store beside its port."""

from datetime import UTC, datetime
from itertools import count
from typing import Protocol
from uuid import UUID

from application.ports import (
    Batch,
    Context,
    EventStore,
    IdempotencyRecord,
    InboxMessage,
    Stream,
    StreamAppend,
)
from domain import events as e
from domain.events import Event, Posting
from domain.journal import account
from domain.money import Amount

AT = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
MERCHANT = UUID(int=0xA1)
ASSET = "eip155:31337/erc20:0x" + "aa" * 20
CONTEXT = Context(
    actor="api_key:f6",
    merchant_id=MERCHANT,
    mode="test",
    correlation_id="request-1",
    causation_id="cause-1",
    policy_version=3,
)
_numbers = count(1)


class Store(EventStore, Protocol):
    async def start(self) -> None: ...

    async def close(self) -> None: ...


class Place(Protocol):
    """A store under test, and a look behind it."""

    store: Store
    heads: list[int]  # what on_append was told

    def another(self, *, waiting_max: int = 4_096) -> Store:
        """One more store on the same log, not yet started."""
        ...

    async def accounts(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Debits and credits of every account."""
        ...

    async def legs(self) -> list[tuple[int, str, int, int]]:
        """Position, account, units and balance afterwards, in order."""
        ...


def new_stream(kind: str = "payment_session") -> Stream:
    return Stream(kind, UUID(int=next(_numbers) << 32))


def expired(number: int = 0) -> Event:
    """A small fact; the number tells one from another."""
    return e.SessionExpired(at=AT.replace(microsecond=number))


def on(stream: Stream, after_version: int = 0, count: int = 1) -> StreamAppend:
    facts = tuple(expired(after_version + n) for n in range(count))
    return StreamAppend(stream, after_version, facts)


def batch(
    *appends: StreamAppend, key: IdempotencyRecord | None = None, message: str | None = None
) -> Batch:
    inbox = None if message is None else InboxMessage("chain.local", message)
    return Batch(appends, CONTEXT, inbox=inbox, idempotency=key)


def answer(key: str, body: bytes = b"{}") -> IdempotencyRecord:
    return IdempotencyRecord(MERCHANT, "test", key, "f" * 64, 201, body)


def entry(debit: str, credit: str, units: int) -> StreamAppend:
    """A journal entry on a stream of its own."""
    stream = new_stream("journal_entry")
    posting = Posting(
        debit=account(debit, MERCHANT),
        credit=account(credit, MERCHANT),
        amount=Amount(units=units, asset=ASSET),
    )
    posted = e.JournalEntryPosted(
        at=AT, entry_id=stream.id, cause="test", merchant_id=MERCHANT, postings=(posting,)
    )
    return StreamAppend(stream, 0, (posted,))

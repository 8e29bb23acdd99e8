"""A batch made ready to be written: encoded while its caller waits its turn, not under the lock.

Shapes  Draft.rows are rows of es.events but for the position; `packed` are the same, without
        their state, as JSON objects with commas between. Draft.claims are what no two
        batches of one group may share: streams, the inbox message, the idempotency key.
        Event ids are UUIDv7: milliseconds of the event's own time, its place in the batch, and
        62 bits that only this attempt has. So an index of ids grows at its end, and after a lost
        answer the ids tell this attempt from any other one that wrote the same facts.
"""

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import orjson

from application.ports import Batch, Context, Ids
from domain.events import JournalEntryPosted
from domain.values import Mode

EVENTS_MAX = 1_000  # of one batch; the place in the batch has 12 bits of an event id
_PLACE_MAX = 1 << 12
_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62
_RANDOM = (1 << 62) - 1


class Row(NamedTuple):
    stream_type: str
    stream_id: UUID
    version: int
    topic: str
    schema_version: int
    event_id: UUID
    merchant_id: UUID | None
    mode: Mode | None
    occurred_at: datetime
    state: bytes
    meta: str


@dataclass(slots=True, eq=False)
class Draft:
    batch: Batch
    rows: list[Row]
    packed: bytes
    streams: list[tuple[UUID, int]]  # id, the version it must have
    entries: list[tuple[int, JournalEntryPosted]]  # index into rows
    claims: frozenset[Hashable]
    done: asyncio.Future[int] = field(repr=False)
    since: float = 0.0  # when it began to wait, by the loop's clock

    def resolve(self, outcome: int | Exception) -> None:
        """Tell the caller, unless it was cancelled meanwhile."""
        if self.done.done():
            return
        if isinstance(outcome, Exception):
            self.done.set_exception(outcome)
        else:
            self.done.set_result(outcome)


def event_id(at: datetime, place: int, attempt: int) -> UUID:
    milliseconds = int(at.timestamp() * 1000)
    assert 0 <= place < _PLACE_MAX
    return UUID(int=milliseconds << 80 | _VERSION_7 | place << 64 | _VARIANT | attempt & _RANDOM)


def pack(rows: Sequence[Row]) -> bytes:
    """Without the brackets, so that drafts can be joined to one array."""
    return orjson.dumps(
        [
            {
                "stream_type": row.stream_type,
                "stream_id": row.stream_id,
                "version": row.version,
                "topic": row.topic,
                "schema_version": row.schema_version,
                "event_id": row.event_id,
                "merchant_id": row.merchant_id,
                "mode": row.mode,
                "occurred_at": row.occurred_at,
                "meta": orjson.Fragment(row.meta),
            }
            for row in rows
        ]
    )[1:-1]


def encode_context(context: Context) -> str:
    """What of the envelope has no column of its own."""
    known = {
        "actor": context.actor,
        "correlation_id": context.correlation_id,
        "causation_id": context.causation_id,
        "policy_version": context.policy_version,
    }
    return orjson.dumps({k: v for k, v in known.items() if v is not None}).decode()


def claims_of(batch: Batch) -> frozenset[Hashable]:
    claims: list[Hashable] = [each.stream.id for each in batch.appends]
    assert len(set(claims)) == len(claims), "a batch appends to each of its streams once"
    if batch.inbox is not None:
        claims.append(batch.inbox)
    if batch.idempotency is not None:
        key = batch.idempotency
        claims.append((key.merchant_id, key.mode, key.key))
    return frozenset(claims)


def draft(batch: Batch, ids: Ids, done: asyncio.Future[int]) -> Draft:
    meta = encode_context(batch.context)
    attempt = ids.new().int
    rows: list[Row] = []
    entries: list[tuple[int, JournalEntryPosted]] = []
    for each in batch.appends:
        merchant_id = each.merchant_id or batch.context.merchant_id
        mode = each.mode or batch.context.mode
        for version, event in enumerate(each.events, each.after_version + 1):
            if isinstance(event, JournalEntryPosted):
                entries.append((len(rows), event))
            rows.append(
                Row(
                    each.stream.type,
                    each.stream.id,
                    version,
                    event.name,
                    type(event).version,
                    event_id(event.at, len(rows), attempt),
                    merchant_id,
                    mode,
                    event.at,
                    event.encoded(),
                    meta,
                )
            )
    assert len(rows) <= EVENTS_MAX, f"a batch has at most {EVENTS_MAX} events"
    streams = [(each.stream.id, each.after_version) for each in batch.appends]
    return Draft(batch, rows, pack(rows), streams, entries, claims_of(batch), done)

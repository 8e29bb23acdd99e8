"""Rows of es.events as they are read: raw for those who hash or fold, decoded for the others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import orjson

from application.ports import Context, Recorded, Span, Stream
from domain.events import Event, decode
from domain.values import Mode


class RawEvent(NamedTuple):
    """A row of the log, its state not decoded, `meta` as JSON text."""

    position: int
    stream_type: str
    stream_id: UUID
    version: int
    topic: str
    schema_version: int
    event_id: UUID
    merchant_id: UUID | None
    mode: Mode | None
    occurred_at: datetime
    recorded_at: datetime
    state: bytes
    meta: str

    def decoded(self) -> Recorded[Event]:
        """Raises EventUnknown when the log is newer than this code."""
        return Recorded(
            position=self.position,
            event_id=self.event_id,
            stream=Stream(self.stream_type, self.stream_id),
            version=self.version,
            event=decode(self.topic, self.schema_version, bytes(self.state)),
            recorded_at=self.recorded_at,
            context=_context(self),
        )


BareRow = tuple[int, str, UUID, int, str, int, bytes]


@dataclass(slots=True)  # not frozen, which would make each four times as dear to make
class BareFact:
    """application.ports.Fact, and no more. Never changed."""

    position: int
    stream_type: str
    stream_id: UUID
    version: int
    event: Event

    @property
    def stream(self) -> Stream:
        return Stream(self.stream_type, self.stream_id)


def bare_facts(rows: Iterable[BareRow]) -> list[BareFact]:
    """Raises EventUnknown when the log is newer than this code."""
    return [
        BareFact(position, kind, key, version, decode(topic, schema_version, state))
        for position, kind, key, version, topic, schema_version, state in rows
    ]


def span_of(rows: Sequence[BareRow]) -> Span:
    """As bare_facts."""
    return Span(bare_facts(rows), sum(len(row[-1]) for row in rows))


def _context(raw: RawEvent) -> Context:
    known = orjson.loads(raw.meta)
    return Context(
        actor=known.get("actor", ""),
        merchant_id=raw.merchant_id,
        mode=raw.mode,
        correlation_id=known.get("correlation_id"),
        causation_id=known.get("causation_id"),
        policy_version=known.get("policy_version"),
    )

"""The real projections' folds, applied to tables in memory: live, or rebuilt from nothing.

Shapes  Tables hold rows by key, as PostgreSQL would after the upserts of projections/table.py.
        `advance` contains one batch in every projection at once, rows and checkpoint together.
        States of streams are kept in memory between batches, and read back from the rows after
        `forget`, as a restarted runner does.
Errors  none: what cannot be folded parks its stream, and is named in `parked`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from application.ports import Recorded, Stream
from domain.events import Event
from projections.projection import Folded, Held, Projection
from projections.table import Row, Table

Key = tuple[object, ...]


class HeldTable:
    def __init__(self, table: Table) -> None:
        self.table = table
        self.rows: dict[Key, Row] = {}
        names = [name for name, _ in table.columns]
        self._key = tuple(names.index(name) for name in table.key)
        self._adds = tuple(names.index(name) for name in table.adds)

    def upsert(self, rows: Sequence[Row]) -> None:
        for row in rows:
            key = tuple(row[place] for place in self._key)
            known = self.rows.get(key)
            if known is None:
                self.rows[key] = row
            elif self._adds:
                self.rows[key] = self._added(known, row)
            elif not self.table.keeps:
                self.rows[key] = row

    def _added(self, known: Row, row: Row) -> Row:
        return tuple(
            _sum(known[place], value) if place in self._adds else value
            for place, value in enumerate(row)
        )

    def as_text(self) -> list[dict[str, str | None]]:
        names = [name for name, _ in self.table.columns]
        return [
            {name: _text(value) for name, value in zip(names, row, strict=True)}
            for row in self.rows.values()
        ]


class Tables:
    def __init__(self, projections: Sequence[Projection]) -> None:
        self.position = 0
        self.parked: list[tuple[str, Stream, str]] = []
        self.by_name: dict[str, HeldTable] = {}
        self._projections = tuple(projections)
        self._parked: set[tuple[str, Stream]] = set()
        self._held: dict[str, dict[int, Held[Any]]] = {}
        for projection in projections:
            self._held[projection.name] = {}
            for table in projection.tables:
                self.by_name[table.name] = HeldTable(table)

    def advance(self, batch: Sequence[Recorded[Event]]) -> None:
        for projection in self._projections:
            events = [each for each in batch if self._concerns(projection, each)]
            if events:
                self._keep(projection, projection.fold(events, self._known(projection, events)))
        self.position = batch[-1].position

    def forget(self) -> None:
        """A new process: what is known is what the rows say."""
        for held in self._held.values():
            held.clear()

    def rows_of(self, table: str) -> list[dict[str, object]]:
        held = self.by_name[table]
        names = [name for name, _ in held.table.columns]
        return [dict(zip(names, row, strict=True)) for row in held.rows.values()]

    def as_text(self) -> dict[str, list[dict[str, str | None]]]:
        return {name: held.as_text() for name, held in self.by_name.items()}

    def _concerns(self, projection: Projection, recorded: Recorded[Event]) -> bool:
        if type(recorded.event) not in projection.handles:
            return False
        return (projection.name, recorded.stream) not in self._parked

    def _known(
        self, projection: Projection, events: Sequence[Recorded[Event]]
    ) -> dict[int, Held[Any]]:
        held = self._held[projection.name]
        known: dict[int, Held[Any]] = {}
        for number in projection.needs(events):
            if number not in held:
                revived = self._revived(projection, UUID(int=number))
                if revived is None:
                    continue
                held[number] = revived
            known[number] = held[number]
        return known

    def _revived(self, projection: Projection, stream_id: UUID) -> Held[Any] | None:
        assert projection.states is not None
        row = self.by_name[projection.states.name].rows.get((stream_id,))
        return None if row is None else projection.revive(row[:5])

    def _keep(self, projection: Projection, folded: Folded) -> None:
        for name, rows in folded.rows.items():
            self.by_name[name].upsert(rows)
        self._held[projection.name].update(folded.held)
        for bad in folded.poison:
            self._held[projection.name].pop(bad.stream.id.int, None)
            self._parked.add((projection.name, bad.stream))
            self.parked.append((projection.name, bad.stream, bad.error))


def _sum(one: object, other: object) -> int:
    assert isinstance(one, int)
    assert isinstance(other, int)
    return one + other


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)

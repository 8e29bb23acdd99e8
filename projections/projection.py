"""What a projection is: a pure fold of a batch of facts into rows, and the tables they live in.

Shapes  fold(batch, known) gives rows by table; gather(batch, known) the same, but for the rows
        of states, which whoever gathers several batches writes once, and with those rows apart
        of which the tables hold none of the same key. `known` holds the states of streams as
        they were before the batch; only a StreamProjection asks for them. A row depends on the
        log alone: neither on settings, nor on time, nor on where one batch ended and the next
        began. So a rebuilt table equals the live one, byte for byte.
        Streams are looked up by their id's number: a UUID is hashed and compared in Python, which
        for several look-ups a fact is a tenth of a rebuild.
Errors  a fold never raises for a fact: what it cannot fold is Poison, and from there on the
        fact's whole stream waits, while all others go on.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

from application.ports import Fact, Stream
from domain.events import Event
from domain.values import Value
from projections.table import Row, Table
from projections.wording import without_values

S = TypeVar("S", bound=Value)

Batch = Sequence[Fact[Event]]


class VersionGap(Exception):  # noqa: N818 - named for what is wrong
    """A stream's next fact is not the one after its last: it was not all handed over."""


@dataclass(frozen=True, slots=True)
class Poison:
    """The first fact of a stream that could not be folded."""

    stream: Stream
    position: int
    error: str


@dataclass(slots=True)  # not frozen, which would make each four times as dear to make
class Held(Generic[S]):
    """A stream's state with the place of its newest and of its first fact; never changed."""

    stream_id: UUID
    state: S
    version: int
    position: int  # in the log, of the stream's first fact: the order of pages
    updated_position: int
    stored: bool  # whether the table has a row of the stream, perhaps an older one


Known = Mapping[int, Held[Any]]


@dataclass(slots=True)
class Folded:
    fresh: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    rows: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    held: dict[int, Held[Any]] = field(default_factory=dict)
    poison: list[Poison] = field(default_factory=list)


class Projection(ABC):
    name: ClassVar[str]
    version: ClassVar[int]
    handles: ClassVar[frozenset[type[Event]]]
    tables: ClassVar[tuple[Table, ...]]
    # Of the time of rebuilding all on a usual log, about so many hundredths.
    cost: ClassVar[int] = 1
    # The table with a row a stream, where the fold goes on from its state.
    states: ClassVar[Table | None] = None

    @property
    def schema(self) -> str:
        return f"rm_{self.name}_v{self.version}"

    @abstractmethod
    def gather(self, batch: Batch, known: Known) -> Folded: ...

    def fold(self, batch: Batch, known: Known) -> Folded:
        folded = self.gather(batch, known)
        for table, rows in folded.fresh.items():
            folded.rows[table] = [*rows, *folded.rows[table]]
        folded.fresh.clear()
        if self.states is not None:
            folded.rows[self.states.name] = self.state_rows(folded.held.values())
        return folded

    def state_rows(self, held: Iterable[Held[Any]]) -> list[Row]:
        """What the table of states has of these streams."""
        del held
        raise NotImplementedError(f"{self.name} keeps no states")

    def needs(self, batch: Batch) -> set[int]:
        """Streams whose state the fold goes on from."""
        del batch
        return set()

    def revive(self, row: Row) -> Held[Any]:
        """A state as it was stored: key, version, position, updated_position, state."""
        raise NotImplementedError(f"{self.name} keeps no states")


def state_table(
    name: str,
    key: str,
    columns: tuple[tuple[str, str], ...],
    *,
    nullable: tuple[str, ...] = (),
    indexes: tuple[str, ...] = (),
) -> Table:
    """A row a stream; the state is the text of its JSON."""
    common = (
        (key, "uuid"),
        ("version", "bigint"),
        ("position", "bigint"),
        ("updated_position", "bigint"),
        ("state", "text"),
    )
    return Table(name, (*common, *columns), (key,), nullable=nullable, indexes=indexes)


class StreamProjection(Projection, Generic[S]):
    """One row a stream: its folded state, and the columns people look for it by."""

    state_type: type[S]
    states: ClassVar[Table]

    @abstractmethod
    def evolve(self, state: S | None, recorded: Fact[Any]) -> S: ...

    @abstractmethod
    def columns(self, state: S) -> Row:
        """What the row has beyond the columns every state table has."""

    def beside(self, state: S, recorded: Fact[Any]) -> Iterable[tuple[str, Row]]:
        """Rows for other tables that follow from one fact."""
        del state, recorded
        return ()

    def needs(self, batch: Batch) -> set[int]:
        going_on = {recorded.stream_id.int for recorded in batch if recorded.version > 1}
        # A stream that begins in this batch has no state yet: most need no look-up.
        return going_on.difference(
            recorded.stream_id.int for recorded in batch if recorded.version == 1
        )

    def revive(self, row: Row) -> Held[S]:
        stream_id, version, position, updated_position, text = row
        assert isinstance(stream_id, UUID)
        assert isinstance(version, int)
        assert isinstance(position, int)
        assert isinstance(updated_position, int)
        state = self.state_type.model_validate_json(str(text))
        return Held(stream_id, state, version, position, updated_position, stored=True)

    @cached_property
    def _own_tables(self) -> frozenset[str]:
        """Those with a key that begins with the stream's: of a new stream they hold nothing."""
        key = self.states.key[0]
        return frozenset(table.name for table in self.tables if table.key[0] == key)

    def gather(self, batch: Batch, known: Known) -> Folded:
        folded = Folded()
        streams: dict[int, list[Fact[Any]]] = defaultdict(list)
        for recorded in batch:
            streams[recorded.stream_id.int].append(recorded)
        for number, facts in streams.items():
            held = self._follow(known.get(number), facts, folded)
            if held is not None:
                folded.held[number] = held
        return folded

    def _follow(
        self, held: Held[S] | None, facts: Sequence[Fact[Any]], folded: Folded
    ) -> Held[S] | None:
        """The state after all facts of one stream, or after the last one before a poisoned one."""
        reached: Held[S] | None = None
        for recorded in facts:
            try:
                held = _next(self, held, recorded)
                rows = tuple(self.beside(held.state, recorded))
            except Exception as error:  # noqa: BLE001 - whatever it is, only its stream waits
                folded.poison.append(poison(recorded, error))
                break
            reached = held
            for table, row in rows:
                fresh = not held.stored and table in self._own_tables
                (folded.fresh if fresh else folded.rows)[table].append(row)
        return reached

    def state_rows(self, held: Iterable[Held[Any]]) -> list[Row]:
        to_json = self.state_type.__pydantic_serializer__.to_json
        return [
            (
                each.stream_id,
                each.version,
                each.position,
                each.updated_position,
                to_json(each.state).decode(),
                *self.columns(each.state),
            )
            for each in held
        ]


def _next(projection: StreamProjection[S], before: Held[S] | None, recorded: Fact[Any]) -> Held[S]:
    version, position = recorded.version, recorded.position
    if before is None:
        if version != 1:
            raise VersionGap(f"version {version} came where 1 is next")
        state = projection.evolve(None, recorded)
        return Held(recorded.stream_id, state, 1, position, position, stored=False)
    if version != before.version + 1:
        raise VersionGap(f"version {version} came where {before.version + 1} is next")
    state = projection.evolve(before.state, recorded)
    return Held(before.stream_id, state, version, before.position, position, before.stored)


def poison(recorded: Fact[Event], error: Exception) -> Poison:
    text = f"{type(error).__name__}: {without_values(error)}"
    return Poison(recorded.stream, recorded.position, text)

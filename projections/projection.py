"""What a projection is: a pure fold of a batch of facts into rows, and the tables they live in.

Shapes  fold(batch, known) gives rows by table. `known` holds the states of streams as they were
        before the batch; only a StreamProjection asks for them. A row depends on the log
        alone: neither on settings, nor on time, nor on where one batch ended and the next
        began. So a rebuilt table equals the live one, byte for byte.
Errors  a fold never raises for a fact: what it cannot fold is Poison, and from there on the
        fact's whole stream waits, while all others go on.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

from application.ports import Fact, Stream
from domain.events import Event
from domain.values import Value
from projections.table import Row, Table

S = TypeVar("S", bound=Value)
ERROR_LENGTH_MAX = 500

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

    state: S
    version: int
    position: int  # in the log, of the stream's first fact: the order of pages
    updated_position: int


@dataclass(slots=True)
class Folded:
    rows: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    held: dict[UUID, Held[Any]] = field(default_factory=dict)
    poison: list[Poison] = field(default_factory=list)


class Projection(ABC):
    name: ClassVar[str]
    version: ClassVar[int]
    handles: ClassVar[frozenset[type[Event]]]
    tables: ClassVar[tuple[Table, ...]]
    # The table with a row a stream, where the fold goes on from its state.
    states: ClassVar[Table | None] = None

    @property
    def schema(self) -> str:
        return f"rm_{self.name}_v{self.version}"

    @abstractmethod
    def fold(self, batch: Batch, known: Mapping[UUID, Held[Any]]) -> Folded: ...

    def needs(self, batch: Batch) -> set[UUID]:
        """Streams whose state the fold goes on from."""
        del batch
        return set()

    def revive(self, row: Row) -> Held[Any]:
        """A state as it was stored: version, position, updated_position, state."""
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

    def needs(self, batch: Batch) -> set[UUID]:
        seen: dict[UUID, int] = {}
        for recorded in batch:
            seen.setdefault(recorded.stream.id, recorded.version)
        # A stream that begins in this batch has no state yet: most need no look-up.
        return {stream_id for stream_id, version in seen.items() if version > 1}

    def revive(self, row: Row) -> Held[S]:
        version, position, updated_position, text = row
        assert isinstance(version, int)
        assert isinstance(position, int)
        assert isinstance(updated_position, int)
        state = self.state_type.model_validate_json(str(text))
        return Held(state, version, position, updated_position)

    def fold(self, batch: Batch, known: Mapping[UUID, Held[Any]]) -> Folded:
        folded = Folded()
        streams: dict[UUID, list[Fact[Any]]] = defaultdict(list)
        for recorded in batch:
            streams[recorded.stream.id].append(recorded)
        for stream_id, facts in streams.items():
            held = self._follow(known.get(stream_id), facts, folded)
            if held is not None:
                folded.held[stream_id] = held
        folded.rows[self.states.name] = [
            self._row(stream_id, held) for stream_id, held in folded.held.items()
        ]
        return folded

    def _follow(
        self, held: Held[S] | None, facts: Sequence[Fact[Any]], folded: Folded
    ) -> Held[S] | None:
        """The state after all facts of one stream, or after the last one before a poisoned one."""
        reached: Held[S] | None = None
        for recorded in facts:
            try:
                held = self._next(held, recorded)
                rows = tuple(self.beside(held.state, recorded))
            except Exception as error:  # noqa: BLE001 - whatever it is, only its stream waits
                folded.poison.append(poison(recorded, error))
                break
            reached = held
            for table, row in rows:
                folded.rows[table].append(row)
        return reached

    def _next(self, before: Held[S] | None, recorded: Fact[Any]) -> Held[S]:
        expected = before.version + 1 if before else 1
        if recorded.version != expected:
            raise VersionGap(f"version {recorded.version} came where {expected} is next")
        state = self.evolve(before.state if before else None, recorded)
        first = before.position if before else recorded.position
        return Held(state, recorded.version, first, recorded.position)

    def _row(self, stream_id: UUID, held: Held[S]) -> Row:
        return (
            stream_id,
            held.version,
            held.position,
            held.updated_position,
            held.state.model_dump_json(),
            *self.columns(held.state),
        )


def poison(recorded: Fact[Event], error: Exception) -> Poison:
    text = f"{type(error).__name__}: {error}".replace("\x00", "")
    return Poison(recorded.stream, recorded.position, text[:ERROR_LENGTH_MAX])

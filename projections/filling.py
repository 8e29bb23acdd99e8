"""Spans of the log into tables that nobody is shown yet, written far more cheaply than live.

Shapes  Filler.step() brings those furthest behind on by at most SPAN_EVENTS_MAX positions, by half
        as many each time that it is Overtaken, so that it gets between those who overtake. Pages
        of the log are folded one after another, less the facts that none of them handles, and
        all rows of the span are written in one transaction: a stream whose facts lie close
        together has its row written once. Rows of streams that began within the span go by COPY,
        all others by the upsert that is used live.
        Small pages, as their facts are folded while the processor still has them at hand; the
        next one is read meanwhile. A span ends early after SPAN_BYTES_MAX of facts: rows and states
        are about as large, whatever merchants have written into them.
Errors  rows the database refuses: the span is done again, batch by batch, by Applier, which
        finds the one fact behind them and parks its stream. Overtaken and an outage pass through;
        nothing is held in memory between spans.
"""

import asyncio
import gc
from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection

from application.ports import Clock, EventStore, Span
from domain.event_base import EVENTS
from projections import checkpoints
from projections.applying import Applier, Follower, load_states, say_parked
from projections.checkpoints import Overtaken
from projections.packing import COPY_BEGINS, COPY_ENDS, register
from projections.projection import Batch, Held, Poison
from projections.table import Row, Table

SPAN_EVENTS_MAX = 90_000  # less than two seconds
SPAN_BYTES_MAX = 32 << 20  # of facts as they are stored; usual ones take a little less
SPAN_EVENTS_MIN = 500  # of one that is halved again and again: a hundredth of a second
PAGE_EVENTS_MAX = 2_000
CAREFUL_EVENTS_MAX = 10_000  # a batch, where a span has to be done again
SPANS_A_COLLECTION = 10
ROWS_AT_A_TIME = 2_000  # packed while PostgreSQL takes in the ones before

Rows = dict[str, list[Row]]


def _rows() -> Rows:
    return defaultdict(list)


@dataclass(slots=True)
class Filling:
    """One follower's share of a span: folded, and not written yet."""

    follower: Follower
    states: dict[int, Held[Any]] = field(default_factory=dict)  # of this span
    fresh: Rows = field(default_factory=_rows)
    rows: Rows = field(default_factory=_rows)
    poison: list[Poison] = field(default_factory=list)
    aside: set[int] = field(default_factory=set)  # streams that are parked

    async def take(self, connection: AsyncConnection, facts: Batch) -> None:
        projection = self.follower.projection
        if self.aside:
            facts = [each for each in facts if each.stream_id.int not in self.aside]
        if not facts:
            return
        folded = projection.gather(facts, await self._known(connection, projection.needs(facts)))
        self.states.update(folded.held)
        _add(self.fresh, folded.fresh)
        _add(self.rows, folded.rows)
        self.poison += folded.poison
        self.aside.update(bad.stream.id.int for bad in folded.poison)

    async def _known(
        self, connection: AsyncConnection, needed: Iterable[int]
    ) -> dict[int, Held[Any]]:
        known: dict[int, Held[Any]] = {}
        missing: list[int] = []
        for number in needed:
            held = self.states.get(number)
            if held is None:
                missing.append(number)
            else:
                known[number] = held
        if missing:
            async with connection.transaction():
                known.update(await load_states(connection, self.follower, missing))
        return known

    async def copy(self, connection: AsyncConnection) -> None:
        """The rows whose keys no table has."""
        projection = self.follower.projection
        for table in projection.tables:
            if table is projection.states:
                new = [held for held in self.states.values() if not held.stored]
                await self._copy(connection, table, map(projection.state_rows, _slices(new)))
            elif self.fresh[table.name]:
                rows = table.distinct(self.fresh[table.name])
                await self._copy(connection, table, _slices(rows))

    async def _copy(
        self, connection: AsyncConnection, table: Table, parts: Iterable[Sequence[Row]]
    ) -> None:
        statement = table.copy(self.follower.schema)
        async with connection.cursor() as cursor, cursor.copy(statement) as copy:
            await copy.write(COPY_BEGINS)
            for rows in parts:
                await copy.write(table.copied(rows))
            await copy.write(COPY_ENDS)

    async def upsert(self, connection: AsyncConnection) -> None:
        """The other rows; in a pipeline, so that they are packed while others are written."""
        projection = self.follower.projection
        for table in projection.tables:
            statement = self.follower.upserts[table.name]
            parts: Iterable[Sequence[Row]]
            if table is projection.states:
                known = [held for held in self.states.values() if held.stored]
                parts = map(projection.state_rows, _slices(known))
            else:
                parts = _slices(table.distinct(self.rows[table.name]))
            for rows in parts:
                await connection.execute(statement, table.arguments(rows))

    def settle(self, upto: int) -> None:
        """All of it is committed."""
        self.follower.place = replace(self.follower.place, position=upto)
        say_parked(self.follower, self.poison)


def _add(to: Rows, more: Mapping[str, list[Row]]) -> None:
    for table, rows in more.items():
        to[table] += rows


T = TypeVar("T")


def _slices(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    for first in range(0, len(rows), ROWS_AT_A_TIME):
        yield rows[first : first + ROWS_AT_A_TIME]


class Filler:
    def __init__(self, store: EventStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._spans = 0
        self._halvings = 0  # of the span

    async def step(
        self, connection: AsyncConnection, followers: Sequence[Follower], head: int
    ) -> bool:
        """Bring those furthest behind on; False when all contain the log up to `head`."""
        behind = [each for each in followers if each.position < head]
        if not behind:
            return False
        start = min(each.position for each in behind)
        others = [each.position for each in behind if each.position > start]
        upto = min(head, start + self._span(), *others)
        taking = [each for each in behind if each.position == start]
        for follower in taking:
            follower.held.clear()  # nothing is held between spans: it would be stale after one
        fillings = [Filling(each) for each in taking]
        try:
            await self._fill(connection, fillings, upto)
        except Overtaken:
            self._halvings += self._span() > SPAN_EVENTS_MIN
            raise
        self._halvings = max(0, self._halvings - 1)
        self._spans += 1
        if self._spans % SPANS_A_COLLECTION == 0:
            gc.collect()
        return True

    async def _fill(
        self, connection: AsyncConnection, fillings: Sequence[Filling], upto: int
    ) -> None:
        try:
            reached = await self._fold(connection, fillings, upto)
            await self._write(connection, fillings, reached)
        except (psycopg.DataError, psycopg.IntegrityError):
            await self._carefully(connection, [each.follower for each in fillings], upto)

    def _span(self) -> int:
        return max(min(SPAN_EVENTS_MIN, SPAN_EVENTS_MAX), SPAN_EVENTS_MAX >> self._halvings)

    def is_span(self, events: int) -> bool:
        """Whether so many are a span or more, during which others may have come."""
        return events >= SPAN_EVENTS_MAX

    async def _fold(
        self, connection: AsyncConnection, fillings: Sequence[Filling], upto: int
    ) -> int:
        """How far: not to the end where facts are large."""
        places = [each.follower.place for each in fillings]
        handled = frozenset().union(*(each.follower.projection.handles for each in fillings))
        skipping = EVENTS.keys() - {kind.name for kind in handled}
        async with connection.transaction():
            leaving_aside = await checkpoints.leaving_aside(connection, places)
        size = 0
        async with aclosing(self._pages(places[0].position, upto, skipping)) as pages:
            async for end, page in pages:
                if leaving_aside:
                    await _leave_aside(connection, fillings, leaving_aside, page.facts)
                for filling, facts in _routed(fillings, page.facts):
                    await filling.take(connection, facts)
                size += page.size
                if size >= SPAN_BYTES_MAX:
                    return end
        return upto

    async def _pages(
        self, after: int, upto: int, skipping: Collection[str]
    ) -> AsyncGenerator[tuple[int, Span], None]:
        """Each with the position of its end. One is read while the one before is folded."""

        def read(after: int) -> asyncio.Task[Span]:
            end = min(upto, after + PAGE_EVENTS_MAX)
            return asyncio.ensure_future(
                self._store.read_span(after=after, upto=end, skipping=skipping)
            )

        ahead = read(after)
        try:
            for start in range(after + PAGE_EVENTS_MAX, upto, PAGE_EVENTS_MAX):
                page = await ahead
                ahead = read(start)
                yield start, page
            yield upto, await ahead
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    async def _write(
        self, connection: AsyncConnection, fillings: Sequence[Filling], upto: int
    ) -> None:
        at = self._clock.now()
        places = [each.follower.place for each in fillings]
        async with connection.transaction():
            # Nobody has moved, parked or retried anything here since what we fold was read.
            await checkpoints.lock(connection, places, ())
            register(connection.adapters)
            for filling in fillings:
                await filling.copy(connection)
            async with connection.pipeline():
                for filling in fillings:
                    await filling.upsert(connection)
                    for bad in filling.poison:
                        await checkpoints.park(connection, filling.follower.schema, bad, at)
                await checkpoints.move(connection, [each.schema for each in places], upto, at)
        for filling in fillings:
            filling.settle(upto)

    async def _carefully(
        self, connection: AsyncConnection, followers: Sequence[Follower], upto: int
    ) -> None:
        applier = Applier(self._clock)
        while (position := followers[0].position) < upto:
            limit = min(upto - position, CAREFUL_EVENTS_MAX)
            batch = await self._store.read_facts(after=position, limit=limit)
            await applier.advance(connection, followers, batch)


def _routed(fillings: Sequence[Filling], page: Batch) -> Iterator[tuple[Filling, Batch]]:
    """Which facts each of them handles."""
    shares: list[tuple[Filling, list[Any]]] = [(filling, []) for filling in fillings]
    by_kind: dict[type, list[list[Any]]] = defaultdict(list)
    for filling, share in shares:
        for kind in filling.follower.projection.handles:
            by_kind[kind].append(share)
    for recorded in page:
        for share in by_kind.get(type(recorded.event), ()):
            share.append(recorded)
    return iter(shares)


async def _leave_aside(
    connection: AsyncConnection, fillings: Sequence[Filling], schemas: Sequence[str], page: Batch
) -> None:
    async with connection.transaction():
        parked = await checkpoints.parked_among(connection, schemas, page)
    for filling in fillings:
        filling.aside.update(
            stream.id.int for schema, stream in parked if schema == filling.follower.schema
        )

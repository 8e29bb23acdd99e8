"""One batch of the log into the tables of several projections, in one transaction.

Shapes  Follower is one projection at one place. `advance` folds a batch for all followers that
        stand at the same place, writes one upsert a table and moves their checkpoints.
        The states of recent streams stay in memory between batches: only the leader writes,
        so what it wrote last is what the table holds.
Errors  rows the database refuses are narrowed down, by projection and then by halves, to the
        one fact behind them, whose stream is parked. An outage is not poison: it passes through,
        as does Overtaken; after either the followers are of no more use.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import psycopg
import structlog
from psycopg import AsyncConnection, sql

from application.ports import Clock, Stream
from projections import checkpoints
from projections.checkpoints import Place
from projections.packing import register
from projections.projection import (
    Batch,
    Folded,
    Held,
    Known,
    Poison,
    Projection,
    poison,
)

STATES_HELD_MAX = 10_000  # streams a projection keeps in memory

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Follower:
    projection: Projection
    place: Place
    held: OrderedDict[int, Held[Any]] = field(default_factory=OrderedDict)
    upserts: dict[str, sql.Composed] = field(init=False)

    def __post_init__(self) -> None:
        self.upserts = {table.name: table.upsert(self.schema) for table in self.projection.tables}

    @property
    def schema(self) -> str:
        return self.place.schema

    @property
    def position(self) -> int:
        return self.place.position

    def remember(self, folded: Folded) -> None:
        for number, held in folded.held.items():
            held.stored = True
            self.held[number] = held
            self.held.move_to_end(number)
        for bad in folded.poison:
            self.held.pop(bad.stream.id.int, None)
        while len(self.held) > STATES_HELD_MAX:
            self.held.popitem(last=False)


class Applier:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def advance(
        self, connection: AsyncConnection, followers: Sequence[Follower], batch: Batch
    ) -> None:
        """Contain the batch in every follower. They stand at one place, and do so afterwards."""
        try:
            await self._write(connection, followers, batch)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            await self._narrow(connection, followers, batch, error)

    async def _narrow(
        self,
        connection: AsyncConnection,
        followers: Sequence[Follower],
        batch: Batch,
        error: Exception,
    ) -> None:
        if len(followers) > 1:
            for follower in followers:
                await self.advance(connection, [follower], batch)
        elif len(batch) > 1:
            middle = len(batch) // 2
            await self.advance(connection, followers, batch[:middle])
            await self.advance(connection, followers, batch[middle:])
        else:
            await self._write(connection, followers, batch, refused=poison(batch[0], error))

    async def _write(
        self,
        connection: AsyncConnection,
        followers: Sequence[Follower],
        batch: Batch,
        refused: Poison | None = None,
    ) -> None:
        """One transaction. `refused` is a lone fact the database would not take."""
        at = self._clock.now()
        places = [follower.place for follower in followers]
        results: list[tuple[Follower, Folded]] = []
        reached = batch[-1].position
        async with connection.transaction():
            parked = await checkpoints.lock(connection, places, batch)
            routed = {} if refused else _route(followers, batch, parked)
            known = [
                await _known(connection, follower, routed.get(follower.schema, []))
                for follower in followers
            ]
            register(connection.adapters)
            async with connection.pipeline():
                # PostgreSQL writes the rows of one while the next one's are folded.
                for follower, states in zip(followers, known, strict=True):
                    folded = _fold(follower, routed.get(follower.schema, []), states)
                    folded.poison.extend([refused] if refused else [])
                    results.append((follower, folded))
                    await _write_rows(connection, follower, folded)
                    for bad in folded.poison:
                        await checkpoints.park(connection, follower.schema, bad, at)
                schemas = [place.schema for place in places]
                await checkpoints.move(connection, schemas, reached, at)
        for follower, folded in results:
            follower.place = replace(follower.place, position=reached)
            follower.remember(folded)
            say_parked(follower, folded.poison)


def _route(
    followers: Sequence[Follower], batch: Batch, parked: set[tuple[str, Stream]]
) -> dict[str, list[Any]]:
    """Which facts each follower handles, less those of parked streams."""
    by_kind: dict[type, list[list[Any]]] = defaultdict(list)
    routed: dict[str, list[Any]] = {follower.schema: [] for follower in followers}
    for follower in followers:
        for kind in follower.projection.handles:
            by_kind[kind].append(routed[follower.schema])
    for recorded in batch:
        for events in by_kind.get(type(recorded.event), ()):
            events.append(recorded)
    for schema, stream in parked:
        routed[schema] = [each for each in routed[schema] if each.stream != stream]
    return routed


def _fold(follower: Follower, events: Batch, known: Known) -> Folded:
    return follower.projection.fold(events, known) if events else Folded()


async def _known(
    connection: AsyncConnection, follower: Follower, events: Batch
) -> dict[int, Held[Any]]:
    """The states the fold goes on from."""
    needed = follower.projection.needs(events)
    # Not `needed - held.keys()`, which looks at each state that is held.
    missing = {number for number in needed if number not in follower.held}
    known = {number: follower.held[number] for number in needed - missing}
    if missing:
        known.update(await load_states(connection, follower, missing))
    return known


async def load_states(
    connection: AsyncConnection, follower: Follower, numbers: Iterable[int]
) -> dict[int, Held[Any]]:
    table = follower.projection.states
    assert table is not None
    select = sql.SQL(
        "SELECT {key}, version, position, updated_position, state FROM {table} "
        "WHERE {key} = ANY(%s)"
    ).format(key=sql.Identifier(table.key[0]), table=sql.Identifier(follower.schema, table.name))
    cursor = await connection.execute(select, ([UUID(int=number) for number in numbers],))
    rows = await cursor.fetchall()
    return {row[0].int: follower.projection.revive(row) for row in rows}


async def _write_rows(connection: AsyncConnection, follower: Follower, folded: Folded) -> None:
    for table in follower.projection.tables:
        rows = folded.rows.get(table.name)
        if rows:
            await connection.execute(follower.upserts[table.name], table.arguments(rows))


def say_parked(follower: Follower, parked: Iterable[Poison]) -> None:
    """The reason is in the database: an exception's text may carry a customer's data."""
    for bad in parked:
        log.error(
            "stream_parked",
            projection=follower.projection.name,
            schema=follower.schema,
            stream_type=bad.stream.type,
            stream_id=str(bad.stream.id),
            position=bad.position,
        )

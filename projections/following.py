"""Several projections on their way along one log, sharing what is read of it.

Shapes  Procession.step() brings every follower on by at most one batch. Those at the same place
        go together, in one transaction; one that is behind is read up to the next one's place
        and joins it there. While a full batch is written, the next is already being read.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence

from psycopg import AsyncConnection

from application.ports import EventStore
from projections.applying import Applier, Follower
from projections.projection import Batch

BATCH_EVENTS_MAX = 1_000


class Reader:
    """The log, read one batch ahead of everybody who was given a full one."""

    def __init__(self, store: EventStore, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._ahead: dict[int, asyncio.Task[Batch]] = {}

    async def after(self, position: int) -> Batch:
        ahead = self._ahead.pop(position, None)
        batch = await (ahead or self._read(position))
        if len(batch) == self._limit:
            last = batch[-1].position
            self._ahead[last] = asyncio.create_task(self._read(last))
        return batch

    async def _read(self, position: int) -> Batch:
        return await self._store.read_facts(after=position, limit=self._limit)

    async def keep_only(self, positions: Collection[int]) -> None:
        """Drop what was read for places nobody stands at any more."""
        left = [self._ahead.pop(each) for each in self._ahead.keys() - set(positions)]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class Procession:
    def __init__(
        self, store: EventStore, applier: Applier, *, batch_events: int = BATCH_EVENTS_MAX
    ) -> None:
        self._reader = Reader(store, batch_events)
        self._applier = applier
        self._batch_events = batch_events

    async def step(self, connection: AsyncConnection, followers: Sequence[Follower]) -> int:
        """The size of the largest batch taken in; 0 when there is nothing new."""
        groups: dict[int, list[Follower]] = defaultdict(list)
        for follower in followers:
            groups[follower.position].append(follower)
        await self._reader.keep_only(groups)
        largest = 0
        upto: int | None = None
        # Those ahead first: a rebuild must not delay what people look at.
        for position in sorted(groups, reverse=True):
            batch = await self._reader.after(position)
            if upto is not None:
                batch = [recorded for recorded in batch if recorded.position <= upto]
            if batch:
                await self._applier.advance(connection, groups[position], batch)
            largest = max(largest, len(batch))
            upto = position
        return largest

    def is_full(self, size: int) -> bool:
        """Whether so large a batch means that there is more."""
        return size >= self._batch_events

    async def close(self) -> None:
        await self._reader.keep_only(())

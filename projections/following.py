"""Several projections on their way along one log, sharing what is read of it.

Shapes  Procession.step() brings every follower on by at most one batch. Those at the same place
        go together, in one transaction; one that is behind is read up to the next one's place
        and joins it there. While a full batch is written, the next is already being read.
        How large a batch is, its Pace says; what was read ahead keeps the size it was read with.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence

from psycopg import AsyncConnection

from application.ports import EventStore
from projections.applying import Applier, Follower
from projections.pace import Pace
from projections.projection import Batch


class Reader:
    """The log, read one batch ahead of everybody who was given a full one."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._ahead: dict[int, tuple[int, asyncio.Task[Batch]]] = {}

    async def after(self, position: int, limit: int) -> tuple[Batch, bool]:
        """With whether there may be more, of which at most `limit` events are read meanwhile."""
        asked, ahead = self._ahead.pop(position, (limit, None))
        batch = await (ahead or self._read(position, limit))
        full = len(batch) == asked
        if full:
            last = batch[-1].position
            self._ahead[last] = limit, asyncio.create_task(self._read(last, limit))
        return batch, full

    async def _read(self, position: int, limit: int) -> Batch:
        return await self._store.read_facts(after=position, limit=limit)

    async def keep_only(self, positions: Collection[int]) -> None:
        """Drop what was read for places nobody stands at any more."""
        left = [self._ahead.pop(each)[1] for each in self._ahead.keys() - set(positions)]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class Procession:
    def __init__(self, store: EventStore, applier: Applier, pace: Pace) -> None:
        self._reader = Reader(store)
        self._applier = applier
        self._pace = pace
        self.is_full = False  # whether the last step leaves more to be read
        self.position = 0  # of those who were being brought on last,
        self.size = 0  # by so many facts, or by as many as were asked for

    async def step(self, connection: AsyncConnection, followers: Sequence[Follower]) -> int:
        """The size of the largest batch taken in; 0 when there is nothing new."""
        groups: dict[int, list[Follower]] = defaultdict(list)
        for follower in followers:
            groups[follower.position].append(follower)
        await self._reader.keep_only(groups)
        largest = 0
        self.is_full = False
        upto: int | None = None
        # Those ahead first: a rebuild must not delay what people look at.
        for position in sorted(groups, reverse=True):
            self.position, self.size = position, self._pace.events
            batch, full = await self._reader.after(position, self._pace.events)
            if upto is not None and batch and batch[-1].position > upto:
                batch = [recorded for recorded in batch if recorded.position <= upto]
                full = False
            if batch:
                self.size = len(batch)
                await self._applier.advance(connection, groups[position], batch)
            largest = max(largest, len(batch))
            self.is_full |= full
            upto = position
        return largest

    async def close(self) -> None:
        await self._reader.keep_only(())

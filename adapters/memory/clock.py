"""A clock that moves when told to, and ids that follow from a seed."""

import asyncio
import random  # noqa: TID251 - seeded: the same ids again for the same seed
from datetime import datetime, timedelta
from uuid import UUID

from adapters.waiting import one_is_set
from application.ports import Waker


class FakeClock:
    """Stands still until `advance`; sleepers wake in order of their moment."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._sleepers: list[tuple[datetime, int, asyncio.Event]] = []
        self._count = 0

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float, *wakers: Waker) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        self._count += 1
        woken = asyncio.Event()
        self._sleepers.append((self._now + timedelta(seconds=seconds), self._count, woken))
        await one_is_set((woken, *wakers))

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        due = sorted(sleeper for sleeper in self._sleepers if sleeper[0] <= self._now)
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > self._now]
        for _, _, woken in due:
            woken.set()


class SeededIds:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret

    def new(self) -> UUID:
        return UUID(int=self._random.getrandbits(128))

    def secret(self, size_bytes: int) -> bytes:
        return self._random.randbytes(size_bytes)

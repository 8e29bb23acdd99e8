"""Tells whoever listens that the log has grown; a hint may be lost, so readers also poll.

Bounds  one hint under way at a time: appends meanwhile share the next one.
"""

import asyncio
import contextlib
from typing import Self

from application.outside import Bus

LOG_HEAD = "hint.log.head"


class HeadHints:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._position = 0
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def appended(self, position: int) -> None:
        self._position = position
        self._news.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._tell())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _tell(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._bus.hint(LOG_HEAD, str(self._position).encode())

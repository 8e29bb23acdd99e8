"""Waits for a hint, or a while at the latest: hints make a worker quick, polling makes it sure.

Hints travel on core NATS and may be lost, repeated or late; they say only "look again".
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

import structlog

from application.ports import Clock

log = structlog.get_logger(__name__)

LOG_HEAD = "hint.log.head"  # something was appended
DELIVERIES_DUE = "hint.deliveries.due"  # webhook deliveries were opened
LISTEN_AGAIN_SECONDS = 1.0


class HintBus(Protocol):
    """The part of outside.Bus that carries hints."""

    async def hint(self, subject: str, data: bytes = b"") -> None: ...

    def hints(self, subject: str) -> AsyncIterator[bytes]: ...


class Wakeup:
    """One worker's bell."""

    def __init__(self, bus: HintBus, subject: str, clock: Clock) -> None:
        self._bus = bus
        self._subject = subject
        self._clock = clock
        self._bell = asyncio.Event()
        self._hinted = False

    def ring(self) -> None:
        """Wake the worker for a reason of its own."""
        self._bell.set()

    @contextlib.asynccontextmanager
    async def listening(self, stop: asyncio.Event) -> AsyncIterator[None]:
        """Listen for hints, and for the word to stop, while the block runs."""
        helpers = [asyncio.create_task(self._listen()), asyncio.create_task(self._heed(stop))]
        try:
            yield
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def wait(self, seconds: float) -> bool:
        """Whether a hint came; False after `seconds`, or when rung for another reason."""
        await self._clock.sleep(seconds, self._bell)
        hinted, self._hinted = self._hinted, False
        self._bell.clear()
        return hinted

    async def _listen(self) -> None:
        while True:
            try:
                async for _ in self._bus.hints(self._subject):
                    self._hinted = True
                    self._bell.set()
            except Exception:
                log.exception("hints_broke_off", subject=self._subject)
            await self._clock.sleep(LISTEN_AGAIN_SECONDS)

    async def _heed(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._bell.set()

"""When to look for the next block: at a steady pace, or when a bell says that there is one.

Shapes  Without a bell, or while it is silent, POLLS_A_BLOCK looks a block time, but none while
        the next block cannot be due yet. While it rings,
        one look at each ring, and one every SLOW_BLOCKS block times in case it has missed any.
        A bell is one provider's word that it has a new head. It moves nothing but the moment of
        the next look; and since the others may be a little later, that look is repeated at the
        steady pace until there was something to do. However often it rings, nobody looks more
        often than at the steady pace: every look costs calls of all providers.
Units   seconds by the Clock port.
"""

import asyncio
from datetime import timedelta
from typing import Protocol

from application.ports import Clock
from domain.networks import Network

POLLS_A_BLOCK = 5
DUE_SHARE = 0.8  # of a block time after the newest block, nobody need look for the next one
POLL_SECONDS_MIN, POLL_SECONDS_MAX = 0.1, 2.0
SLOW_BLOCKS = 2


class Bell(Protocol):
    """Something that hears of new heads, from whomever."""

    @property
    def rung(self) -> asyncio.Event:
        """Set with each new head; whoever hears it clears it."""
        ...

    @property
    def ringing(self) -> bool:
        """Whether it has rung lately, as it should."""
        ...

    async def run(self, stop: asyncio.Event) -> None: ...


class Pace:
    def __init__(self, network: Network, clock: Clock, bell: Bell | None = None) -> None:
        self._clock = clock
        self._bell = bell
        steady = network.block_seconds / POLLS_A_BLOCK
        self._steady_seconds = min(max(steady, POLL_SECONDS_MIN), POLL_SECONDS_MAX)
        self._slow_seconds = max(network.block_seconds * SLOW_BLOCKS, self._steady_seconds)
        self._expecting = False
        self._due_seconds = network.block_seconds * DUE_SHARE
        self._due_at = clock.now()
        self._level = False
        self.tip = 0  # the newest block that there is

    @property
    def poll_seconds(self) -> float:
        """How long to wait when there was nothing to do."""
        if self._bell is None or not self._bell.ringing or self._expecting:
            due_in = (self._due_at - self._clock.now()).total_seconds()
            return max(float(self._steady_seconds), min(due_in, self._due_seconds))
        return float(self._slow_seconds)

    def passed(self, number: int) -> None:
        """A block was passed; if it is the tip, the next one takes its time."""
        self._level = number >= self.tip
        if self._level:
            self._due_at = self._clock.now() + timedelta(seconds=self._due_seconds)

    def wait_seconds(self, *, moved: bool) -> float:
        """After a step: none when there may be more to do at once."""
        level, self._level = self._level, False
        if moved:
            self.moved()
        return 0 if moved and not level else self.poll_seconds

    def moved(self) -> None:
        """There was something to do."""
        self._expecting = False

    async def pause(self, seconds: float, stop: asyncio.Event) -> None:
        bell = self._bell
        if bell is None:
            await self._clock.sleep(seconds, stop)
            return
        looked_at = self._clock.now()
        await self._clock.sleep(seconds, stop, bell.rung)
        if bell.rung.is_set():
            self._expecting = True
            early = self._steady_seconds - (self._clock.now() - looked_at).total_seconds()
            if early > 0:
                await self._clock.sleep(min(early, self._steady_seconds), stop)
            bell.rung.clear()

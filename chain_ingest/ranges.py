"""How many blocks of logs each provider gives in one answer, learned from its answers.

Shapes  A width per provider: it grows by 5 % with each full answer, falls to what a refusal
        suggests or to half of what was refused, and shrinks when answers come slowly or are long.
        A refused width is a ceiling; it is raised a little after CEILING_ANSWERS answers, because
        most limits are of the plan and stay, and each test of them costs a call.
        Widths outlive the process (application/ingest.RangeMemory); losing them costs a few calls.
Units   blocks; seconds; logs in one answer, which bound the memory that reading takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from application.ingest import RangeMemory
from application.ports import Clock, Unavailable

log = structlog.get_logger(__name__)

RANGE_BLOCKS_FIRST = 500
RANGE_BLOCKS_MAX = 10_000
SLOW_SECONDS = 5.0  # half the time-out of such a question
LOGS_WANTED = 10_000
CEILING_ANSWERS = 20
KEEP_SECONDS_MIN = 30.0


@dataclass(slots=True)
class _Width:
    blocks: int = RANGE_BLOCKS_FIRST
    ceiling: int = RANGE_BLOCKS_MAX
    at_ceiling: int = 0  # answers since it was last tested
    kept: int | None = None


class Ranges:
    def __init__(self, network: str, memory: RangeMemory, clock: Clock) -> None:
        self._network = network
        self._memory = memory
        self._clock = clock
        self._widths: dict[str, _Width] = {}
        self._remembered = False
        self._kept_at = clock.now()

    def width(self, provider: str) -> int:
        return self._width(provider).blocks

    def answered(self, provider: str, blocks: int, seconds: float, logs: int) -> None:
        """So many blocks were given, in so many seconds, with so many logs in them."""
        width = self._width(provider)
        if logs > LOGS_WANTED:
            self._set(provider, blocks * LOGS_WANTED // logs)
        elif seconds > SLOW_SECONDS:
            self._set(provider, blocks // 2)
        elif blocks >= width.blocks:
            if width.blocks >= width.ceiling:
                width.at_ceiling += 1
                if width.at_ceiling < CEILING_ANSWERS:
                    return
                width.ceiling = min(_wider(width.ceiling), RANGE_BLOCKS_MAX)
            width.at_ceiling = 0
            width.blocks = min(_wider(width.blocks), width.ceiling)

    def refused(
        self, provider: str, first: int, last: int, suggested: tuple[int, int] | None = None
    ) -> None:
        """first..last was too much for one answer."""
        blocks = (last - first + 1) // 2
        width = self._width(provider)
        width.ceiling = max(last - first, 1)
        if suggested is not None and suggested[0] <= first <= suggested[1] < last:
            blocks = width.ceiling = suggested[1] - first + 1
        width.at_ceiling = 0
        self._set(provider, blocks)

    async def remember(self) -> None:
        """Take up the widths of an earlier process, once."""
        if self._remembered:
            return
        try:
            widths = await self._memory.widths(self._network)
        except Unavailable:
            return
        self._remembered = True
        for provider, blocks in widths.items():
            kept = min(max(blocks, 1), RANGE_BLOCKS_MAX)
            self._widths[provider] = _Width(blocks=kept, kept=kept)

    async def keep(self) -> None:
        """Write down what has changed much, now and then; it can be lost without harm."""
        now = self._clock.now()
        if (now - self._kept_at).total_seconds() < KEEP_SECONDS_MIN:
            return
        self._kept_at = now
        changed = {
            provider: width.blocks
            for provider, width in self._widths.items()
            if width.kept is None or abs(width.blocks - width.kept) > width.kept // 4
        }
        if not changed:
            return
        try:
            await self._memory.keep(self._network, changed, now)
        except Unavailable:
            return
        for provider, blocks in changed.items():
            self._widths[provider].kept = blocks

    def _width(self, provider: str) -> _Width:
        return self._widths.setdefault(provider, _Width())

    def _set(self, provider: str, blocks: int) -> None:
        width = self._width(provider)
        narrower = max(min(blocks, width.ceiling), 1)
        if narrower < width.blocks:
            log.info("range_narrowed", network=self._network, provider=provider, blocks=narrower)
        width.blocks = narrower


def _wider(blocks: int) -> int:
    return blocks + max(blocks // 20, 1)


class NoRangeMemory:
    """Learns anew in each process."""

    async def widths(self, network: str) -> Mapping[str, int]:  # noqa: ARG002 - a port
        return {}

    async def keep(self, network: str, widths: Mapping[str, int], at: datetime) -> None:
        pass

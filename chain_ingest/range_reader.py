"""The logs of a stretch of final blocks, from two providers that each read it in their own parts.

Shapes  A stretch ends with an agreed block. Whoever may be asked has given that very block, and
        told of a head beyond it: a node answers a range it does not have yet with nothing, and
        behind one address there may be many nodes, some POOL_LAG_BLOCKS behind the others.
        Each reads first..last in pieces of its own width, PIECES_AT_ONCE at a time; a narrow one
        makes many small questions and narrows nobody else. The widest are preferred.
        Nothing but what is asked for is kept, so memory is that of the answers on their way.
Units   blocks, both ends included; seconds by the Clock port.
Errors  NoQuorum when too few providers give all of a stretch.
"""

import asyncio
from collections.abc import Collection, Sequence

from application.chain_source import (
    ChainSource,
    RangeLogs,
    RangeRefused,
    kind_of,
)
from application.ports import Clock, Unavailable
from chain_ingest.panel import Heard, Panel
from chain_ingest.providers import QUORUM, Agreed, NoQuorum
from chain_ingest.ranges import RANGE_BLOCKS_MAX, Ranges

POOL_LAG_BLOCKS = 16
PIECES_AT_ONCE = 2
PIECES_MAX = 64  # of one stretch, for the narrower of two
PIECES_WIDE = 4  # of one stretch, for the wider of them
CALLS_MAX = 4 * PIECES_MAX  # of one part, should it fall to a narrower one still
REFUSALS_MAX = 20  # of one part: 2^20 blocks have been halved to one by then
TIMEOUTS_MAX = 2  # of one part; further ones are an outage, and no sign of its width


class _Part:
    """What one provider has told so far of its part, and what is still to be asked."""

    def __init__(self, first: int, last: int) -> None:
        self.todo = [(first, last)]
        self.told: list[RangeLogs] = []
        self.calls = 0
        self.refusals = 0
        self.timeouts = 0
        self.failed = False

    def take(self, width: int) -> tuple[int, int] | None:
        """The next piece of at most so many blocks."""
        if self.failed or not self.todo or self.calls >= CALLS_MAX:
            return None
        self.calls += 1
        first, last = self.todo.pop()
        end = min(first + width - 1, last)
        if end < last:
            self.todo.append((end + 1, last))
        return first, end

    def total(self) -> RangeLogs:
        return RangeLogs(
            tuple(entry for each in self.told for entry in each.entries),
            sum(each.count for each in self.told),
            sum(each.digest for each in self.told),
        )


class RangeReader:
    def __init__(self, panel: Panel, ranges: Ranges, clock: Clock) -> None:
        self._panel = panel
        self._ranges = ranges
        self._clock = clock

    def reach(self) -> int:
        """How many blocks are worth reading in one go, as the providers are."""
        names = [source.name for source in self._panel.healthiest()]
        widths = sorted((self._ranges.width(name) for name in names), reverse=True)
        if not widths:
            return 1
        narrower = widths[min(QUORUM, len(widths)) - 1]
        return max(min(PIECES_WIDE * widths[0], PIECES_MAX * narrower, RANGE_BLOCKS_MAX), 1)

    async def logs(
        self, first: int, end: Agreed, tokens: Sequence[str], recipients: Collection[str]
    ) -> Heard:
        """Everything that two providers tell of first..end, or one where its word is taken."""
        last = end.header.number
        able = self._panel.have_reached(last + POOL_LAG_BLOCKS, end.providers)
        able.sort(key=lambda source: -((first - last - 1) // self._ranges.width(source.name)))

        async def read(source: ChainSource) -> RangeLogs | None:
            return await self._part(source, first, last, tokens, recipients)

        wanted = QUORUM if end.attested else 1
        what = f"logs of blocks {first} to {last}"
        heard = await self._panel.logs(able, read, wanted, what)
        if len(heard.providers) < wanted:
            raise NoQuorum(f"{what}: {len(heard.providers)} of {wanted} providers told all")
        return heard

    async def _part(
        self,
        source: ChainSource,
        first: int,
        last: int,
        tokens: Sequence[str],
        recipients: Collection[str],
    ) -> RangeLogs | None:
        """All that one provider tells of first..last; None when it does not tell all of it."""
        part = _Part(first, last)

        async def work() -> None:
            while (piece := part.take(self._ranges.width(source.name))) is not None:
                told = await self._piece(source, piece, part, tokens, recipients)
                if told is not None:
                    part.told.append(told)

        await asyncio.gather(*(work() for _ in range(PIECES_AT_ONCE)))
        return None if part.failed or part.todo else part.total()

    async def _piece(
        self,
        source: ChainSource,
        piece: tuple[int, int],
        part: _Part,
        tokens: Sequence[str],
        recipients: Collection[str],
    ) -> RangeLogs | None:
        first, last = piece
        begun = self._clock.now()
        too_slow = False

        async def read(asked: ChainSource) -> RangeLogs:
            nonlocal too_slow
            try:
                return await asked.logs_of_range(first, last, tokens, recipients)
            except Unavailable as outage:
                too_slow = kind_of(outage) == "timeout" and part.timeouts < TIMEOUTS_MAX
                if too_slow and first < last:
                    raise RangeRefused(outage.reason) from outage
                raise

        try:
            answer = await self._panel.ask(source, read)
        except RangeRefused as refused:
            part.timeouts += too_slow
            part.refusals += 1
            part.failed |= first == last or part.refusals > REFUSALS_MAX
            part.todo.append(piece)
            self._ranges.refused(source.name, first, last, refused.suggested)
            return None
        if answer is None:
            part.failed = True
            return None
        seconds = (self._clock.now() - begun).total_seconds()
        self._ranges.answered(source.name, last - first + 1, seconds, answer[0].count)
        return answer[0]

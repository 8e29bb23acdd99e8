"""Catching up by ranges of logs where the chain is final, instead of block by block.

Shapes  One step passes one range, ending with an agreed, final header. Every block in which
        either of two providers' logs show a match is agreed and proved as in live work; the
        others are never fetched. The range adapts: wider by 5 % after each success, to what
        the provider suggests or to half after each refusal.
Errors  those of chain_ingest/providers.py; RangeRefused only for a single block.
"""

from collections.abc import Set as AbstractSet

import structlog

from application.chain_source import RangeRefused
from application.ingest import Cursor
from chain_ingest.providers import Agreed, Providers
from chain_ingest.scanner import Scanner, recipients_of
from domain.events import Sighting

log = structlog.get_logger(__name__)

BEHIND_BLOCKS_MIN = 256  # nearer than this, block by block is quick enough
RANGE_BLOCKS_FIRST = 500
RANGE_BLOCKS_MAX = 10_000


class Backfill:
    def __init__(self, providers: Providers, scanner: Scanner) -> None:
        self._providers = providers
        self._scanner = scanner
        self._blocks = RANGE_BLOCKS_FIRST

    async def end_of_range(self, cursor: Cursor, tip: int) -> Agreed | None:
        """The block to catch up to in one step; None when it is to be done block by block."""
        if tip - cursor.number < BEHIND_BLOCKS_MIN:
            return None
        final = await self._providers.finalized()
        if final is None or final.header.number <= cursor.number:
            return None
        ours = await self._providers.agreed(cursor.number)
        if ours.header.hash != cursor.hash:
            return None  # a reorg, which the follower unwinds first
        last = min(cursor.number + self._blocks, final.header.number)
        end = await self._providers.agreed(last)
        # A range on one provider's word could not be read again through a quorum later.
        return end if end.attested or self._providers.single else None

    async def sightings(
        self, cursor: Cursor, end: Agreed, watched: AbstractSet[str]
    ) -> tuple[Sighting, ...] | None:
        """What blocks above the cursor up to `end` hold; None: the range was too wide."""
        first, last = cursor.number + 1, end.header.number
        if not watched:
            return ()
        try:
            logs = await self._providers.logs_of_range(
                first,
                last,
                self._scanner.tokens,
                recipients_of(watched),
                attested=end.attested,
            )
        except RangeRefused as refused:
            if first == last:
                raise
            self._narrow(first, last, refused.suggested)
            return None
        self._blocks = min(self._blocks * 21 // 20 + 1, RANGE_BLOCKS_MAX)
        matching = self._scanner.matching(logs, watched)
        numbers = sorted({entry.block_number for entry in matching})
        found: list[Sighting] = []
        for number in numbers:
            if first <= number <= last:
                block = end if number == last else await self._providers.agreed(number)
                found += await self._scanner.proved(block, watched)
        return tuple(found)

    def _narrow(self, first: int, last: int, suggested: tuple[int, int] | None) -> None:
        half = (last - first + 1) // 2
        if suggested is not None and suggested[0] <= first <= suggested[1] < last:
            half = suggested[1] - first + 1
        self._blocks = max(half, 1)
        log.info("range_narrowed", blocks=self._blocks)

"""Catching up by ranges of logs where the chain is final, instead of block by block.

Shapes  One step passes one stretch, ending with an agreed, final header. Every block in which
        either of two providers' logs show a match is agreed and proved as in live work, some at
        a time, and by as many providers as the end of the stretch: it counts as scanned by them
        all. The others are never fetched. How wide a stretch is follows from what the
        providers give in one answer (chain_ingest/ranges.py).
        Where ranges are not to be had, it is done block by block for REST_SECONDS.
Errors  those of chain_ingest/providers.py.
"""

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

import structlog

from application.ingest import Cursor
from application.ports import Clock
from chain_ingest.panel import Heard
from chain_ingest.providers import Agreed, NoQuorum, Providers
from chain_ingest.range_reader import POOL_LAG_BLOCKS, RangeReader
from chain_ingest.scanner import Scanner
from domain.events import Sighting

log = structlog.get_logger(__name__)

BEHIND_BLOCKS_MIN = 256  # nearer than this, block by block is quick enough
PROOFS_AT_ONCE = 4
REST_SECONDS = 30.0


class Backfill:
    def __init__(self, providers: Providers, scanner: Scanner, clock: Clock) -> None:
        self._providers = providers
        self._scanner = scanner
        self._ranges = providers.ranges
        self._clock = clock
        self._reader = RangeReader(providers.panel, providers.ranges, clock)
        self._not_before: datetime | None = None

    async def end_of_range(
        self, cursor: Cursor, tip: int, *, behind_min: int = BEHIND_BLOCKS_MIN
    ) -> Agreed | None:
        """The block to catch up to in one step; None when it is to be done block by block."""
        if tip - cursor.number < behind_min or self._resting():
            return None
        final = await self._providers.finalized()
        if final is None or final.header.number <= cursor.number:
            return None
        ours = await self._providers.agreed(cursor.number)
        if ours.header.hash != cursor.hash:
            return None  # a reorg, which the follower unwinds first
        if not (ours.attested or self._providers.single):
            return None  # nor does a range stand on one provider's word
        await self._ranges.remember()
        reach = cursor.number + self._reader.reach()
        last = min(reach, final.header.number, tip - POOL_LAG_BLOCKS)
        if last <= cursor.number:
            return None
        end = await self._providers.agreed(last)
        # A range on one provider's word could not be read again through a quorum later.
        return end if end.attested or self._providers.single else None

    async def sightings(
        self, cursor: Cursor, end: Agreed, watched: AbstractSet[str]
    ) -> tuple[Sighting, ...] | None:
        """What blocks above the cursor up to `end` hold; None: ranges are not to be had now."""
        first, last = cursor.number + 1, end.header.number
        if not watched:
            return ()
        try:
            heard = await self._reader.logs(first, end, self._scanner.tokens, watched)
        except NoQuorum as nobody:
            self._rest(nobody)
            return None
        finally:
            await self._ranges.keep()
        matching = self._scanner.matching(heard.entries, watched)
        numbers = sorted({entry.block_number for entry in matching})
        inside = [number for number in numbers if first <= number <= last]
        return await self._proved(inside, end, watched, heard)

    async def _proved(
        self, numbers: Sequence[int], end: Agreed, watched: AbstractSet[str], heard: Heard
    ) -> tuple[Sighting, ...]:
        async def proved(number: int) -> tuple[Sighting, ...]:
            block = end
            if number != end.header.number:
                block = await self._providers.agreed(number)
            if end.attested and not block.attested:
                raise NoQuorum(f"block {number}, in an attested range, on one provider's word")
            return await self._scanner.proved(block, watched, heard)

        found: list[Sighting] = []
        for start in range(0, len(numbers), PROOFS_AT_ONCE):
            some = numbers[start : start + PROOFS_AT_ONCE]
            for sightings in await asyncio.gather(*(proved(number) for number in some)):
                found += sightings
        return tuple(found)

    def _resting(self) -> bool:
        return self._not_before is not None and self._clock.now() < self._not_before

    def _rest(self, nobody: NoQuorum) -> None:
        log.warning("ranges_not_to_be_had", reason=nobody.reason)
        self._not_before = self._clock.now() + timedelta(seconds=REST_SECONDS)

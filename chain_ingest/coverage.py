"""Which blocks have been scanned, and whether that is without a gap.

Shapes  Ranges link by hash: the parent of one range's first block is the last block of the range
        before it. `gaps` names what is missing, `close` answers for a whole period or refuses.
Errors  CoverageGap names the blocks nobody scanned, or the two ranges that do not fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from application.ingest import CoverageGap, CoveredRange, IngestStore


@dataclass(frozen=True, slots=True)
class Coverage:
    network: str
    ranges: tuple[CoveredRange, ...]
    gaps: tuple[tuple[int, int], ...]  # first and last missing block, between the ranges


async def coverage_of(store: IngestStore, network: str) -> Coverage:
    ranges = tuple(await store.coverage(network))
    if not ranges:
        return Coverage(network, (), ())
    return Coverage(network, ranges, gaps(ranges, ranges[0].first, ranges[-1].last))


def gaps(ranges: Sequence[CoveredRange], first: int, last: int) -> tuple[tuple[int, int], ...]:
    """The blocks of first..last that no range holds."""
    missing: list[tuple[int, int]] = []
    wanted = first
    for covered in sorted(ranges, key=lambda each: each.first):
        if wanted > last or covered.first > last:
            break
        if covered.first > wanted:
            missing.append((wanted, covered.first - 1))
        wanted = max(wanted, covered.last + 1)
    if wanted <= last:
        missing.append((wanted, last))
    return tuple(missing)


def close(ranges: Sequence[CoveredRange], first: int, last: int) -> None:
    """Vouch that every block of first..last was scanned, on one chain of hashes."""
    missing = gaps(ranges, first, last)
    if missing:
        named = ", ".join(f"{begin} to {end}" for begin, end in missing)
        raise CoverageGap(f"not scanned: blocks {named}")
    inside = sorted(
        (each for each in ranges if each.last >= first and each.first <= last),
        key=lambda each: each.first,
    )
    for before, after in pairwise(inside):
        if after.first != before.last + 1 or after.parent_hash != before.last_hash:
            raise CoverageGap(f"block {after.first} does not stand on block {before.last}")

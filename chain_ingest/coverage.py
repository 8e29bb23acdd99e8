"""Which blocks have been scanned, and whether that is without a gap.

Shapes  Ranges link by hash: the parent of one range's first block is the last block of the range
        before it. `gaps` names what is missing, `breaks` what does not fit, `close` answers for
        a whole period or refuses. A Survey is the same for people: with how much of it two
        providers vouch for, and how many blocks were proved.
Errors  CoverageGap names the blocks nobody scanned, or the two ranges that do not fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from application.ingest import CoverageGap, CoveredRange, IngestStore
from application.reconciling import Examined, ReconcileBook, Reconciliation

PICTURE_CELLS = 60


@dataclass(frozen=True, slots=True)
class Coverage:
    network: str
    ranges: tuple[CoveredRange, ...]
    gaps: tuple[tuple[int, int], ...]  # first and last missing block, between the ranges
    breaks: tuple[str, ...] = ()  # ranges that do not stand on the one before

    @property
    def whole(self) -> bool:
        return not self.gaps and not self.breaks


@dataclass(frozen=True, slots=True)
class Survey:
    coverage: Coverage
    spans: tuple[CoveredRange, ...]  # ranges that link, and are attested alike, taken together
    examined: tuple[Examined, ...]  # one a span
    reconciled: Reconciliation | None

    @property
    def blocks(self) -> int:
        return sum(each.last - each.first + 1 for each in self.coverage.ranges)

    @property
    def attested(self) -> int:
        return sum(each.attested for each in self.examined)

    @property
    def proved(self) -> int:
        return sum(each.proved for each in self.examined)


async def coverage_of(store: IngestStore, network: str) -> Coverage:
    ranges = tuple(await store.coverage(network))
    if not ranges:
        return Coverage(network, (), ())
    missing = gaps(ranges, ranges[0].first, ranges[-1].last)
    return Coverage(network, ranges, missing, breaks(ranges))


async def surveyed(store: IngestStore, book: ReconcileBook, network: str) -> Survey:
    coverage = await coverage_of(store, network)
    together = spans(coverage.ranges)
    examined = [await book.examined(network, each) for each in together]
    return Survey(coverage, together, tuple(examined), await book.newest(network))


def spans(ranges: Sequence[CoveredRange]) -> tuple[CoveredRange, ...]:
    """A range ends whenever other providers answer: for people that is one span."""
    found: list[CoveredRange] = []
    for each in sorted(ranges, key=lambda one: one.first):
        before = found[-1] if found else None
        if (
            before is not None
            and each.first == before.last + 1
            and each.parent_hash == before.last_hash
            and each.attested == before.attested
        ):
            found[-1] = replace(
                each,
                first=before.first,
                parent_hash=before.parent_hash,
                providers=tuple(sorted({*before.providers, *each.providers})),
            )
        else:
            found.append(each)
    return tuple(found)


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


def breaks(ranges: Sequence[CoveredRange]) -> tuple[str, ...]:
    """Neighbours that are on different chains of hashes, or that overlap."""
    ordered = sorted(ranges, key=lambda each: each.first)
    return tuple(
        f"block {after.first} does not stand on block {before.last}"
        for before, after in pairwise(ordered)
        if after.first <= before.last
        or (after.first == before.last + 1 and after.parent_hash != before.last_hash)
    )


def close(ranges: Sequence[CoveredRange], first: int, last: int) -> None:
    """Vouch that every block of first..last was scanned, on one chain of hashes."""
    missing = gaps(ranges, first, last)
    if missing:
        named = ", ".join(f"{begin} to {end}" for begin, end in missing)
        raise CoverageGap(f"not scanned: blocks {named}")
    inside = [each for each in ranges if each.last >= first and each.first <= last]
    for broken in breaks(inside):
        raise CoverageGap(broken)


def picture(ranges: Sequence[CoveredRange]) -> str:
    """The whole span in PICTURE_CELLS cells: # attested, ~ on one word, . with a gap in it."""
    if not ranges:
        return ""
    first, last = ranges[0].first, max(each.last for each in ranges)
    cells = min(PICTURE_CELLS, last - first + 1)
    edges = [first + (last - first + 1) * cell // cells for cell in range(cells + 1)]
    return "".join(_cell(ranges, begin, end - 1) for begin, end in pairwise(edges))


def _cell(ranges: Sequence[CoveredRange], first: int, last: int) -> str:
    if gaps(ranges, first, last):
        return "."
    inside = (each for each in ranges if each.last >= first and each.first <= last)
    return "#" if all(each.attested for each in inside) else "~"

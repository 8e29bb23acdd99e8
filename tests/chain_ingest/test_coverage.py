"""Scanned means scanned: a gap is named, and refuses to close."""

import pytest

from application.ingest import BlockRef, CoverageGap, CoveredRange, Cursor, Passage, PassedHeader
from chain_ingest.coverage import close, coverage_of, gaps
from tests.chain_ingest.world import START, World


def covered(first: int, last: int, *, parent: str | None = None) -> CoveredRange:
    return CoveredRange(
        first, parent or f"h{first - 1}", last, f"h{last}", ("p",), attested=True, updated_at=START
    )


@pytest.mark.parametrize(
    ("ranges", "missing"),
    [
        ([covered(1, 10)], ()),
        ([covered(1, 5), covered(6, 10)], ()),
        ([covered(6, 10), covered(1, 5)], ()),
        ([covered(1, 4), covered(6, 10)], ((5, 5),)),
        ([covered(3, 8)], ((1, 2), (9, 10))),
        ([], ((1, 10),)),
        ([covered(11, 20)], ((1, 10),)),
        ([covered(0, 30)], ()),
    ],
)
def test_gaps_are_the_blocks_nobody_scanned(
    ranges: list[CoveredRange], missing: tuple[tuple[int, int], ...]
) -> None:
    assert gaps(ranges, 1, 10) == missing


def test_a_period_without_a_gap_closes() -> None:
    close([covered(1, 5), covered(6, 10)], 2, 9)


def test_a_period_with_a_gap_refuses_to_close_and_names_it() -> None:
    with pytest.raises(CoverageGap, match="5 to 5"):
        close([covered(1, 4), covered(6, 10)], 1, 10)


def test_ranges_that_stand_on_different_blocks_refuse_to_close() -> None:
    with pytest.raises(CoverageGap, match="does not stand on"):
        close([covered(1, 5), covered(6, 10, parent="elsewhere")], 1, 10)


@pytest.mark.parametrize(
    ("first", "number", "parent"), [(7, 7, "h6"), (5, 5, "h5"), (6, 6, "other"), (6, 5, "h5")]
)
def test_a_passage_that_leaves_a_gap_cannot_be_made(first: int, number: int, parent: str) -> None:
    header = PassedHeader(BlockRef(number, "new", parent), START, attested=True, providers=())
    with pytest.raises(CoverageGap):
        Passage("local", Cursor(5, "h5", 0, 1), first, header, (), (), (), START)


async def test_following_covers_every_block_once_and_reorgs_take_back_what_they_took() -> None:
    world = World(start_block=3)
    await world.mine_and_follow(20)
    world.chain.reorg(5)
    await world.mine_and_follow(9)
    coverage = await coverage_of(world.store, "local")
    assert coverage.gaps == ()
    assert [(each.first, each.last) for each in coverage.ranges] == [(3, 24)]
    assert coverage.ranges[-1].last_hash == world.chain.blocks[-1].header.hash
    close(coverage.ranges, 3, 24)
    with pytest.raises(CoverageGap, match="1 to 2"):
        close(coverage.ranges, 1, 24)

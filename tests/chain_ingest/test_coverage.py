"""Scanned means scanned: a gap is named, and refuses to close."""

from dataclasses import replace

import pytest

from adapters.memory.reconciling import MemoryReconcileBook
from application.ingest import BlockRef, CoverageGap, CoveredRange, Cursor, Passage, PassedHeader
from chain_ingest.coverage import breaks, close, coverage_of, gaps, picture, spans, surveyed
from tests.chain_ingest.test_doubtful_providers import silence
from tests.chain_ingest.world import START, STRICT, World


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


def test_ranges_that_overlap_refuse_to_close() -> None:
    overlapping = [covered(1, 6), covered(5, 10)]
    assert breaks(overlapping) == ("block 5 does not stand on block 6",)
    with pytest.raises(CoverageGap, match="block 5"):
        close(overlapping, 1, 10)


def test_the_picture_shows_what_is_attested_what_is_not_and_where_a_gap_is() -> None:
    doubtful = replace(covered(21, 30), attested=False)
    assert picture([covered(1, 10), doubtful, covered(31, 40)]) == (
        "#" * 10 + "." * 10 + "~" * 10 + "#" * 10
    )
    assert picture([covered(1, 600), covered(602, 1200)]) == "#" * 30 + "." + "#" * 29
    assert picture([]) == ""


async def test_a_survey_counts_attested_and_proved_blocks() -> None:
    world = World(STRICT, sources=2)
    world.pay(1)
    await world.mine_and_follow(4)
    await silence(world, 1)
    await world.mine_and_follow(3)
    book = MemoryReconcileBook(world.store)
    survey = await surveyed(world.store, book, "local")
    assert survey.coverage.whole
    assert (survey.blocks, survey.attested, survey.proved) == (7, 4, 1)
    assert picture(survey.coverage.ranges) == "####~~~"
    assert survey.reconciled is None


def test_spans_take_ranges_together_that_link_and_are_attested_alike() -> None:
    other = replace(covered(6, 10), providers=("q",))
    doubtful = replace(covered(11, 12), attested=False)
    elsewhere = covered(13, 20, parent="elsewhere")
    found = spans([covered(1, 5), other, doubtful, elsewhere, covered(30, 31)])
    assert [(each.first, each.last, each.providers) for each in found] == [
        (1, 10, ("p", "q")),
        (11, 12, ("p",)),
        (13, 20, ("p",)),
        (30, 31, ("p",)),
    ]
    assert (found[0].parent_hash, found[0].last_hash) == ("h0", "h10")


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

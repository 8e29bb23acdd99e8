"""Coverage and reconciliation as people read them."""

from dataclasses import replace

import pytest

from application.ingest import CoveredRange
from application.reconciling import Arrived, Examined
from chain_ingest.coverage import Coverage, Survey, breaks, gaps, spans
from gateway.failures import GatewayError
from gateway.operate_coverage import range_of, reconciled_text, show
from tests.examples import ASSET, AT
from tests.ports.test_reconciling import RUN


def covered(first: int, last: int, *, attested: bool = True) -> CoveredRange:
    providers = ("p-1", "p-2") if attested else ("p-1",)
    return CoveredRange(first, f"0x{first - 1}", last, f"0x{last}", providers, attested, AT)


def survey(*ranges: CoveredRange) -> Survey:
    missing = gaps(ranges, ranges[0].first, ranges[-1].last) if ranges else ()
    together = spans(ranges)
    examined = tuple(
        Examined((each.last - each.first + 1) * each.attested, 2) for each in together
    )
    return Survey(Coverage("polygon", ranges, missing, breaks(ranges)), together, examined, None)


def test_a_gap_a_doubtful_span_and_the_share_are_all_seen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(survey(covered(1, 40), covered(41, 50, attested=False), covered(56, 60)))
    said = capsys.readouterr().out
    assert "#" * 40 + "~" * 10 + "." * 5 + "#" * 5 in said
    assert "55 blocks scanned, 81.8 % attested, 6 proved" in said
    assert "GAP: blocks 51 to 55" in said
    assert "never reconciled" in said


def test_a_share_that_is_not_all_is_not_called_all(capsys: pytest.CaptureFixture[str]) -> None:
    show(survey(covered(1, 99_999), covered(100_000, 100_000, attested=False)))
    assert "99.9 % attested" in capsys.readouterr().out


def test_nothing_read_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    show(survey())
    assert "nothing has been read yet" in capsys.readouterr().out


def test_what_a_reconcile_left_open_is_shouted() -> None:
    assert reconciled_text(RUN) == (
        "reconciled 2026-11-22 12:00:00 UTC at final block 40: 9 balances, 3 above what was "
        "seen, 2 missed and fed in, 1 that no two providers agree on, 1 NOT EXPLAINED"
    )
    quiet = replace(RUN, final=False, differing=0, found=0, undecided=0, unexplained=0)
    assert reconciled_text(quiet).endswith("at deep block 40: 9 balances, 0 above what was seen")


@pytest.mark.parametrize("text", ["", "5", "9..5", "a..b", "1..2..3", "-1..4", "1...4"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(GatewayError, match=r"FIRST\.\.LAST"):
        range_of(text)
    assert range_of("7..7") == (7, 7)


def test_a_difference_is_what_nothing_explains() -> None:
    assert Arrived(ASSET, 71, 7, 4, 0, 60).difference == 0
    assert Arrived(ASSET, 71, 7, 4, 0, 61).difference == 1
    assert Arrived(ASSET, 0, 0, 0, 10, 10).difference == 0

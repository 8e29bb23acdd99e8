"""Histories that once broke an invariant, cut short: none does so again.

Each file of tests/simulation/regressions is a history as `encode` writes it. Its name says what
it broke; a failing seed is kept here as soon as it is shrunk. What is not mended yet stands in
OPEN with its reason, and fails this test as soon as it is.
"""

from pathlib import Path

import pytest

from simulation.oracle import judge
from simulation.steps import decode, encode
from simulation.world import run_history

FOLDER = Path(__file__).parent / "regressions"
FILES = sorted(FOLDER.glob("*.json"))
OPEN: dict[str, str] = {}


def _kept() -> list[object]:
    return [
        pytest.param(
            file,
            id=file.stem,
            marks=[pytest.mark.xfail(reason=OPEN[file.stem])] if file.stem in OPEN else [],
        )
        for file in FILES
    ]


@pytest.mark.parametrize("file", _kept())
def test_what_was_once_broken_holds(file: Path) -> None:
    history = decode(file.read_text())
    assert judge(run_history(history).evidence) == ()


def test_the_folder_holds_histories_only_as_they_are_written() -> None:
    assert FILES
    for file in FILES:
        assert encode(decode(file.read_text())) == file.read_text()


def test_what_is_open_is_kept() -> None:
    assert OPEN.keys() <= {file.stem for file in FILES}

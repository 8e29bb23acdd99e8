"""The planted defects: each still fits the code, and the simulator catches them.

All of them take minutes (`make mutants`); here a few that are caught in the first histories.
"""

import shutil
from pathlib import Path

import pytest

from tests.simulation.mutating import MUTANTS, Mutant, PatchStale, copy_with, hunt, mutants

QUICK = ("fee_cut_off", "second_log_missed", "retraction_ignored")
QUICK_HISTORIES_MAX = 40
PLANTED_MIN = 12


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_every_defect_fits_the_code_and_says_what_it_breaks(
    mutant: Mutant, tmp_path: Path
) -> None:
    copy_with(mutant, tmp_path)
    assert mutant.headline.endswith(".")


def test_there_are_enough_of_them() -> None:
    assert len(mutants()) >= PLANTED_MIN


def test_a_defect_that_does_not_fit_is_told(tmp_path: Path) -> None:
    stale = tmp_path / "stale.patch"
    shutil.copy(MUTANTS / "fee_cut_off.patch", stale)
    stale.write_text(stale.read_text(encoding="utf-8").replace("_BASIS // 2", "_BASIS // 3"))
    with pytest.raises(PatchStale, match="stale"):
        copy_with(Mutant("stale", "It does not fit.", stale), tmp_path / "copy")


@pytest.mark.parametrize("name", QUICK)
def test_the_simulator_bites(name: str) -> None:
    (mutant,) = (one for one in mutants() if one.name == name)
    outcome = hunt(mutant, QUICK_HISTORIES_MAX)
    assert outcome.caught_by is not None, f"{name} survived {outcome.histories} histories"

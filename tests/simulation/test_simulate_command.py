"""What people and machines see of `gateway simulate`."""

import json
from pathlib import Path

import pytest

from gateway.failures import GatewayError
from gateway.simulate import command_for, repeat, simulate
from simulation import campaign as c
from simulation.evidence import Evidence, Violation
from simulation.steps import History, Mine, decode, encode

KEYS = {"histories", "steps", "faults", "violations", "trace_hash", "seconds", "interrupted"}


def _always(evidence: Evidence) -> tuple[Violation, ...]:
    return (Violation("invented", f"of seed {evidence.seed}"),)


def test_json_is_one_line_with_what_was_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(seed=3, histories=2, steps=15, as_json=True) == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert set(told) == KEYS
    assert (told["histories"], told["steps"], told["violations"]) == (2, 30, [])
    assert len(told["trace_hash"]) == 64


def test_people_see_the_faults_and_that_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(seed=1, histories=2, steps=40) == 0
    shown = capsys.readouterr().out
    assert "faults injected" in shown
    assert "every invariant held" in shown


def test_a_violation_names_the_command_that_repeats_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(c, "judge", _always)
    assert simulate(seed=8, histories=2, steps=3) == 1
    shown = capsys.readouterr().out
    assert "gateway simulate --seed 8 --histories 1 --steps 3" in shown
    assert "invented: of seed 9" in shown


def test_the_first_failure_may_end_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(c, "judge", _always)
    assert simulate(seed=8, histories=4, steps=3, as_json=True, stop=True) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["histories"] == 1
    assert told["violations"][0]["invariant"] == "invented"
    assert told["violations"][0]["repeat"] == command_for(8, 3)


def test_a_failing_history_is_shrunk_into_a_file_that_can_be_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(c, "judge", _always)
    simulate(seed=8, histories=1, steps=4, as_json=True, shrink_into=tmp_path)
    (path,) = tmp_path.iterdir()
    assert decode(path.read_text()).steps == ()
    assert repeat(path) == 1


def test_a_history_from_a_file_is_judged(tmp_path: Path) -> None:
    path = tmp_path / "quiet.json"
    path.write_text(encode(History(4, (Mine(0, 2),))))
    assert repeat(path) == 0
    path.write_text("{}")
    with pytest.raises(GatewayError, match="no history"):
        repeat(path)

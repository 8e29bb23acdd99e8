"""The rebuild benchmark runs to its end at a tiny size, and counts what it says."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import rebuild
from bench.load_log import Plan
from bench.report import Report
from gateway import cli_projections, operate_projections
from gateway.settings import load

pytestmark = pytest.mark.services


async def test_a_rebuild_is_counted_beside_its_baselines(server_folder: Path) -> None:
    plan = Plan(events=2_000, shops=3, prices=1)
    said: list[str] = []
    taken = await rebuild.contest(server_folder, plan, library_events=100, say=said.append)
    told = rebuild.report(taken, plan, {"cores": 2})
    mine = taken["ours"]
    assert mine.events == taken["reading"].events >= plan.events
    assert taken["library"].events == taken["least"].events == 100
    assert told.figure == mine.per_second > 0
    assert told.baseline == taken["library"].per_second > 0
    assert min(mine.cpu_seconds, mine.postgres_cpu_seconds) > 0
    assert len(said) == 5


def test_the_goal_is_both_so_many_a_second_and_so_many_times_the_library() -> None:
    library = rebuild.Taken(events=1_000, seconds=1.0, cpu_seconds=1.0)
    ours = rebuild.Taken(events=60_000, seconds=1.0, cpu_seconds=1.0)

    def told(**changes: Any) -> Report:
        taken = {
            "library": library,
            "least": library,
            "reading": ours,
            "ours": replace(ours, **changes),
        }
        return rebuild.report(taken, Plan(events=60_000), {})

    assert told().met
    assert not told(seconds=1.3).met, "46,154 a second, 46 times as fast"
    assert not told(memory_growth=0.2).met
    library = replace(library, events=1_600)
    assert not told().met, "60,000 a second, 37.5 times as fast"
    assert "40 times" in told().goal
    assert "1,600" in told().conditions["baseline"]


def test_what_is_measured_runs_on_the_loop_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    loops: list[type] = []

    async def rebuilt(*_: object, **__: object) -> int:
        loops.append(type(asyncio.get_running_loop()))
        return 0

    monkeypatch.setattr(operate_projections, "rebuild", rebuilt)
    monkeypatch.setattr(cli_projections, "settings_of", lambda *_, **__: load({}))
    monkeypatch.setattr(rebuild, "_rebuilt", rebuilt)
    with pytest.raises(SystemExit):
        cli_projections.rebuild(actor="ann")
    rebuild.ours("", "")
    command, measured = loops
    assert command is measured

"""The rebuild benchmark runs to its end at a tiny size, and counts what it says."""

from pathlib import Path

import pytest

from bench import rebuild
from bench.load_log import Plan

pytestmark = pytest.mark.services


async def test_a_rebuild_is_counted_beside_its_baselines(server_folder: Path) -> None:
    plan = Plan(events=2_000, shops=3, prices=1)
    said: list[str] = []
    taken = await rebuild.contest(server_folder, plan, library_events=100, say=said.append)
    told = rebuild.report(taken, plan, {"cores": 2})
    mine = taken["ours"]
    assert mine.events == taken["reading"].events >= plan.events
    assert taken["library"].events == 100
    assert told.figure == mine.per_second > 0
    assert told.baseline == taken["library"].per_second > 0
    assert min(mine.cpu_seconds, mine.postgres_cpu_seconds) > 0
    assert len(said) == 4

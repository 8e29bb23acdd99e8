"""The benchmarks of ingestion run to their end at a tiny size, and count what they say."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench import backfill, block, block_parts
from bench.replay_chain import Plan

pytestmark = pytest.mark.services
CONDITIONS = {"cores": 2}


async def test_the_back_fill_is_counted_beside_its_baselines(server_folder: Path) -> None:
    plan = Plan(blocks=200, logs=5, ours=10_000, laps=5, watched=1_100)
    taken = await backfill.contest(server_folder, plan)
    told = backfill.report(taken, plan, CONDITIONS)
    mine = taken["ours"]
    assert mine.logs >= (plan.laps * plan.blocks - backfill.BEYOND_BLOCKS - 1) * plan.logs
    assert mine.sightings > 0
    assert told.figure == mine.per_second > 0
    assert told.baseline == taken["web3"].per_second > 0
    assert taken["curl"].logs == plan.blocks * plan.logs * backfill.CURL_LAPS


async def test_a_block_is_timed_to_its_last_event(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_parts, "QUIET_SECONDS", 0.5)
    monkeypatch.setattr(block, "WARM", 2)
    taken, tail = await block.measure(server_folder, observed=3, confirmed=2)
    told = block.report(taken, tail, CONDITIONS)
    assert tail.clean
    assert tail.seen >= 5 * block.PAYMENTS
    missed = replace(tail, missed=1)
    assert not block.report(taken, missed, CONDITIONS).met
    assert [len(taken[kind].total) for kind in ("observed", "confirmed", "web3")] == [3, 2, 2]
    for kind in ("observed", "confirmed"):
        parts = taken[kind].parts
        assert set(parts) == set(block.PARTS)
        sums = [sum(each) for each in zip(*parts.values(), strict=True)]
        assert sums == pytest.approx(taken[kind].total)
        assert taken[kind].cpu_ms["settle"] > 0
    assert told.figure == block.at(0.95, taken["observed"].total)

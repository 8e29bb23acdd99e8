"""The benchmarks of reads and of lag run to their end at a tiny size, and count what they say."""

import asyncio
from pathlib import Path

import pytest

from bench import lag, read_rows, read_samples, reads

pytestmark = pytest.mark.services
CONDITIONS = {"cores": 2}


async def _loading(admin: str, count: int) -> None:
    await asyncio.to_thread(read_rows.fill, admin, count, lambda _: None)


async def test_every_kind_of_read_is_timed_beside_the_same_rows_by_key(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_samples, "SAMPLES", 200)
    monkeypatch.setattr(read_rows, "SAMPLES", 200)
    monkeypatch.setattr(reads, "REQUESTS", 3)
    monkeypatch.setattr(reads, "WARM", 1)
    monkeypatch.setattr(read_rows, "CHUNK_ROWS", 700)
    taken = await reads.measure(server_folder, 2_000, _loading)
    assert taken.keys() == reads.kinds(2_000).keys()
    assert all(len(each.ours) == len(each.bare) == 3 for each in taken.values())
    told = reads.report(taken, 2_000, CONDITIONS)
    assert told.figure == max(reads.at(0.95, each.ours) for each in taken.values())
    assert told.baseline > 0


async def test_the_lag_is_counted_from_each_acknowledgement(server_folder: Path) -> None:
    measured = await lag.measure(server_folder, appends_per_second=30, seconds=1.0)
    kinds = measured.written.kinds
    assert kinds["opened"] == kinds["seen"] == kinds["confirmed"] > 0
    assert not measured.written.refused
    assert 0 < len(measured.views) == len(measured.log) <= sum(kinds.values())
    told = lag.report(measured, 30, CONDITIONS)
    assert told.figure == lag.at(0.95, measured.views)


def test_a_wait_ends_when_a_position_at_or_above_it_is_seen() -> None:
    written = lag.Written(acknowledged=[(3, 1.0), (5, 2.0), (6, 9.0)])
    reached = [(1, 0.5), (4, 1.25), (6, 2.5)]
    assert lag.waits(written, reached, after=0.0) == [250.0, 500.0, 0.0]
    assert lag.waits(written, reached, after=1.5) == [500.0, 0.0]

"""The load's benchmark runs to its end at a tiny size, and a load leaves the database whole."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from rich.console import Console

from bench import load
from bench.load_log import Chunk, Log, Plan
from bench.report import Report
from bench.tail import TailReport
from tests.conftest import Migrated

PLAN = Plan(events=2_000, shops=3, prices=1)
CONDITIONS = {"cores": 2}
QUIET = Console(quiet=True)
_INDEXES = """
SELECT schemaname, tablename, indexname, indexdef FROM pg_indexes
WHERE schemaname IN ('es', 'ledger') ORDER BY 1, 2, 3
"""


@pytest.mark.services
async def test_a_load_is_counted_beside_the_same_rows_put_in_otherwise(
    server_folder: Path,
) -> None:
    measured = await load.measure(server_folder, PLAN, QUIET)
    loaded = measured.loaded
    assert measured.tail.clean
    assert measured.tail.seen == loaded.events >= PLAN.events
    assert 0 < loaded.preparing_seconds + loaded.indexing_seconds < loaded.seconds
    told = load.report(measured, PLAN, CONDITIONS)
    assert told.figure == loaded.per_second > 0
    assert told.baseline == round(measured.insert_per_second)
    # Which of the two is quicker is for the benchmark to say, never for a test.
    assert told.conditions["copy_alone_per_second"] > 0
    assert told.conditions["postgresql_cpu_us_per_event"] > 0


@pytest.mark.services
def test_a_log_in_which_nothing_was_paid_yet_is_loaded(migrated: Migrated) -> None:
    assert load.load(migrated.owner_dsn, replace(PLAN, events=10)).events >= 10


@pytest.mark.services
def test_what_was_set_aside_is_back_when_the_load_ends(migrated: Migrated) -> None:
    before = _indexes(migrated)
    load.load(migrated.owner_dsn, PLAN)
    assert _indexes(migrated) == before


@pytest.mark.services
def test_what_was_set_aside_is_back_when_the_load_fails(
    migrated: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, seen = _indexes(migrated), []
    plain = Log.chunks

    def chunks(log: Log) -> Iterator[Chunk]:
        yield next(iter(plain(log)))
        seen.append(_indexes(migrated))
        raise RuntimeError("no more")

    monkeypatch.setattr(Log, "chunks", chunks)
    with pytest.raises(RuntimeError, match="no more"):
        load.load(migrated.owner_dsn, PLAN)
    assert _indexes(migrated) == before
    (meanwhile,) = seen
    gone = set(before) - set(meanwhile)
    assert gone
    assert not [index for *_, index in gone if "UNIQUE" in index]


def _indexes(migrated: Migrated) -> list[tuple[str, ...]]:
    with psycopg.connect(migrated.owner_dsn) as connection:
        return connection.execute(_INDEXES).fetchall()


def test_no_rate_makes_up_for_a_reader_that_misses_events() -> None:
    fast = load.Loaded(events=10**6, seconds=1.0, cpu_seconds=1.0)
    clean = TailReport(seen=9, missed=0, disordered=0, polls=3)
    measured = load.Measured(fast, 1.0, 5_000.0, 200_000.0, clean)
    assert load.report(measured, PLAN, CONDITIONS).met
    missed = replace(measured, tail=TailReport(seen=8, missed=1, disordered=0, polls=3))
    assert not load.report(missed, PLAN, CONDITIONS).met


def test_what_was_not_measured_beside_anything_reaches_no_goal() -> None:
    fast = load.Loaded(events=10**6, seconds=1.0, cpu_seconds=1.0)
    told = load.unmeasured(fast, PLAN, CONDITIONS)
    assert not told.met
    for figure, baseline, ratio in ((1.0, None, None), (1.0, 2.0, None), (math.nan, 2.0, 1.0)):
        with pytest.raises(AssertionError):
            Report(figure, "events/s", baseline, ratio, "a goal", met=True, conditions={})

"""The benchmarks of the store run to their end at a tiny size, and their reader can miss."""

import time
from multiprocessing import Pipe
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest

from bench import append, maintenance
from bench.tail import TailReport, follow, tailing
from tests.adapters.ways_round import EVENT
from tests.conftest import Migrated

pytestmark = pytest.mark.services
CONDITIONS = {"cores": 2}
PASSED_SECONDS = 1.0  # a reader that polls every 5 ms has been there
CLEAN = TailReport(seen=10, missed=0, disordered=0, polls=3)


async def test_appends_are_counted_beside_their_baselines_and_followed(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append, "ROUNDS", 1)
    rates, tail = await append.measure(server_folder)
    assert tail.clean
    assert tail.seen > rates["ours_32"]
    told = append.report(rates, tail, CONDITIONS)
    assert told.figure == rates["ours_32"] > 0
    assert told.baseline == rates["library_32"] > 0
    assert told.conditions["tailing_reader"]["missed"] == 0


@pytest.mark.parametrize(
    "tail",
    [
        TailReport(seen=0, missed=0, disordered=0, polls=3),
        TailReport(seen=9, missed=1, disordered=0, polls=3),
        TailReport(seen=10, missed=0, disordered=1, polls=3),
    ],
)
def test_no_rate_makes_up_for_a_reader_that_misses(tail: TailReport) -> None:
    names = ("library_1", "ours_1", "library_32", "ours_32", "ours_2x128", "pgbench_32")
    rates = dict(zip(names, (1.0, 9.0, 1.0, 90.0, 90.0, 9.0), strict=True))
    assert append.report(rates, CLEAN, CONDITIONS).met
    assert not append.report(rates, tail, CONDITIONS).met
    taken = maintenance.Taken({}, dict.fromkeys(maintenance.OPERATIONS, 5.0), 9)
    assert maintenance.report(taken, taken, CLEAN, 9, CONDITIONS).met
    assert not maintenance.report(taken, taken, tail, 9, CONDITIONS).met


async def test_each_operation_is_timed_under_appends(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(maintenance, "NOTHING_SECONDS", 0.2)
    mine, theirs, tail = await maintenance.measure(server_folder, 2_000)
    assert tail.clean
    assert tail.seen == mine.appends
    for taken in (mine, theirs):
        assert set(taken.seconds) == set(taken.worst_ms) == set(maintenance.OPERATIONS)
        assert min(taken.worst_ms.values()) > 0
        assert taken.appends > 0
    told = maintenance.report(mine, theirs, tail, 2_000, CONDITIONS)
    assert told.figure == max(mine.worst_ms[name] for name in maintenance.OPERATIONS[1:])


def test_an_append_belongs_to_every_operation_it_was_under_way_in() -> None:
    laps = [(0.0, 1.0), (1.5, 2.5), (2.6, 2.7), (9.0, 12.0)]
    assert maintenance.worst_ms(laps, (2.0, 3.0)) == 1_000.0
    assert maintenance.worst_ms(laps, (2.55, 3.0)) == 100.0
    assert maintenance.worst_ms(laps, (10.0, 11.0)) == 3_000.0
    with pytest.raises(AssertionError, match="nothing was measured"):
        maintenance.worst_ms(laps, (4.0, 5.0))


def test_the_reader_sees_what_comes_and_tells_it_in_order(migrated: Migrated) -> None:
    one = EVENT.format(position="%s", recorded_at="now()")
    with tailing(migrated.app_dsn) as tail, psycopg.connect(migrated.owner_dsn) as writer:
        for number in range(1, 51):
            writer.execute(one.encode(), (number,))
            writer.commit()
    assert (tail.report.seen, tail.report.missed, tail.report.disordered) == (50, 0, 0)
    assert tail.report.clean


def test_the_reader_tells_of_a_hole_that_is_filled_later(migrated: Migrated) -> None:
    """What a log without the lock does: a later position is seen first."""
    one = EVENT.format(position="%s", recorded_at="now()")
    ours, theirs = Pipe()
    reader = Thread(target=follow, args=(migrated.app_dsn, theirs))
    reader.start()
    assert ours.recv() == "ready"
    with psycopg.connect(migrated.owner_dsn, autocommit=True) as writer:
        writer.execute(one.encode(), (2,))
        time.sleep(PASSED_SECONDS)
        writer.execute(one.encode(), (1,))
    ours.send("the writers are done")
    found: dict[str, Any] = ours.recv()
    reader.join()
    told = TailReport(**found)
    assert (told.seen, told.missed) == (1, 1)
    assert told.disordered == 1
    assert not told.clean

"""The benchmarks of reads and of lag run to their end at a tiny size, and count what they say."""

import asyncio
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from bench import lag, read_kinds, read_rows, read_samples, reads
from bench.tail import TailReport
from projections.payments import PAYMENTS

pytestmark = pytest.mark.services
CONDITIONS = {"cores": 2}


def _as_an_earlier_release_left_it(admin: str) -> None:
    with psycopg.connect(admin) as connection:
        connection.execute("DROP VIEW rm.payments")
        connection.execute("CREATE SCHEMA rm_payments_v1")
        connection.execute("CREATE TABLE rm_payments_v1.payments (session_id uuid)")
        connection.execute("CREATE VIEW rm.payments AS SELECT * FROM rm_payments_v1.payments")


async def _loading(admin: str, count: int) -> None:
    await asyncio.to_thread(_as_an_earlier_release_left_it, admin)
    await asyncio.to_thread(read_rows.fill, admin, count, lambda *_: None)


async def test_every_kind_of_read_is_timed_beside_the_same_rows_by_key(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_samples, "SAMPLES", 1_000)
    monkeypatch.setattr(read_rows, "SAMPLES", 1_000)
    monkeypatch.setattr(reads, "REQUESTS", 3)
    monkeypatch.setattr(reads, "WARM", 1)
    monkeypatch.setattr(read_rows, "CHUNK_ROWS", 1_700)
    said: list[tuple[str, int, int]] = []
    taken, size = await reads.measure(
        server_folder, 4_000, _loading, lambda *told: said.append(told)
    )
    assert taken.keys() == read_kinds.kinds(4_000).keys()
    assert all(each.reads == 3 for each in taken.values())
    assert all(len(each.ours) == len(each.bare) == 3 for each in taken.values())
    assert all(len(each.requests) >= 3 for each in taken.values())
    # Of the rarest there is one in a thousand.
    assert {name for name, each in taken.items() if each.empty} <= {"payer and status, rare"}
    assert said[-1] == ("kinds of read", len(taken), len(taken))
    told = reads.report(taken, 4_000, size, CONDITIONS)
    assert told.figure == max(reads.at(0.95, each.ours) for each in taken.values())
    assert told.baseline is not None
    assert told.baseline > 0
    assert told.conditions["database_bytes"] > 4_000 * 1_500
    assert told.conditions["kinds"]["first page"]["rows_a_read"] == 20
    assert sum(each.api_cpu for each in taken.values()) > 0
    assert sum(each.server_cpu for each in taken.values()) > 0


def test_a_read_that_finds_nothing_reaches_no_goal() -> None:
    found = reads.Taken(ours=[1.0], bare=[1.0], requests=[1.0], rows=1, reads=1)
    nothing = reads.Taken(ours=[1.0], bare=[1.0], requests=[1.0], reads=1, empty=1)
    assert reads.report({"a": found}, 9, 9, CONDITIONS).met
    told = reads.report({"a": found, "b": nothing}, 9, 9, CONDITIONS)
    assert not told.met
    assert told.conditions["found_nothing"] == {"b": 1}


async def test_an_empty_page_with_more_behind_it_is_followed_to_the_first_row() -> None:
    """And all of them are one answer: who asked has waited for all of them."""
    page = reads.Page([], "one", 15.0, 1.0)
    row = [UUID(int=7)]
    pages = iter([page, page._replace(cursor="two"), page._replace(found=row, cursor="three")])
    asked: list[str] = []

    class Paging(reads.Reader):
        def __init__(self) -> None:
            """Asks nobody."""

        async def _page(self, path: str) -> reads.Page:
            asked.append(path)
            return next(pages)

    taken = reads.Taken()
    kind = read_kinds.Kind(lambda _: "/v1/payment-sessions?status=failed&cursor=zero")
    await Paging().read(kind, read_kinds.Own(1, None), taken)
    assert asked == [
        f"/v1/payment-sessions?status=failed&cursor={each}" for each in ("zero", "one", "two")
    ]
    assert (taken.reads, taken.rows, taken.empty) == (1, 1, 0)
    assert (taken.ours, taken.requests, taken.most_requests) == ([45.0], [15.0] * 3, 3)
    told = reads.report({"a": taken}, 9, 9, CONDITIONS)
    assert (told.figure, told.met) == (45.0, False)
    assert told.conditions["worst_request_p95"] == 15.0
    assert told.conditions["kinds"]["a"]["requests_an_answer"] == 3.0


def test_what_would_fill_the_disk_is_refused(server_folder: Path) -> None:
    with pytest.raises(reads.DiskTooSmall, match="--sessions"):
        asyncio.run(reads.make_sure_of_rows(server_folder, "", 10**12, lambda *_: None))


def test_ids_addresses_and_hashes_lie_all_over_their_indexes() -> None:
    """Of sessions made one after the other; a counter would put them side by side."""
    for of in (read_rows.session_id, read_rows.address, read_rows.tx_hash):
        made = [str(of(number)) for number in range(1, 1_001)]
        by_place = sorted(range(1_000), key=made.__getitem__)
        together = sum(abs(one - other) == 1 for one, other in pairwise(by_place))
        assert len(set(made)) == 1_000
        assert together < 20, of.__name__
    assert len(read_rows.address(7)) == 42
    assert len(read_rows.tx_hash(7)) == 66


@pytest.mark.parametrize("form", ["", "hashed ", f"{read_rows.FORM} "])
async def test_a_folder_of_rows_of_the_old_form_is_filled_anew(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    filled: list[int] = []
    monkeypatch.setattr(reads, "fill", lambda _, count, __: filled.append(count))
    monkeypatch.setattr(reads, "is_filled", lambda *_: True)
    marker = server_folder / reads.MARKER
    marker.write_text(f"9 {form}{PAYMENTS.name} {PAYMENTS.indexes}", encoding="utf-8")
    for _ in range(2):
        await reads.make_sure_of_rows(server_folder, "", 9, lambda *_: None)
    assert filled == ([] if form.startswith(read_rows.FORM) else [9])


async def test_the_lag_is_counted_from_each_acknowledgement(server_folder: Path) -> None:
    measured = await lag.measure(server_folder, appends_per_second=30, seconds=1.0)
    kinds = measured.written.kinds
    assert kinds["opened"] == kinds["seen"] == kinds["confirmed"] > 0
    assert not measured.written.refused
    assert 0 < len(measured.views) == len(measured.log) <= sum(kinds.values())
    told = lag.report(measured, 30, CONDITIONS)
    assert told.figure == lag.at(0.95, measured.views)
    assert told.met
    assert measured.tail.seen >= 5 * kinds["confirmed"]
    missed = TailReport(seen=9, missed=1, disordered=0, polls=3)
    assert not lag.report(replace(measured, tail=missed), 30, CONDITIONS).met


def test_a_wait_ends_when_a_position_at_or_above_it_is_seen() -> None:
    written = lag.Written(acknowledged=[(3, 1.0), (5, 2.0), (6, 9.0)])
    reached = [(1, 0.5), (4, 1.25), (6, 2.5)]
    assert lag.waits(written, reached, after=0.0) == [250.0, 500.0, 0.0]
    assert lag.waits(written, reached, after=1.5) == [500.0, 0.0]

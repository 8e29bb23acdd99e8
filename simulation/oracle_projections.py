"""Read models rebuilt from the log are the live ones, row by row; and nothing was set aside.

Rules   Every value is compared as text. A projection that parked a stream, a message that was
        parked, a worker that died of itself, and a gateway that never came to rest are faults.
"""

from collections import Counter
from collections.abc import Iterator

from simulation.evidence import Violation
from simulation.oracle_truth import Case

SHOWN_MAX = 3

Row = tuple[tuple[str, str | None], ...]


def check(case: Case) -> Iterator[Violation]:
    live, rebuilt = case.evidence.live, case.evidence.rebuilt
    for table in sorted({*live, *rebuilt}):
        mine, again = _rows(live.get(table, [])), _rows(rebuilt.get(table, []))
        if mine == again:
            continue
        for row in list((mine - again).elements())[:SHOWN_MAX]:
            yield Violation("projection_differs", f"{table}: live only {_short(row)}")
        for row in list((again - mine).elements())[:SHOWN_MAX]:
            yield Violation("projection_differs", f"{table}: rebuilt only {_short(row)}")
    yield from _watched(case)
    for parked in case.evidence.parked:
        yield Violation("parked", f"{parked.where}: {parked.what}: {parked.error}")
    for death in case.evidence.deaths:
        yield Violation("worker_died", f"{death.process}: {death.error}")
    if not case.evidence.settled:
        yield Violation("stuck", "the gateway did not come to rest after all faults had ended")


def _rows(rows: list[dict[str, str | None]]) -> Counter[Row]:
    return Counter(tuple(sorted(row.items())) for row in rows)


def _short(row: Row) -> str:
    return str(dict(row))[:400]


def _watched(case: Case) -> Iterator[Violation]:
    """Every address ever handed out is on the watch list, with its owner."""
    rows = case.evidence.live.get("watch_list", [])
    listed = {(row["mode"], row["address"]): row["purpose"] for row in rows}
    for (mode, address), owner in case.owners.items():
        if listed.get((mode, address)) != owner.purpose:
            yield Violation("not_watched", f"{address} in {mode} mode")

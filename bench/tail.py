"""A reader that follows the log by position in a process of its own, while a benchmark writes.

Shapes  `with tailing(dsn) as tail:` follows from the head of that moment. After the block
        `tail.report` says how many events came, and what was wrong: `missed` are events of the
        table that the reader did not get, `disordered` those that came at or below a position
        it had passed, or that left one out. Polls as projections do.
Units   seconds.
"""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import psycopg

POLL_SECONDS = 0.005
PAGE = 5_000
READY_SECONDS_MAX = 20.0
END_SECONDS_MAX = 60.0
_HEAD = "SELECT coalesce(max(position), 0) FROM es.events"
_PAGE = "SELECT position FROM es.events WHERE position > %s ORDER BY position LIMIT %s"
_COUNT = "SELECT count(*) FROM es.events WHERE position > %s"


@dataclass(frozen=True, slots=True)
class TailReport:
    seen: int
    missed: int
    disordered: int
    polls: int

    @property
    def clean(self) -> bool:
        return self.seen > 0 and not (self.missed or self.disordered)

    def conditions(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Tail:
    _report: TailReport | None = field(default=None)

    @property
    def report(self) -> TailReport:
        assert self._report is not None, "still following"
        return self._report


@contextmanager
def tailing(dsn: str) -> Iterator[Tail]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=follow, args=(dsn, theirs), daemon=True)
    process.start()
    tail = Tail()
    try:
        _expect(ours, READY_SECONDS_MAX)
        yield tail
        ours.send("the writers are done")
        tail._report = TailReport(**_expect(ours, END_SECONDS_MAX))  # noqa: SLF001 - its maker
    finally:
        process.terminate()
        process.join()


def _expect(pipe: Connection, seconds_max: float) -> Any:
    if not pipe.poll(seconds_max):
        raise TimeoutError("the tailing reader does not answer")
    return pipe.recv()


def follow(dsn: str, pipe: Connection) -> None:
    """The process: follow, and when told that the writers are done read to the end and count."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        start = last = _one(connection, _HEAD)
        seen = disordered = polls = 0
        pipe.send("ready")
        while True:
            done = pipe.poll(0)
            rows = connection.execute(_PAGE, (last, PAGE), binary=True, prepare=True).fetchall()
            polls += 1
            for (position,) in rows:
                # The log has no gaps: whatever is not the next one was missed or comes too late.
                disordered += position != last + 1
                last = position
            seen += len(rows)
            if done and not rows:
                break
            if len(rows) < PAGE:
                time.sleep(POLL_SECONDS)
        missed = _one(connection, _COUNT, start) - seen
    pipe.send({"seen": seen, "missed": missed, "disordered": disordered, "polls": polls})


def _one(connection: psycopg.Connection, statement: str, *given: int) -> int:
    row = connection.execute(statement.encode(), given).fetchone()
    assert row is not None
    return int(row[0])

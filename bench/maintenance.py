"""The worst append while PostgreSQL looks after the table: VACUUM, ANALYZE, a new index.

Ours beside the library's recorder, whose LOCK TABLE waits for each of these and holds up every
append behind itself. Both tables have the same number of rows of the same size, appended to by
the same number of callers in a process of their own, one after the other on one server with fsync.
A reader follows our log all the while (tail.py), and must miss nothing.

Shapes  an append belongs to an operation when it was under way at any moment of it. `nothing` is
        an operation of waiting: what the machine itself does to an append meanwhile.
Units   milliseconds; seconds inside.
"""

import argparse
import asyncio
import multiprocessing
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import psycopg
import uvloop
from eventsourcing.persistence import StoredEvent
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from adapters import migrate
from adapters.clock import SystemIds
from adapters.event_store import PostgresEventStore
from adapters.postgres import Postgres
from application.ports import Batch, Stream, StreamAppend
from bench.append import CONTEXT, library_factory, session_created
from bench.report import Report, arguments, finish, machine, show
from bench.tail import TailReport, tailing
from gateway.embedded import Embedded

ROWS = 400_000
CALLERS = 8
GOAL_MS = 100.0
PAUSE_SECONDS = 0.5  # before each operation, so that appends of the one before have ended
NOTHING_SECONDS = 1.0
POLL_SECONDS = 0.01
READY_SECONDS_MAX = 30.0
LIBRARY_TABLE = "library.bench_events"
OPERATIONS = ("nothing", "VACUUM (FREEZE)", "ANALYZE", "CREATE INDEX CONCURRENTLY")
INDEXED = {"es.events": "(topic, occurred_at)", LIBRARY_TABLE: "(topic, notification_id)"}

Lap = tuple[float, float]
Windows = dict[str, Lap]


class Taken(NamedTuple):
    """Of one recorder: how long each operation took, and its worst append, in milliseconds."""

    seconds: Mapping[str, float]
    worst_ms: Mapping[str, float]
    appends: int


# ---------------------------------------------------------------- appending, in a process


def ours(dsn: str, pipe: Connection) -> None:
    uvloop.run(_ours(dsn, pipe))


async def _ours(dsn: str, pipe: Connection) -> None:
    laps: list[Lap] = []
    async with (
        Postgres(dsn, name="bench") as postgres,
        PostgresEventStore(postgres, ids=SystemIds()) as store,
    ):
        await store.head()
        pipe.send("ready")
        stop = asyncio.Event()

        async def caller() -> None:
            while not stop.is_set():
                begun = time.monotonic()
                session_id = uuid4()
                append = StreamAppend(
                    Stream("payment_session", session_id), 0, (session_created(session_id),)
                )
                await store.append(Batch((append,), CONTEXT))
                laps.append((begun, time.monotonic()))

        callers = [asyncio.create_task(caller()) for _ in range(CALLERS)]
        while True:
            if pipe.poll(0):
                break
            await asyncio.sleep(POLL_SECONDS)
        stop.set()
        await asyncio.gather(*callers)
    pipe.send(laps)


def library(dsn: str, pipe: Connection) -> None:
    state = session_created(UUID(int=1)).encoded()
    laps: list[Lap] = []
    stop = threading.Event()
    with library_factory(dsn) as factory:
        recorder = factory.application_recorder()

        def caller() -> None:
            while not stop.is_set():
                begun = time.monotonic()
                recorder.insert_events([StoredEvent(uuid4(), 1, "payment_session.created", state)])
                laps.append((begun, time.monotonic()))

        pipe.send("ready")
        threads = [threading.Thread(target=caller) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        pipe.recv()
        stop.set()
        for thread in threads:
            thread.join()
    pipe.send(laps)


@contextmanager
def appending(run: Callable[[str, Connection], None], dsn: str) -> Iterator[list[Lap]]:
    """The laps are there after the block."""
    context = multiprocessing.get_context("spawn")
    ours_end, theirs = context.Pipe()
    process = context.Process(target=run, args=(dsn, theirs), daemon=True)
    process.start()
    laps: list[Lap] = []
    try:
        _expect(ours_end)
        yield laps
        ours_end.send("enough")
        laps.extend(_expect(ours_end))
    finally:
        process.terminate()
        process.join()


def _expect(pipe: Connection) -> Any:
    if not pipe.poll(READY_SECONDS_MAX):
        raise TimeoutError("the appending process does not answer")
    return pipe.recv()


# ---------------------------------------------------------------- tables and operations

_FILL_OURS = """
INSERT INTO es.events (position, stream_type, stream_id, version, topic, schema_version, event_id,
                       merchant_id, mode, occurred_at, recorded_at, state, meta)
SELECT n, 'payment_session', gen_random_uuid(), 1, 'payment_session.created', 1,
       gen_random_uuid(), %s, 'test', now(), now(), %s, '{"actor": "api_key:1"}'
FROM generate_series(1, %s) AS n
"""
_FILL_LIBRARY = """
INSERT INTO library.bench_events (originator_id, originator_version, topic, state)
SELECT gen_random_uuid(), 1, 'payment_session.created', %s FROM generate_series(1, %s)
"""
# Nothing but the operation that is measured looks after the table.
_ALONE = "ALTER TABLE {} SET (autovacuum_enabled = off)"


def fill(admin: str, rows: int) -> None:
    state = session_created(UUID(int=1)).encoded()
    with library_factory(admin) as factory:
        factory.application_recorder()  # makes its table
    with psycopg.connect(admin, autocommit=True) as connection:
        for table in INDEXED:
            connection.execute(_ALONE.format(table).encode())
        connection.execute(_FILL_OURS, (UUID(int=0xA1), state, rows))
        connection.execute(_FILL_LIBRARY, (state, rows))
        connection.execute("CHECKPOINT")


def operate(admin: str, table: str) -> Windows:
    """Each operation in turn, and when it ran."""
    statements = {
        "VACUUM (FREEZE)": f"VACUUM (FREEZE) {table}",
        "ANALYZE": f"ANALYZE {table}",
        "CREATE INDEX CONCURRENTLY": f"CREATE INDEX CONCURRENTLY of_the_bench ON {table} "
        f"{INDEXED[table]}",
    }
    windows: Windows = {}
    with psycopg.connect(admin, autocommit=True) as connection:
        for name in OPERATIONS:
            time.sleep(PAUSE_SECONDS)
            begun = time.monotonic()
            if name in statements:
                connection.execute(statements[name].encode())
            else:
                time.sleep(NOTHING_SECONDS)
            windows[name] = (begun, time.monotonic())
        time.sleep(PAUSE_SECONDS)
        schema = table.split(".", 1)[0]
        connection.execute(f"DROP INDEX CONCURRENTLY {schema}.of_the_bench".encode())
    return windows


def worst_ms(laps: Sequence[Lap], window: Lap) -> float:
    begun, ended = window
    during = [last - first for first, last in laps if first <= ended and last >= begun]
    assert during, "no append was under way: nothing was measured"
    return round(max(during) * 1_000, 1)


def take(run: Callable[[str, Connection], None], dsn: str, admin: str, table: str) -> Taken:
    with appending(run, dsn) as laps:
        windows = operate(admin, table)
    return Taken(
        {name: round(ended - begun, 3) for name, (begun, ended) in windows.items()},
        {name: worst_ms(laps, window) for name, window in windows.items()},
        len(laps),
    )


# ---------------------------------------------------------------- all together


async def measure(folder: Path, rows: int) -> tuple[Taken, Taken, TailReport]:
    """Ours, the library, and what the reader beside ours saw."""
    embedded = Embedded(folder, chain=None, nats=False)
    await embedded.start()
    try:
        admin = embedded.postgres.url
        await asyncio.to_thread(migrate.create_roles, admin)
        await asyncio.to_thread(migrate.migrate, admin)
        return await asyncio.to_thread(_measured, admin, rows)
    finally:
        await embedded.stop()


def _measured(admin: str, rows: int) -> tuple[Taken, Taken, TailReport]:
    app = migrate.role_dsn(admin, migrate.APP)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task(f"filling two tables with {rows:,} rows")
        fill(admin, rows)
        progress.update(task, description="the library's recorder")
        theirs = take(library, admin, admin, LIBRARY_TABLE)
        progress.update(task, description="group append")
        with tailing(app) as tail:
            mine = take(ours, app, admin, "es.events")
    return mine, theirs, tail.report


def report(
    mine: Taken, theirs: Taken, tail: TailReport, rows: int, conditions: Mapping[str, Any]
) -> Report:
    named = [name for name in OPERATIONS if name != "nothing"]
    figure = max(mine.worst_ms[name] for name in named)
    baseline = max(theirs.worst_ms[name] for name in named)
    return Report(
        figure=figure,
        unit="ms, the worst append during VACUUM (FREEZE), ANALYZE or CREATE INDEX CONCURRENTLY",
        baseline=baseline,
        ratio=round(figure / baseline, 3),
        goal=(
            "the worst append during each of them below 100 ms; a tailing reader misses nothing "
            "and sees all in order"
        ),
        met=figure < GOAL_MS and tail.clean,
        conditions={
            **conditions,
            "rows": rows,
            "callers": CALLERS,
            "ours_worst_ms": dict(mine.worst_ms),
            "library_worst_ms": dict(theirs.worst_ms),
            "ours_operation_seconds": dict(mine.seconds),
            "library_operation_seconds": dict(theirs.seconds),
            "ours_appends": mine.appends,
            "library_appends": theirs.appends,
            "tailing_reader": tail.conditions(),
            "postgresql": "bundled 18, fsync on, clients on the same machine over TCP",
        },
    )


def _table(mine: Taken, theirs: Taken, tail: TailReport) -> None:
    rows = [
        (
            name,
            f"{mine.seconds[name]:.2f}",
            f"{mine.worst_ms[name]:,.0f}",
            f"{theirs.seconds[name]:.2f}",
            f"{theirs.worst_ms[name]:,.0f}",
        )
        for name in OPERATIONS
    ]
    columns = ("", "ours: s", "worst append, ms", "library: s", "worst append, ms")
    show("The worst append during each operation", columns, rows)
    print(f"Tailing reader: {tail.seen:,} events, {tail.missed} missed, {tail.disordered} odd")


def main() -> None:
    parser = arguments("The worst append while the table is looked after, beside the library's.")
    parser.add_argument("--rows", type=int, default=ROWS, help="in each of the two tables")
    given: argparse.Namespace = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gateway-bench-"))
    folder.chmod(0o711)  # root runs PostgreSQL as nobody, who must get through
    try:
        conditions = machine(folder)
        mine, theirs, tail = asyncio.run(measure(folder, given.rows))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not given.json:
        _table(mine, theirs, tail)
    finish(report(mine, theirs, tail, given.rows, conditions), as_json=given.json)


if __name__ == "__main__":
    main()

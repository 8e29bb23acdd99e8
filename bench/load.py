"""Fills a migrated database with a log that production would have written, by COPY.

    python -m bench.load --events 1000000                 # a server of its own, to see how fast
    python -m bench.load --events 1000000 --dsn postgresql://gw_owner@...

The log must be empty. Rows of es.events, es.inbox and the ledger are written as the group append
writes them, under its lock, a transaction for every 20,000 events; answers kept for idempotency
keys, and what the ingester knows of blocks, are not. The facts were decided by the use cases of
production: once for each kind of story, price and network, with their own ids, addresses,
hashes and moments for each telling (bench/load_log.py).

On a server of its own it is measured: a reader follows the log all the while (tail.py) and must
miss nothing, and the same rows are put into tables like ours by other ways (load_beside.py).
Making is a core's work and writing is another's, so that what both take of CPU says what the
machine allows. Indexes that hold no rule are made when all rows are there: a crash before that
leaves a database that is slow and never one that is wrong.

Units   events a second from the first story told to the last index, on one connection
Errors  LogNotEmpty; psycopg's own
"""

import argparse
import asyncio
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from adapters import migrate
from adapters.event_store_sql import HEAD, LOCK, UPSERT_ACCOUNTS
from bench.load_beside import by_copy, by_insert, server_cpu_seconds
from bench.load_log import SESSIONS_PER_SECOND, SHOPS, Chunk, Log, Plan
from bench.report import Report, arguments, finish, machine, show
from bench.tail import TailReport, tailing
from gateway.embedded import Embedded
from projections.collector import few_collections

AHEAD_CHUNKS_MAX = 2  # made and not written yet
GOAL_PER_SECOND = 100_000
SORTED_IN = "256MB"
EVENTS = sql.SQL(
    "COPY es.events (position, stream_type, stream_id, version, topic, schema_version, event_id, "
    "merchant_id, mode, occurred_at, recorded_at, state, meta) FROM STDIN"
)
INBOX = sql.SQL("COPY es.inbox (source, message_id, position, at) FROM STDIN")
POSTINGS = sql.SQL(
    "COPY ledger.postings (position, leg, entry_id, merchant_id, account, asset, units, "
    "account_version, balance_after) FROM STDIN"
)


class LogNotEmpty(Exception):  # noqa: N818 - named for what is wrong
    """There are events already, and a made-up log does not go on from them."""


# Of what has no rule to hold; taken away while rows come, and made anew after.
_INDEXES = """
SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
FROM pg_index AS i JOIN pg_class AS t ON t.oid = i.indrelid
WHERE NOT i.indisunique
  AND t.oid IN ('es.events'::regclass, 'es.inbox'::regclass, 'ledger.postings'::regclass)
ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Loaded:
    events: int
    seconds: float  # in all
    cpu_seconds: float  # of this process
    preparing_seconds: float = 0.0  # telling each story once
    indexing_seconds: float = 0.0

    @property
    def per_second(self) -> int:
        return round(self.events / self.seconds)


def load(dsn: str, plan: Plan, *, console: Console | None = None) -> Loaded:
    """Write the plan into the database. The DSN is gw_owner's: who serves may append only what happens now."""
    begun, cpu = time.perf_counter(), time.process_time()
    with psycopg.connect(dsn, application_name="gateway-load") as connection:
        (head,) = connection.execute(HEAD).fetchone() or (0,)
        if head:
            raise LogNotEmpty(f"the log ends at {head}; load into a database that has none")
        connection.commit()
        log = Log(plan)
        asyncio.run(log.prepare())
        prepared = time.perf_counter() - begun
        events = 0
        indexes = _set_aside(connection)
        try:
            with few_collections(), _bar(console, plan.events) as progress:
                task = progress.add_task("events", total=plan.events)
                for chunk in _ahead(log.chunks()):
                    _write(connection, chunk)
                    events += chunk.events
                    progress.update(task, completed=min(events, plan.events))
        finally:
            indexing = time.perf_counter()
            _put_back(connection, indexes)
            indexing = time.perf_counter() - indexing
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return Loaded(events, seconds, cpu, prepared, indexing)


def _set_aside(connection: psycopg.Connection) -> list[str]:
    """What makes them anew."""
    with connection.transaction():
        found = connection.execute(_INDEXES).fetchall()
        for name, _ in found:
            connection.execute(f"DROP INDEX {name}".encode())
    return [definition for _, definition in found]


def _put_back(connection: psycopg.Connection, definitions: list[str]) -> None:
    if connection.info.transaction_status is not TransactionStatus.IDLE:
        connection.rollback()
    with connection.transaction():
        connection.execute(f"SET LOCAL maintenance_work_mem = '{SORTED_IN}'")
        for definition in definitions:
            connection.execute(definition.encode())


def _ahead(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The same chunks, made by a thread while the one before is being written."""
    made: queue.Queue[Chunk | BaseException | None] = queue.Queue(AHEAD_CHUNKS_MAX)
    stopped = threading.Event()

    def put(what: Chunk | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                made.put(what, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for chunk in chunks:
                if not put(chunk):
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - raised again where the chunks are taken
            put(error)

    thread = threading.Thread(target=make, name="load", daemon=True)
    thread.start()
    try:
        while (chunk := made.get()) is not None:
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk
    finally:
        stopped.set()
        thread.join()


def _write(connection: psycopg.Connection, chunk: Chunk) -> None:
    with connection.transaction():
        connection.execute(LOCK)
        for statement, rows in (
            (EVENTS, chunk.rows),
            (POSTINGS, chunk.postings),
            (INBOX, chunk.inbox),
        ):
            with connection.cursor().copy(statement) as copy:
                copy.write("".join(rows))
        accounts = [
            (*key, str(debits), str(credited), version)
            for key, (debits, credited, version) in sorted(chunk.accounts.items())
        ]
        if accounts:
            given = [list(each) for each in zip(*accounts, strict=True)]
            connection.execute(UPSERT_ACCOUNTS, given)


def _bar(console: Console | None, total: int) -> Progress:
    return Progress(
        TextColumn("{task.completed:,.0f} of " + f"{total:,} events"),
        BarColumn(),
        TimeRemainingColumn(),
        console=console or Console(quiet=True),
        transient=True,
    )


# ---------------------------------------------------------------- as a command


@dataclass(frozen=True, slots=True)
class Measured:
    loaded: Loaded
    server_cpu_seconds: float
    insert_per_second: float
    copy_per_second: float
    tail: TailReport


async def measure(folder: Path, plan: Plan, console: Console) -> Measured:
    embedded = Embedded(folder, chain=None, nats=False)
    async with embedded as endpoints:
        admin = endpoints.database_url
        await asyncio.to_thread(migrate.create_roles, admin)
        await asyncio.to_thread(migrate.migrate, admin)
        return await asyncio.to_thread(_measured, admin, plan, console, embedded.postgres.data)


def _measured(admin: str, plan: Plan, console: Console, data: Path) -> Measured:
    with tailing(migrate.role_dsn(admin, migrate.APP)) as tail:
        cpu = server_cpu_seconds(data)
        loaded = load(migrate.role_dsn(admin, migrate.OWNER), plan, console=console)
        cpu = server_cpu_seconds(data) - cpu
    return Measured(loaded, cpu, by_insert(admin), by_copy(admin), tail.report)


def report(measured: Measured, plan: Plan, conditions: dict[str, Any]) -> Report:
    loaded, cores = measured.loaded, os.cpu_count() or 1
    rate = loaded.per_second
    ours, server = (
        seconds / loaded.events * 1e6
        for seconds in (loaded.cpu_seconds, measured.server_cpu_seconds)
    )
    baseline = round(measured.insert_per_second)
    return Report(
        figure=rate,
        unit="events/s made and written by COPY",
        baseline=baseline,
        ratio=round(rate / baseline, 2),
        goal=f"{GOAL_PER_SECOND:,} events/s; a tailing reader misses nothing and sees all in order",
        met=rate >= GOAL_PER_SECOND and measured.tail.clean,
        conditions={
            **conditions,
            **asdict(loaded),
            "plan": asdict(plan),
            "baseline": "executemany INSERT of the same rows, made already, into the same tables",
            "copy_alone_per_second": round(measured.copy_per_second),
            "our_cpu_us_per_event": round(ours, 1),
            "postgresql_cpu_us_per_event": round(server, 1),
            "most_these_cores_allow_per_second": round(cores * 1e6 / (ours + server)),
            "tailing_reader": measured.tail.conditions(),
        },
    )


def unmeasured(loaded: Loaded, plan: Plan, conditions: dict[str, Any]) -> Report:
    """A database that was given has no tables to spare for a baseline."""
    return Report(
        figure=loaded.per_second,
        unit="events/s made and written by COPY",
        baseline=None,
        ratio=None,
        goal="none: nothing was measured beside it",
        met=False,
        conditions={**conditions, **asdict(loaded), "plan": asdict(plan)},
    )


def _given() -> argparse.Namespace:
    given = arguments(__doc__.partition("\n")[0])
    given.add_argument("--events", type=int, default=1_000_000)
    given.add_argument("--seed", type=int, default=1)
    given.add_argument("--shops", type=int, default=SHOPS)
    given.add_argument(
        "--sessions-per-second",
        type=float,
        default=SESSIONS_PER_SECOND,
        help="of the time told: how many are under way together",
    )
    given.add_argument("--dsn", help="a migrated database with an empty log; else one of its own")
    return given.parse_args()


def main() -> None:
    given = _given()
    plan = Plan(given.events, given.seed, given.shops, given.sessions_per_second)
    console = Console(stderr=True)
    folder = Path(tempfile.mkdtemp(prefix="gateway-bench-"))
    folder.chmod(0o711)  # root runs PostgreSQL as nobody, who must get through
    try:
        conditions = machine(folder)
        if given.dsn:
            told = unmeasured(load(given.dsn, plan, console=console), plan, conditions)
        else:
            told = report(asyncio.run(measure(folder, plan, console)), plan, conditions)
    except LogNotEmpty as refusal:
        sys.exit(str(refusal))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not given.json:
        _show(told)
    finish(told, as_json=given.json)


def _show(told: Report) -> None:
    seen = told.conditions
    rows = [
        ("made and written, COPY", f"{told.figure:,.0f}"),
        *(
            (name, f"{rate:,.0f}")
            for name, rate in (
                ("the same rows, made already, COPY alone", seen.get("copy_alone_per_second")),
                ("the same rows, made already, INSERT", told.baseline),
                ("most that these cores allow", seen.get("most_these_cores_allow_per_second")),
            )
            if rate is not None
        ),
    ]
    show(f"{seen['events']:,} events", ("", "events/s"), rows)


if __name__ == "__main__":
    main()

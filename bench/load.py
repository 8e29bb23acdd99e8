"""Fills a migrated database with a log that production would have written, by COPY.

    python -m bench.load --events 1000000                 # a server of its own, to see how fast
    python -m bench.load --events 1000000 --dsn postgresql://gw_owner@...

The log must be empty. Rows of es.events, es.inbox and the ledger are written as the group append
writes them, under its lock, a transaction for every 20,000 events; answers kept for idempotency
keys, and what the ingester knows of blocks, are not. The facts were decided by the use cases of
production: once for each kind of story, price and network, with their own ids, addresses,
hashes and moments for each telling (bench/load_log.py).

Units   events a second, of making and writing together, on one connection
Errors  LogNotEmpty; psycopg's own
"""

import argparse
import asyncio
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from adapters import migrate
from adapters.event_store_sql import HEAD, LOCK, UPSERT_ACCOUNTS
from bench.load_log import SESSIONS_PER_SECOND, SHOPS, Chunk, Log, Plan
from bench.report import Report, arguments, finish, machine, show
from gateway.embedded import Embedded
from projections.collector import few_collections

AHEAD_CHUNKS_MAX = 2  # made and not written yet
GOAL_PER_SECOND = 100_000
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


@dataclass(frozen=True, slots=True)
class Loaded:
    events: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> int:
        return round(self.events / self.seconds)


def load(dsn: str, plan: Plan, *, console: Console | None = None) -> Loaded:
    """Write the plan into the database. The DSN is gw_owner's: who serves may append only what happens now."""
    log = Log(plan)
    asyncio.run(log.prepare())
    begun, cpu = time.perf_counter(), time.process_time()
    with psycopg.connect(dsn, application_name="gateway-load") as connection:
        (head,) = connection.execute(HEAD).fetchone() or (0,)
        if head:
            raise LogNotEmpty(f"the log ends at {head}; load into a database that has none")
        connection.commit()
        events = 0
        with few_collections(), _bar(console, plan.events) as progress:
            task = progress.add_task("events", total=plan.events)
            for chunk in _ahead(log.chunks()):
                _write(connection, chunk)
                events += chunk.events
                progress.update(task, completed=min(events, plan.events))
    return Loaded(events, time.perf_counter() - begun, time.process_time() - cpu)


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
        connection.execute(UPSERT_ACCOUNTS, [list(each) for each in zip(*accounts, strict=True)])


def _bar(console: Console | None, total: int) -> Progress:
    return Progress(
        TextColumn("{task.completed:,.0f} of " + f"{total:,} events"),
        BarColumn(),
        TimeRemainingColumn(),
        console=console or Console(quiet=True),
        transient=True,
    )


# ---------------------------------------------------------------- as a command


async def _measured(folder: Path, plan: Plan, console: Console) -> Loaded:
    async with Embedded(folder, chain=None, nats=False) as endpoints:
        admin = endpoints.database_url
        await asyncio.to_thread(migrate.create_roles, admin)
        await asyncio.to_thread(migrate.migrate, admin)
        owner = migrate.role_dsn(admin, migrate.OWNER)
        return await asyncio.to_thread(load, owner, plan, console=console)


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
            loaded = load(given.dsn, plan, console=console)
        else:
            loaded = asyncio.run(_measured(folder, plan, console))
    except LogNotEmpty as refusal:
        sys.exit(str(refusal))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rate = loaded.per_second
    if not given.json:
        cpu = f"{loaded.cpu_seconds / loaded.events * 1e6:.1f}"
        row = ("loaded", f"{loaded.events:,}", f"{rate:,}", cpu)
        show("Events made and written", ("", "events", "events/s", "our CPU us/event"), [row])
    report = Report(
        figure=rate,
        unit="events/s made and written by COPY",
        baseline=GOAL_PER_SECOND,
        ratio=round(rate / GOAL_PER_SECOND, 2),
        goal=f"{GOAL_PER_SECOND:,} events/s",
        met=rate >= GOAL_PER_SECOND,
        conditions={**conditions, **asdict(loaded), "plan": asdict(plan)},
    )
    finish(report, as_json=given.json)


if __name__ == "__main__":
    main()

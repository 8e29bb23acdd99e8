"""Durable appends a second: ours, the eventsourcing library's recorder, and plain inserts.

All on one PostgreSQL that this starts itself, with fsync, on the disk of the temporary folder.
A reader follows the log all the while (tail.py), and must miss nothing.
Ours includes making, encoding and checking each event; the library and pgbench get the finished
bytes. Ours and the library run in the same worker process, connected before the clock runs.
Rounds alternate, so that whatever else the machine does falls on all of them alike.

Shapes  one append is one event on a stream of its own, about 590 bytes of state
        waiting   how many callers have an append under way at once
"""

import asyncio
import multiprocessing
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
import uvloop
from eventsourcing.persistence import ApplicationRecorder, InfrastructureFactory, StoredEvent
from eventsourcing.utils import Environment
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from adapters import migrate
from adapters.clock import SystemIds
from adapters.event_store import PostgresEventStore
from adapters.postgres import Postgres
from application.ports import Batch, Context, Stream, StreamAppend
from bench.report import Report, arguments, finish, machine, show
from bench.tail import TailReport, tailing
from domain.events import SessionCreated
from domain.money import Amount
from gateway.embedded import Embedded
from gateway.embedded_postgres import bundled_binaries

ROUNDS = 3
ROUND_SECONDS = 1.2
PLAIN_SECONDS = 4  # whole ones, and 32 clients take up to two of them to log in on a busy machine
PROCESSES, WAITING_EACH = 2, 128
START_SECONDS = 1.5  # for new processes to import and connect
START_SECONDS_MAX = 30.0
GOAL_LIBRARY, GOAL_IDLE, GOAL_PLAIN = 8.0, 1 / 1.3, 0.5
AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MERCHANT = UUID(int=0xA1)
CONTEXT = Context(
    actor="api_key:00000000000000000000000000000001",
    merchant_id=MERCHANT,
    mode="test",
    correlation_id="4bf92f3577b34da6a3ce929d0e0e4736",
)


def session_created(session_id: UUID) -> SessionCreated:
    return SessionCreated(
        at=AT,
        session_id=session_id,
        merchant_id=MERCHANT,
        mode="test",
        network="local",
        due=Amount(units=10_000_000, asset="eip155:31337/erc20:0x" + "aa" * 20),
        pay_by="deposit_address",
        tolerance=Amount(units=0, asset="eip155:31337/erc20:0x" + "aa" * 20),
        deposit_address="0x" + "dd" * 20,
        deposit_index=7,
        expires_at=AT,
        grace_seconds=86_400,
        description="Two coffees",
        merchant_reference="order-1",
    )


# ---------------------------------------------------------------- ours


async def _ours(dsn: str, waiting: int, start_at: float) -> float:
    async with (
        Postgres(dsn, name="bench") as postgres,
        PostgresEventStore(postgres, ids=SystemIds()) as store,
    ):
        await store.head()
        await asyncio.sleep(max(0.0, start_at - time.monotonic()))
        begun = time.monotonic()
        done = [0] * waiting

        async def caller(number: int) -> None:
            while time.monotonic() - begun < ROUND_SECONDS:
                session_id = uuid4()
                append = StreamAppend(
                    Stream("payment_session", session_id), 0, (session_created(session_id),)
                )
                await store.append(Batch((append,), CONTEXT))
                done[number] += 1

        await asyncio.gather(*(caller(number) for number in range(waiting)))
        return sum(done) / (time.monotonic() - begun)


def ours(dsn: str, waiting: int, start_at: float = 0.0) -> float:
    return uvloop.run(_ours(dsn, waiting, start_at))


def ours_in_processes(dsn: str, pool: ProcessPoolExecutor) -> float:
    start_at = time.monotonic() + START_SECONDS
    running = [pool.submit(ours, dsn, WAITING_EACH, start_at) for _ in range(PROCESSES)]
    return sum(each.result() for each in running)


# ---------------------------------------------------------------- the library's recorder


def library_factory(dsn: str) -> InfrastructureFactory[Any]:
    """Its default mode, in a schema of its own, with a connection for every thread."""
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS library")
    parts = urlsplit(dsn)
    return InfrastructureFactory.construct(
        Environment(
            "bench",
            {
                "PERSISTENCE_MODULE": "eventsourcing.postgres",
                "POSTGRES_DBNAME": parts.path.removeprefix("/"),
                "POSTGRES_HOST": parts.hostname or "",
                "POSTGRES_PORT": str(parts.port),
                "POSTGRES_USER": parts.username or "",
                "POSTGRES_PASSWORD": parts.password or "",
                "POSTGRES_SCHEMA": "library",
                "POSTGRES_POOL_SIZE": "32",
            },
        )
    )


def library(dsn: str, waiting: int) -> float:
    """In a process of its own, as ours; every thread has its connection before the clock runs."""
    state = session_created(UUID(int=1)).encoded()
    together = threading.Barrier(waiting)
    begun: list[float] = []

    def caller(recorder: ApplicationRecorder) -> int:
        def append() -> None:
            recorder.insert_events([StoredEvent(uuid4(), 1, "payment_session.created", state)])

        append()
        together.wait(START_SECONDS_MAX)
        begun.append(time.monotonic())
        done = 0
        while time.monotonic() - begun[0] < ROUND_SECONDS:
            append()
            done += 1
        return done

    with library_factory(dsn) as factory, ThreadPoolExecutor(waiting) as threads:
        done = sum(threads.map(caller, [factory.application_recorder()] * waiting))
        return done / (time.monotonic() - begun[0])


# ---------------------------------------------------------------- plain inserts

PLAIN_TABLE = """
CREATE TABLE public.plain (id uuid, version bigint, topic text, state bytea,
                           position bigint GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (id, version))
"""


def prepare_plain(dsn: str, folder: Path) -> Path:
    with psycopg.connect(dsn) as connection:
        connection.execute(PLAIN_TABLE)
    state = session_created(UUID(int=1)).encoded().hex()
    script = folder / "plain.sql"
    script.write_text(
        "INSERT INTO public.plain (id, version, topic, state) VALUES "
        f"(gen_random_uuid(), 1, 'payment_session.created', '\\x{state}');\n",
        encoding="ascii",
    )
    return script


def plain(pgbench: Path, dsn: str, script: Path, clients: int) -> float:
    """No order, no checks: what this server can do at most, one row a transaction."""
    command = [
        *(str(pgbench), "--no-vacuum", "--protocol=prepared", "--file", str(script)),
        *(
            "--client",
            str(clients),
            "--jobs",
            str(min(clients, 2)),
            "--time",
            str(PLAIN_SECONDS),
            dsn,
        ),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    lines = [each for each in done.stdout.splitlines() if each.startswith("tps = ")]
    assert len(lines) == 1, f"pgbench measured nothing:\n{done.stdout}\n{done.stderr}"
    return float(lines[0].split()[2])


# ---------------------------------------------------------------- all together


async def measure(folder: Path) -> tuple[dict[str, float], TailReport]:
    """The median of the rounds of each contender, and what the reader beside them saw."""
    embedded = Embedded(folder, chain=None, nats=False)
    await embedded.start()
    try:
        admin = embedded.postgres.url
        await asyncio.to_thread(migrate.create_roles, admin)
        await asyncio.to_thread(migrate.migrate, admin)
        pgbench = bundled_binaries() / "pgbench"
        return await asyncio.to_thread(_rounds, admin, pgbench, folder)
    finally:
        await embedded.stop()


def _rounds(admin: str, pgbench: Path, folder: Path) -> tuple[dict[str, float], TailReport]:
    app = migrate.role_dsn(admin, migrate.APP)
    script = prepare_plain(admin, folder)
    context = multiprocessing.get_context("spawn")
    samples: defaultdict[str, list[float]] = defaultdict(list)
    with (
        tailing(app) as tail,
        ProcessPoolExecutor(PROCESSES, mp_context=context) as pool,
        Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            transient=True,
        ) as progress,
    ):
        contenders: dict[str, Callable[[], float]] = {
            "library_1": lambda: pool.submit(library, admin, 1).result(),
            "ours_1": lambda: pool.submit(ours, app, 1).result(),
            "library_32": lambda: pool.submit(library, admin, 32).result(),
            "ours_32": lambda: pool.submit(ours, app, 32).result(),
            "ours_2x128": lambda: ours_in_processes(app, pool),
            "pgbench_1": lambda: plain(pgbench, admin, script, 1),
            "pgbench_32": lambda: plain(pgbench, admin, script, 32),
        }
        task = progress.add_task("")
        for number in range(ROUNDS):
            for name, run in contenders.items():
                if number == ROUNDS - 1 > 0 and name.startswith("pgbench"):
                    continue  # the limit needs no third opinion
                progress.update(task, description=f"round {number + 1} of {ROUNDS}: {name}")
                samples[name].append(run())
    medians = {name: round(statistics.median(taken), 1) for name, taken in samples.items()}
    return medians, tail.report


def report(rates: dict[str, float], tail: TailReport, conditions: dict[str, Any]) -> Report:
    ratio = rates["ours_32"] / rates["library_32"]
    idle = rates["ours_1"] / rates["library_1"]
    of_plain = rates["ours_2x128"] / rates["pgbench_32"]
    return Report(
        figure=rates["ours_32"],
        unit="appends/s, 32 waiting in one process",
        baseline=rates["library_32"],
        ratio=round(ratio, 2),
        goal=(
            "32 waiting: 8 times the library's recorder; idle: no slower than 1.3 times the "
            "library; two processes with 128 waiting each: half of plain pgbench at 32 clients; "
            "a tailing reader misses nothing and sees all in order"
        ),
        met=tail.clean and ratio >= GOAL_LIBRARY and idle >= GOAL_IDLE and of_plain >= GOAL_PLAIN,
        conditions={
            **conditions,
            "appends_per_second": rates,
            "tailing_reader": tail.conditions(),
            "idle_ratio_to_library": round(idle, 2),
            "two_processes_ratio_to_pgbench": round(of_plain, 2),
            "rounds": ROUNDS,
            "round_seconds": ROUND_SECONDS,
            "state_bytes": len(session_created(UUID(int=1)).encoded()),
            "postgresql": "bundled 18, fsync on, clients on the same machine over TCP",
        },
    )


def main() -> None:
    given = arguments("Durable appends a second, beside the library's and plain inserts.")
    as_json: bool = given.parse_args().json
    folder = Path(tempfile.mkdtemp(prefix="gateway-bench-"))
    folder.chmod(0o711)  # root runs PostgreSQL as nobody, who must get through
    try:
        conditions = machine(folder)
        rates, tail = asyncio.run(measure(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not as_json:
        rows = [
            ("group append, one process", f"{rates['ours_1']:,.0f}", f"{rates['ours_32']:,.0f}"),
            ("group append, two processes, 128 waiting each", "", f"{rates['ours_2x128']:,.0f}"),
            (
                "eventsourcing's own recorder",
                f"{rates['library_1']:,.0f}",
                f"{rates['library_32']:,.0f}",
            ),
            (
                "plain pgbench insert, no order",
                f"{rates['pgbench_1']:,.0f}",
                f"{rates['pgbench_32']:,.0f}",
            ),
        ]
        show("Durable appends a second", ("", "1 waiting", "32 waiting"), rows)
        print(f"Tailing reader: {tail.seen:,} events, {tail.missed} missed, {tail.disordered} odd")
    finish(report(rates, tail, conditions), as_json=as_json)


if __name__ == "__main__":
    main()

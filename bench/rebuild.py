"""Every projection rebuilt from a log of a million events, beside what else could read it.

The log is that of bench/load.py, on a PostgreSQL that this starts itself, with fsync, on the same
machine. What is timed is `projections.renewal.rebuild`, on the event loop of
`gateway projections rebuild`: fresh schemas, all facts, the indexes, up to the head. Not included
are what that command does besides: starting, comparing what was rebuilt with what is shown,
showing it, and telling the log. Each contender is a process of its own.

Shapes  ours      all projections together, in two processes where there are cores for them
        reading   the same log, read and decoded, by ourselves
        library   the ProjectionRunner of the eventsourcing library over the first events of the
                  same log, a transaction an event, into the same tables: what the goal is about
        least     the same with one read model of small rows, the least there can be
Units   events a second of the wall; processor microseconds an event, of our first process, of
        the one beside it and of PostgreSQL; MB are 10^6 bytes of our processes' memory
"""

import argparse
import asyncio
import cProfile
import multiprocessing
import os
import pstats
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import psutil  # type: ignore[import-untyped]  # the package ships no type hints
import psycopg

from adapters import migrate
from adapters.clock import SystemClock, SystemIds
from adapters.event_store import PostgresEventStore
from adapters.postgres import Postgres
from bench import rebuild_library
from bench.load import load
from bench.load_log import Plan
from bench.report import Report, arguments, finish, machine, show
from gateway.embedded import Embedded
from gateway.rebuild_helper import helper_for
from projections.catalogue import PROJECTIONS
from projections.collector import few_collections
from projections.rebuild import Progress
from projections.renewal import rebuild
from projections.schema import ensure_schemas

GOAL_PER_SECOND = 50_000
GOAL_TIMES = 40  # what the library's runner does with the same read models
GOAL_GROWTH = 0.1  # of the memory, from a tenth of the way on
EVENTS = 1_000_000
LIBRARY_EVENTS = 5_000
READ_EVENTS = 10_000  # a page
SAMPLE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Taken:
    events: int
    seconds: float
    cpu_seconds: float
    beside_cpu_seconds: float = 0.0  # of the process that shared the work
    postgres_cpu_seconds: float = 0.0
    memory_mb: tuple[float, ...] = ()  # at equal steps of time
    memory_growth: float = 0.0  # from when a tenth of the log was contained, to the most

    @property
    def per_second(self) -> int:
        return round(self.events / self.seconds)

    @property
    def cpu_micros(self) -> float:
        return self.micros(self.cpu_seconds)

    def micros(self, seconds: float) -> float:
        return round(seconds / self.events * 1e6, 2)


# ---------------------------------------------------------------- contenders


class Memory:
    """Of this process and of those it started, while the block runs."""

    def __init__(self, tenth: int) -> None:
        self.taken: list[float] = []
        self._tenth = tenth
        self._first = 0  # how many were taken before a tenth of the log was contained
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        process = psutil.Process()
        while not self._over.wait(SAMPLE_SECONDS):
            self.taken.append(sum(map(_resident, (process, *process.children()))) / 1e6)

    def on_progress(self, progress: Progress) -> None:
        if not self._first and progress.position >= self._tenth:
            self._first = len(self.taken)

    @property
    def growth(self) -> float:
        first, rest = self.taken[: self._first], self.taken[self._first :]
        return max(rest) / max(first) - 1 if first and rest else 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _spent(server: psutil.Process | None) -> tuple[float, float, float]:
    """Processor seconds: ours, those of children that have ended, and the database server's."""
    assert server is not None, "a backend has a parent"
    own = os.times()
    postgres = 0.0
    for process in (server, *server.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            cpu = process.cpu_times()
            postgres += cpu.user + cpu.system + cpu.children_user + cpu.children_system
    children = own.children_user + own.children_system
    return own.user + own.system, children, postgres


async def _rebuilt(owner_dsn: str, app_dsn: str) -> Taken:
    helper = helper_for(owner_dsn, app_dsn, None)
    async with (
        Postgres(owner_dsn, name="bench-owner", max_size=3) as owner,
        Postgres(app_dsn, name="bench", max_size=3) as app,
    ):
        store = PostgresEventStore(app, ids=SystemIds())
        events = await store.head()
        async with owner.connection() as connection:
            server = psutil.Process(connection.info.backend_pid).parent()
        begun, cpu = time.perf_counter(), _spent(server)
        with Memory(events // 10) as memory:
            rebuilt = await rebuild(
                owner,
                store,
                PROJECTIONS,
                SystemClock(),
                helper=helper,
                on_progress=memory.on_progress,
            )
        seconds = time.perf_counter() - begun
        own, beside, postgres = (
            after - before for before, after in zip(cpu, _spent(server), strict=True)
        )
    assert all(each.position == events for each in rebuilt), "all of the log is contained"
    assert not any(each.parked for each in rebuilt), "nothing was left aside"
    return Taken(events, seconds, own, beside, postgres, tuple(memory.taken), memory.growth)


def ours(owner_dsn: str, app_dsn: str, profile: str | None = None) -> Taken:
    if profile is None:
        return asyncio.run(_rebuilt(owner_dsn, app_dsn))  # as the command does
    profiler = cProfile.Profile(time.process_time)  # others use this machine too
    taken: Taken = profiler.runcall(asyncio.run, _rebuilt(owner_dsn, app_dsn))
    with Path(profile).open("w", encoding="utf-8") as file:
        pstats.Stats(profiler, stream=file).sort_stats("tottime").print_stats(60)
    return taken


async def _read(app_dsn: str) -> Taken:
    async with Postgres(app_dsn, name="bench", max_size=2) as app:
        store = PostgresEventStore(app, ids=SystemIds())
        position = 0
        begun, cpu = time.perf_counter(), time.process_time()
        with few_collections():
            while page := await store.read_log(after=position, limit=READ_EVENTS):
                position = page[-1].position
    return Taken(position, time.perf_counter() - begun, time.process_time() - cpu)


def reading(app_dsn: str) -> Taken:
    return asyncio.run(_read(app_dsn))


def library(follow: Callable[[str, int], None], admin_dsn: str, events: int) -> Taken:
    begun, cpu = time.perf_counter(), time.process_time()
    follow(admin_dsn, events)
    return Taken(events, time.perf_counter() - begun, time.process_time() - cpu)


# ---------------------------------------------------------------- all together


def _prepare(admin: str) -> None:
    migrate.create_roles(admin)
    owner = migrate.role_dsn(admin, migrate.OWNER)
    migrate.migrate(owner)
    ensure_schemas(owner)


def _settle(admin: str) -> None:
    """What autovacuum would have done by the time anybody rebuilds."""
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE es.events")
        connection.execute("CHECKPOINT")


async def contest(
    folder: Path,
    plan: Plan,
    profile: str | None = None,
    *,
    library_events: int = LIBRARY_EVENTS,
    say: Callable[[str], None] = print,
) -> dict[str, Taken]:
    spawn = multiprocessing.get_context("spawn")
    fresh = partial(ProcessPoolExecutor, 1, mp_context=spawn, max_tasks_per_child=1)
    with fresh() as pool:
        async with Embedded(folder, chain=None, nats=False) as endpoints:
            admin = endpoints.database_url
            await asyncio.to_thread(_prepare, admin)
            app = migrate.role_dsn(admin, migrate.APP)
            owner = migrate.role_dsn(admin, migrate.OWNER)

            async def run(name: str, call: Callable[..., Any], *of: Any) -> Any:
                say(name)
                return await asyncio.to_thread(pool.submit(call, *of).result)

            await run(f"loading {plan.events:,} events", load, owner, plan)
            await asyncio.to_thread(_settle, admin)
            first = (admin, library_events)
            least = (library, rebuild_library.follow, *first)
            library_all = (library, rebuild_library.follow_into_all, *first)
            return {
                "least": await run("the library's runner, one read model", *least),
                "library": await run("the library's runner, all read models", *library_all),
                "reading": await run("reading only", reading, app),
                "ours": await run("rebuilding all projections", ours, owner, app, profile),
            }


def report(taken: dict[str, Taken], plan: Plan, conditions: dict[str, Any]) -> Report:
    mine, grown = taken["ours"], taken["ours"].memory_growth
    baseline = taken["library"].per_second
    times = mine.per_second / baseline
    return Report(
        figure=mine.per_second,
        unit="events/s into all projections together, indexes included",
        baseline=baseline,
        ratio=round(times, 1),
        goal=(
            f"{GOAL_PER_SECOND:,} events/s, {GOAL_TIMES} times the library's runner; memory grows "
            f"by less than {GOAL_GROWTH:.0%} after the first tenth of the log"
        ),
        met=(mine.per_second >= GOAL_PER_SECOND and times >= GOAL_TIMES and grown <= GOAL_GROWTH),
        conditions={
            **conditions,
            **{
                name: {
                    "events": each.events,
                    "per_second": each.per_second,
                    "cpu_us": each.cpu_micros,
                }
                for name, each in taken.items()
            },
            "beside_cpu_us": mine.micros(mine.beside_cpu_seconds),
            "postgres_cpu_us": mine.micros(mine.postgres_cpu_seconds),
            "memory_mb": [round(each) for each in _thinned(mine.memory_mb)],
            "memory_growth": round(grown, 3),
            "events": plan.events,
            "sessions_per_second_told": plan.sessions_per_second,
            "baseline": (
                "the library's ProjectionRunner into the same tables without their indexes, a "
                "transaction an event with its tracking record, durable, over the first "
                f"{taken['library'].events:,} events of the same log; `least` has one read model "
                "of one small row a stream"
            ),
            "not_included": "start of the command, comparison, switch, telling the log",
            "postgresql": "bundled 18, fsync on, on the same machine",
        },
    )


def _thinned(samples: Sequence[float], count: int = 40) -> Sequence[float]:
    return samples[:: max(1, len(samples) // count)]


def _table(taken: dict[str, Taken]) -> None:
    names = {
        "ours": "rebuild of all projections",
        "reading": "reading and decoding the log",
        "library": "eventsourcing's ProjectionRunner, the same read models",
        "least": "eventsourcing's ProjectionRunner, one read model of small rows",
    }
    rows = [
        (names[name], f"{each.events:,}", f"{each.per_second:,}", f"{each.cpu_micros:.1f}")
        for name, each in reversed(taken.items())
    ]
    show("Rebuild", ("", "events", "events/s", "our CPU us/event"), rows)
    ours = taken["ours"]
    beside = {
        "the first process": ours.cpu_seconds,
        "the process beside it": ours.beside_cpu_seconds,
        "PostgreSQL": ours.postgres_cpu_seconds,
    }
    show(
        "Of the rebuild",
        ("", "CPU us/event"),
        [(name, f"{ours.micros(seconds):.1f}") for name, seconds in beside.items()],
    )
    memory = ours.memory_mb
    if memory:
        points = (("start", 0), ("middle", len(memory) // 2), ("end", len(memory) - 1))
        show("Memory", ("", "MB"), [(name, f"{memory[place]:,.0f}") for name, place in points])


def _given() -> argparse.Namespace:
    given = arguments(__doc__.partition("\n")[0])
    given.add_argument("--events", type=int, default=EVENTS)
    given.add_argument("--profile", help="a file for the costliest functions; slows it down")
    return given.parse_args()


def main() -> None:
    given = _given()
    plan = Plan(given.events)
    folder = Path(tempfile.mkdtemp(prefix="gateway-bench-"))
    folder.chmod(0o711)  # root runs PostgreSQL as nobody, who must get through
    try:
        conditions = machine(folder)
        taken = asyncio.run(contest(folder, plan, given.profile, say=_say))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not given.json:
        _table(taken)
    finish(report(taken, plan, conditions), as_json=given.json)


def _say(what: str) -> None:
    print(f"{what} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

"""`python -m chaos.store`: PostgreSQL crashes under eight writers and a reader of the log.

Shapes  eight stores, each with four appends in flight that share streams, messages and keys;
        `stop -m immediate` in the middle, a while without a server, the start, so many times.
        Now and then the server is away for longer than the store looks for a lost commit, so that
        callers hear that an outcome is unknown; if none has, it is stopped for long again, some
        times more. In the end the log is held against every answer.
        With --json one line at the end: stops, attempts, acknowledged, lost, duplicated, denied,
        unknown, unknown_exercised, unresolved, missed, wrong, seconds.
Errors  exit status 1 when anything was lost, doubled, denied, unresolved, missed or wrong; and
        when a run of at least LONG_EVERY stops has seen no unknown outcome. A shorter one says so.
"""

import argparse
import asyncio
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import structlog
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from adapters import migrate
from adapters.clock import SystemIds
from adapters.event_store import PostgresEventStore
from adapters.event_store_rescue import RESCUE_SECONDS_MAX
from adapters.postgres import Postgres
from application.ports import StoreUnavailable
from chaos.store_load import Load, MakeStore, writing
from chaos.store_oracle import Verdict, judge
from gateway.embedded_postgres import Postgres as Server

STOPS = 20
LONG_EVERY = 4  # every so many stops the server is away for long
MORE_MAX = 6  # long stops beyond those asked for, until an outcome is unknown
LOADED_SECONDS = (0.5, 1.5)
DOWN_SECONDS = (0.0, 1.0)
LONG_SECONDS = (RESCUE_SECONDS_MAX + 1.0, RESCUE_SECONDS_MAX + 2.0)
READER_POLL_SECONDS = 0.005
PAGE = 1_000
SETTLE_SECONDS_MAX = 60.0
POLL_SECONDS = 0.05
WRONG_SHOWN_MAX = 20

NOT_EXERCISED = (
    "NOT EXERCISED: no outcome was unknown to its caller, so nothing is shown about how unknown ones "
    "are resolved"
)

OnDone = Callable[[], None]


class Reader:
    """Follows the log through every crash, and remembers each position it was given."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.seen: list[int] = []

    async def follow(self, done: asyncio.Event) -> None:
        async with Postgres(self._dsn, name="chaos-reader", max_size=1) as postgres:
            store = PostgresEventStore(postgres, ids=SystemIds())  # not started: it only reads
            while True:
                finished = done.is_set()
                try:
                    after = self.seen[-1] if self.seen else 0
                    page = await store.read_raw(after=after, limit=PAGE)
                except StoreUnavailable:
                    await asyncio.sleep(POLL_SECONDS)
                    continue
                self.seen.extend(each.position for each in page)
                if finished and not page:
                    return
                if len(page) < PAGE:
                    await asyncio.sleep(READER_POLL_SECONDS)


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="gateway-chaos-"))
    folder.chmod(0o711)  # root runs PostgreSQL as nobody, who must get through
    return folder


@asynccontextmanager
async def server() -> AsyncIterator[Server]:
    folder = _folder()
    started = Server(folder / "postgres", password="chaos")
    try:
        await started.start()
        await asyncio.to_thread(migrate.create_roles, started.url)
        await asyncio.to_thread(migrate.migrate, started.url)
        yield started
    finally:
        await started.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def stops(
    times: int,
    *,
    seed: int = 1,
    long_every: int = LONG_EVERY,
    make_store: MakeStore = PostgresEventStore,
    done: OnDone = lambda: None,
) -> Verdict:
    rng = Random(f"stops {seed}")
    load = Load(Random(f"load {seed}"))
    async with server() as postgres:
        dsn = migrate.role_dsn(postgres.url, migrate.APP)
        reader, read = Reader(dsn), asyncio.Event()
        reading = asyncio.create_task(reader.follow(read))
        try:
            async with writing(load, dsn, make_store) as enough:
                for number in range(1, times + 1):
                    long = long_every > 0 and number % long_every == 0
                    await _crash(postgres, rng, long=long)
                    done()
                if times >= long_every > 0:
                    times += await _until_unknown(load, partial(_crash, postgres, rng, long=True))
                await asyncio.sleep(rng.uniform(*LOADED_SECONDS))
                enough.set()
                await _all_known(load)
        finally:
            read.set()
            await reading
        verdict = await asyncio.to_thread(judge, postgres.url, load.attempts, reader.seen)
        verdict.stops = times
        return verdict


async def _until_unknown(load: Load, crash: Callable[[], Awaitable[None]]) -> int:
    """How many crashes more it took until a caller heard that an outcome is unknown, or none did."""
    for more in range(MORE_MAX):
        if load.unknown:
            return more
        await crash()
    return MORE_MAX


async def _crash(postgres: Server, rng: Random, *, long: bool) -> None:
    await asyncio.sleep(rng.uniform(*LOADED_SECONDS))
    await postgres.stop("immediate")
    await asyncio.sleep(rng.uniform(*(LONG_SECONDS if long else DOWN_SECONDS)))
    await postgres.start()
    await _written_again(postgres.url)


async def _written_again(url: str) -> None:
    """Until the head has moved: the next crash is to hit writers at work."""
    head = "SELECT coalesce(max(position), 0) FROM es.events"
    async with asyncio.timeout(SETTLE_SECONDS_MAX):
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            first = await (await connection.execute(head)).fetchone()
            while True:
                if await (await connection.execute(head)).fetchone() != first:
                    return
                await asyncio.sleep(POLL_SECONDS)


async def _all_known(load: Load) -> None:
    """The stores look for what is unknown by themselves; those who never find out are counted."""
    loop = asyncio.get_running_loop()
    until = loop.time() + SETTLE_SECONDS_MAX
    while True:
        if not load.unresolved or loop.time() >= until:
            return
        await asyncio.sleep(POLL_SECONDS)


# ---------------------------------------------------------------- command


def main() -> int:
    wanted = _arguments()
    quiet = logging.INFO if wanted.verbose else logging.CRITICAL
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(quiet),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # Of a pipeline whose server is gone: what the store makes of it is what counts here.
    logging.getLogger("psycopg").setLevel(quiet)
    console = Console(stderr=wanted.json)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("PostgreSQL, stop -m immediate", total=wanted.stops)
        verdict, seconds = uvloop.run(_timed(wanted, lambda: progress.advance(task)))
    _show(verdict, seconds, console)
    if wanted.json:
        print(json.dumps(summary(verdict, seconds)), flush=True)
    return status(verdict)


def status(verdict: Verdict) -> int:
    """0 only if nothing is wrong, and a run of full size had an unknown outcome to resolve."""
    enough = verdict.exercised or verdict.stops < LONG_EVERY
    return 0 if verdict.clean and enough else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stops", type=int, default=STOPS, help="of PostgreSQL, each a crash")
    parser.add_argument("--seed", type=int, default=1, help="of the load and the moments")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--verbose", action="store_true", help="show what is logged")
    return parser.parse_args()


async def _timed(wanted: argparse.Namespace, done: OnDone) -> tuple[Verdict, float]:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    verdict = await stops(wanted.stops, seed=wanted.seed, done=done)
    return verdict, round(loop.time() - begun, 1)


def summary(verdict: Verdict, seconds: float) -> dict[str, Any]:
    return {**asdict(verdict), "unknown_exercised": verdict.exercised, "seconds": seconds}


def _show(verdict: Verdict, seconds: float, console: Console) -> None:
    title = f"{verdict.stops} crashes of PostgreSQL under 8 writers, {seconds:.0f} s"
    table = Table(title=title, title_justify="left")
    table.add_column("what the log says of every answer")
    table.add_column("batches", justify="right")
    figures = asdict(verdict)
    wrong = figures.pop("wrong")
    del figures["stops"]
    bad = {"lost", "duplicated", "denied", "unresolved", "missed", "disordered"}
    for name, figure in figures.items():
        style = None if name not in bad else "red" if figure else "green"
        table.add_row(name.replace("_", " "), f"{figure:,}", style=style)
    console.print(table)
    if not verdict.exercised:
        console.print(NOT_EXERCISED, style="red", highlight=False, soft_wrap=True)
    for text in wrong[:WRONG_SHOWN_MAX]:
        console.print(text, style="red", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())

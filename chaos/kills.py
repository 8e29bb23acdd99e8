"""`python -m chaos.kills`: the ingester killed, NATS wiped, PostgreSQL crashed.

Shapes  kill -9 of a real `gateway ingest` at each of chaos/points.py, so many rounds; NATS stopped
        or killed with its store wiped while reports lie on it unheard; PostgreSQL stopped with
        `immediate` while blocks come. After each: lost and duplicated, judged on what a consumer
        recorded and on the ingester's tables. With --json one line at the end: kills, wipes,
        stops, lost, duplicated, wrong, payments, seconds.
Errors  exit status 1 when anything was lost, told twice, or a moment could not be caught.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import structlog
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from chaos import oracle
from chaos.ingesting import ingesting
from chaos.points import POINTS, Point, do
from chaos.process import IngestProcess, ingest_process
from chaos.stage import PAID_ADDRESSES, Stage, stage

ROUNDS, WIPES, STOPS = 20, 50, 20
DOWN_SECONDS_MAX = 1.0
BLOCKS_UNDER_WAY = 6
BLOCK_SECONDS = 0.25
PUBLISHED_SECONDS_MAX = 20.0
POLL_SECONDS = 0.05
WRONG_SHOWN_MAX = 20

OnDone = Callable[[], None]


@dataclass
class Outcome:
    """What came of one kind of crash."""

    name: str
    times: int = 0
    lost: int = 0
    duplicated: int = 0
    repeats: int = 0
    payments: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    by_point: Counter[str] = field(default_factory=Counter)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.wrong)


async def kills(
    rounds: int, *, points: Sequence[Point] = POINTS, seed: int = 1, done: OnDone = lambda: None
) -> Outcome:
    """A real ingester killed with -9 at each point, so many times."""
    outcome = Outcome("kill -9 of the ingester")
    async with (
        _timed(outcome),
        stage(seed, addresses=PAID_ADDRESSES, honest=True) as found,
        ingest_process(found) as process,
    ):
        await process.start()
        await _settled(found, process.check)
        for number in range(rounds):
            for point in points:
                await _kill_at(found, process, point)
                await _judge(found, outcome, f"round {number + 1}, {point.name}")
                outcome.by_point[point.name] += 1
                done()
    return outcome


async def _kill_at(found: Stage, process: IngestProcess, point: Point) -> None:
    if point.at_start:
        await process.stop()
    if point.deed in {"fork", "bury"}:  # something to lose, or to confirm
        await do(found, "pay_behind")
        await _heard(found)
    async with point.trap(found) as caught:
        await do(found, point.deed)
        if point.at_start:
            await process.start()
        await caught()
        await process.kill()
    await process.start()
    await _settled(found, process.check)


async def stops(times: int, *, seed: int = 2, done: OnDone = lambda: None) -> Outcome:
    """PostgreSQL crashes under a real ingester while blocks come."""
    outcome = Outcome("PostgreSQL, stop -m immediate")
    rng = Random(f"stops {seed}")
    async with (
        _timed(outcome),
        stage(seed, addresses=PAID_ADDRESSES, durable=True, honest=True) as found,
        ingest_process(found) as process,
    ):
        await process.start()
        await _settled(found, process.check)
        for number in range(times):
            blocks = asyncio.create_task(_blocks(found, rng))
            await asyncio.sleep(rng.uniform(0, BLOCKS_UNDER_WAY * BLOCK_SECONDS))
            await found.servers.postgres.stop("immediate")
            await asyncio.sleep(rng.uniform(0, DOWN_SECONDS_MAX))
            await found.servers.postgres.start()
            await blocks
            await _settled(found, process.check)
            await _judge(found, outcome, f"stop {number + 1}")
            done()
    return outcome


async def wipes(times: int, *, seed: int = 3, done: OnDone = lambda: None) -> Outcome:
    """NATS ends with its store wiped while published reports lie there unheard."""
    outcome = Outcome("NATS stopped, store wiped")
    async with (
        _timed(outcome),
        stage(seed, addresses=PAID_ADDRESSES, honest=True) as found,
        ingesting(found) as ours,
    ):
        nats = found.servers.nats
        await ours.start()
        await _settled(found, ours.check)
        for number in range(times):
            await found.consumer.stop_listening()
            await found.driver.grow([found.driver.sure(3)])
            await _published(found)
            await (nats.kill() if number % 2 else nats.stop())
            await nats.wipe_store()
            await found.driver.grow([found.driver.sure(1)])
            await nats.start()
            found.consumer.listen()
            await _settled(found, ours.check)
            await _judge(found, outcome, f"wipe {number + 1}")
            done()
    return outcome


# ---------------------------------------------------------------- parts of all


async def _blocks(found: Stage, rng: Random) -> None:
    for _ in range(BLOCKS_UNDER_WAY):
        await found.driver.grow([found.driver.sure(rng.randint(0, 4))])
        await asyncio.sleep(BLOCK_SECONDS)
    if rng.random() < 0.3:
        await found.driver.fork(rng.randint(1, 3))


async def _settled(found: Stage, check: Callable[[], None]) -> None:
    await found.settle(check)


async def _heard(found: Stage) -> None:
    """Everything that is on the chain has been observed and heard; not all is confirmed."""
    async with asyncio.timeout(PUBLISHED_SECONDS_MAX):
        while True:
            now = await found.waiting()
            if now.cursor == found.driver.mirror.head and not (now.unpublished or now.unheard):
                return
            await asyncio.sleep(POLL_SECONDS)


async def _published(found: Stage) -> None:
    """Everything is on the bus, and nobody has heard it."""
    async with asyncio.timeout(PUBLISHED_SECONDS_MAX):
        while True:
            now = await found.waiting()
            if now.cursor == found.driver.mirror.head and not now.unpublished and now.unheard:
                return
            await asyncio.sleep(POLL_SECONDS)


async def _judge(found: Stage, outcome: Outcome, when: str) -> None:
    mirror = found.driver.mirror
    watched = frozenset(found.watched)
    real = oracle.ever(mirror, watched)
    on_chain = set(mirror.canonical)
    truth = {each.transfer_id: each for each in real if each.block_hash in on_chain}
    verdict, still_open = oracle.judge(await found.consumer.reports(), truth, real)
    await oracle.examine_rows(verdict, found.postgres, still_open, mirror.canonical)
    now = await found.waiting()
    outcome.times += 1
    outcome.payments = len(truth)
    outcome.repeats = found.consumer.repeats
    outcome.lost += verdict.missed + max(now.unheard, 0) + now.unpublished
    outcome.duplicated += verdict.phantom + verdict.twice + max(-now.unheard, 0)
    outcome.wrong += [f"{when}: {text}" for text in verdict.wrong]


@contextlib.asynccontextmanager
async def _timed(outcome: Outcome) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    yield
    outcome.seconds = round(loop.time() - begun, 1)


# ---------------------------------------------------------------- command


def main() -> int:
    wanted = _arguments()
    quiet = logging.INFO if wanted.verbose else logging.CRITICAL
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(quiet),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    console = Console(stderr=wanted.json)
    outcomes = _all(wanted, console)
    _show(outcomes, console)
    if wanted.json:
        print(json.dumps(summary(outcomes)), flush=True)
    return 0 if all(outcome.clean for outcome in outcomes) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="kills at each of 20 points")
    parser.add_argument("--wipes", type=int, default=WIPES, help="of the NATS store")
    parser.add_argument("--stops", type=int, default=STOPS, help="of PostgreSQL")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--verbose", action="store_true", help="show what is logged")
    return parser.parse_args()


def _all(wanted: argparse.Namespace, console: Console) -> list[Outcome]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    campaigns: tuple[tuple[str, int, Callable[[OnDone], Coroutine[None, None, Outcome]]], ...] = (
        ("kills", wanted.rounds * len(POINTS), lambda done: kills(wanted.rounds, done=done)),
        ("wipes", wanted.wipes, lambda done: wipes(wanted.wipes, done=done)),
        ("stops", wanted.stops, lambda done: stops(wanted.stops, done=done)),
    )
    outcomes = []
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        for name, total, run in campaigns:
            if total:
                task = progress.add_task(name, total=total)
                outcomes.append(uvloop.run(run(partial(progress.advance, task))))
    return outcomes


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "crashes": {outcome.name: outcome.times for outcome in outcomes},
        "points": {
            name: count for outcome in outcomes for name, count in outcome.by_point.items()
        },
        "payments": sum(outcome.payments for outcome in outcomes),
        "lost": sum(outcome.lost for outcome in outcomes),
        "duplicated": sum(outcome.duplicated for outcome in outcomes),
        "repeats_dropped": sum(outcome.repeats for outcome in outcomes),
        "wrong": [text for outcome in outcomes for text in outcome.wrong],
        "seconds": round(sum(outcome.seconds for outcome in outcomes), 1),
    }


def _show(outcomes: Sequence[Outcome], console: Console) -> None:
    table = Table(title="After each crash, judged anew", title_justify="left")
    table.add_column("crash")
    columns = ("times", "payments", "lost", "duplicated", "repeats dropped", "seconds")
    for column in columns:
        table.add_column(column, justify="right")
    for each in outcomes:
        figures = (each.times, each.payments, each.lost, each.duplicated, each.repeats)
        cells = [f"{figure:,}" for figure in figures]
        style = "green" if each.clean else "red"
        table.add_row(each.name, *cells, f"{each.seconds:.0f}", style=style)
    console.print(table)
    for outcome in outcomes:
        for text in outcome.wrong[:WRONG_SHOWN_MAX]:
            console.print(text, style="red", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())

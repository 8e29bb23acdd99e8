"""How long a read model takes to show what was just written, at 500 appends a second.

Sessions are opened, paid and confirmed by the real use cases through the real store, at a fixed
pace whatever the answers do, while `gateway project` follows as a process of its own with every
projection, woken by NATS as in production. One connection watches, every two milliseconds: the
place of the read model furthest behind, and the head of the log. The head is the baseline: no
follower can be told of a fact before another connection sees it there, so what is above it is
the projections' own time. A reader follows the log by position all the while (tail.py), and must
miss nothing.

Shapes  one append is one unit of work: opening 1 event, a sighting 2, a confirmation 2 and the
        journal entries that go with them
Units   milliseconds from the acknowledgement of an append until every read model contains it
"""

import asyncio
import shutil
import tempfile
import threading
import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import psycopg
import uvloop
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from application.deciders import PAYMENT
from application.handling import Handler, UnitOfWork
from application.ports import Unavailable
from application.positions import noted
from bench import rig
from bench.replay_chain import TOKEN, UNITS, watched_address
from bench.report import Report, arguments, finish, machine, show
from bench.tail import TailReport, tailing
from domain import commands as c
from domain.events import Sighting
from domain.money import Amount
from gateway import bootstrap
from gateway.settings import load

APPENDS_PER_SECOND = 500
SECONDS = 60
WARM_SECONDS = 3.0
CAUGHT_UP_SECONDS_MAX = 60.0
BETWEEN_SECONDS = 1.0  # of the three appends of one session
GOAL_MS = 100.0
_TAIL_SECONDS = 2 * BETWEEN_SECONDS  # in which the last sessions get their second and third
LOOK_SECONDS = 0.002
TICKS_PER_SECOND = 100
ASSET = f"eip155:31337/erc20:{TOKEN}"
_LOOK = """
SELECT (SELECT min(position) FROM rm_admin.checkpoints WHERE live),
       (SELECT max(position) FROM es.events)
"""


class Watcher:
    """Who has come how far, and when that was seen; in a thread, so that no append delays it."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.views: list[tuple[int, float]] = []
        self.log: list[tuple[int, float]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._stop.wait(LOOK_SECONDS):
                row = connection.execute(_LOOK, prepare=True).fetchone()
                seen_at = time.monotonic()
                assert row is not None
                for place, reached in zip(row, (self.views, self.log), strict=True):
                    if place is not None and (not reached or place > reached[-1][0]):
                        reached.append((place, seen_at))


@dataclass(slots=True)
class Written:
    """Appends with their position, and when each was acknowledged."""

    acknowledged: list[tuple[int, float]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    refused: int = 0  # the store was busy or away: that session is given up
    late_ms: list[float] = field(default_factory=list)  # how far behind its pace an append began


# ---------------------------------------------------------------- the appends


def _created(number: int) -> c.CreateSession:
    now = datetime.now(UTC)
    due = Amount(units=UNITS, asset=ASSET)
    return c.CreateSession(
        at=now,
        session_id=UUID(int=(0xC << 120) | number),
        merchant_id=rig.MERCHANT,
        mode="test",
        network=rig.NETWORK,
        due=due,
        pay_by="deposit_address",
        tolerance=due.changed(units=0),
        deposit_address=watched_address(number),
        deposit_index=number,
        expires_at=now + timedelta(days=7),
        grace_seconds=86_400,
        description="Two coffees",
        merchant_reference=f"order-{number}",
    )


def _sighting(number: int) -> Sighting:
    tx_hash = f"0x{number:064x}"
    return Sighting(
        transfer_id=f"31337:{tx_hash}:0",
        network=rig.NETWORK,
        amount=Amount(units=UNITS, asset=ASSET),
        token=TOKEN,
        sender=f"0x{number % 5_000:040x}",
        recipient=watched_address(number),
        tx_hash=tx_hash,
        log_index=0,
        block_number=1_000,
        block_hash="0x" + "ab" * 32,
        block_time=datetime.now(UTC),
        attested=True,
        providers=("one",),
    )


def _command(kind: str, number: int) -> c.SessionCommand:
    if kind == "opened":
        return _created(number)
    seen = _sighting(number)
    if kind == "seen":
        return c.ObserveTransfer(at=datetime.now(UTC), sighting=seen)
    return c.ConfirmTransfer(
        at=datetime.now(UTC),
        transfer_id=seen.transfer_id,
        block_hash=seen.block_hash,
        confirmations=12,
        policy_version=1,
        rule="12 confirmations",
    )


KINDS = ("opened", "seen", "confirmed")


async def _append(handler: Handler, kind: str, number: int, written: Written) -> None:
    command = _command(kind, number)

    async def work(unit: UnitOfWork) -> None:
        await unit.decide(PAYMENT, UUID(int=(0xC << 120) | number), command)

    with noted() as place:
        await handler.execute(rig.CONTEXT, work)
    acknowledged = time.monotonic()
    assert place.position is not None, "each of them adds a fact"
    written.acknowledged.append((place.position, acknowledged))
    written.kinds[kind] += 1


async def _session(handler: Handler, number: int, written: Written) -> None:
    for kind in KINDS:
        try:
            await _append(handler, kind, number, written)
        except Unavailable:
            written.refused += 1
            return
        await asyncio.sleep(BETWEEN_SECONDS)


async def write(handler: Handler, appends_per_second: int, seconds: float) -> Written:
    """At a fixed pace: a session that is slow does not hold up the next one."""
    written = Written()
    pace = appends_per_second / len(KINDS)
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        started = 0
        while (now := time.monotonic() - begun) < seconds:
            while started < now * pace:
                written.late_ms.append((now - started / pace) * 1e3)
                group.create_task(_session(handler, started, written))
                started += 1
            await asyncio.sleep(1 / TICKS_PER_SECOND)
    return written


# ---------------------------------------------------------------- the figures


def waits(written: Written, reached: list[tuple[int, float]], after: float) -> list[float]:
    """Milliseconds from each acknowledgement until its position was seen to be contained."""
    places = [place for place, _ in reached]
    found = []
    for position, acknowledged in written.acknowledged:
        if acknowledged >= after:
            seen_at = reached[bisect_left(places, position)][1]
            found.append(max(0.0, seen_at - acknowledged) * 1e3)
    return found


@dataclass(frozen=True, slots=True)
class Measured:
    written: Written
    views: list[float]
    log: list[float]
    per_second: float
    tail: TailReport


async def measure(folder: Path, appends_per_second: int, seconds: float) -> Measured:
    nobody = ["http://127.0.0.1:9"]  # no chain is asked
    async with (
        rig.gateway(folder, nobody, start_block=1, confirmations=3) as running,
        rig.process("project", running.environment, folder),
        bootstrap.core(load(running.environment), "lag-bench") as core,
    ):
        await _opened(core)
        # Nothing is written while it comes and goes, so that it may hold up the loop.
        with (
            tailing(running.environment["DATABASE_URL"]) as tail,
            Watcher(running.admin) as watcher,
        ):
            begun = time.monotonic()
            written = await write(core.handler, appends_per_second, seconds)
            head = await core.store.head()
            caught_up = await bootstrap.progress(core).wait_for(
                head, timeout_seconds=CAUGHT_UP_SECONDS_MAX
            )
            assert caught_up, "the read models follow"
            await asyncio.sleep(LOOK_SECONDS * 10)
        await asyncio.to_thread(_check, running.admin, written)
    after = begun + min(WARM_SECONDS, seconds / 4)
    ended = max(at_ for _, at_ in written.acknowledged)
    return Measured(
        written,
        waits(written, watcher.views, after),
        waits(written, watcher.log, after),
        len(written.acknowledged) / (ended - begun - _TAIL_SECONDS),
        tail.report,
    )


async def _opened(core: bootstrap.Core) -> None:
    """The projections follow before the clock runs."""
    await rig.open_sessions(core, 1)


def _check(admin: str, written: Written) -> None:
    """What was acknowledged is what people see."""
    with psycopg.connect(admin) as connection:
        row = connection.execute(
            "SELECT count(*) FROM rm.payments WHERE status = 'completed'"
        ).fetchone()
    assert row == (written.kinds["confirmed"],), (row, written.kinds)


def at(share: float, samples: list[float]) -> float:
    ordered = sorted(samples)
    return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 1)


def _shares(samples: list[float]) -> dict[str, float]:
    told = {name: at(share, samples) for name, share in (("p50", 0.5), ("p95", 0.95))}
    return {**told, "p99": at(0.99, samples), "worst": at(1.0, samples)}


def report(measured: Measured, asked_per_second: int, conditions: dict[str, Any]) -> Report:
    lag, floor = _shares(measured.views), _shares(measured.log)
    kept_pace = measured.per_second >= 0.9 * asked_per_second and not measured.written.refused
    return Report(
        figure=lag["p95"],
        unit=f"ms p95 until every read model shows an append, {asked_per_second} appends/s",
        baseline=floor["p95"],
        ratio=round(lag["p95"] / max(floor["p95"], 0.1), 1),
        goal=f"p95 < {GOAL_MS:.0f} ms; a tailing reader misses nothing and sees all in order",
        met=lag["p95"] < GOAL_MS and kept_pace and measured.tail.clean,
        conditions={
            **conditions,
            "lag": lag,
            "log": floor,
            "appends": len(measured.written.acknowledged),
            "appends_per_second": round(measured.per_second),
            "began_late_p95_ms": at(0.95, measured.written.late_ms),
            "kinds": dict(measured.written.kinds),
            "refused": measured.written.refused,
            "tailing_reader": measured.tail.conditions(),
            "baseline": "until another connection sees the event in the log",
            "watched_every_ms": LOOK_SECONDS * 1e3,
        },
    )


def main() -> None:
    parser = arguments("The lag of the read models at 500 appends a second.")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--appends", type=int, default=APPENDS_PER_SECOND, help="a second")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gateway-bench-"))
    folder.chmod(0o711)  # root runs PostgreSQL as nobody, who must get through
    console = Console(stderr=True)
    try:
        conditions = machine(folder)
        with Progress(SpinnerColumn(), TextColumn("{task.description}"), console=console) as bar:
            bar.add_task(f"{given.appends} appends/s for {given.seconds:.0f} s")
            measured = uvloop.run(measure(folder, given.appends, given.seconds))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not given.json:
        rows = [
            (name, *(f"{value:.1f}" for value in _shares(samples).values()))
            for name, samples in (("read models", measured.views), ("the log", measured.log))
        ]
        show("Until an append is seen, milliseconds", ("", "p50", "p95", "p99", "worst"), rows)
        tail = measured.tail
        print(f"Tailing reader: {tail.seen:,} events, {tail.missed} missed, {tail.disordered} odd")
    finish(report(measured, given.appends, conditions), as_json=given.json)


if __name__ == "__main__":
    main()

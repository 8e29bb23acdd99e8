"""Reads over HTTP at millions of payment sessions: one, pages of each filter, and a deep page.

A gateway of its own: PostgreSQL on this machine's disk, and the API as a process of its own behind
a real socket. Read models are filled with the states of sessions that the domain has folded, each
row with ids, addresses, hashes, references and moments of its own; indexes and ANALYZE after that.
Beside each answer the same rows are read by their keys with psycopg, bare: what PostgreSQL and
the way to it cost by themselves.

Shapes  one merchant has 60 % of all sessions, and is the one who asks; one payer in three is the
        same exchange; requests come one after the other
Units   milliseconds
"""

import asyncio
import base64
import itertools
import json
import random
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import aiohttp
import psycopg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from adapters import migrate
from application.cursors import cursor_of, microseconds_of
from bench import rig
from bench.read_rows import BIG, EXCHANGE, fill, give_key
from bench.read_samples import BEGAN, SECONDS_APART
from bench.report import Report, arguments, finish, machine, show
from domain.values import public_id
from projections.payments import PAYMENTS

SESSIONS = 5_000_000
REQUESTS, WARM = 150, 20  # of each kind
GOAL_MS = 20.0
START_SECONDS_MAX = 30.0
SEED = 7
APART = timedelta(seconds=SECONDS_APART)


@dataclass(slots=True)
class Taken:
    """Of one kind of read."""

    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)


# ---------------------------------------------------------------- the requests

Ask = Callable[[int], str]  # a number of a session of the merchant gives a path


def kinds(count: int) -> Mapping[str, Ask]:
    """What is asked, of what is known about one of the merchant's sessions."""
    listed = "/v1/payment-sessions"

    def moment(number: int) -> str:
        return quote((BEGAN + number * APART).isoformat())

    def before(number: int) -> str:
        at = BEGAN + number * APART
        return cursor_of(microseconds_of(at), number)

    return {
        "one session": lambda n: f"{listed}/{public_id('ps', _session_id(n))}",
        "first page": lambda _: listed,
        "second page": lambda _: f"{listed}?cursor={before(count - 33)}",
        "a deep page": lambda n: f"{listed}?cursor={before(n)}",
        "created within a day": lambda n: (
            f"{listed}?created_from={moment(n)}&created_to={moment(n + 86_400 // SECONDS_APART)}"
        ),
        "status, common": lambda _: f"{listed}?status=completed",
        "status, rare": lambda n: f"{listed}?status=partially_refunded&cursor={before(n)}",
        "network, rare": lambda n: f"{listed}?network=base_sepolia&cursor={before(n)}",
        "token": lambda n: f"{listed}?token=USDC&cursor={before(n)}",
        "status and network": lambda n: (
            f"{listed}?status=failed&network=base_sepolia&cursor={before(n)}"
        ),
        "reference": lambda n: f"{listed}?merchant_reference=order-{n}",
        "transaction": lambda n: f"{listed}?tx_hash=0x{n:064x}",
        "payer": lambda n: f"{listed}?payer=0x{n % 400_000 + 16_777_216:040x}",
        "payer, an exchange": lambda n: f"{listed}?payer={EXCHANGE}&cursor={before(n)}",
        "an exact amount": lambda n: (
            f"{listed}?amount_min=49.90&amount_max=49.90&cursor={before(n)}"
        ),
        "a range of amounts": lambda n: f"{listed}?amount_min=20&amount_max=60&cursor={before(n)}",
        "payer and status": lambda n: (
            f"{listed}?payer={EXCHANGE}&status=failed&cursor={before(n)}"
        ),
        "search by reference": lambda n: f"{listed}?q=order-{n}",
        "search by address": lambda n: f"{listed}?q=0x{n:040x}",
    }


def _session_id(number: int) -> UUID:
    return UUID(f"a0000000-0000-4000-8000-{number:012x}")


class Reader:
    """Asks one thing after the other, and reads the same rows by their keys."""

    def __init__(self, http: aiohttp.ClientSession, bare: psycopg.AsyncConnection) -> None:
        self._http = http
        self._bare = bare

    async def read(self, path: str, taken: Taken | None) -> None:
        begun = time.perf_counter()
        async with self._http.get(path) as answer:
            body = await answer.read()
        ours = time.perf_counter() - begun
        assert answer.status == 200, body
        told = json.loads(body)
        found = told.get("data", [told])
        ids = [UUID(each["id"].removeprefix("ps_")) for each in found]
        begun = time.perf_counter()
        cursor = await self._bare.execute(
            "SELECT state FROM rm.payments WHERE session_id = ANY(%s)", (ids,)
        )
        rows = await cursor.fetchall()
        bare = time.perf_counter() - begun
        assert len(rows) == len(ids)
        if taken is not None:
            taken.ours.append(ours * 1e3)
            taken.bare.append(bare * 1e3)


async def _ask_all(reader: Reader, own: list[int], count: int) -> dict[str, Taken]:
    rng = random.Random(SEED)
    taken: dict[str, Taken] = {}
    for name, path in kinds(count).items():
        numbers = rng.sample(own, k=min(len(own), WARM + REQUESTS))
        for number in numbers[:WARM]:
            await reader.read(path(number), None)
        taken[name] = Taken()
        for number in itertools.islice(itertools.cycle(numbers), WARM, WARM + REQUESTS):
            await reader.read(path(number), taken[name])
    return taken


async def _until_ready(http: aiohttp.ClientSession) -> None:
    ends_at = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            async with http.get("/livez") as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientConnectionError:
            if time.monotonic() > ends_at:
                raise
        await asyncio.sleep(0.1)


def _own_numbers(admin: str, count: int) -> list[int]:
    """Some of the merchant's sessions, from everywhere in its history, cold and warm alike."""
    rng = random.Random(SEED)
    asked = [_session_id(rng.randrange(1, count + 1)) for _ in range(6_000)]
    with psycopg.connect(admin) as connection:
        rows = connection.execute(
            "SELECT position FROM rm.payments WHERE merchant_id = %s AND session_id = ANY(%s)",
            (BIG, asked),
        ).fetchall()
    return [row[0] for row in rows]


async def measure(
    folder: Path, count: int, loading: Callable[[str, int], Awaitable[None]]
) -> dict[str, Taken]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    nobody = ["http://127.0.0.1:9"]  # no chain is asked
    async with rig.gateway(folder, nobody, start_block=1, confirmations=3) as running:
        await loading(running.admin, count)
        key = await asyncio.to_thread(give_key, running.admin)
        environment = {
            **running.environment,
            "MASTER_KEY": base64.b64encode(bytes(32)).decode(),
            "API_PORT": str(port),
        }
        own = await asyncio.to_thread(_own_numbers, running.admin, count)
        headers = {"Authorization": f"Bearer {key}"}
        dsn = migrate.role_dsn(running.admin, migrate.APP)
        async with (
            rig.process("api", environment, folder),
            aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as http,
            await psycopg.AsyncConnection.connect(dsn, autocommit=True) as bare,
        ):
            await _until_ready(http)
            return await _ask_all(Reader(http, bare), own, count)


# ---------------------------------------------------------------- what it says


def at(share: float, samples_: list[float]) -> float:
    ordered = sorted(samples_)
    return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 2)


def figures(taken: Taken) -> dict[str, float]:
    return {
        "p50": at(0.5, taken.ours),
        "p95": at(0.95, taken.ours),
        "p99": at(0.99, taken.ours),
        "bare_p50": at(0.5, taken.bare),
        "bare_p95": at(0.95, taken.bare),
    }


def report(taken: dict[str, Taken], count: int, conditions: dict[str, Any]) -> Report:
    told = {name: figures(each) for name, each in taken.items()}
    worst = max(told, key=lambda name: told[name]["p95"])
    figure, bare = told[worst]["p95"], told[worst]["bare_p95"]
    return Report(
        figure=figure,
        unit=f"ms p95 of the slowest kind of read ({worst}), {count:,} sessions",
        baseline=bare,
        ratio=round(figure / bare, 1),
        goal=f"every kind p95 < {GOAL_MS:.0f} ms",
        met=figure < GOAL_MS,
        conditions={
            **conditions,
            "kinds": told,
            "median_of_p95": round(statistics.median(each["p95"] for each in told.values()), 2),
            "sessions": count,
            "requests_each": REQUESTS,
            "baseline": "the same rows by their keys, psycopg, one statement",
            "columns": len(PAYMENTS.columns),
        },
    )


async def _loading(admin: str, count: int) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("sessions, then indexes", total=count)
        await asyncio.to_thread(fill, admin, count, lambda rows: progress.advance(task, rows))


def main() -> None:
    parser = arguments("Reads over HTTP at millions of sessions, beside a bare SELECT.")
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gateway-bench-"))
    folder.chmod(0o711)  # root runs PostgreSQL as nobody, who must get through
    try:
        conditions = machine(folder)
        taken = asyncio.run(measure(folder, given.sessions, _loading))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not given.json:
        names = ("p50", "p95", "p99", "bare_p50", "bare_p95")
        rows = [
            (kind, *(f"{figures(each)[name]:.1f}" for name in names))
            for kind, each in taken.items()
        ]
        show("Reads, milliseconds", ("", "p50", "p95", "p99", "bare p50", "bare p95"), rows)
    finish(report(taken, given.sessions, conditions), as_json=given.json)


if __name__ == "__main__":
    main()

"""Reads over HTTP at millions of payment sessions: one, pages of each filter, and a deep page.

A gateway of its own: PostgreSQL on this machine's disk, and the API as a process of its own behind
a real socket. Read models are filled with the states of sessions that the domain has folded, each
row with ids, addresses, hashes, references and moments of its own; indexes and ANALYZE after that.
Beside each answer the same rows are read by their keys with psycopg, bare: what PostgreSQL and
the way to it cost by themselves.

    python -m bench.reads                                   # 500,000 sessions, a minute
    python -m bench.reads --sessions 5000000                # what the goal is about: minutes
    python -m bench.reads --sessions 5000000 --data FOLDER  # fills FOLDER, or reads it again

Shapes  one merchant has 60 % of all sessions, and is the one who asks; one payer in three is the
        same exchange; requests come one after the other. An answer is what somebody waits for: a
        page that is empty and says that there is more is followed to the first row, and all of
        these requests together are one answer. The goal is about answers; how long a request
        takes is among the conditions. A read that finds nothing is counted as empty, and then
        the goal is missed.
Units   milliseconds an answer; CPU of the API and of PostgreSQL a request, the bare reads'
        included, says more than the wall where others use the machine
Errors  DiskTooSmall
"""

import argparse
import asyncio
import base64
import itertools
import json
import random
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import aiohttp
import psutil  # type: ignore[import-untyped]  # the package ships no type hints
import psycopg
from rich.console import Console

from adapters import migrate
from bench import rig
from bench.load_beside import server_cpu_seconds
from bench.progress import Steps
from bench.read_kinds import Kind, Own, kinds
from bench.read_rows import (
    BIG,
    DISK_BYTES_PER_SESSION,
    FORM,
    fill,
    give_key,
    is_filled,
    session_id,
    size_bytes,
)
from bench.report import Report, arguments, finish, machine, show
from projections.payments import PAYMENTS

SESSIONS = 500_000
REQUESTS, WARM = 150, 20  # of each kind; an answer may take several
PAGES_MAX = 20  # followed until there is a row
OWN_ASKED = 6_000
GOAL_MS = 20.0
START_SECONDS_MAX = 30.0
SEED = 7
MARKER = "sessions"


class DiskTooSmall(Exception):  # noqa: N818 - named for what is wrong
    """The rows would not fit, with room to spare."""


@dataclass(slots=True)
class Taken:
    """Of one kind of read."""

    ours: list[float] = field(default_factory=list)  # of each answer, all its requests together
    bare: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)  # each by itself
    most_requests: int = 0  # of one answer
    rows: int = 0
    reads: int = 0
    empty: int = 0  # followed to their end without a row
    api_cpu: float = 0.0  # seconds, of all requests
    server_cpu: float = 0.0  # the bare reads' included


# ---------------------------------------------------------------- asking

Progress = Callable[[str, int, int], None]


class Page(NamedTuple):
    found: list[UUID]
    cursor: str | None
    ours: float  # milliseconds
    bare: float


class Reader:
    """Asks one thing after the other, and reads the same rows by their keys."""

    def __init__(self, http: aiohttp.ClientSession, bare: psycopg.AsyncConnection) -> None:
        self._http = http
        self._bare = bare

    async def read(self, kind: Kind, own: Own, taken: Taken) -> None:
        """One read of its kind: of one page, or of as many as it takes to find a row."""
        path: str | None = kind.path(own)
        pages: list[Page] = []
        found: list[UUID] = []
        while path is not None and not found and len(pages) < PAGES_MAX:
            pages.append(await self._page(path))
            found, cursor = pages[-1].found, pages[-1].cursor
            path = None if cursor is None else _after(kind.path(own), cursor)
        taken.requests += [page.ours for page in pages]
        taken.ours.append(sum(page.ours for page in pages))
        taken.bare.append(sum(page.bare for page in pages))
        taken.most_requests = max(taken.most_requests, len(pages))
        taken.reads += 1
        taken.rows += len(found)
        taken.empty += not found
        assert not kind.itself or session_id(own.number) in found, (own, kind.path(own))

    async def _page(self, path: str) -> Page:
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
        return Page(ids, told.get("next_cursor"), ours * 1e3, bare * 1e3)


def _after(path: str, cursor: str) -> str:
    asked, _, _ = path.partition("&cursor=")
    return f"{asked}{'&' if '?' in asked else '?'}cursor={cursor}"


Spent = Callable[[], tuple[float, float]]  # CPU seconds of the API and of PostgreSQL so far


def _spent(api: int, data: Path) -> Spent:
    def spent() -> tuple[float, float]:
        times = psutil.Process(api).cpu_times()
        return times.user + times.system, server_cpu_seconds(data)

    return spent


async def _ask_all(
    reader: Reader, own: list[Own], count: int, told: Progress, spent: Spent
) -> dict[str, Taken]:
    rng = random.Random(SEED)
    taken: dict[str, Taken] = {}
    asked = kinds(count)
    for number, (name, kind) in enumerate(asked.items(), start=1):
        fit = [each for each in own if kind.of(each)]
        of = rng.sample(fit, k=min(len(fit), WARM + REQUESTS))
        for each in of[:WARM]:
            await reader.read(kind, each, Taken())
        taken[name] = Taken()
        before = spent()
        for each in itertools.islice(itertools.cycle(of), WARM, WARM + REQUESTS):
            await reader.read(kind, each, taken[name])
        after = spent()
        taken[name].api_cpu, taken[name].server_cpu = (
            ended - begun for begun, ended in zip(before, after, strict=True)
        )
        told("kinds of read", number, len(asked))
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


def _own(admin: str, count: int) -> list[Own]:
    """Some of the merchant's sessions, from everywhere in its history, cold and warm alike."""
    rng = random.Random(SEED)
    asked = [session_id(rng.randrange(1, count + 1)) for _ in range(OWN_ASKED)]
    with psycopg.connect(admin) as connection:
        rows = connection.execute(
            "SELECT s.position, p.payer FROM rm.payments AS s "
            "LEFT JOIN rm.payment_payers AS p USING (session_id) "
            "WHERE s.merchant_id = %s AND s.session_id = ANY(%s) ORDER BY s.position",
            (BIG, asked),
        ).fetchall()
    return [Own(*row) for row in rows]


async def measure(
    folder: Path,
    count: int,
    loading: Callable[[str, int], Awaitable[None]],
    told: Progress = lambda *_: None,
) -> tuple[dict[str, Taken], int]:
    """Of each kind what was taken, and the bytes of the database."""
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
        own = await asyncio.to_thread(_own, running.admin, count)
        size = await asyncio.to_thread(size_bytes, running.admin)
        headers = {"Authorization": f"Bearer {key}"}
        dsn = migrate.role_dsn(running.admin, migrate.APP)
        async with (
            rig.process("api", environment, folder) as api,
            aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as http,
            await psycopg.AsyncConnection.connect(dsn, autocommit=True) as bare,
        ):
            await _until_ready(http)
            spent = _spent(api.pid, (folder / "postgres").resolve() / "data")
            return await _ask_all(Reader(http, bare), own, count, told, spent), size


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
        "rows_a_read": round(taken.rows / taken.reads, 1),
        "requests_an_answer": round(len(taken.requests) / taken.reads, 2),
        "requests_most": taken.most_requests,
        "request_p95": at(0.95, taken.requests),
        "api_cpu_ms": round(taken.api_cpu / len(taken.requests) * 1e3, 2),
        "postgresql_cpu_ms": round(taken.server_cpu / len(taken.requests) * 1e3, 2),
    }


def report(taken: dict[str, Taken], count: int, size: int, conditions: dict[str, Any]) -> Report:
    told = {name: figures(each) for name, each in taken.items()}
    worst = max(told, key=lambda name: told[name]["p95"])
    figure, bare = told[worst]["p95"], told[worst]["bare_p95"]
    empty = {name: each.empty for name, each in taken.items() if each.empty}
    return Report(
        figure=figure,
        unit=f"ms p95 of the answers of the slowest kind of read ({worst}), {count:,} sessions",
        baseline=bare,
        ratio=round(figure / bare, 1),
        goal=(
            f"answers of every kind p95 < {GOAL_MS:.0f} ms, from the first request to the first "
            "row, and every read finds one"
        ),
        met=figure < GOAL_MS and not empty,
        conditions={
            **conditions,
            "kinds": told,
            "found_nothing": empty,
            "median_of_p95": round(statistics.median(each["p95"] for each in told.values()), 2),
            "sessions": count,
            "database_bytes": size,
            "worst_request_p95": max(each["request_p95"] for each in told.values()),
            "answers_each": REQUESTS,
            "baseline": "the same rows by their keys, psycopg, one statement",
            "columns": len(PAYMENTS.columns),
        },
    )


async def make_sure_of_rows(folder: Path, admin: str, count: int, told: Progress) -> None:
    """Unless the folder holds these rows already."""
    marker = folder / MARKER
    text = f"{count} {FORM} {PAYMENTS.name} {PAYMENTS.indexes}"
    same = marker.exists() and marker.read_text(encoding="utf-8") == text
    if same and await asyncio.to_thread(is_filled, admin, count):
        return
    marker.unlink(missing_ok=True)
    free, needed = shutil.disk_usage(folder).free, count * DISK_BYTES_PER_SESSION
    if free < 1.5 * needed:
        raise DiskTooSmall(
            f"{count:,} sessions take {needed / 1e9:.0f} GB and half as much to sort, and "
            f"{free / 1e9:.0f} GB are free; ask for fewer with --sessions"
        )
    await asyncio.to_thread(fill, admin, count, told)
    marker.write_text(text, encoding="utf-8")


def _given() -> argparse.Namespace:
    parser = arguments("Reads over HTTP at millions of sessions, beside a bare SELECT.")
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument(
        "--data", type=Path, help="keep the data in this folder, and use what it has"
    )
    return parser.parse_args()


def main() -> None:
    given = _given()
    folder = given.data or Path(tempfile.mkdtemp(prefix="gateway-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # root runs PostgreSQL as nobody, who must get through
    steps = Steps(Console(stderr=True))

    async def loading(admin: str, count: int) -> None:
        await make_sure_of_rows(folder, admin, count, steps.told)

    try:
        conditions = machine(folder)
        taken, size = asyncio.run(measure(folder, given.sessions, loading, steps.told))
    except DiskTooSmall as refusal:
        sys.exit(str(refusal))
    finally:
        if given.data is None:
            shutil.rmtree(folder, ignore_errors=True)
    conditions["seconds_in_all"] = steps.seconds
    if not given.json:
        names = (
            *("p50", "p95", "bare_p95", "requests_an_answer", "request_p95"),
            *("api_cpu_ms", "postgresql_cpu_ms"),
        )
        rows = [
            (kind, *(f"{figures(each)[name]:.1f}" for name in names))
            for kind, each in taken.items()
        ]
        titles = ("", "p50", "p95", "bare", "requests", "of one", "API CPU", "SQL CPU")
        show("Reads, milliseconds", titles, rows)
    finish(report(taken, given.sessions, size, conditions), as_json=given.json)


if __name__ == "__main__":
    main()

"""The watch list at a million addresses: memory, first load, lookups; beside a set of strings.

Both read the same table of the PostgreSQL that this starts, each in a process of its own, so that
memory is the process's own. The baseline is the obvious way: a row an address into a `set[str]`.

Shapes  a lookup is one recipient of a log, written as a node writes it, mostly of a stranger
Units   MB are 10^6 bytes of resident memory, by how much they grew; lookups a second
"""

import asyncio
import multiprocessing
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Set as AbstractSet
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil  # type: ignore[import-untyped]  # the package ships no type hints
import psycopg

from adapters import migrate
from adapters.postgres import Postgres
from bench.report import Report, arguments, finish, machine, show
from domain.networks import NetworkBook, local_network
from gateway.embedded import Embedded
from projections.schema import ensure_schemas
from projections.watchlist_reads import ADDRESSES_MAX, WatchListReads

Way = Literal["ours", "strings"]
ROUNDS = 3
LOOKUPS = 200_000
SAMPLE = 1_000  # of the watched, looked up among the strangers
SEED = 1
GOAL_MEMORY, GOAL_LOOKUP_SECONDS, GOAL_LOAD_SECONDS = 1 / 3, 2e-6, 30.0
NETWORK = local_network(chain_id=31337, tokens=(), blocks=3)
FILL = """
INSERT INTO rm.watch_list (mode, address, purpose, subject_id, merchant_id, position)
SELECT 'test', '0x' || substr(encode(sha256(int8send(n)), 'hex'), 1, 40), 'payment_session',
       gen_random_uuid(), gen_random_uuid(), n
FROM generate_series(1, %s) AS n
"""
STRINGS = (
    "SELECT address, position FROM rm.watch_list WHERE mode = 'test' AND position > %s "
    "ORDER BY position LIMIT 10000"
)


@dataclass(frozen=True, slots=True)
class Measured:
    megabytes: float
    load_seconds: float
    refresh_ms: float  # nothing new since
    lookups_per_second: float


async def _strings(postgres: Postgres) -> AbstractSet[str]:
    found: set[str] = set()
    position = 0
    while True:
        async with postgres.connection() as connection:
            rows = await (await connection.execute(STRINGS, (position,))).fetchall()
        if not rows:
            return found
        found.update(address for address, _ in rows)
        position = rows[-1][1]


async def _measure(way: Way, dsn: str) -> Measured:
    process = psutil.Process()
    async with Postgres(dsn, name="bench") as postgres:
        async with postgres.connection() as connection:
            await connection.execute("SELECT 1")
        reads = WatchListReads(postgres, NetworkBook(networks=(NETWORK,)))
        before, begun = process.memory_info().rss, time.perf_counter()
        if way == "ours":
            watched = await reads.addresses(NETWORK.name)
        else:
            watched = await _strings(postgres)
        load_seconds = time.perf_counter() - begun
        grown = process.memory_info().rss - before
        assert len(watched) == ADDRESSES_MAX, f"{len(watched)} addresses"
        begun = time.perf_counter()
        if way == "ours":
            await reads.addresses(NETWORK.name)
        refresh_seconds = time.perf_counter() - begun
    return Measured(
        megabytes=round(grown / 1e6, 1),
        load_seconds=round(load_seconds, 2),
        refresh_ms=round(refresh_seconds * 1e3, 2),
        lookups_per_second=round(_lookups(watched)),
    )


def _lookups(watched: AbstractSet[str]) -> float:
    rng = random.Random(SEED)
    ours = [address for address, _ in zip(watched, range(SAMPLE), strict=False)]
    asked = ["0x" + rng.randbytes(20).hex() for _ in range(LOOKUPS - SAMPLE)] + ours
    rng.shuffle(asked)
    asked = [f"0x{address[2:]}" for address in asked]  # no string has been hashed before
    begun = time.perf_counter()
    hits = sum(address in watched for address in asked)
    seconds = time.perf_counter() - begun
    assert hits == SAMPLE, f"{hits} hits"
    return LOOKUPS / seconds


def measure(way: Way, dsn: str) -> Measured:
    return asyncio.run(_measure(way, dsn))


async def prepared(folder: Path) -> tuple[Embedded, str]:
    servers = Embedded(folder, chain=None, postgres=True, nats=False)
    await servers.start()
    admin = servers.postgres.url
    await asyncio.to_thread(migrate.create_roles, admin)
    owner = migrate.role_dsn(admin, migrate.OWNER)
    await asyncio.to_thread(migrate.migrate, owner)
    await asyncio.to_thread(ensure_schemas, owner)
    async with await psycopg.AsyncConnection.connect(admin) as connection:
        await connection.execute(FILL, (ADDRESSES_MAX,))
    async with await psycopg.AsyncConnection.connect(admin, autocommit=True) as connection:
        await connection.execute("VACUUM ANALYZE")
    return servers, migrate.role_dsn(admin, migrate.APP)


async def contest(folder: Path) -> dict[Way, Measured]:
    servers, dsn = await prepared(folder)
    ways: tuple[Way, ...] = ("strings", "ours")
    taken: dict[Way, list[Measured]] = {way: [] for way in ways}
    spawn = multiprocessing.get_context("spawn")
    try:
        for _ in range(ROUNDS):
            for way in ways:
                with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                    taken[way].append(
                        await asyncio.to_thread(pool.submit(measure, way, dsn).result)
                    )
    finally:
        await servers.stop()
    return {way: _median(each) for way, each in taken.items()}


def _median(taken: list[Measured]) -> Measured:
    rows = [asdict(each) for each in taken]
    return Measured(**{name: statistics.median(row[name] for row in rows) for name in rows[0]})


def report(ours: Measured, strings: Measured, conditions: dict[str, object]) -> Report:
    ratio = ours.megabytes / strings.megabytes
    quick = ours.lookups_per_second >= 1 / GOAL_LOOKUP_SECONDS
    return Report(
        figure=ours.megabytes,
        unit=f"MB for {ADDRESSES_MAX:,} watched addresses",
        baseline=strings.megabytes,
        ratio=round(ratio, 2),
        goal="a third of a set of strings; 2 us a lookup; loaded within 30 s",
        met=ratio <= GOAL_MEMORY and quick and ours.load_seconds <= GOAL_LOAD_SECONDS,
        conditions={
            **conditions,
            "ours": asdict(ours),
            "set_of_strings": asdict(strings),
            "rounds": ROUNDS,
            "lookups": LOOKUPS,
            "postgresql": "bundled 18, on the same machine over TCP",
        },
    )


def main() -> None:
    given = arguments("The watch list at a million addresses, beside a set of strings.")
    as_json: bool = given.parse_args().json
    folder = Path(tempfile.mkdtemp(prefix="gateway-bench-"))
    folder.chmod(0o711)  # root runs PostgreSQL as nobody, who must get through
    try:
        conditions = machine(folder)
        found = asyncio.run(contest(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    ours, strings = found["ours"], found["strings"]
    if not as_json:
        rows = [
            (
                name,
                f"{each.megabytes:,.0f}",
                f"{each.load_seconds:.1f}",
                f"{each.refresh_ms:.1f}",
                f"{each.lookups_per_second:,.0f}",
            )
            for name, each in (("ours", ours), ("a set of strings", strings))
        ]
        columns = ("", "MB", "first load s", "refresh ms", "lookups/s")
        show(f"{ADDRESSES_MAX:,} watched addresses", columns, rows)
    finish(report(ours, strings, conditions), as_json=as_json)


if __name__ == "__main__":
    main()

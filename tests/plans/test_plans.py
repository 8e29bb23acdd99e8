"""No query reads more than its answer needs, at a million rows, whatever is asked and by whom."""

import asyncio
import inspect
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from adapters import event_store_sql, migrate
from adapters.clock import SystemIds
from adapters.delivery_queue import PostgresDeliveryQueue
from adapters.event_store import PostgresEventStore
from adapters.memory.clock import FakeClock
from adapters.postgres import Postgres
from application.reads import Page
from domain.networks import POLYGON, NetworkBook
from projections.inbox_reads import InboxReads
from projections.schema import ensure_schemas
from projections.to_check_reads import ToCheckReads
from projections.watchlist_reads import WatchListReads
from tests.conftest import Databases
from tests.plans.case import Case
from tests.plans.cases import CASES, ELSEWHERE, NOW, UNASKED
from tests.plans.explaining import Explained, Explaining
from tests.plans.rows import BIG, N, fill, id_of

ROOT = Path(__file__).resolve().parents[2]
# Empty here, or with a row a projection, a network, or a network and hour.
SMALL_TABLES = frozenset(
    {"checkpoints", "parked", "delivery_leases", "cursors", "outbox", "payment_openings"}
)
_ON_OUR_TABLES = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+(?:rm|es|ledger)\.[a-z_]+")
NETWORKS = NetworkBook(networks=(POLYGON,))


@pytest.fixture(scope="module")
async def explaining(databases: Databases, migrated_template: str) -> AsyncIterator[Explaining]:
    url = await databases.create(migrated_template)
    dsn = migrate.role_dsn(url, migrate.APP)
    await asyncio.to_thread(_let_owner_build, url)
    await asyncio.to_thread(ensure_schemas, url)
    await asyncio.to_thread(fill, url)
    async with Postgres(dsn, name="test-plans", max_size=2) as postgres:
        yield Explaining(postgres)
    await databases.drop(url)


def _let_owner_build(url: str) -> None:
    """A copy takes over the tables, but not who may build in the database."""
    name = sql.Identifier(urlsplit(url).path.removeprefix("/"))
    with psycopg.connect(url) as connection:
        connection.execute(
            sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(
                name, sql.Identifier(migrate.OWNER)
            )
        )


def _reader(case: Case, explaining: Explaining) -> object:
    lent: Any = explaining  # lends the same connections as a pool of ours
    made: dict[type, Callable[[], object]] = {
        InboxReads: lambda: InboxReads(lent, NETWORKS),
        WatchListReads: lambda: WatchListReads(lent, NETWORKS),
        ToCheckReads: lambda: ToCheckReads(lent, NETWORKS),
        PostgresEventStore: lambda: PostgresEventStore(lent, ids=SystemIds()),
        PostgresDeliveryQueue: lambda: PostgresDeliveryQueue(lent, FakeClock(NOW), owner="one"),
    }
    make = made.get(case.of)
    reader: object = case.of(lent) if make is None else make()
    return reader


def _wrongs(case: Case, found: Iterable[Explained]) -> list[str]:
    wrongs = []
    for one in found:
        bound = case.bound
        for name, most, is_ in (
            ("blocks", bound.blocks, one.blocks),
            ("rows", bound.rows, one.rows),
            ("sorted", bound.sorted, one.sorted),
        ):
            if is_ > most:
                wrongs.append(f"{is_} {name}, at most {most}: {one.statement}")
        scanned = one.scanned - bound.whole - SMALL_TABLES
        if scanned:
            wrongs.append(f"reads all of {scanned}: {one.statement}")
        if "count(" in one.statement and not bound.counts:
            wrongs.append(f"counts: {one.statement}")
    return wrongs


def _found(answer: object, found: Iterable[Explained]) -> bool:
    """Whether a call was answered with rows, or wrote some."""
    return bool(answer.items) if isinstance(answer, Page) else any(one.gave for one in found)


def _untold(case: Case, answer: object, found: Sequence[Explained]) -> list[str]:
    """What a case asked in vain, or was not explained."""
    if bool(found) is not case.asks:
        return [f"{len(found)} statements were explained"]
    if case.finds is not None and _found(answer, found) is not case.finds:
        return ["found nothing" if case.finds else "found something"]
    return []


@pytest.mark.services
async def test_every_query_reads_about_as_much_as_it_answers(explaining: Explaining) -> None:
    wrongs: dict[str, list[str]] = defaultdict(list)
    for case in CASES:
        explaining.found.clear()
        answer = await case.call(_reader(case, explaining))
        untold = _untold(case, answer, explaining.found)
        for wrong in [*untold, *_wrongs(case, explaining.found)]:
            wrongs[f"{case.of.__name__}.{case.method}({case.what})"].append(wrong)
    told = "\n\n".join(f"{name}\n  " + "\n  ".join(each) for name, each in wrongs.items())
    assert not wrongs, f"{len(wrongs)} of {len(CASES)} calls\n{told}"


def _methods(kind: type) -> set[str]:
    """What its callers await."""
    return {
        name
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and inspect.iscoroutinefunction(member)
    }


def test_no_reader_has_a_method_without_a_case() -> None:
    called: dict[type, set[str]] = defaultdict(set)
    for case in CASES:
        called[case.of].add(case.method)
    for kind, methods in called.items():
        left = _methods(kind) - methods - UNASKED.get(kind, frozenset())
        assert not left, f"{kind.__name__} has no case for {left}"


def test_no_file_with_queries_on_these_tables_is_forgotten() -> None:
    covered = {Path(inspect.getfile(case.of)).relative_to(ROOT).as_posix() for case in CASES}
    folders = ("adapters", "api", "application", "chain_ingest", "gateway", "projections", "web")
    for folder in (*folders, "workers"):
        for path in (ROOT / folder).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if "migrations" in name or not _ON_OUR_TABLES.search(path.read_text(encoding="utf-8")):
                continue
            assert name in covered or name in ELSEWHERE, f"{name} has queries without a case"


_STREAMS = [id_of("a", 4 * number + 3) for number in range(100)]
_GIVEN: dict[str, tuple[object, ...]] = {
    "CHECK": (_STREAMS, [1] * 100),
    "SEEN": (["chain.polygon"] * 50, [f"observed:{number}" for number in range(50)]),
    "ANSWERED": ([BIG] * 50, ["live"] * 50, [f"key-{number:07}" for number in range(50)]),
    "ACCOUNTS": (["merchant_payable:" + "0" * 31 + "9"] * 50, ["eip155:137"] * 50),
    "WRITTEN": ([id_of("8", number) for number in range(50)],),
}
# Read by cases, with all their values.
_READ = {
    "HEAD",
    "STORED_RESPONSE",
    "READ_STREAM",
    "READ_STREAMS",
    "READ_LOG",
    "READ_FACTS",
    "READ_SPAN",
    "LOCK",
}


@pytest.mark.services
async def test_what_an_append_asks_is_answered_by_keys(explaining: Explaining) -> None:
    asked = {
        name: text
        for name, text in vars(event_store_sql).items()
        if name.isupper() and isinstance(text, str) and text.lstrip().startswith("SELECT")
    }
    assert asked.keys() - _READ == _GIVEN.keys()
    for name, given in _GIVEN.items():
        explaining.found.clear()
        async with explaining.reading() as connection:
            await connection.execute(asked[name].encode(), given)
        (one,) = explaining.found
        assert not one.scanned, one.statement
        assert one.blocks <= 700, (name, one.blocks)
        assert one.rows <= 210, (name, one.rows)


@pytest.mark.services
async def test_the_tables_are_as_large_as_that(explaining: Explaining) -> None:
    async with explaining.postgres.reading() as connection:
        for table in ("rm.payments", "rm.transfers", "rm.deliveries"):
            cursor = await connection.execute(f"SELECT count(*) FROM {table}".encode())
            assert await cursor.fetchone() == (N,)

"""Rebuilt while payments are written and pages are read: nobody notices, whatever is killed.

Real PostgreSQL, a real `gateway project`, and the command as an operator runs it.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import psycopg
import pytest

from gateway import operate_projections as operate
from projections.catalogue import PROJECTIONS
from projections.rebuild import Order
from projections.runner import LEADER_LOCKS
from tests.conftest import Migrated
from tests.gateway.projections_site import Site, opened

pytestmark = pytest.mark.services
Record = Callable[[str, object], None]
READERS = 4
PAUSE_SECONDS = 0.01
# What only ever grows, whatever is shown: the newest fact in the rows, and how many there are.
GROWING = {
    "payments": "SELECT max(updated_position), count(*) FROM rm.payments",
    "watch_list": "SELECT max(position), count(*) FROM rm.watch_list",
    "journal_entries": "SELECT max(position), count(*) FROM rm.journal_entries",
    "balances": "SELECT sum(debits), sum(credits) FROM rm.balances",
    "refunds": "SELECT max(updated_position), count(*) FROM rm.refunds",
    "deliveries": "SELECT max(updated_position), count(*) FROM rm.deliveries",
    "merchants": "SELECT max(updated_position), count(*) FROM rm.merchants",
    "transfers": "SELECT max(updated_position), count(*) FROM rm.transfers",
    "checkpoint": "SELECT min(position), count(*) FROM rm_admin.checkpoints WHERE live",
}


@pytest.fixture
async def site(migrated: Migrated, nats_url: str) -> AsyncIterator[Site]:
    async with opened(migrated, nats_url) as found:
        yield found


TAKEN_OVER_SECONDS_MAX = 30
_LEADER = """
SELECT DISTINCT l.pid FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %s
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def test_a_suspended_leader_makes_way_for_the_standby_and_stands_by_when_it_wakes(
    site: Site, record_property: Record
) -> None:
    history = site.history()
    await history.write(5)
    suspended = await site.follower()
    await site.caught_up()
    first = await site.rows(_LEADER, LEADER_LOCKS)
    await site.follower()
    suspended.send_signal(signal.SIGSTOP)  # its session stays, and with it its locks
    began = time.monotonic()
    await history.write(5)
    await site.caught_up()
    seconds = time.monotonic() - began
    record_property("taken_over_seconds", round(seconds, 1))
    assert seconds < TAKEN_OVER_SECONDS_MAX
    second = await site.rows(_LEADER, LEADER_LOCKS)
    assert (len(first), len(second)) == (1, 1)
    assert first != second
    suspended.send_signal(signal.SIGCONT)
    await asyncio.sleep(2)
    await history.write(5)
    await site.caught_up()
    assert suspended.returncode is None, "it lives on, as the standby"
    assert await site.rows(_LEADER, LEADER_LOCKS) == second


@dataclass
class Readers:
    """Connections that read without pause, as pages do: plain, prepared, and in transactions."""

    dsn: str
    reads: int = 0
    failed: list[str] = field(default_factory=list)
    backwards: list[str] = field(default_factory=list)
    worst_ms: float = 0.0

    async def read(self, number: int, stop: asyncio.Event) -> None:
        seen: dict[str, tuple[int, ...]] = {}
        loop = asyncio.get_running_loop()
        async with await psycopg.AsyncConnection.connect(
            self.dsn, autocommit=number % 2 == 0, prepare_threshold=1 if number < 2 else None
        ) as connection:
            while not stop.is_set():
                for name, query in GROWING.items():
                    began = loop.time()
                    try:
                        row = await (await connection.execute(query)).fetchone()
                        await connection.commit()
                    except psycopg.Error as error:
                        self.failed.append(f"{name}: {error}")
                        await connection.rollback()
                        continue
                    self.worst_ms = max(self.worst_ms, (loop.time() - began) * 1e3)
                    self.reads += 1
                    found = tuple(int(each or 0) for each in row or ())
                    before = seen.get(name, found)
                    if any(now < then for now, then in zip(found, before, strict=True)):
                        self.backwards.append(f"{name}: {before} and then {found}")
                    seen[name] = found
                await asyncio.sleep(PAUSE_SECONDS)


@asynccontextmanager
async def busy(site: Site) -> AsyncIterator[Readers]:
    """Writers that append without pause and readers that watch, for the length of the block."""
    stop = asyncio.Event()
    readers = Readers(site.migrated.app_dsn)

    async def write() -> None:
        history = site.history(seed=2)
        while not stop.is_set():
            await history.write(3)
            await asyncio.sleep(PAUSE_SECONDS)

    tasks = [asyncio.create_task(write())]
    tasks += [asyncio.create_task(readers.read(number, stop)) for number in range(READERS)]
    try:
        yield readers
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def test_everything_is_rebuilt_shown_and_taken_back_and_no_reader_notices(
    site: Site, record_property: Record
) -> None:
    await site.history().write(300)
    await site.follower()
    await site.caught_up()
    begun = await site.store.head()
    async with busy(site) as readers:
        done = await site.gateway("rebuild", "--actor", "ann", "--json")
        assert done.status == 0, done
        compared = await site.told(operate.compare(site.settings, [], as_json=True))
        assert (compared.status, len(compared.lines())) == (0, len(PROJECTIONS)), compared
        names = [each.name for each in PROJECTIONS]
        order = Order("operator:ann", "a drill")
        back = await site.told(operate.switch_back(site.settings, names, order, as_json=True))
        assert back.status == 0, back
    assert await site.store.head() > begun + 100, "nothing was written meanwhile"
    await site.caught_up()
    switched = [line["switched"] for line in done.lines()]
    switched += back.lines()
    record_property("reads", readers.reads)
    record_property("worst_read_ms", round(readers.worst_ms, 1))
    record_property("switch_held_ms", [each["held_ms"] for each in switched])
    record_property("switch_views_ms", [each["views_ms"] for each in switched])
    assert readers.failed == []
    assert readers.backwards == []
    assert readers.reads > 500
    await site.all_alike()
    assert {(await site.schemas(each.name))[0] for each in PROJECTIONS} == {
        each.schema for each in PROJECTIONS
    }


MANY = 60_000  # more than a span: SPAN_BYTES_MAX ends one after some 43,000 of these
MIDDLE = "SELECT position FROM rm_admin.checkpoints WHERE schema = 'rm_payments_v4_r1'"


async def in_the_middle(site: Site) -> int:
    found = await site.until(MIDDLE, lambda rows: bool(rows) and rows[0][0] > 0)
    return int(found[0][0])


async def test_a_rebuild_that_is_killed_goes_on_where_it_was_and_ends_alike(site: Site) -> None:
    await site.many_sessions(MANY)
    await site.follower()
    await site.caught_up()
    killed = await site.start("projections", "rebuild", "payments", "--actor", "ann")
    await in_the_middle(site)
    killed.send_signal(signal.SIGKILL)
    await killed.wait()
    ((reached,),) = await site.rows(MIDDLE)
    assert 0 < reached < MANY, "it was not in the middle"
    (line,) = [x for x in (await list_of(site)) if x["schema"] == "rm_payments_v4_r1"]
    assert (line["state"], line["trouble"]) == ("building", "interrupted")
    await site.history(seed=3).write(50)
    again = await site.gateway("rebuild", "payments", "--actor", "bo", "--json")
    assert again.status == 0, again
    (told,) = again.lines()
    assert (told["schema"], told["resumed"], told["shown"]) == ("rm_payments_v4_r1", True, True)
    await site.caught_up()
    for table in ("payments", "payment_transfers"):
        rows = await site.contents("rm_payments_v4_r1", table)
        assert rows == await site.contents("rm_payments_v4", table)
    history = await site.told(operate.history(site.settings, "payments", as_json=True))
    assert [(each["what"], each["by"]) for each in history.lines()] == [
        ("projection.rebuild_started", "operator:ann"),
        ("projection.switched", "operator:bo"),
    ]


async def list_of(site: Site) -> list[dict[str, object]]:
    return (await site.told(operate.listed(site.settings, as_json=True))).lines()


async def test_a_second_rebuild_of_the_same_is_refused_and_ctrl_c_ends_the_first(
    site: Site,
) -> None:
    await site.many_sessions(MANY)
    await site.follower()
    await site.caught_up()
    first = await site.start("projections", "rebuild", "payments", "--actor", "ann")
    await in_the_middle(site)
    first.send_signal(signal.SIGSTOP)  # so that it surely is at it
    try:
        second = await site.gateway("rebuild", "payments", "--actor", "bo")
        assert second.status == 1
        assert "payments is being worked on by operator:ann, since 20" in second.err
        other = await site.gateway("rebuild", "watch_list", "--actor", "bo", "--json")
        assert other.status == 0, "another one may be rebuilt beside it"
    finally:
        first.send_signal(signal.SIGCONT)
    first.send_signal(signal.SIGINT)
    ended = await site.said(first)
    assert (ended.status, "goes on from the last batch" in ended.err) == (1, True), ended
    assert "Traceback" not in ended.err
    anew = await site.gateway("rebuild", "payments", "--actor", "bo", "--restart", "--json")
    assert (anew.status, anew.lines()[0]["schema"]) == (0, "rm_payments_v4_r2"), anew


async def test_a_second_process_follows_when_the_first_is_killed(site: Site) -> None:
    history = site.history()
    await history.write(30)
    first = await site.follower()
    await site.caught_up()
    second = await site.follower()
    await asyncio.sleep(1)
    await history.write(30)
    await site.caught_up()
    first.kill()
    await first.wait()
    await history.write(30)
    await site.caught_up()
    second.terminate()
    with suppress(TimeoutError):
        await asyncio.wait_for(second.wait(), 10)
    assert second.returncode == 0

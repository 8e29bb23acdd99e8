"""Twenty moments at which the ingester is killed.

Shapes  A Point says what to do to the chain, and `caught` returns once the process stands at that
        very moment and cannot go on: an answer of a provider is held back, a table is locked so
        that the transaction stops before its next statement, or NATS is frozen. Whatever holds
        it is let go when the context ends, after the kill.
Units   seconds.
Errors  TimeoutError when the moment never came: then nothing was shown, and the campaign fails.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, LiteralString

import psycopg

from chaos.mirror import Json
from chaos.proxies import Gate
from chaos.stage import Stage

REACH_SECONDS_MAX = 30.0
POLL_SECONDS = 0.01
MANY_PAYMENTS = 25
FORK_DEPTH = 4

Deed = Literal["pay", "pay_behind", "pay_many", "fork", "bury"]
Caught = Callable[[], Awaitable[None]]
Trap = Callable[[Stage], contextlib.AbstractAsyncContextManager[Caught]]


@dataclass(frozen=True, slots=True)
class Point:
    name: str
    deed: Deed
    trap: Trap
    at_start: bool = False  # the process is started into the trap


async def do(stage: Stage, deed: Deed) -> None:
    """What happens on the chain while the trap is set."""
    driver = stage.driver
    match deed:
        case "pay":
            await driver.grow([driver.sure(2)])
        case "pay_behind":
            await driver.grow([driver.sure(1) for _ in range(4)])
        case "pay_many":
            await driver.grow([driver.sure(MANY_PAYMENTS)])
        case "fork":
            await driver.fork(FORK_DEPTH)
        case "bury":
            await driver.grow([[] for _ in range(4)])


# ---------------------------------------------------------------- traps


def asks(method: str, *, nth: int = 1, wants: Callable[[Json], bool] = lambda _: True) -> Trap:
    @contextlib.asynccontextmanager
    async def trap(stage: Stage) -> AsyncIterator[Caught]:
        gate = Gate(lambda asked: asked["method"] == method and wants(asked), nth)
        for provider in stage.providers:
            provider.gate = gate
        try:
            yield _waits_for(gate.reached)
        finally:
            for provider in stage.providers:
                provider.gate = None
            gate.opened.set()

    return trap


def writes(table: LiteralString) -> Trap:
    """Before its first change of this table: others can read it, nobody can write."""

    @contextlib.asynccontextmanager
    async def trap(stage: Stage) -> AsyncIterator[Caught]:
        async with _locked(stage, table) as caught:
            yield caught

    return trap


@contextlib.asynccontextmanager
async def unpublished(stage: Stage) -> AsyncIterator[Caught]:
    """Reports are committed, and NATS does not answer."""
    with _frozen(stage):

        async def caught() -> None:
            await _until(partial(_lies_unpublished, stage))

        yield caught


@contextlib.asynccontextmanager
async def unmarked(stage: Stage) -> AsyncIterator[Caught]:
    """Reports are on the bus, and their rows cannot be marked so."""
    async with contextlib.AsyncExitStack() as stack:

        async def caught() -> None:
            with _frozen(stage):
                await _until(partial(_lies_unpublished, stage))
                reached = await stack.enter_async_context(_locked(stage, "ingest.outbox"))
            await reached()

        yield caught


@contextlib.asynccontextmanager
async def first_heard(stage: Stage) -> AsyncIterator[Caught]:
    """The first of many reports has been heard: others are still on their way."""
    before = await stage.consumer.count()

    async def more() -> bool:
        return await stage.consumer.count() > before

    async def caught() -> None:
        await _until(more)

    yield caught


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(REACH_SECONDS_MAX):
        while True:
            if await holds():
                return
            await asyncio.sleep(POLL_SECONDS)


async def _lies_unpublished(stage: Stage) -> bool:
    return (await stage.waiting()).unpublished > 0


def _waits_for(event: asyncio.Event) -> Caught:
    async def caught() -> None:
        async with asyncio.timeout(REACH_SECONDS_MAX):
            await event.wait()

    return caught


@contextlib.contextmanager
def _frozen(stage: Stage) -> Iterator[None]:
    """NATS, our own server of this campaign, neither answers nor ends."""
    pid = stage.servers.nats.pid
    assert pid is not None, "it runs"
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.asynccontextmanager
async def _locked(stage: Stage, table: LiteralString) -> AsyncIterator[Caught]:
    url = stage.servers.postgres.url
    holder = await psycopg.AsyncConnection.connect(url)
    watcher = await psycopg.AsyncConnection.connect(url, autocommit=True)
    query = (
        "SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) "
        "WHERE NOT l.granted AND l.relation = %s::regclass AND a.application_name LIKE %s"
    )

    async def somebody_waits() -> bool:
        row = await (await watcher.execute(query, (table, "gateway-ingest%"))).fetchone()
        return row is not None and row[0] > 0

    async def caught() -> None:
        await _until(somebody_waits)

    async with holder, watcher:
        await holder.execute(f"LOCK TABLE {table} IN SHARE MODE")
        yield caught
        await holder.rollback()


# ---------------------------------------------------------------- the list


def _decimals(asked: Json) -> bool:
    return str(asked["params"][0].get("data", "")).startswith("0x313ce567")


def _latest(asked: Json) -> bool:
    return bool(asked["params"][0] == "latest")


def _numbered(asked: Json) -> bool:
    return str(asked["params"][0]).startswith("0x")


BY_NUMBER, BY_HASH = "eth_getBlockByNumber", "eth_getBlockByHash"
POINTS = (
    Point("start: the chain id is asked for", "pay", asks("eth_chainId"), at_start=True),
    Point("start: decimals are asked for", "pay", asks("eth_call", wants=_decimals), at_start=True),
    Point("start: the first head is asked for", "pay", asks(BY_NUMBER, wants=_latest), at_start=True),
    Point("behind: a block is asked for by number", "pay_behind", asks(BY_NUMBER, wants=_numbered, nth=4), at_start=True),
    Point("block: the head is asked for", "pay", asks(BY_NUMBER, wants=_latest, nth=2)),
    Point("block: logs are asked for", "pay", asks("eth_getLogs")),
    Point("block: logs are asked for, a second time", "pay", asks("eth_getLogs", nth=2)),
    Point("block: receipts are asked for", "pay", asks("eth_getBlockReceipts")),
    Point("write: before the cursor", "pay", writes("ingest.cursors")),
    Point("write: before the header", "pay", writes("ingest.headers")),
    Point("write: before the sightings", "pay", writes("ingest.sightings")),
    Point("write: before the outbox", "pay", writes("ingest.outbox")),
    Point("write: before the coverage", "pay", writes("ingest.coverage")),
    Point("publish: committed, nothing on the bus", "pay_many", unpublished),
    Point("publish: on the bus, not marked", "pay", unmarked),
    Point("publish: the first of many is heard", "pay_many", first_heard),
    Point("fork: the ancestor is asked for", "fork", asks(BY_HASH)),
    Point("fork: before the headers are withdrawn", "fork", writes("ingest.headers")),
    Point("fork: committed, nothing on the bus", "fork", unpublished),
    Point("confirm: before sightings are confirmed", "bury", writes("ingest.sightings")),
)  # fmt: skip
assert len(POINTS) == 20

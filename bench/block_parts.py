"""What the benchmark of a block (bench/block.py) is made with: bell, stopwatch, plain reader.

Units   seconds inside, milliseconds where a name says so
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from unittest.mock import patch

import aiohttp
import psutil  # type: ignore[import-untyped]  # the package ships no type hints
import psycopg
from aiohttp import web
from web3 import Web3

from adapters.ingest_store import PostgresIngestStore
from adapters.nats_bus import NatsBus
from bench.replay_chain import TOKEN, TRANSFER_ABI
from chain_ingest import proof
from chain_ingest import providers as asking
from gateway.bootstrap import Core
from gateway.hints import LOG_HEAD

QUIET_SECONDS = 1.5
BLOCK_SECONDS_MAX = 30.0
LOOK_SECONDS = 0.25  # should a hint be lost
_PLAIN = """
CREATE TABLE public.plain (tx_hash text, log_index int, block_number bigint, recipient text,
                           units numeric, PRIMARY KEY (tx_hash, log_index))
"""
_INSERT = "INSERT INTO public.plain VALUES (%s, %s, %s, %s, %s)"


class Stopwatch:
    """When the ingester's parts ended; they are wrapped, and otherwise as they are."""

    def __init__(self) -> None:
        self.begun = 0.0
        self.proof_seconds = 0.0
        self.write_begun = self.written = self.acknowledged = 0.0

    def start(self) -> None:
        self.proof_seconds = 0.0
        self.write_begun = self.written = self.acknowledged = 0.0
        self.begun = time.perf_counter()

    def parts(self, ended: float) -> dict[str, float]:
        return {
            "rpc": self.write_begun - self.begun - self.proof_seconds,
            "proof": self.proof_seconds,
            "write": self.written - self.write_begun,
            "bus": self.acknowledged - self.written,
            "settle": ended - self.acknowledged,
        }

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        prove, write = proof.why_receipts_lie, PostgresIngestStore.pass_blocks
        publish, publish_all = NatsBus.publish, NatsBus.publish_all

        def proved(*given: Any) -> Any:
            begun = time.perf_counter()
            lie = prove(*given)
            self.proof_seconds += time.perf_counter() - begun
            return lie

        async def passed(store: Any, passage: Any) -> Any:
            self.write_begun = time.perf_counter()
            cursor = await write(store, passage)
            self.written = time.perf_counter()
            return cursor

        async def published(bus: Any, *given: Any, **named: Any) -> None:
            await publish(bus, *given, **named)
            self.acknowledged = time.perf_counter()

        async def all_published(bus: Any, *given: Any) -> Any:
            outcomes = await publish_all(bus, *given)
            self.acknowledged = time.perf_counter()
            return outcomes

        with (
            patch.object(NatsBus, "publish_all", all_published),
            patch.object(asking, "why_receipts_lie", proved),
            patch.object(PostgresIngestStore, "pass_blocks", passed),
            patch.object(NatsBus, "publish", published),
        ):
            yield


def cpu_seconds() -> dict[str, float]:
    """What this process and those it has started have taken so far."""
    spent: defaultdict[str, float] = defaultdict(float)
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            spent["ingest" if process == me else _program(process)] += times.user + times.system
    return spent


def _program(process: psutil.Process) -> str:
    if process.name().startswith("postgres"):
        return "postgres"
    command = process.cmdline()
    if "gateway" in command:
        return str(command[command.index("gateway") + 1])
    return "providers" if "-c" in command and "bench.replay" in str(command) else process.name()


# ---------------------------------------------------------------- who tells what


class Bell:
    """A socket that tells of new heads when the benchmark says so."""

    def __init__(self) -> None:
        self._sockets: list[web.WebSocketResponse] = []

    async def ring(self) -> None:
        for socket in self._sockets:
            if socket.closed:
                continue  # it will be opened again
            await socket.send_str('{"jsonrpc":"2.0","method":"eth_subscription","params":{}}')

    @contextlib.asynccontextmanager
    async def hung(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/", self._subscribed)
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"ws://127.0.0.1:{runner.addresses[0][1]}/"
        finally:
            await runner.cleanup()

    async def _subscribed(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            self._sockets.append(socket)  # whatever it asks for
        return socket


class LogGrowth:
    """How far the log has come, as settlement's hints say; looked up should one be lost."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._position = 0
        self._news = asyncio.Event()

    async def listen(self) -> None:
        async for hint in self._core.bus.hints(LOG_HEAD):
            self._grown(int(hint or 0))

    async def reached(self, position: int) -> float:
        """When that position was there."""
        async with asyncio.timeout(BLOCK_SECONDS_MAX):
            while self._position < position:
                self._news.clear()
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._news.wait()
                except TimeoutError:
                    self._grown(await self._core.store.head())
        return time.perf_counter()

    async def quiet(self) -> int:
        """The position once nothing more comes."""
        before = -1
        while (head := await self._core.store.head()) != before:
            before = head
            await asyncio.sleep(QUIET_SECONDS)
        self._grown(head)
        return head

    def _grown(self, position: int) -> None:
        self._position = max(position, self._position)
        self._news.set()


class Heads:
    """Every provider has the block, and the bell rings."""

    def __init__(self, urls: Sequence[str], bell: Bell, session: aiohttp.ClientSession) -> None:
        self._urls = urls
        self._bell = bell
        self._session = session

    async def move(self, number: int) -> None:
        asked = {"jsonrpc": "2.0", "id": 1, "method": "bench_head", "params": [number]}

        async def tell(url: str) -> None:
            async with self._session.post(url, json=asked) as response:
                await response.read()

        await asyncio.gather(*(tell(url) for url in self._urls))
        await self.ring()

    async def ring(self) -> None:
        await self._bell.ring()


# ---------------------------------------------------------------- the baseline


class Plain:
    """As a script of twenty lines does it."""

    def __init__(self, url: str, dsn: str, watched: frozenset[str]) -> None:
        chain = Web3(Web3.HTTPProvider(url))
        token = chain.eth.contract(address=Web3.to_checksum_address(TOKEN), abi=TRANSFER_ABI)
        self._transfer = token.events.Transfer()
        self._watched = watched
        self.found = 0  # in the last block
        self._connection = psycopg.connect(dsn)
        self._connection.execute(_PLAIN)
        self._connection.commit()

    def close(self) -> None:
        self._connection.close()

    def read(self, number: int) -> float:
        """How long one block takes."""
        begun = time.perf_counter()
        logs = self._transfer.get_logs(from_block=number, to_block=number)
        found = [log for log in logs if log["args"]["to"].lower() in self._watched]
        for log in found:
            moved = log["args"]
            place = (log["transactionHash"].hex(), log["logIndex"], number)
            self._connection.execute(_INSERT, (*place, moved["to"], moved["value"]))
        self._connection.commit()
        self.found = len(found)
        return (time.perf_counter() - begun) * 1e3

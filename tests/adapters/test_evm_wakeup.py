"""New heads over WebSocket: heard when they come, missed when they stop, never believed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
import pytest
from aiohttp import web

from adapters import evm_wakeup
from adapters.clock import SystemClock
from adapters.evm_wakeup import EvmWakeUps
from domain.networks import Token, local_network
from gateway.embedded_anvil import Anvil
from gateway.local_chain import LocalChain

NETWORK = local_network(
    chain_id=31337, tokens=(Token(symbol="USDC", address="0x" + "aa" * 20, decimals=6),), blocks=3
)
WAIT_SECONDS_MAX = 5
Script = Callable[[web.WebSocketResponse], Awaitable[None]]
HEAD = orjson.dumps(
    {"jsonrpc": "2.0", "method": "eth_subscription", "params": {"subscription": "0x1"}}
).decode()


class Served:
    """A WebSocket server that follows a script for each connection, the last one for the rest."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = scripts
        self.connections = 0
        self.subscriptions: list[object] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        self.subscriptions.append(orjson.loads(await socket.receive_str()))
        await socket.send_str('{"jsonrpc":"2.0","id":1,"result":"0x1"}')
        await script(socket)
        return socket


@asynccontextmanager
async def served(*scripts: Script) -> AsyncIterator[Served]:
    server = Served(*scripts)
    app = web.Application()
    app.router.add_get("/secret-key", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"ws://127.0.0.1:{runner.addresses[0][1]}/secret-key"
    try:
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def listening(*urls: str, silent_seconds: float = 0.3) -> AsyncIterator[EvmWakeUps]:
    bell = EvmWakeUps(urls, NETWORK, SystemClock(), silent_seconds=silent_seconds)
    stop = asyncio.Event()
    running = asyncio.create_task(bell.run(stop))
    try:
        yield bell
    finally:
        stop.set()
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            await running


async def heard(bell: EvmWakeUps) -> None:
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        await bell.rung.wait()
    bell.rung.clear()


async def silence(_: web.WebSocketResponse) -> None:
    await asyncio.sleep(60)


async def heads(socket: web.WebSocketResponse) -> None:
    for _ in range(1_000):
        await socket.send_str(HEAD)
        await asyncio.sleep(0.05)


async def one_head(socket: web.WebSocketResponse) -> None:
    await socket.send_str(HEAD)
    await asyncio.sleep(60)


async def two_heads_and_the_end(socket: web.WebSocketResponse) -> None:
    for _ in range(2):
        await socket.send_str(HEAD)
        await asyncio.sleep(0.05)
    await socket.close()


async def nonsense(socket: web.WebSocketResponse) -> None:
    await socket.send_str("no JSON")
    await asyncio.sleep(60)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evm_wakeup, "AGAIN_SECONDS_FIRST", 0.05)


async def test_each_head_rings() -> None:
    async with served(heads) as server, listening(server.url) as bell:
        before = bell.ringing
        await heard(bell)
        await heard(bell)
        assert (before, bell.ringing) == (False, True)
        assert server.subscriptions == [
            {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
        ]


async def test_the_answer_to_the_subscription_is_no_head() -> None:
    async with served(silence) as server, listening(server.url, silent_seconds=5) as bell:
        await asyncio.sleep(0.2)
        assert server.connections == 1
        assert not bell.rung.is_set()


async def test_a_silent_socket_is_taken_for_dead_and_opened_again() -> None:
    async with served(one_head, heads) as server, listening(server.url) as bell:
        await heard(bell)
        await heard(bell)
        assert server.connections == 2


async def test_a_closed_socket_is_opened_again() -> None:
    async with served(two_heads_and_the_end) as server, listening(server.url) as bell:
        for _ in range(5):
            await heard(bell)
        assert server.connections >= 2


@pytest.mark.parametrize("script", [silence, nonsense])
async def test_what_never_rings_is_tried_again_and_again(script: Script) -> None:
    async with served(script) as server, listening(server.url, silent_seconds=0.1) as bell:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while server.connections < 3:
                await asyncio.sleep(0.02)
        assert not bell.ringing
        assert not bell.rung.is_set()


async def test_a_closed_door_keeps_nobody_from_listening_elsewhere() -> None:
    async with served(heads) as server, listening("ws://127.0.0.1:9/", server.url) as bell:
        await heard(bell)


async def test_it_does_not_ring_any_more_once_the_heads_stop() -> None:
    async with served(one_head, silence) as server, listening(server.url) as bell:
        await heard(bell)
        assert bell.ringing
        await asyncio.sleep(0.4)
        assert not bell.ringing


@pytest.mark.services
async def test_a_real_node_rings_with_every_block(fresh_anvil: Anvil) -> None:
    url = fresh_anvil.url.replace("http://", "ws://")
    async with LocalChain(fresh_anvil.url) as chain, listening(url, silent_seconds=20) as bell:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while not bell.ringing:
                await chain.mine(1)
                await asyncio.sleep(0.1)
        bell.rung.clear()
        await chain.mine(1)
        await heard(bell)

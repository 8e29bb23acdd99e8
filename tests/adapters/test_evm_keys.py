"""A key in a provider's URL stays there, whatever the provider says of it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import orjson
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from adapters.clock import SystemClock
from adapters.evm import EvmClient
from adapters.evm_errors import TEXT_CHARACTERS_MAX
from adapters.evm_transport import HIDDEN, RpcRefused, keys_of
from adapters.evm_wakeup import EvmWakeUps
from application.ports import Unavailable
from domain.networks import Token, local_network

KEYS = {
    "path": "PATHKEY123",
    "query": "QUERYKEY+42",
    "user": "userkey99",
    "password": "p@ssword77",
}
PLACE = "/v3/{path}/mainnet?apikey=QUERYKEY%2B42&fast=1".format(**KEYS)
NETWORK = local_network(
    chain_id=1, tokens=(Token(symbol="USDC", address="0x" + "aa" * 20, decimals=6),), blocks=3
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ECHO = f"invalid project id: {' '.join(KEYS.values())} (key {KEYS['path'].lower()})"


def answer(**parts: object) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        asked = orjson.loads(await request.read())
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], **parts})

    return handler


async def in_the_body(_: web.Request) -> web.Response:
    return web.Response(status=401, text=ECHO)


async def in_the_location(_: web.Request) -> web.Response:
    raise web.HTTPFound(f"/elsewhere?{KEYS['path']}", text=ECHO)


async def in_the_reason(_: web.Request) -> web.Response:
    return web.Response(status=500, reason=KEYS["path"], text=ECHO)


async def in_an_error_of_http(_: web.Request) -> web.Response:
    body = {"error": {"code": -32000, "message": ECHO, "data": {"url": PLACE}}}
    return web.json_response(body, status=401)


ANSWERS: dict[str, Handler] = {
    "refused": answer(error={"code": -32600, "message": ECHO}),
    "refused with data": answer(error={"code": -32600, "message": "no", "data": ECHO}),
    "refused in a text": answer(error=ECHO),
    "cut in the middle of a key": answer(
        error={"code": 1, "message": "x" * (TEXT_CHARACTERS_MAX - 5) + KEYS["path"]}
    ),
    "rate limited": answer(error={"code": 429, "message": f"too many requests: {ECHO}"}),
    "range refused": answer(error={"code": -32005, "message": f"block range too wide: {ECHO}"}),
    "wrong shape": answer(result=ECHO),
    "wrong shape within": answer(result={"hash": ECHO, "number": ECHO}),
    "http body": in_the_body,
    "http reason": in_the_reason,
    "http error": in_an_error_of_http,
    "redirect": in_the_location,
}


def silent(text: str) -> bool:
    """Nothing of a key, nor the beginning of one at the end of what was cut."""
    lower = text.lower()
    return not any(key.lower() in lower for key in KEYS.values()) and "PATH" not in text


@pytest.mark.parametrize("name", ANSWERS)
async def test_no_error_repeats_what_the_url_holds(name: str) -> None:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", ANSWERS[name])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    url = f"http://{KEYS['user']}:p%40ssword77@127.0.0.1:{port}{PLACE}"
    client = EvmClient(url, NETWORK, provider_name="odd")
    await client.open()
    try:
        for asking in (
            client.chain_id(),
            client.header("latest"),
            client.logs_of_range(1, 100, ["0x" + "aa" * 20], None),
            client.receipts_of_block("0x" + "11" * 32),
        ):
            with pytest.raises(Unavailable) as caught:
                await asking
            raised: BaseException | None = caught.value
            while raised is not None:  # a traceback shows the causes too
                assert silent(str(raised)), raised
                if isinstance(raised, RpcRefused):
                    assert silent(raised.message)
                    assert silent(raised.text)
                raised = raised.__cause__ or (
                    None if raised.__suppress_context__ else raised.__context__
                )
    finally:
        await client.close()
        await runner.cleanup()


def test_what_may_be_a_key_and_what_is_no_secret() -> None:
    url = f"https://{KEYS['user']}:p%40ssword77@host.example{PLACE}"
    assert set(KEYS.values()) <= set(keys_of(url))
    assert not {"v3", "mainnet", "fast", "1", "apikey"} & set(keys_of(url))
    assert keys_of("https://host.example") == []


async def test_a_url_without_a_key_hides_nothing() -> None:
    client = EvmClient("http://127.0.0.1:1/v3", NETWORK, provider_name="odd")
    assert client._rpc.hidden("all of it, v3") == "all of it, v3"
    keyed = EvmClient(f"http://127.0.0.1:1{PLACE}", NETWORK, provider_name="odd")
    assert keyed._rpc.hidden(f"id {KEYS['path']}!") == f"id {HIDDEN}!"


async def test_a_socket_that_is_refused_says_nothing_of_its_url() -> None:
    async def refused(_: web.Request) -> web.Response:
        return web.Response(status=401, reason=KEYS["path"], text=ECHO)

    async def closed(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close(message=ECHO.encode())
        return socket

    app = web.Application()
    app.router.add_get(PLACE.partition("?")[0], refused)
    app.router.add_get(f"/closed/{KEYS['path']}", closed)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"ws://127.0.0.1:{runner.addresses[0][1]}"
    urls = (base + PLACE, f"{base}/closed/{KEYS['path']}", f"ws://127.0.0.1:1{PLACE}")
    bell = EvmWakeUps(urls, NETWORK, SystemClock(), silent_seconds=0.2)
    stop = asyncio.Event()
    with capture_logs() as lines:
        running = asyncio.create_task(bell.run(stop))
        try:
            async with asyncio.timeout(5):
                while len({line["provider"] for line in lines}) < len(urls):
                    await asyncio.sleep(0.02)
        finally:
            stop.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(running, 5)
            await runner.cleanup()
    assert all(silent(str(line)) for line in lines)

"""What providers say when they say no, in their own words, and what we make of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
import pytest
from aiohttp import web

from adapters.evm import EvmClient
from adapters.evm_errors import kind_of_refusal, retry_after_seconds, suggested_range
from application.chain_source import FailureKind, ProviderFailed, RangeRefused
from domain.networks import Token, local_network
from tests.adapters.refusals import FIRST, LAST, REFUSALS

TOKEN = "0x" + "aa" * 20
NETWORK = local_network(
    chain_id=31337, tokens=(Token(symbol="USDC", address=TOKEN, decimals=6),), blocks=3
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

NAMED = pytest.mark.parametrize(
    ("code", "text", "kind", "blocks"),
    [each[1:] for each in REFUSALS],
    ids=[r[0] for r in REFUSALS],
)


@NAMED
def test_each_refusal_is_of_its_kind(
    code: int, text: str, kind: FailureKind, blocks: int | None
) -> None:
    assert kind_of_refusal(code, text) == kind


@NAMED
def test_what_would_do_is_read_from_the_refusal(
    code: int, text: str, kind: FailureKind, blocks: int | None
) -> None:
    expected = None if blocks is None else (FIRST, FIRST + blocks - 1)
    assert suggested_range(text, FIRST, LAST) == expected


@pytest.mark.parametrize(
    "text",
    [
        "this block range should work: [0x0, 0x10]",  # somewhere else
        "this block range should work: [0x100, 0x2000]",  # all of what was refused
        "this block range should work: [0x200, 0x300]",  # begins too late
        "limited to 0 block",
        "query returned more than 20000 results",
        "limited to 1000 results",
    ],
)
def test_a_suggestion_that_would_not_help_is_none(text: str) -> None:
    assert suggested_range(text, FIRST, LAST) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), (" 30 ", 30.0), (None, None), ("soon", None), ("-1", None), ("²", None)],
)
def test_retry_after_is_read_in_seconds_only(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header) == seconds


# ---------------------------------------------------------------- over the wire


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[EvmClient]:
    app = web.Application()
    app.router.add_post("/", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    client = EvmClient(
        f"http://127.0.0.1:{port}/", NETWORK, provider_name="odd", timeout_seconds=0.3
    )
    await client.open()
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


async def answered(
    request: web.Request,
    error: object,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> web.Response:
    asked = orjson.loads(await request.read())
    body = orjson.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": error})
    return web.Response(body=body, status=status, headers=headers)


def refusing(error: object) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return await answered(request, error)

    return handler


async def failure_of(handler: Handler) -> ProviderFailed:
    async with served(handler) as client:
        with pytest.raises(ProviderFailed) as caught:
            await client.header("latest")
    return caught.value


async def test_http_429_says_how_long_to_wait() -> None:
    async def limited(_: web.Request) -> web.Response:
        return web.Response(status=429, text="slow down", headers={"Retry-After": "7"})

    failed = await failure_of(limited)
    assert (failed.kind, failed.retry_after_seconds) == ("rate_limited", 7.0)


async def test_http_429_with_an_answer_is_a_rate_limit_whatever_the_code() -> None:
    async def limited(request: web.Request) -> web.Response:
        return await answered(request, {"code": -32000, "message": "no"}, status=429)

    failed = await failure_of(limited)
    assert (failed.kind, failed.retry_after_seconds) == ("rate_limited", None)


async def test_the_wait_inside_an_error_is_read_too() -> None:
    error = {
        "code": -32005,
        "message": "project ID request rate exceeded",
        "data": {"rate": {"allowed_rps": 10, "backoff_seconds": 30, "current_rps": 13.3}},
    }
    failed = await failure_of(refusing(error))
    assert (failed.kind, failed.retry_after_seconds) == ("rate_limited", 30.0)


async def test_an_overloaded_server_that_names_a_time_is_waited_for() -> None:
    async def busy(_: web.Request) -> web.Response:
        return web.Response(status=503, text="busy", headers={"Retry-After": "2"})

    assert (await failure_of(busy)).kind == "rate_limited"


async def test_another_status_is_only_a_status() -> None:
    async def broken(_: web.Request) -> web.Response:
        return web.Response(status=502, text="<html>")

    assert (await failure_of(broken)).kind == "http_status"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"jsonrpc": "2.0", "id": 1, "resu', "truncated"),
        (b"", "truncated"),
        (b'{"jsonrpc": "2.0", "id": 77, "result": null}', "wrong_id"),
        (b'{"jsonrpc": "2.0", "id": 1}', "wrong_shape"),
        (b"[]", "wrong_shape"),
        (b'{"jsonrpc": "2.0", "id": 1, "result": {"number": "0x1"}}', "wrong_shape"),
        (b'{"jsonrpc": "2.0", "id": 1, "result": 7}', "wrong_shape"),
    ],
)
async def test_nonsense_is_told_apart(body: bytes, kind: FailureKind) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body)

    assert (await failure_of(handler)).kind == kind


async def test_an_answer_that_breaks_off_is_truncated() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"jsonrpc": "2.0", "id": 1, "result": ')
        assert request.transport is not None
        request.transport.close()
        return response

    assert (await failure_of(handler)).kind == "truncated"


async def test_silence_and_a_closed_door_are_told_apart() -> None:
    async def silent(_: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    assert (await failure_of(silent)).kind == "timeout"
    client = EvmClient("http://127.0.0.1:9/", NETWORK, provider_name="gone")
    await client.open()
    with pytest.raises(ProviderFailed) as caught:
        await client.header("latest")
    await client.close()
    assert caught.value.kind == "connection"


async def test_a_block_the_node_does_not_know_is_none_however_it_says_so() -> None:
    error = {"code": -32000, "message": "unknown block"}
    async with served(refusing(error)) as client:
        assert await client.header("finalized") is None
        assert await client.header_by_hash("0x" + "11" * 32) is None


async def test_a_range_beyond_the_head_is_no_range_too_wide() -> None:
    error = {"code": -32602, "message": "block range extends beyond current head block"}
    async with served(refusing(error)) as client:
        with pytest.raises(ProviderFailed) as caught:
            await client.logs_of_range(1, 100, [TOKEN], None)
    assert caught.value.kind == "beyond_head"


async def test_a_limit_on_calls_does_not_narrow_a_range() -> None:
    error = {"code": -32005, "message": "Too many requests"}
    async with served(refusing(error)) as client:
        with pytest.raises(ProviderFailed) as caught:
            await client.logs_of_range(1, 100, [TOKEN], None)
    assert caught.value.kind == "rate_limited"


@pytest.mark.parametrize("message", ["request timed out", "words nobody has seen before"])
async def test_a_range_refused_for_whatever_reason_is_asked_for_in_parts(message: str) -> None:
    error = {"code": -32000, "message": message}
    async with served(refusing(error)) as client:
        with pytest.raises(RangeRefused):
            await client.logs_of_range(1, 100, [TOKEN], None)
        with pytest.raises(ProviderFailed) as caught:
            await client.logs_of_range(100, 100, [TOKEN], None)
    assert not isinstance(caught.value, RangeRefused), "one block cannot be halved"


async def test_the_suggestion_may_stand_in_the_data() -> None:
    error = {"code": -32005, "message": "too many", "data": "Try with this block range [0x1, 0xa]"}
    async with served(refusing(error)) as client:
        with pytest.raises(RangeRefused) as caught:
            await client.logs_of_range(1, 100, [TOKEN], None)
    assert caught.value.suggested == (1, 10)


async def test_only_logs_to_those_asked_for_become_entries_and_all_are_counted() -> None:
    def log(recipient: str, index: int) -> dict[str, object]:
        return {
            "address": TOKEN,
            "topics": ["0x" + "dd" * 32, "0x" + "00" * 32, "0x" + "00" * 12 + recipient[2:]],
            "data": "0x" + "01" * 32,
            "blockNumber": "0x5",
            "blockHash": "0x" + "05" * 32,
            "transactionHash": f"0x{index:064x}",
            "logIndex": hex(index),
        }

    ours, theirs = "0x" + "d1" * 20, "0x" + "d2" * 20
    logs = [log(theirs, 1), log(ours, 2), {**log(ours, 3), "removed": True}]
    watched = {ours, *(f"0x{number:040x}" for number in range(1_000))}
    asked: list[list[object]] = []

    async def handler(request: web.Request) -> web.Response:
        question = orjson.loads(await request.read())
        asked.append(question["params"][0]["topics"])
        return web.Response(body=orjson.dumps({"id": question["id"], "result": logs}))

    async with served(handler) as client:
        told = await client.logs_of_range(1, 9, [TOKEN], watched)
        logs.reverse()
        again = await client.logs_of_range(1, 9, [TOKEN], watched)
        logs.pop()
        fewer = await client.logs_of_range(1, 9, [TOKEN], watched)
    assert asked[0] == [asked[0][0]], "a list of recipients too long is not sent"
    assert [entry.topics[2][-40:] for entry in told.entries] == [ours[2:]]
    assert told.count == 2
    assert (again.count, again.digest) == (told.count, told.digest)
    assert (fewer.count, fewer.digest) != (told.count, told.digest)

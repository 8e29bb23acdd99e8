"""Providers that replay a chain made beforehand, as fast as they can.

Shapes  One chain is made, then as many processes as there are providers serve it, each on a port
        of its own; the first line on standard output is a JSON list of the ports. They end with
        standard input. A Serving in JSON is the one argument: the Plan of the chain, how many
        `providers`, `head`, how far the chain has come, and `delay_seconds`, which every answer
        waits.
        `bench_head` moves the head. `finalized` and `safe` are FINAL_BLOCKS below it.
Errors  a question that a benchmark should not put is answered with an error, which it sees.
"""

import asyncio
import gc
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from subprocess import PIPE, Popen
from typing import Any, cast

import orjson
import uvloop

from bench.replay_chain import FINAL_BLOCKS, FIRST_NUMBER, Plan, ReplayChain

CHAIN_ID = 31337
START_SECONDS_MAX = 300
_BALANCE_OF = "0x70a08231"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Serving:
    plan: Plan
    providers: int
    head: int
    delay_seconds: float = 0.0


class Node:
    """What a provider knows; its methods give the JSON of a result."""

    def __init__(self, chain: ReplayChain, head: int) -> None:
        self._chain = chain
        self._head = head
        self._methods: dict[str, Callable[[Sequence[Any]], bytes]] = {
            "eth_chainId": lambda _: b'"%#x"' % CHAIN_ID,
            "net_version": lambda _: b'"%d"' % CHAIN_ID,
            "eth_call": lambda params: _word_of(params[0]["data"]),
            "eth_blockNumber": lambda _: b'"%#x"' % self._head,
            "eth_getBlockByNumber": lambda params: self._header(self._number(params[0]), params),
            "eth_getBlockByHash": lambda params: self._header(self._place(params[0]), params),
            "eth_getLogs": lambda params: self._logs(params[0]),
            "eth_getBlockReceipts": lambda params: self._receipts(params[0]),
            "bench_head": self._move,
        }

    def answer(self, body: bytes) -> list[bytes]:
        asked = orjson.loads(body)
        opening = b'{"jsonrpc":"2.0","id":%b,' % orjson.dumps(asked["id"])
        try:
            result = self._methods[asked["method"]](asked.get("params", ()))
        except (KeyError, ValueError) as error:
            said = orjson.dumps({"code": -32601, "message": f"not replayed: {error!r}"})
            return [opening, b'"error":', said, b"}"]
        return [opening, b'"result":', result, b"}"]

    def _number(self, wanted: str) -> int | None:
        tags = {"latest": self._head, "pending": self._head}
        final = max(self._head - FINAL_BLOCKS, FIRST_NUMBER)
        tags |= {"safe": final, "finalized": final, "earliest": FIRST_NUMBER}
        number = tags[wanted] if wanted in tags else int(wanted, 16)
        return number if FIRST_NUMBER <= number <= self._head else None

    def _place(self, block_hash: str) -> int | None:
        number = self._chain.numbers.get(block_hash[2:].encode())
        return None if number is None or number > self._head else number

    def _header(self, number: int | None, params: Sequence[Any]) -> bytes:
        whole = len(params) > 1 and params[1] is True
        return b"null" if number is None else self._chain.header_json(number, whole=whole)

    def _logs(self, query: dict[str, Any]) -> bytes:
        if len(query.get("topics", ())) > 2 and query["topics"][2] is not None:
            raise ValueError("all transfers are replayed, not those of some recipients")
        if "blockHash" in query:
            number = self._place(query["blockHash"])
            if number is None:
                raise ValueError("unknown block")
            return b"[%b]" % self._chain.logs_json(number, number)
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        return b"[%b]" % self._chain.logs_json(max(first, FIRST_NUMBER), min(last, self._head))

    def _receipts(self, block_hash: str) -> bytes:
        number = self._place(block_hash)
        return b"null" if number is None else b"[%b]" % self._chain.receipts_json(number)

    def _move(self, params: Sequence[Any]) -> bytes:
        self._head = int(params[0])
        return b"true"


def _word_of(data: str) -> bytes:
    """Six decimals; and every balance has been swept."""
    return b'"0x%064x"' % (0 if data.startswith(_BALANCE_OF) else 6)


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with Content-Length, kept open; no more than a JSON-RPC client needs."""

    def __init__(self, node: Node, delay_seconds: float) -> None:
        self._node = node
        self._delay_seconds = delay_seconds
        self._waiting = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by descent

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        while (end := self._waiting.find(_END)) >= 0:
            begin = end + len(_END)
            size = _content_length(self._waiting[:end])
            if len(self._waiting) < begin + size:
                return
            body = self._waiting[begin : begin + size]
            self._waiting = self._waiting[begin + size :]
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        answer = b"".join(self._node.answer(body))
        # The moves of the head are the benchmark's own and no provider's answer.
        if self._delay_seconds and b"bench_head" not in body:
            loop = asyncio.get_running_loop()
            loop.call_later(self._delay_seconds, self._send, answer)
        else:
            self._send(answer)

    def _send(self, answer: bytes) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.writelines((_HEAD % len(answer), answer))


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _serve(listening: socket.socket, node: Node, delay_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(node, delay_seconds), sock=listening)
    over = asyncio.Event()

    def wait() -> None:
        os.read(0, 1)  # nothing is ever written: this is its end
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=wait, daemon=True).start()
    await over.wait()
    server.close()


def main() -> None:
    given = json.loads(sys.argv[1])
    serving = Serving(**{**given, "plan": Plan(**given["plan"])})
    chain = ReplayChain(serving.plan)
    chain.check()
    chain.warm()
    sockets = [_listening() for _ in range(serving.providers)]
    print(json.dumps([each.getsockname()[1] for each in sockets]), flush=True)
    gc.collect()
    gc.freeze()
    # A process a provider, with the one chain's memory shared until it is written to.
    children = 0
    for each in sockets[1:]:
        if os.fork() == 0:
            uvloop.run(_serve(each, Node(chain, serving.head), serving.delay_seconds))
            os._exit(0)
        children += 1
    uvloop.run(_serve(sockets[0], Node(chain, serving.head), serving.delay_seconds))
    for _ in range(children):
        os.wait()


def _listening() -> socket.socket:
    made = socket.create_server(("127.0.0.1", 0))
    made.setblocking(False)
    return made


# ---------------------------------------------------------------- for benchmarks


@contextmanager
def providers(serving: Serving) -> Iterator[tuple[str, ...]]:
    """The URLs of as many providers, in processes of their own."""
    run = "from bench.replay import main; main()"
    command = [sys.executable, "-c", run, json.dumps(asdict(serving))]
    with Popen(command, stdin=PIPE, stdout=PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("the replayed providers did not start: see above")
            yield tuple(f"http://127.0.0.1:{port}" for port in json.loads(line))
        finally:
            process.stdin.close()
            process.wait(START_SECONDS_MAX)

"""Three providers over HTTP that know one real chain and tell of it as their mood is.

Shapes  POST /CLIENT with JSON-RPC; CLIENT is who asks, so that calls are counted for each.
        Questions about blocks are answered from the mirror, bent or not; others go to the node.
Units   seconds.
Errors  what real providers give: HTTP 429 with Retry-After, 503, half a JSON text, silence.
"""

import asyncio
import contextlib
from collections import ChainMap, Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from chaos.driver import TOKENS, Driver
from chaos.faults import TRUTHFUL, Lie, Mood
from chaos.forge import fake_branch
from chaos.mirror import LAG_BLOCKS_MAX, Block, Json, NotHere, RpcError, View

PROVIDERS = 3
HANG_SECONDS = 0.5
FAKE_BLOCKS = 16
DROPPED_SHARE = 0.03
WRONG_CHAIN_ID = 1


@dataclass(frozen=True, slots=True)
class Noise:
    """What goes wrong with single answers, in shares of one."""

    hang: float = 0.0
    too_many: float = 0.0
    unavailable: float = 0.0
    truncated: float = 0.0


NOISE = (
    Noise(too_many=0.004, unavailable=0.01, truncated=0.005),
    Noise(too_many=0.004, truncated=0.01),
    Noise(hang=0.10, too_many=0.002),
)


class Gate:
    """Holds back the answer to the nth question of a kind: whoever asked it is caught there."""

    def __init__(self, wants: Callable[[Json], bool], nth: int = 1) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self._wants = wants
        self._left = nth

    async def keep(self, asked: Json) -> None:
        if self.opened.is_set() or not self._wants(asked):
            return
        self._left -= 1
        if self._left <= 0:
            self.reached.set()
            await self.opened.wait()


@dataclass
class Provider:
    """One of them; `mood_is` changes how it is, `honest` ends everything."""

    number: int
    driver: Driver
    node_url: str
    node: asyncio.Lock
    victims: Sequence[str]
    rng: Random
    seed: int
    calls: Counter[str] = field(default_factory=Counter)
    url: str = ""
    gate: Gate | None = None

    def __post_init__(self) -> None:
        self._lie: Lie = "none"
        self._down = False
        self._at_peace = False
        self._fork = 0
        self._fake: list[Block] = []
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        self._session = aiohttp.ClientSession()
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/{client}", self._asked)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    def mood_is(self, mood: Mood) -> None:
        lie = mood.lie if mood.liar == self.number else "none"
        if lie != self._lie:
            self._fake = []
        self._lie = lie
        self._down = self.number in mood.down

    def honest(self) -> None:
        self.mood_is(TRUTHFUL)
        self._at_peace = True

    # ------------------------------------------------------------ HTTP

    async def _asked(self, request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        self.calls[request.match_info["client"]] += len(asked) if isinstance(asked, list) else 1
        if self._down:
            return web.Response(status=503, text="upstream unavailable")
        trouble = None if self._at_peace else self._trouble()
        if trouble == "hang":
            await asyncio.sleep(HANG_SECONDS)
            if request.transport is not None:
                request.transport.close()
            return web.Response(status=504)
        if trouble == "too_many":
            no = _error(None, -32005, "daily request count exceeded, request rate limited")
            return web.Response(status=429, body=orjson.dumps(no), headers={"Retry-After": "1"})
        if trouble == "unavailable":
            return web.Response(status=503, text="no healthy upstream")
        if isinstance(asked, list):
            body = orjson.dumps([await self._answer(each) for each in asked])
        else:
            body = orjson.dumps(await self._answer(asked))
        if trouble == "truncated":
            body = body[: len(body) * 2 // 3]
        return web.Response(body=body, content_type="application/json")

    def _trouble(self) -> str | None:
        noise, roll = NOISE[self.number], self.rng.random()
        for kind in ("hang", "too_many", "unavailable", "truncated"):
            roll -= getattr(noise, kind)
            if roll < 0:
                return kind
        return None

    async def _answer(self, asked: Json) -> Json:
        method, params = asked["method"], asked.get("params", [])
        if self.gate is not None:
            await self.gate.keep(asked)
        try:
            result = self._bent(method, params)
        except RpcError as no:
            return _error(asked["id"], no.code, no.message)
        except NotHere:
            return await self._passed_on(asked)
        return {"jsonrpc": "2.0", "id": asked["id"], "result": result}

    async def _passed_on(self, asked: Json) -> Json:
        assert self._session is not None, "started"
        async with self.node, self._session.post(self.node_url, json=asked) as response:
            answer: Json = orjson.loads(await response.read())
        if self._lie == "wrong_chain" and asked["method"] == "eth_chainId":
            answer["result"] = hex(WRONG_CHAIN_ID)
        return answer

    # ------------------------------------------------------------ opinions

    def _view(self) -> View:
        mirror = self.driver.mirror
        if self._lie == "fork":
            return self._fake_view()
        if self._lie == "wrong_chain":
            return Elsewhere(mirror.view(), self.victims)
        if self.number == 0 and not self._at_peace:
            return mirror.view(self.rng.randint(0, LAG_BLOCKS_MAX))
        honest = mirror.view()
        return View(honest.blocks, honest.hashes, mirror.final, clamps=False)

    def _fake_view(self) -> View:
        """The chain up to a fork, then blocks of one's own, shown one ahead of the others."""
        mirror = self.driver.mirror
        if self._outgrown():
            self._fork = max(mirror.head - self.rng.randint(1, 3), 0)
            parent = mirror.at(self._fork)
            self._fake = fake_branch(parent, FAKE_BLOCKS, self.victims, TOKENS, self.rng)
        fake = self._fake[: mirror.head + 1 - self._fork]
        blocks = ChainMap({block.hash: block for block in fake}, mirror.blocks)
        hashes = mirror.canonical[: self._fork + 1] + [block.hash for block in fake]
        return View(blocks, hashes, len(hashes) - 1)  # all of it final, it says

    def _outgrown(self) -> bool:
        mirror = self.driver.mirror
        if not self._fake or not self._fork < mirror.head < self._fake[-1].number:
            return True
        parent: str = self._fake[0].header["parentHash"]
        return parent != mirror.canonical[self._fork]

    def _bent(self, method: str, params: Sequence[Any]) -> Any:
        result = self._view().answer(method, params)
        if self._lie == "empty" and method in {"eth_getLogs", "eth_getBlockReceipts"}:
            return []
        if method == "eth_getLogs" and self._lie in {"drop", "forge", "fork"}:
            kept = [log for log in result if not self._drops(log)]
            return [*kept, *self._forged_logs(params[0])] if self._lie == "forge" else kept
        if method == "eth_getBlockReceipts" and self._lie == "forge" and result:
            return self._forged_receipts(result)
        return result

    def _drops(self, log: Json) -> bool:
        """The same log is missing each time, as from an index that lost it."""
        name = f"{self.seed} {log['transactionHash']} {log['logIndex']}"
        return Random(name).random() < DROPPED_SHARE

    def _forged_logs(self, query: Json) -> list[Json]:
        """A payment that nobody made, in a block that everybody knows."""
        view = self._view()
        name = query.get("blockHash") or query["toBlock"]
        block = view.find(name)
        if block is None or self.rng.random() < 0.5:
            return []
        (fake,) = fake_branch(block, 1, self.victims, TOKENS, self.rng)
        place = {"blockHash": block.hash, "blockNumber": block.header["number"]}
        return [log | place for log in fake.logs]

    def _forged_receipts(self, receipts: Sequence[Json]) -> list[Json]:
        """Each amount a hundredfold; or one transfer left out; or one from nowhere."""
        bent: list[Json] = orjson.loads(orjson.dumps(receipts))
        kind = self.rng.randrange(3)
        with_logs = [receipt for receipt in bent if receipt["logs"]]
        if kind == 0:
            for receipt in with_logs:
                for log in receipt["logs"]:
                    log["data"] = f"0x{int(log['data'], 16) * 100 % 2**256:064x}"
        elif kind == 1 and with_logs:
            self.rng.choice(with_logs)["logs"].pop()
        elif with_logs:
            log = dict(with_logs[0]["logs"][0])
            log["data"] = f"0x{10**9:064x}"
            with_logs[0]["logs"].append(log)
        return bent


class Elsewhere(View):
    """Another chain: a block at every height, and none of them ours."""

    def __init__(self, ours: View, victims: Sequence[str]) -> None:
        super().__init__(ours.blocks, ours.hashes, ours.head)
        self._victims = victims

    def find(self, name: str) -> Block | None:
        if len(name) == 66:
            return None
        ours = super().find(name)
        if ours is None or ours.number == 0:
            return None
        parent = self.blocks[self.hashes[ours.number - 1]]
        return fake_branch(parent, 1, self._victims, TOKENS, Random(f"elsewhere {name}"))[0]

    def by_hash(self, block_hash: str) -> Block | None:
        del block_hash
        return None


def _error(request_id: Any, code: int, message: str) -> Json:
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}


@contextlib.asynccontextmanager
async def providers(driver: Driver, node_url: str, victims: Sequence[str], seed: int) -> Any:
    node = asyncio.Lock()
    found = [
        Provider(n, driver, node_url, node, victims, Random(f"{seed} {n}"), seed)
        for n in range(PROVIDERS)
    ]
    try:
        for provider in found:
            await provider.start()
        yield found
    finally:
        for provider in found:
            await provider.stop()

"""The smallest JSON-RPC client that will do, for strategies that are not ours.

Errors  Silent for whatever goes wrong: no answer in time, no JSON, or an error as the answer.
"""

from itertools import count
from typing import Any

import aiohttp
import orjson

from chaos.mirror import Json


class Silent(Exception):  # noqa: N818 - what it is to its caller
    """This provider gives no answer to this question now."""


class Rpc:
    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None
        self._numbers = count(1)

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(timeout=self._timeout)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(self, method: str, *params: Any) -> Any:
        assert self._session is not None, "opened before use"
        asked = {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": params}
        try:
            async with self._session.post(self._url, data=orjson.dumps(asked)) as response:
                answer: Json = orjson.loads(await response.read())
            return answer["result"]
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as trouble:
            raise Silent(method) from trouble

    async def head(self) -> int:
        return int(await self.call("eth_blockNumber"), 16)

    async def header(self, number: int) -> Json | None:
        header: Json | None = await self.call("eth_getBlockByNumber", hex(number), False)
        return header

    async def logs(self, query: Json) -> list[Json]:
        logs: list[Json] = await self.call("eth_getLogs", query)
        return logs

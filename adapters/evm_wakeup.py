"""New heads over WebSocket, as a bell: never a source of data.

Shapes  One socket a URL, each subscribed to newHeads; any of them rings. What a head says is not
        even read. A socket that has been silent for SILENT_BLOCKS block times is taken for dead,
        because subscriptions stop while their socket lives on, and is opened again.
Units   seconds; the time-outs of sockets are the loop's own, `ringing` is by the Clock port.
Errors  none leave `run`: without a bell the chain is polled. Logs name the provider, not its URL.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import aiohttp
import orjson
import structlog

from application.ports import Clock
from domain.networks import Network

log = structlog.get_logger(__name__)

SILENT_BLOCKS = 3
SILENT_SECONDS_MIN = 5.0
CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 1.0  # whoever does not say goodbye is left without
AGAIN_SECONDS_FIRST, AGAIN_SECONDS_MAX = 1.0, 30.0
MESSAGE_BYTES_MAX = 1024**2
_SUBSCRIBE = orjson.dumps(
    {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
).decode()


class EvmWakeUps:
    """The bell of one network (chain_ingest/pace.py)."""

    def __init__(
        self,
        urls: Sequence[str],
        network: Network,
        clock: Clock,
        *,
        silent_seconds: float | None = None,
    ) -> None:
        self.rung = asyncio.Event()
        self._urls = tuple(urls)
        self._name = network.name
        self._clock = clock
        by_blocks = max(float(network.block_seconds * SILENT_BLOCKS), SILENT_SECONDS_MIN)
        self._silent_seconds = by_blocks if silent_seconds is None else silent_seconds
        self._rang_at: datetime | None = None

    @property
    def ringing(self) -> bool:
        if self._rang_at is None:
            return False
        return self._clock.now() - self._rang_at < timedelta(seconds=self._silent_seconds)

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until told to stop."""
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            listeners = [
                asyncio.create_task(self._listen(session, url, f"{self._name}-ws-{number}"))
                for number, url in enumerate(self._urls, start=1)
            ]
            try:
                await stop.wait()
            finally:
                for listener in listeners:
                    listener.cancel()
                await asyncio.gather(*listeners, return_exceptions=True)

    async def _listen(self, session: aiohttp.ClientSession, url: str, name: str) -> None:
        again_seconds = AGAIN_SECONDS_FIRST
        while True:
            try:
                rings = await self._heard(session, url)
                reason = f"no head in {self._silent_seconds} s"
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                rings, reason = 0, type(error).__name__
            log.info("wakeups_interrupted", provider=name, reason=reason, rings=rings)
            again_seconds = AGAIN_SECONDS_FIRST if rings else again_seconds
            await self._clock.sleep(again_seconds)
            again_seconds = min(again_seconds * 2, AGAIN_SECONDS_MAX)

    async def _heard(self, session: aiohttp.ClientSession, url: str) -> int:
        """How many heads one socket told of, until it fell silent or closed."""
        rings = 0
        async with asyncio.timeout(CONNECT_SECONDS):
            socket = await session.ws_connect(
                url,
                max_msg_size=MESSAGE_BYTES_MAX,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
            )
        try:
            await socket.send_str(_SUBSCRIBE)
            while await self._next_head(socket):
                rings += 1
                self._rang_at = self._clock.now()
                self.rung.set()
        finally:
            await socket.close()
        return rings

    async def _next_head(self, socket: aiohttp.ClientWebSocketResponse) -> bool:
        try:
            async with asyncio.timeout(self._silent_seconds):
                while True:
                    message = await socket.receive()
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        return False
                    if _is_head(message.data):
                        return True
        except TimeoutError:
            return False


def _is_head(text: str) -> bool:
    told = orjson.loads(text)
    return isinstance(told, dict) and told.get("method") == "eth_subscription"

"""JSON-RPC of one provider of one EVM network, over aiohttp and orjson.

Shapes  EvmClient reads blocks for the ingester (application/chain_source.py) and receipts,
        nonces, fees and balances for the refund sender (application/outside.py). It decodes
        and reports; whether an answer is true is judged in chain_ingest.
Units   wei, gas and base units as integers; time-outs in seconds.
Errors  ports.Unavailable("rpc", ...) names the provider, never its URL, which may hold a key.
        RpcRefused is an answer of the node that says no; RangeRefused its form for log ranges.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import aiohttp
import orjson

from adapters.evm_decoding import (
    Malformed,
    decode_header,
    decode_log,
    decode_outside_receipt,
    decode_receipt,
    hex_of,
    quantity,
)
from application.chain_source import Header, LogEntry, RangeRefused, Tag, TxReceipt
from application.outside import Receipt
from application.ports import Unavailable
from domain.networks import Finality, Network

T = TypeVar("T")
TIMEOUT_SECONDS = 2.0
BULK_TIMEOUT_SECONDS = 10.0  # receipts and logs of many blocks
BODY_BYTES_MAX = 64 * 1024**2
CONNECTIONS_MAX = 16

FEE_HISTORY_BLOCKS = 5
TIP_FLOOR_WEI = {137: 30 * 10**9}  # Polygon drops smaller tips; elsewhere the median will do
_TRANSFER_TOPIC = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
_DECIMALS = "0x313ce567"
_BALANCE_OF = "0x70a08231"
_TRANSFER = "0xa9059cbb"
_REVERTED_CODE = 3
_WRONG_PARAMETER_CODE = -32602
_JSON = {"Content-Type": "application/json"}
_SUGGESTED = re.compile(r"\[\s*(0x[0-9a-fA-F]{1,16})\s*,\s*(0x[0-9a-fA-F]{1,16})\s*\]")
# What nodes say when the contract itself refused. Anything else is the node's own trouble.
_REVERTED = re.compile(r"revert|vm execution error|invalid opcode|out of gas", re.IGNORECASE)
_NO_BLOCK = re.compile(r"(block|header) not found|unknown block", re.IGNORECASE)
_TOO_MUCH = re.compile(
    r"block range|query returned more than|limited to|too many|too large|exceed|response size",
    re.IGNORECASE,
)


class RpcRefused(Unavailable):
    """The node understood and said no."""

    def __init__(self, reason: str, code: int, message: str) -> None:
        super().__init__("rpc", reason)
        self.code = code
        self.message = message

    @property
    def reverted(self) -> bool:
        """Whether the contract refused, and not the node."""
        return self.code == _REVERTED_CODE or _REVERTED.search(self.message) is not None


class EvmClient:
    """One provider. `open` before use, `close` after."""

    def __init__(
        self,
        url: str,
        network: Network,
        *,
        provider_name: str,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.network = network
        self.name = provider_name
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._session: aiohttp.ClientSession | None = None
        self._last_id = 0

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
            # A provider that answers with a redirect or a cookie gets neither.
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # ------------------------------------------------------------ blocks, for the ingester

    async def chain_id(self) -> int:
        return quantity(await self.call("eth_chainId"))

    async def token_decimals(self, address: str) -> int | None:
        try:
            answer = await self.call("eth_call", {"to": address, "data": _DECIMALS}, "latest")
        except RpcRefused as refused:
            if not refused.reverted:
                raise
            return None
        word = _hex_text(answer)
        return int(word, 16) if len(word) == 66 else None

    async def header(self, block: int | Tag) -> Header | None:
        wanted = hex(block) if isinstance(block, int) else block
        return self._header(await self.call("eth_getBlockByNumber", wanted, False))

    async def header_by_hash(self, block_hash: str) -> Header | None:
        return self._header(await self.call("eth_getBlockByHash", block_hash, False))

    async def logs_of_block(
        self, block_hash: str, tokens: Sequence[str], recipients: Sequence[str] | None
    ) -> Sequence[LogEntry]:
        return await self._logs({"blockHash": block_hash}, tokens, recipients)

    async def logs_of_range(
        self, first: int, last: int, tokens: Sequence[str], recipients: Sequence[str] | None
    ) -> Sequence[LogEntry]:
        blocks = {"fromBlock": hex(first), "toBlock": hex(last)}
        try:
            return await self._logs(blocks, tokens, recipients)
        except RpcRefused as refused:
            suggested = _suggested_range(refused.message)
            if suggested is None and not _TOO_MUCH.search(refused.message):
                raise
            raise RangeRefused(refused.reason, suggested) from refused

    async def receipts_of_block(self, block_hash: str) -> Sequence[TxReceipt]:
        answer = await self._bulk("eth_getBlockReceipts", block_hash)
        if answer is None:
            raise self._unavailable(f"has no receipts of block {block_hash}")
        return self._decoded(lambda: [decode_receipt(receipt) for receipt in answer])

    # ------------------------------------------------------------ paying out

    async def head_number(self) -> int:
        return quantity(await self.call("eth_blockNumber"))

    async def block_hash(self, number: int) -> str | None:
        block = await self.call("eth_getBlockByNumber", hex(number), False)
        return None if block is None else self._decoded(lambda: hex_of(block["hash"], 32))

    async def tagged_number(self, tag: Finality) -> int | None:
        try:
            block = await self.call("eth_getBlockByNumber", tag, False)
        except RpcRefused as refused:
            # Before the first such block some nodes say so with an error, not with null; to
            # those that serve no such tag it is a wrong parameter, the only one that can be.
            if refused.code == _WRONG_PARAMETER_CODE or _NO_BLOCK.search(refused.message):
                return None
            raise
        return None if block is None else self._decoded(lambda: quantity(block["number"]))

    async def receipt(self, tx_hash: str) -> Receipt | None:
        answer = await self.call("eth_getTransactionReceipt", tx_hash)
        return None if answer is None else self._decoded(lambda: decode_outside_receipt(answer))

    async def transaction_count(self, address: str, *, pending: bool = False) -> int:
        tag = "pending" if pending else "latest"
        return quantity(await self.call("eth_getTransactionCount", address, tag))

    async def fees(self) -> tuple[int, int]:
        """Twice the next base fee and the tip, so that six full blocks do not outprice it."""
        blocks = hex(FEE_HISTORY_BLOCKS)
        history = await self.call("eth_feeHistory", blocks, "latest", [50])

        def decode() -> tuple[int, int]:
            base = quantity(history["baseFeePerGas"][-1])
            tips = sorted(quantity(rewards[0]) for rewards in history.get("reward") or [["0x0"]])
            tip = max(tips[len(tips) // 2], TIP_FLOOR_WEI.get(self.network.chain_id, 0))
            return 2 * base + tip, tip

        return self._decoded(decode)

    async def simulate_transfer(
        self, token: str, sender: str, recipient: str, units: int
    ) -> str | None:
        data = f"{_TRANSFER}{_word(int(recipient, 16))}{_word(units)}"
        call = {"from": sender, "to": token, "data": data}
        try:
            answer = _hex_text(await self.call("eth_call", call, "latest"))
        except RpcRefused as refused:
            if not refused.reverted:
                raise
            return refused.message
        # Old tokens answer nothing; true is one word with the value one.
        if answer == "0x":
            return None
        return None if int(answer, 16) == 1 else "the token answered false"

    async def broadcast(self, raw: bytes) -> None:
        """Whatever the node says proves nothing about the transaction: receipts decide.

        Only silence is an error, so that the caller offers the bytes again.
        """
        try:
            await self.call("eth_sendRawTransaction", "0x" + raw.hex())
        except RpcRefused:
            return  # "already known", "nonce too low", "underpriced": all prove nothing

    async def balance(self, token: str, holder: str) -> int:
        data = f"{_BALANCE_OF}{_word(int(holder, 16))}"
        answer = _hex_text(await self.call("eth_call", {"to": token, "data": data}, "latest"))
        if len(answer) != 66:
            raise self._unavailable(f"{token} has no balances")
        return int(answer, 16)

    async def native_balance(self, holder: str) -> int:
        return quantity(await self.call("eth_getBalance", holder, "latest"))

    # ------------------------------------------------------------ transport

    async def call(self, method: str, *params: object) -> Any:
        """One JSON-RPC call; its result, which may be None."""
        return await self._call(method, params, self._timeout_seconds)

    async def _bulk(self, method: str, *params: object) -> Any:
        timeout_seconds = max(self._timeout_seconds, BULK_TIMEOUT_SECONDS)
        return await self._call(method, params, timeout_seconds)

    async def _call(self, method: str, params: Sequence[object], timeout_seconds: float) -> Any:
        self._last_id += 1
        request_id = self._last_id
        request = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        try:
            async with asyncio.timeout(timeout_seconds):
                body = await self._post(orjson.dumps(request))
            answer = orjson.loads(body)
        except TimeoutError as error:
            raise self._unavailable(f"{method}: no answer in {timeout_seconds} s") from error
        except aiohttp.ClientError as error:
            raise self._unavailable(f"{method}: {type(error).__name__}") from error
        except orjson.JSONDecodeError as error:
            raise self._unavailable(f"{method}: the answer is not JSON") from error
        return self._result(method, request_id, answer)

    async def _post(self, body: bytes) -> bytes:
        session = self._session
        if session is None:
            raise self._unavailable("the client is closed")
        async with session.post(
            self._url, data=body, headers=_JSON, allow_redirects=False
        ) as response:
            answer = bytearray()
            async for chunk in response.content.iter_any():
                answer += chunk
                if len(answer) > BODY_BYTES_MAX:
                    raise self._unavailable(f"more than {BODY_BYTES_MAX} bytes in one answer")
            # Nodes send JSON-RPC errors with 4xx as well: those are worth reading.
            if response.status != 200 and not answer.lstrip().startswith(b"{"):
                raise self._unavailable(f"HTTP status {response.status}")
            return bytes(answer)

    def _result(self, method: str, request_id: int, answer: Any) -> Any:
        if not isinstance(answer, dict):
            raise self._unavailable(f"{method}: no JSON-RPC answer")
        error = answer.get("error")
        if error is not None:
            code, message = _error_of(error)
            raise RpcRefused(f"{self.name}: {method}: {code} {message}", code, message)
        if answer.get("id") != request_id or "result" not in answer:
            raise self._unavailable(f"{method}: no JSON-RPC answer to this request")
        return answer["result"]

    async def _logs(
        self, blocks: dict[str, str], tokens: Sequence[str], recipients: Sequence[str] | None
    ) -> Sequence[LogEntry]:
        topics: list[object] = [_TRANSFER_TOPIC]
        if recipients is not None:
            topics += [None, ["0x" + _word(int(address, 16)) for address in recipients]]
        query = {**blocks, "address": list(tokens), "topics": topics}
        answer = await self._bulk("eth_getLogs", query)
        # `removed` belongs to subscriptions; here it would be another branch's log.
        return self._decoded(
            lambda: [decode_log(entry) for entry in answer if not entry.get("removed")]
        )

    def _header(self, answer: Any) -> Header | None:
        return None if answer is None else self._decoded(lambda: decode_header(answer))

    def _decoded(self, decode: Callable[[], T]) -> T:
        try:
            return decode()
        except (Malformed, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise self._unavailable(f"an answer of the wrong shape: {error!r}") from error

    def _unavailable(self, reason: str) -> Unavailable:
        return Unavailable("rpc", f"{self.name}: {reason}")


def _error_of(error: Any) -> tuple[int, str]:
    if not isinstance(error, dict):
        return 0, str(error)[:200]
    code = error.get("code")
    return code if isinstance(code, int) else 0, str(error.get("message", ""))[:500]


def _suggested_range(message: str) -> tuple[int, int] | None:
    found = _SUGGESTED.search(message)
    return (int(found[1], 16), int(found[2], 16)) if found else None


def _hex_text(answer: Any) -> str:
    return answer if isinstance(answer, str) else "0x"


def _word(number: int) -> str:
    return format(number, "064x")

"""What one provider of one EVM network can be asked, in JSON-RPC.

Shapes  EvmClient reads blocks for the ingester (application/chain_source.py) and receipts,
        nonces, fees and balances for the refund sender (application/outside.py). It decodes
        and reports; whether an answer is true is judged in chain_ingest.
Units   wei, gas and base units as integers; time-outs in seconds.
Errors  those of adapters/evm_transport.py; RangeRefused when a range of logs was too much.
"""

import asyncio
import re
from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, TypeVar

from adapters.evm_decoding import (
    Malformed,
    decode_header,
    decode_logs,
    decode_outside_receipt,
    decode_receipts,
    hex_of,
    place,
    quantity,
)
from adapters.evm_errors import suggested_range
from adapters.evm_transport import TIMEOUT_SECONDS, JsonRpc, RpcRefused
from application.chain_source import (
    RECIPIENTS_ASKED_MAX,
    Header,
    Holding,
    LogEntry,
    ProviderFailed,
    RangeLogs,
    RangeRefused,
    Tag,
    TxPlace,
    TxReceipt,
)
from application.outside import Receipt
from domain.networks import Finality, Network

T = TypeVar("T")
BALANCES_AT_ONCE_MAX = 8  # calls on the way together, of one question

FEE_HISTORY_BLOCKS = 5
# Polygon and its test network drop smaller tips; elsewhere the median will do.
TIP_FLOOR_WEI = {137: 30 * 10**9, 80002: 30 * 10**9}
_TRANSFER_TOPIC = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
_DECIMALS = "0x313ce567"
_DOMAIN_SEPARATOR = "0x3644e515"
_BALANCE_OF = "0x70a08231"
_TRANSFER = "0xa9059cbb"
_WRONG_PARAMETER_CODE = -32602
_NO_BLOCK = re.compile(r"(block|header) not found|unknown block", re.IGNORECASE)
REASON_CHARACTERS_MAX = 500
_MISSHAPEN = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)
_CUT_BY_SIZE = ("too_large", "timeout", "range_refused", "refused")

__all__ = ["TIMEOUT_SECONDS", "EvmClient", "RpcRefused"]


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
        self._rpc = JsonRpc(url, provider_name, timeout_seconds=timeout_seconds)

    async def open(self) -> None:
        await self._rpc.open()

    async def close(self) -> None:
        await self._rpc.close()

    # ------------------------------------------------------------ blocks, for the ingester

    async def chain_id(self) -> int:
        return await self._counted(place, "eth_chainId")

    async def token_decimals(self, address: str) -> int | None:
        word = await self._word_at(address, _DECIMALS)
        return None if word is None else int.from_bytes(word, "big")

    async def domain_separator(self, address: str) -> bytes | None:
        return await self._word_at(address, _DOMAIN_SEPARATOR)

    async def _word_at(self, address: str, selector: str) -> bytes | None:
        """The one word a view answers; None when there is no such contract or function."""
        try:
            answer = await self.call("eth_call", {"to": address, "data": selector}, "latest")
        except RpcRefused as refused:
            if not refused.reverted:
                raise
            return None
        word = _hex_text(answer)
        return self._decoded(lambda: bytes.fromhex(word[2:])) if len(word) == 66 else None

    async def header(self, block: int | Tag) -> Header | None:
        wanted = hex(block) if isinstance(block, int) else block
        return await self._header("eth_getBlockByNumber", wanted)

    async def header_by_hash(self, block_hash: str) -> Header | None:
        return await self._header("eth_getBlockByHash", block_hash)

    async def logs_of_block(
        self, block_hash: str, tokens: Sequence[str], recipients: Collection[str] | None
    ) -> Sequence[LogEntry]:
        told = await self._logs({"blockHash": block_hash}, tokens, recipients)
        return told.entries

    async def logs_of_range(
        self, first: int, last: int, tokens: Sequence[str], recipients: Collection[str] | None
    ) -> RangeLogs:
        blocks = {"fromBlock": hex(first), "toBlock": hex(last)}
        try:
            return await self._logs(blocks, tokens, recipients)
        except ProviderFailed as failed:
            # A reason nobody has heard of yet may well be the size: half of it is tried. Our own
            # time-out may as well be an outage, and is left to the caller to judge.
            said = isinstance(failed, RpcRefused) or failed.kind == "too_large"
            if first == last or not said or failed.kind not in _CUT_BY_SIZE:
                raise
            text = failed.text if isinstance(failed, RpcRefused) else ""
            raise RangeRefused(failed.reason, suggested_range(text, first, last)) from failed

    async def receipts_of_block(self, block_hash: str) -> Sequence[TxReceipt]:
        answer = await self._bulk("eth_getBlockReceipts", block_hash)
        if answer is None:
            raise self._rpc.failure(f"has no receipts of block {block_hash}", "beyond_head")
        return self._decoded(lambda: decode_receipts(answer))

    async def transaction_place(self, tx_hash: str) -> TxPlace | None:
        answer = await self.call("eth_getTransactionReceipt", tx_hash)
        if answer is None:
            return None
        return self._decoded(
            lambda: TxPlace(place(answer["blockNumber"]), hex_of(answer["blockHash"], 32))
        )

    async def balances(self, block_hash: str, holdings: Sequence[Holding]) -> Sequence[int]:
        found: list[int] = []
        for start in range(0, len(holdings), BALANCES_AT_ONCE_MAX):
            some = holdings[start : start + BALANCES_AT_ONCE_MAX]
            block = {"blockHash": block_hash}
            found += await asyncio.gather(*(self._balance(*each, block) for each in some))
        return found

    # ------------------------------------------------------------ paying out

    async def head_number(self) -> int:
        return await self._counted(place, "eth_blockNumber")

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
        return None if block is None else self._decoded(lambda: place(block["number"]))

    async def receipt(self, tx_hash: str) -> Receipt | None:
        answer = await self.call("eth_getTransactionReceipt", tx_hash)
        return None if answer is None else self._decoded(lambda: decode_outside_receipt(answer))

    async def transaction_count(self, address: str, *, pending: bool = False) -> int:
        tag = "pending" if pending else "latest"
        return await self._counted(place, "eth_getTransactionCount", address, tag)

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
        said = self._decoded(lambda: int(answer, 16))
        return None if said == 1 else "the token answered false"

    async def broadcast(self, raw: bytes) -> None:
        """Whatever the node says proves nothing about the transaction: receipts decide.

        Only silence is an error, so that the caller offers the bytes again.
        """
        try:
            await self.call("eth_sendRawTransaction", "0x" + raw.hex())
        except RpcRefused:
            return  # "already known", "nonce too low", "underpriced": all prove nothing

    async def balance(self, token: str, holder: str) -> int:
        return await self._balance(token, holder, "latest")

    async def _balance(self, token: str, holder: str, block: str | dict[str, str]) -> int:
        data = f"{_BALANCE_OF}{_word(int(holder, 16))}"
        answer = _hex_text(await self.call("eth_call", {"to": token, "data": data}, block))
        if len(answer) != 66:
            raise self._wrong(f"{token} has no balances")
        return self._decoded(lambda: int(answer, 16))

    async def native_balance(self, holder: str) -> int:
        return await self._counted(quantity, "eth_getBalance", holder, "latest")

    # ------------------------------------------------------------ asking

    async def call(self, method: str, *params: object) -> Any:
        """One JSON-RPC call; its result, which may be None."""
        return await self._rpc.call(method, params)

    async def _counted(self, decode: Callable[[object], int], method: str, *params: object) -> int:
        answer = await self.call(method, *params)
        return self._decoded(lambda: decode(answer))

    async def _bulk(self, method: str, *params: object) -> Any:
        return await self._rpc.call(method, params, bulk=True)

    async def _logs(
        self, blocks: dict[str, str], tokens: Sequence[str], recipients: Collection[str] | None
    ) -> RangeLogs:
        topics: list[object] = [_TRANSFER_TOPIC]
        if recipients is not None and len(recipients) <= RECIPIENTS_ASKED_MAX:
            asked = sorted(recipients)
            topics += [None, ["0x" + _word(int(address, 16)) for address in asked]]
        query = {**blocks, "address": list(tokens), "topics": topics}
        answer = await self._bulk("eth_getLogs", query)
        wanted = recipients if isinstance(recipients, AbstractSet | None) else set(recipients)
        return self._decoded(lambda: decode_logs(answer, wanted))

    async def _header(self, method: str, block: str) -> Header | None:
        try:
            answer = await self.call(method, block, False)
        except RpcRefused as refused:
            if refused.kind != "beyond_head":
                raise
            return None  # some nodes say so with an error, the others with null
        return None if answer is None else self._decoded(lambda: decode_header(answer))

    def _decoded(self, decode: Callable[[], T]) -> T:
        try:
            return decode()
        except (Malformed, *_MISSHAPEN) as error:
            reason = f"an answer of the wrong shape: {error!r}"
            # Without its cause: a traceback would show what the provider said, see keys_of.
            raise self._wrong(reason[:REASON_CHARACTERS_MAX]) from None

    def _wrong(self, reason: str) -> ProviderFailed:
        return self._rpc.failure(reason, "wrong_shape")


def _hex_text(answer: Any) -> str:
    return answer if isinstance(answer, str) else "0x"


def _word(number: int) -> str:
    return format(number, "064x")

"""Contracts on a real local chain, driven by raw JSON-RPC so that nothing hides an answer."""

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp
from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

from gateway import contracts

RECEIPT_POLLS_MAX = 500
RECEIPT_POLL_SECONDS = 0.01
TRANSFER = "0x" + keccak(text="Transfer(address,address,uint256)").hex()


class RevertError(Exception):
    """The chain refused the call or the transaction."""


class Chain:
    """One node and its unlocked accounts."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self.accounts: list[str] = []

    async def rpc(self, method: str, *params: Any) -> Any:
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self._session.post(self._url, json=request) as response:
            answer = await response.json()
        if "error" in answer:
            raise RevertError(answer["error"]["message"])
        return answer["result"]

    async def send(self, sender: str, to: str | None, data: str) -> dict[str, Any]:
        """Send, and return the receipt of what was mined."""
        transaction = {"from": sender, "data": data} | ({"to": to} if to else {})
        transaction_hash = await self.rpc("eth_sendTransaction", transaction)
        receipt = await self._receipt(transaction_hash)
        if receipt["status"] != "0x1":
            raise RevertError(transaction_hash)
        return receipt

    async def _receipt(self, transaction_hash: str) -> dict[str, Any]:
        """Mining is automatic but not part of the answer to sending, so ask until it is there."""
        for _ in range(RECEIPT_POLLS_MAX):
            receipt: dict[str, Any] | None
            receipt = await self.rpc("eth_getTransactionReceipt", transaction_hash)
            if receipt is not None:
                return receipt
            await asyncio.sleep(RECEIPT_POLL_SECONDS)
        raise TimeoutError(transaction_hash)

    async def deploy(self, name: str, *arguments: str) -> "Deployed":
        built = contracts.load(name)
        types = ["string"] * len(arguments)
        data = built.bytecode + encode(types, arguments).hex()
        receipt = await self.send(self.accounts[0], None, data)
        return Deployed(self, receipt["contractAddress"])


class Deployed:
    """One contract; the first account is its owner."""

    def __init__(self, chain: Chain, address: str) -> None:
        self.chain = chain
        self.address = address

    async def send(self, sender: str, signature: str, *arguments: Any) -> dict[str, Any]:
        return await self.chain.send(sender, self.address, _data(signature, arguments))

    async def raw(self, sender: str, signature: str, *arguments: Any) -> str:
        """The bytes a call answers with."""
        call = {"from": sender, "to": self.address, "data": _data(signature, arguments)}
        answer: str = await self.chain.rpc("eth_call", call, "latest")
        return answer

    async def read(self, kind: str, signature: str, *arguments: Any) -> Any:
        answer = await self.raw(self.chain.accounts[0], signature, *arguments)
        return decode([kind], bytes.fromhex(answer[2:]))[0]

    async def balance(self, account: str) -> int:
        return int(await self.read("uint256", "balanceOf(address)", account))


def _data(signature: str, arguments: Sequence[Any]) -> str:
    inside = signature[signature.index("(") + 1 : -1]
    types = inside.split(",") if inside else []
    return "0x" + (keccak(text=signature)[:4] + encode(types, arguments)).hex()


def transfers(receipt: dict[str, Any]) -> list[tuple[str, str, int]]:
    """(from, to, value) of each Transfer log, in order."""
    return [
        ("0x" + log["topics"][1][-40:], "0x" + log["topics"][2][-40:], int(log["data"], 16))
        for log in receipt["logs"]
        if log["topics"][0] == TRANSFER
    ]

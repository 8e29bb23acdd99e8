"""The local test chain as a customer and a merchant use it: tokens, wallets, blocks, reorgs.

Shapes  Amounts in base units. Wallets are the node's unlocked accounts: the first deploys and
        mints, the others are customers. `Signed` holds bytes that can be sent again after a
        reorg, the same transaction under the same hash.
Errors  ChainError with what the node said.
"""

import asyncio
import itertools
from typing import Any, NamedTuple, Self

import aiohttp
from eth_abi.abi import encode
from eth_account import Account
from eth_utils.crypto import keccak

from gateway.contracts import load
from gateway.embedded_anvil import MNEMONIC
from gateway.failures import GatewayError

CALL_SECONDS_MAX = 10.0
RECEIPT_POLLS_MAX = 500
RECEIPT_POLL_SECONDS = 0.02
GAS_LIMIT = 200_000
# The first contracts of the first account: the same on every new chain.
USDC = "0x5fbdb2315678afecb367f032d93f642f64180aa3"
USDT = "0xe7f1725e7734ce288f8367e1bb143e90bb3f0512"
LOCAL_TOKENS = f"USDC={USDC},USDT={USDT}"
_FEE_PER_GAS = 20 * 10**9


class ChainError(GatewayError):
    """The local chain refused."""


class Signed(NamedTuple):
    raw: str
    tx_hash: str


class LocalChain:
    """One anvil node. Use as an async context manager."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = itertools.count(1)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS_MAX)
        self._session = aiohttp.ClientSession(timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def rpc(self, method: str, *params: Any) -> Any:
        assert self._session is not None, "use it as a context manager"
        request = {
            "jsonrpc": "2.0",
            "id": next(self._numbers),
            "method": method,
            "params": params,
        }
        try:
            async with self._session.post(self._url, json=request) as response:
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ChainError(f"the local chain does not answer: {error}") from error
        if "error" in answer:
            raise ChainError(f"{method}: {answer['error'].get('message')}")
        return answer["result"]

    # ------------------------------------------------------------ reading

    async def head(self) -> int:
        return int(await self.rpc("eth_blockNumber"), 16)

    async def accounts(self) -> list[str]:
        found: list[str] = await self.rpc("eth_accounts")
        return [account.lower() for account in found]

    async def balance(self, token: str, holder: str) -> int:
        call = {"to": token, "data": _call("balanceOf(address)", holder)}
        return int(await self.rpc("eth_call", call, "latest"), 16)

    async def receipt(self, tx_hash: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = await self.rpc("eth_getTransactionReceipt", tx_hash)
        return found

    # ------------------------------------------------------------ acting

    async def deploy_tokens(self) -> None:
        """The two test tokens at the addresses they always have; nothing when they are there."""
        if await self.rpc("eth_getCode", USDC, "latest") == "0x":
            await self.deploy("TestDollar", "USD Coin", "USDC")
        if await self.rpc("eth_getCode", USDT, "latest") == "0x":
            await self.deploy("TetherLike", "Tether USD", "USDT")
        for token in (USDC, USDT):
            if await self.rpc("eth_getCode", token, "latest") == "0x":
                raise ChainError(
                    f"no token at {token}: somebody used the first account of this chain before; "
                    "start with a new folder"
                )

    async def deploy(self, name: str, *arguments: str) -> str:
        contract = load(name)
        data = contract.bytecode + encode(["string"] * len(arguments), arguments).hex()
        address: str = (await self._send(None, data))["contractAddress"]
        return address.lower()

    async def mint(self, token: str, holder: str, units: int) -> None:
        await self._send(token, _call("mint(address,uint256)", holder, units))

    async def transfer(self, token: str, sender: str, recipient: str, units: int) -> str:
        """Send tokens from an unlocked account and wait until they are mined; the hash."""
        data = _call("transfer(address,uint256)", recipient, units)
        tx_hash: str = (await self._send(token, data, sender))["transactionHash"]
        return tx_hash

    async def call_contract(self, contract: str, data: bytes, sender: str) -> None:
        """Any call, mined; raises ChainError when the contract refuses."""
        await self._send(contract, "0x" + data.hex(), sender)

    async def sign_transfer(
        self, token: str, sender_index: int, recipient: str, units: int
    ) -> Signed:
        """The bytes of a transfer from one of the node's accounts, not sent yet."""
        wallet = _wallet(sender_index)
        transaction = {
            "chainId": int(await self.rpc("eth_chainId"), 16),
            "nonce": int(await self.rpc("eth_getTransactionCount", wallet.address, "latest"), 16),
            "to": "0x" + token[2:],
            "value": 0,
            "data": _call("transfer(address,uint256)", recipient, units),
            "gas": GAS_LIMIT,
            "maxFeePerGas": _FEE_PER_GAS,
            "maxPriorityFeePerGas": 10**9,
            "type": 2,
        }
        transaction["to"] = bytes.fromhex(token[2:])
        signed = wallet.sign_transaction(transaction)
        return Signed("0x" + signed.raw_transaction.hex(), "0x" + signed.hash.hex())

    async def send(self, signed: Signed) -> None:
        await self.rpc("eth_sendRawTransaction", signed.raw)
        await self._mined(signed.tx_hash)

    async def give_gas(self, holder: str, wei: int = 10**18) -> None:
        await self._mined(
            await self.rpc(
                "eth_sendTransaction",
                {"from": (await self.accounts())[0], "to": holder, "value": hex(wei)},
            )
        )

    async def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            await self.rpc("evm_mine")

    async def reorganise(self, depth: int) -> None:
        """Replace the newest blocks by as many empty ones: what was in them is gone."""
        await self.rpc("anvil_reorg", depth, [])

    async def _send(self, to: str | None, data: str, sender: str | None = None) -> dict[str, Any]:
        sender = sender or (await self.accounts())[0]
        transaction = {"from": sender, "data": data} | ({"to": to} if to else {})
        tx_hash: str = await self.rpc("eth_sendTransaction", transaction)
        return await self._mined(tx_hash)

    async def _mined(self, tx_hash: str) -> dict[str, Any]:
        for _ in range(RECEIPT_POLLS_MAX):
            receipt = await self.receipt(tx_hash)
            if receipt is not None:
                if receipt["status"] != "0x1":
                    raise ChainError(f"transaction {tx_hash} failed")
                return receipt
            await asyncio.sleep(RECEIPT_POLL_SECONDS)
        raise ChainError(f"transaction {tx_hash} was not mined in time")


def _wallet(index: int) -> Any:
    Account.enable_unaudited_hdwallet_features()
    return Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}")


def _call(signature: str, *arguments: Any) -> str:
    name, _, types = signature.partition("(")
    del name
    kinds = [kind for kind in types.rstrip(")").split(",") if kind]
    return "0x" + (keccak(text=signature)[:4] + encode(kinds, arguments)).hex()

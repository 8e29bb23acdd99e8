"""One suite for the refund sender's chain: on a real node, and on the twin."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from adapters.evm import EvmClient
from adapters.memory.chain import MemoryChain
from adapters.memory.chain_client import MemoryChainClient
from application.outside import ChainClient
from domain.networks import Token, local_network
from gateway.embedded_anvil import MNEMONIC, Anvil
from gateway.local_chain import USDC, LocalChain

NETWORK = local_network(
    chain_id=31337, tokens=(Token(symbol="USDC", address=USDC, decimals=6),), blocks=3
)
PAYEE = "0x" + "9e" * 20
UNITS = 1_000


@dataclass
class Kit:
    client: ChainClient
    payer: str
    mine: Callable[[], Awaitable[None]]

    async def signed(self, units: int, nonce: int | None = None) -> bytes:
        data = bytes.fromhex("a9059cbb" + PAYEE[2:].rjust(64, "0") + f"{units:064x}")
        fee, tip = await self.client.fees()
        given = await self.client.transaction_count(self.payer) if nonce is None else nonce
        transaction: dict[str, Any] = {
            "chainId": 31337,
            "nonce": given,
            "to": bytes.fromhex(USDC[2:]),
            "value": 0,
            "data": data,
            "gas": 200_000,
            "maxFeePerGas": fee,
            "maxPriorityFeePerGas": tip,
            "type": 2,
        }
        return bytes(_wallet().sign_transaction(transaction).raw_transaction)


def _wallet() -> LocalAccount:
    Account.enable_unaudited_hdwallet_features()
    wallet: LocalAccount = Account.from_mnemonic(MNEMONIC, account_path="m/44'/60'/0'/0/1")
    return wallet


@pytest.fixture(params=["node", "twin"])
def node(request: pytest.FixtureRequest) -> Anvil | None:
    if request.param == "twin":
        return None
    anvil: Anvil = request.getfixturevalue("fresh_anvil")
    return anvil


@pytest.fixture
async def kit(node: Anvil | None) -> AsyncIterator[Kit]:
    payer = str(_wallet().address).lower()
    if node is None:
        twin = MemoryChain(NETWORK, datetime(2026, 11, 22, tzinfo=UTC))
        twin.mint(USDC, payer, UNITS)

        async def mine_twin() -> None:
            twin.mine()

        yield Kit(MemoryChainClient(twin), payer, mine_twin)
        return
    client = EvmClient(node.url, NETWORK, provider_name="anvil")
    await client.open()
    async with LocalChain(node.url) as chain:
        await chain.deploy_tokens()
        await chain.mint(USDC, payer, UNITS)
        await chain.rpc("evm_setAutomine", False)
        yield Kit(client, payer, chain.mine)
    await client.close()


async def test_a_transfer_moves_money_once_however_often_it_is_broadcast(kit: Kit) -> None:
    raw = await kit.signed(400)
    nonce = await kit.client.transaction_count(kit.payer)
    for _ in range(3):
        await kit.client.broadcast(raw)
    assert await kit.client.transaction_count(kit.payer, pending=True) == nonce + 1
    assert await kit.client.transaction_count(kit.payer) == nonce
    assert await kit.client.receipt(_hash(raw)) is None
    await kit.mine()
    await kit.client.broadcast(raw)
    await kit.mine()
    receipt = await kit.client.receipt(_hash(raw))
    assert receipt is not None
    assert receipt.succeeded
    assert receipt.tx_hash == _hash(raw)
    assert receipt.transfers == ((USDC, kit.payer, PAYEE, 400),)
    assert await kit.client.head_number() == receipt.block_number + 1
    assert await kit.client.balance(USDC, PAYEE) == 400
    assert await kit.client.balance(USDC, kit.payer) == UNITS - 400
    assert await kit.client.transaction_count(kit.payer) == nonce + 1


async def test_a_transfer_beyond_the_balance_is_foreseen_and_fails_on_chain(kit: Kit) -> None:
    client = kit.client
    assert await client.simulate_transfer(USDC, kit.payer, PAYEE, UNITS) is None
    assert await client.simulate_transfer(USDC, kit.payer, PAYEE, UNITS + 1) is not None
    raw = await kit.signed(UNITS + 1)
    await client.broadcast(raw)
    await kit.mine()
    receipt = await client.receipt(_hash(raw))
    assert receipt is not None
    assert (receipt.succeeded, receipt.transfers) == (False, ())
    assert await client.balance(USDC, PAYEE) == 0


async def test_of_two_transfers_with_one_nonce_only_one_is_mined(kit: Kit) -> None:
    nonce = await kit.client.transaction_count(kit.payer)
    await kit.client.broadcast(await kit.signed(1, nonce))
    await kit.mine()
    await kit.client.broadcast(await kit.signed(2, nonce))
    await kit.mine()
    assert await kit.client.balance(USDC, PAYEE) == 1


async def test_there_is_gas_money_and_a_price(kit: Kit) -> None:
    fee, tip = await kit.client.fees()
    assert fee > tip >= 0
    assert await kit.client.native_balance(kit.payer) > 0


def _hash(raw: bytes) -> str:
    return "0x" + keccak(raw).hex()

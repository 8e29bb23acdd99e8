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
from adapters.memory.chain import FINAL_BLOCKS, MemoryChain
from adapters.memory.chain_client import MemoryChainClient
from application.outside import ChainClient
from domain.networks import Finality, Token, local_network
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
    drop: Callable[[int], Awaitable[None]]  # the newest blocks, for as many without transactions

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

        async def drop_twin(blocks: int) -> None:
            twin.reorg(blocks, keep=False)
            twin.mine(blocks)

        yield Kit(MemoryChainClient(twin), payer, mine_twin, drop_twin)
        return
    client = EvmClient(node.url, NETWORK, provider_name="anvil")
    await client.open()
    async with LocalChain(node.url) as chain:
        await chain.deploy_tokens()
        await chain.mint(USDC, payer, UNITS)
        await chain.rpc("evm_setAutomine", False)

        async def drop(blocks: int) -> None:
            await chain.rpc("anvil_reorg", blocks, [])

        yield Kit(client, payer, chain.mine, drop)
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


async def test_a_receipt_tells_what_was_paid_for_it_also_where_it_failed(kit: Kit) -> None:
    for units in (400, UNITS + 1):
        before = await kit.client.native_balance(kit.payer)
        raw = await kit.signed(units)
        fee, _ = await kit.client.fees()
        await kit.client.broadcast(raw)
        await kit.mine()
        receipt = await kit.client.receipt(_hash(raw))
        assert receipt is not None
        assert receipt.succeeded == (units == 400)
        assert 21_000 < receipt.gas_used <= 200_000
        assert 0 < receipt.effective_gas_price <= fee
        assert receipt.cost == receipt.gas_used * receipt.effective_gas_price
        spent = before - await kit.client.native_balance(kit.payer)
        assert spent in {0, receipt.cost}  # the twin's wallets never run dry


async def test_a_block_has_the_hash_that_its_receipts_name_until_it_is_gone(kit: Kit) -> None:
    raw = await kit.signed(1)
    await kit.client.broadcast(raw)
    await kit.mine()
    await kit.mine()
    receipt = await kit.client.receipt(_hash(raw))
    assert receipt is not None
    assert await kit.client.block_hash(receipt.block_number) == receipt.block_hash
    before = await kit.client.block_hash(receipt.block_number - 1)
    await kit.drop(2)
    assert await kit.client.receipt(_hash(raw)) is None
    there = await kit.client.block_hash(receipt.block_number)
    assert there is not None
    assert there != receipt.block_hash
    assert await kit.client.block_hash(receipt.block_number - 1) == before
    head = await kit.client.head_number()
    assert await kit.client.block_hash(head) is not None
    assert await kit.client.block_hash(head + 1) is None


@pytest.mark.parametrize("tag", ["safe", "finalized"])
async def test_what_the_chain_calls_final_follows_its_head(kit: Kit, tag: Finality) -> None:
    for _ in range(FINAL_BLOCKS):
        await kit.mine()
    named = await kit.client.tagged_number(tag)
    assert named is not None
    assert named <= await kit.client.head_number()
    for _ in range(3):
        await kit.mine()
    assert await kit.client.tagged_number(tag) == named + 3


async def test_there_is_gas_money_and_a_price(kit: Kit) -> None:
    fee, tip = await kit.client.fees()
    assert fee > tip >= 0
    assert await kit.client.native_balance(kit.payer) > 0


def _hash(raw: bytes) -> str:
    return "0x" + keccak(raw).hex()

"""Types of transactions that Ethereum has, mined by a real node in one block, and proved.

Without blobs, whose commitments take twenty seconds: tests/golden_blocks has a block with them.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from eth_account import Account
from eth_utils.address import to_checksum_address

from adapters.evm import EvmClient
from chain_ingest.proof import why_header_lies, why_receipts_lie
from domain.networks import Token, local_network
from gateway.embedded_anvil import MNEMONIC, Anvil
from gateway.local_chain import USDC, LocalChain

CHAIN_ID = 31337
NETWORK = local_network(
    chain_id=CHAIN_ID, tokens=(Token(symbol="USDC", address=USDC, decimals=6),), blocks=3
)
GWEI = 10**9
PAYEE = "0x" + "0d" * 20
TRANSFER = "0xa9059cbb" + PAYEE[2:].rjust(64, "0") + f"{5:064x}"

Account.enable_unaudited_hdwallet_features()


@pytest.fixture
async def chain(fresh_anvil: Anvil) -> AsyncIterator[LocalChain]:
    async with LocalChain(fresh_anvil.url) as chain:
        await chain.deploy_tokens()
        yield chain


@pytest.fixture
async def client(chain: LocalChain, fresh_anvil: Anvil) -> AsyncIterator[EvmClient]:
    client = EvmClient(fresh_anvil.url, NETWORK, provider_name="anvil")
    await client.open()
    yield client
    await client.close()


def payer(index: int) -> Any:
    return Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}")


def of_types(nonce: int) -> list[str]:
    """Signed transfers of USDC by the second account, each in its own kind of transaction."""
    account = payer(1)
    common = {
        "to": to_checksum_address(USDC),
        "data": TRANSFER,
        "value": 0,
        "gas": 200_000,
        "chainId": CHAIN_ID,
    }
    fees = {"maxFeePerGas": 50 * GWEI, "maxPriorityFeePerGas": GWEI}
    delegate = payer(2).sign_authorization(
        {"chainId": CHAIN_ID, "address": to_checksum_address(USDC), "nonce": 0}
    )
    access = ({"address": to_checksum_address(USDC), "storageKeys": ()},)
    kinds: list[dict[str, Any]] = [
        {"gasPrice": 50 * GWEI},
        {"gasPrice": 50 * GWEI, "accessList": access, "type": 1},
        {**fees, "type": 2},
        {**fees, "type": 4, "authorizationList": [delegate]},
    ]
    signed = []
    for offset, fields in enumerate(kinds):
        transaction = {**common, **fields, "nonce": nonce + offset}
        signed.append(account.sign_transaction(transaction).raw_transaction.to_0x_hex())
    return signed


async def test_receipts_of_a_real_block_of_mixed_types_are_proved(
    chain: LocalChain, client: EvmClient
) -> None:
    await chain.mint(USDC, payer(1).address, 100)
    nonce = int(await chain.rpc("eth_getTransactionCount", payer(1).address, "latest"), 16)
    await chain.rpc("evm_setAutomine", False)
    for raw in of_types(nonce):
        await chain.rpc("eth_sendRawTransaction", raw)
    await chain.mine()
    header = await client.header("latest")
    assert header is not None
    receipts = await client.receipts_of_block(header.hash)
    assert sorted(receipt.type for receipt in receipts) == [0, 1, 2, 4]
    assert [len(receipt.logs) for receipt in receipts] == [1] * 4
    assert why_header_lies(header) is None
    assert why_receipts_lie(header, receipts) is None

"""Answers of a node that are out of shape or out of all bounds are no answers."""

from functools import partial
from pathlib import Path

import orjson
import pytest

from adapters import evm_transport
from adapters.evm_decoding import EXTRA_BYTES_MAX, TRANSACTIONS_MAX
from application.ports import Unavailable
from chain_ingest.transfers import TRANSFER_TOPIC
from gateway.local_chain import USDC
from tests.adapters.test_evm import NOBODY, answering, served

GOLDEN = Path(__file__).parent.parent / "golden_blocks"


def test_only_receipts_and_logs_may_be_long() -> None:
    assert evm_transport.SMALL_BODY_BYTES_MAX < evm_transport.BODY_BYTES_MAX
    names_bytes = TRANSACTIONS_MAX * len('"0x",' + "00" * 32)
    extra_bytes = EXTRA_BYTES_MAX * 2
    assert names_bytes + extra_bytes + 100_000 < evm_transport.SMALL_BODY_BYTES_MAX


NEVER = hex(2**63)  # no block and no transaction was ever counted so far
RECIPIENT = "0x" + "dd" * 20
NO_DATA: tuple[object, ...] = (None, 5, True, [], "05", "0x1", "0xzz")
LOG = {
    "address": USDC,
    "blockHash": "0x" + "22" * 32,
    "blockNumber": "0x4",
    "transactionHash": "0x" + "11" * 32,
    "topics": ["0x" + TRANSFER_TOPIC.hex(), "0x" + "00" * 32, "0x" + "00" * 12 + "dd" * 20],
    "data": "0x" + "00" * 31 + "05",
}


async def test_a_log_of_the_right_shape_is_read_in_our_spelling() -> None:
    shouted = {**LOG, "blockHash": "0x" + "AB" * 32, "data": "0x" + "AB" * 32}
    async with served(answering([shouted])) as client:
        (entry,) = await client.logs_of_block("0x" + "22" * 32, [USDC], {RECIPIENT})
    assert (entry.block_number, entry.block_hash) == (4, "0x" + "ab" * 32)
    assert (entry.data, entry.address) == ("0x" + "ab" * 32, USDC.lower())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("data", wrong) for wrong in NO_DATA),
        *(("blockNumber", wrong) for wrong in (None, 4, NEVER, "0x" + "f" * 64)),
        *(("blockHash", wrong) for wrong in (None, 1, "0x", "0x11")),
        ("transactionHash", "0x" + "11" * 31),
        ("address", {}),
        ("topics", 7),
        ("topics", [LOG["topics"][0], 5, LOG["topics"][2]]),
    ],
)
async def test_a_log_of_the_wrong_shape_is_unavailable(field: str, value: object) -> None:
    async with served(answering([{**LOG, field: value}])) as client:
        with pytest.raises(Unavailable, match="wrong shape"):
            await client.logs_of_block("0x" + "22" * 32, [USDC], {RECIPIENT})


def header_json(**changed: object) -> dict[str, object]:
    """A real block, with some of its fields changed."""
    golden = GOLDEN / "geth_cancun_20.json"
    block: dict[str, object] = orjson.loads(golden.read_bytes())["block"]
    return {**block, **changed}


@pytest.mark.parametrize(
    "changed",
    [
        {"number": NEVER},
        {"number": hex(2**64)},
        {"number": "0x" + "f" * 64},
        {"extraData": "0x" + "00" * (EXTRA_BYTES_MAX + 1)},
        {"transactions": ["0x" + "11" * 32] * (TRANSACTIONS_MAX + 1)},
    ],
    ids=str,
)
async def test_a_header_beyond_all_bounds_is_unavailable(changed: dict[str, object]) -> None:
    async with served(answering(header_json())) as client:
        assert await client.header("latest") is not None
    async with served(answering(header_json(**changed))) as client:
        with pytest.raises(Unavailable, match=r"wrong shape|more than"):
            await client.header("latest")


@pytest.mark.parametrize(
    "result", [None, 5, True, [], {}, "", "0x", "five", "0x5g", "0x" + "f" * 65]
)
async def test_a_number_of_the_wrong_shape_is_unavailable(result: object) -> None:
    async with served(answering(result)) as client:
        for asking in (
            client.chain_id,
            client.head_number,
            partial(client.transaction_count, NOBODY),
            partial(client.native_balance, NOBODY),
            partial(client.balance, USDC, NOBODY),
            partial(client.balances, "0x" + "22" * 32, [(USDC, NOBODY)]),
        ):
            with pytest.raises(Unavailable):
                await asking()


async def test_numbers_that_the_store_cannot_hold_are_unavailable() -> None:
    place = {"blockNumber": NEVER, "blockHash": "0x" + "22" * 32}
    async with served(answering(NEVER)) as client:
        for asking in (client.head_number, partial(client.transaction_count, NOBODY)):
            with pytest.raises(Unavailable, match="wrong shape"):
                await asking()
        assert await client.native_balance(NOBODY) == 2**63, "of money there may be more"
    async with served(answering(place)) as client:
        with pytest.raises(Unavailable, match="wrong shape"):
            await client.transaction_place("0x" + "11" * 32)


async def test_a_word_that_is_no_number_is_unavailable() -> None:
    async with served(answering("0x" + "zz" * 32)) as client:
        for asking in (
            partial(client.balance, USDC, NOBODY),
            partial(client.simulate_transfer, USDC, NOBODY, NOBODY, 1),
        ):
            with pytest.raises(Unavailable, match="wrong shape"):
                await asking()

"""Headers and receipts prove themselves, and any change to them shows."""

from dataclasses import fields, replace
from typing import Any

import pytest

from adapters.memory.chain import MemoryBlock
from adapters.memory.chain_encoding import bloom_of, transfer_log
from application.chain_source import Header
from chain_ingest.proof import (
    header_hash,
    may_have_logged,
    why_header_lies,
    why_receipts_lie,
)
from chain_ingest.transfers import TRANSFER_TOPIC
from tests.chain_ingest.world import DEPOSIT, FAKE, PAYER, USDC, World

UNHASHED = {"hash", "transactions"}


def block_with(payments: int) -> MemoryBlock:
    world = World()
    for number in range(payments):
        world.pay(number + 1)
    return world.chain.mine()


@pytest.mark.parametrize("payments", [0, 1, 2, 127, 128, 129, 300])
def test_a_true_block_is_proved(payments: int) -> None:
    block = block_with(payments)
    assert why_header_lies(block.header) is None
    assert why_receipts_lie(block.header, block.receipts) is None


HASHED = sorted({each.name for each in fields(Header)} - UNHASHED)
PRAGUE: dict[str, Any] = {
    "withdrawals_root": b"\x01" * 32,
    "blob_gas_used": 2,
    "excess_blob_gas": 3,
    "parent_beacon_root": b"\x04" * 32,
    "requests_hash": b"\x05" * 32,
}


@pytest.mark.parametrize("name", HASHED)
def test_a_change_of_any_hashed_field_shows(name: str) -> None:
    header = replace(block_with(1).header, **PRAGUE)
    value = getattr(header, name)
    changed: dict[str, Any] = {name: value + 1 if isinstance(value, int) else _bent(value)}
    assert header_hash(replace(header, **changed)) != header_hash(header)


def _bent(value: str | bytes) -> str | bytes:
    return "0x" + "77" * 32 if isinstance(value, str) else b"\x77" * max(len(value), 1)


def test_a_header_that_does_not_hash_to_its_name_lies() -> None:
    header = block_with(0).header
    assert why_header_lies(replace(header, gas_used=1)) is not None
    assert why_header_lies(replace(header, hash="0x" + "00" * 32)) is not None


def test_a_forged_amount_shows() -> None:
    block = block_with(3)
    forged = (transfer_log(USDC, PAYER, DEPOSIT, 10**12),)
    receipts = (replace(block.receipts[0], logs=forged), *block.receipts[1:])
    assert "root" in str(why_receipts_lie(block.header, receipts))


def test_a_dropped_log_shows() -> None:
    block = block_with(2)
    receipts = (replace(block.receipts[0], logs=()), block.receipts[1])
    assert why_receipts_lie(block.header, receipts) is not None


def test_a_dropped_receipt_and_a_renamed_transaction_show() -> None:
    block = block_with(2)
    assert why_receipts_lie(block.header, block.receipts[:1]) is not None
    renamed = replace(block.receipts[1], tx_hash="0x" + "99" * 32)
    assert "transactions" in str(why_receipts_lie(block.header, (block.receipts[0], renamed)))


def test_the_bloom_never_denies_what_was_logged() -> None:
    token = bytes.fromhex(USDC[2:])
    bloom = bloom_of([transfer_log(USDC, PAYER, DEPOSIT, 1)])
    assert may_have_logged(bloom, [token], TRANSFER_TOPIC)
    assert not may_have_logged(bloom, [bytes.fromhex(FAKE[2:])], TRANSFER_TOPIC)
    assert not may_have_logged(bytes(256), [token], TRANSFER_TOPIC)

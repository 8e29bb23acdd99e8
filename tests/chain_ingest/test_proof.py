"""Headers and receipts prove themselves, and any change to them shows."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import pytest

from adapters.memory.chain import MemoryBlock
from adapters.memory.chain_encoding import bloom_of, transfer_log
from application.chain_source import Header, TxReceipt
from chain_ingest.proof import (
    header_hash,
    may_have_logged,
    why_header_lies,
    why_receipts_lie,
)
from chain_ingest.providers import Providers
from chain_ingest.transfers import TRANSFER_TOPIC
from tests.chain_ingest.world import DEPOSIT, FAKE, LOCAL, PAYER, USDC, World

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


ROOT = b"\x07" * 32
AMSTERDAM: dict[str, Any] = {
    "withdrawals_root": ROOT,
    "blob_gas_used": 2,
    "excess_blob_gas": 3,
    "parent_beacon_root": ROOT,
    "requests_hash": ROOT,
    "block_access_list_hash": ROOT,
    "slot_number": 4,
}
HELICON: dict[str, Any] = {
    "ext_data_hash": ROOT,
    "ext_data_gas_used": 1,
    "block_gas_cost": 2,
    "blob_gas_used": 3,
    "excess_blob_gas": 4,
    "parent_beacon_root": ROOT,
    "timestamp_milliseconds": 5,
    "min_delay_excess": 6,
    "target_exponent": 7,
    "min_price_exponent": 8,
    "settled_height": 9,
    "settled_gas_unix": 10,
    "settled_gas_numerator": 11,
    "settled_excess": 12,
}
ALL = {each.name for each in fields(Header)} - UNHASHED
SINCE_LONDON = set(AMSTERDAM) | set(HELICON)
FORMS = {
    "ethereum": (AMSTERDAM, ALL - SINCE_LONDON | set(AMSTERDAM)),
    "avalanche": (HELICON, ALL - SINCE_LONDON | set(HELICON)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_change_of_any_hashed_field_shows(form: str) -> None:
    younger, hashed = FORMS[form]
    header = replace(block_with(1).header, **younger)
    for name in sorted(hashed):
        value = getattr(header, name)
        changed: dict[str, Any] = {name: value + 1 if isinstance(value, int) else _bent(value)}
        assert header_hash(replace(header, **changed)) != header_hash(header), name


def test_every_field_of_a_header_is_hashed_in_one_of_the_forms() -> None:
    assert set.union(*(hashed for _, hashed in FORMS.values())) == ALL


@pytest.mark.parametrize("form", FORMS)
def test_a_field_that_is_missing_before_younger_ones_is_not_skipped(form: str) -> None:
    younger, _ = FORMS[form]
    header = replace(block_with(1).header, **younger)
    absent: list[dict[str, Any]] = [{name: None} for name in younger if name != "ext_data_hash"]
    shorter = [replace(header, **each) for each in absent]
    hashes = [header_hash(each) for each in (header, *shorter)]
    assert len(set(hashes)) == len(hashes)


def _bent(value: str | bytes) -> str | bytes:
    return "0x" + "77" * 32 if isinstance(value, str) else b"\x77" * max(len(value), 1)


def test_a_header_that_does_not_hash_to_its_name_lies() -> None:
    header = block_with(0).header
    assert why_header_lies(replace(header, gas_used=1)) is not None
    assert why_header_lies(replace(header, hash="0x" + "00" * 32)) is not None


@pytest.mark.parametrize("bit", [0, 1, 7, 8, 255])
def test_one_bit_of_any_hash_of_a_header_shows(bit: int) -> None:
    header = block_with(1).header
    for name in ("state_root", "transactions_root", "receipts_root", "mix_hash", "ommers_hash"):
        flipped = bytearray(getattr(header, name))
        flipped[bit // 8] ^= 1 << bit % 8
        changed: dict[str, Any] = {name: bytes(flipped)}
        assert why_header_lies(replace(header, **changed)) is not None


def test_a_bloom_of_all_ones_or_all_zeros_shows_in_header_and_receipt() -> None:
    block = block_with(3)
    for bloom in (b"\xff" * 256, bytes(256)):
        assert why_header_lies(replace(block.header, logs_bloom=bloom)) is not None
        lying = (replace(block.receipts[0], logs_bloom=bloom), *block.receipts[1:])
        assert "root" in str(why_receipts_lie(block.header, lying))


def test_a_forged_amount_shows() -> None:
    block = block_with(3)
    forged = (transfer_log(USDC, PAYER, DEPOSIT, 10**12),)
    receipts = (replace(block.receipts[0], logs=forged), *block.receipts[1:])
    assert "root" in str(why_receipts_lie(block.header, receipts))


def test_a_dropped_log_shows() -> None:
    block = block_with(2)
    receipts = (replace(block.receipts[0], logs=()), block.receipts[1])
    assert why_receipts_lie(block.header, receipts) is not None


def test_an_added_log_shows() -> None:
    block = block_with(2)
    added = (*block.receipts[0].logs, transfer_log(USDC, PAYER, DEPOSIT, 5))
    receipts = (replace(block.receipts[0], logs=added), block.receipts[1])
    assert "root" in str(why_receipts_lie(block.header, receipts))


def test_logs_in_another_order_or_in_another_receipt_show() -> None:
    world = World()
    world.pay(1)
    world.pay(2)
    block = world.chain.mine()
    first, second = block.receipts
    moved = (replace(first, logs=()), replace(second, logs=(*first.logs, *second.logs)))
    assert "root" in str(why_receipts_lie(block.header, moved))
    swapped = (replace(first, logs=second.logs), replace(second, logs=first.logs))
    assert "root" in str(why_receipts_lie(block.header, swapped))


def test_another_status_shows() -> None:
    block = block_with(2)
    receipts = (replace(block.receipts[0], status=0), block.receipts[1])
    assert "root" in str(why_receipts_lie(block.header, receipts))


def test_another_type_shows() -> None:
    block = block_with(2)
    for kind in (0, 1, 3, 0x7E):
        receipts = (replace(block.receipts[0], type=kind), block.receipts[1])
        assert "root" in str(why_receipts_lie(block.header, receipts))


def test_a_deposit_s_numbers_cannot_be_added_to_a_receipt() -> None:
    block = block_with(1)
    receipts = (replace(block.receipts[0], deposit=(1, 1)),)
    assert "root" in str(why_receipts_lie(block.header, receipts))


def test_receipts_in_another_order_show_even_under_the_right_names() -> None:
    block = block_with(3)
    turned = block.receipts[::-1]
    assert "transactions" in str(why_receipts_lie(block.header, turned))
    named = zip(turned, block.header.transactions, strict=True)
    renamed = tuple(replace(receipt, tx_hash=tx_hash) for receipt, tx_hash in named)
    assert "root" in str(why_receipts_lie(block.header, renamed))


def test_swapped_transaction_hashes_show() -> None:
    block = block_with(2)
    first, second = block.receipts
    swapped = (
        replace(first, tx_hash=second.tx_hash),
        replace(second, tx_hash=first.tx_hash),
    )
    assert "transactions" in str(why_receipts_lie(block.header, swapped))


def test_receipts_of_another_block_show() -> None:
    world = World()
    blocks = []
    for units in (1, 2):
        world.pay(units)
        blocks.append(world.chain.mine())
    here, there = blocks
    assert why_receipts_lie(here.header, there.receipts) is not None
    named = tuple(
        replace(receipt, tx_hash=tx_hash)
        for receipt, tx_hash in zip(there.receipts, here.header.transactions, strict=True)
    )
    assert "root" in str(why_receipts_lie(here.header, named))


def test_bytes_cannot_wander_between_the_fields_of_a_log() -> None:
    """Each field is encoded with its length: no other fields give the same bytes."""
    block = block_with(1)
    (log,) = block.receipts[0].logs
    wandered = (
        replace(log, address=log.address + b"\xf8"),
        replace(log, topics=log.topics[:2], data=log.topics[2] + log.data),
        replace(log, topics=(log.topics[0] + log.topics[1], log.topics[2])),
        replace(log, topics=(), data=b"".join(log.topics) + log.data),
    )
    for other in wandered:
        receipts = (replace(block.receipts[0], logs=(other,)),)
        assert "root" in str(why_receipts_lie(block.header, receipts))


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


def swapped_header(header: Header) -> Header:
    return replace(header, transactions=header.transactions[::-1])


def swapped_names(receipts: Sequence[TxReceipt]) -> Sequence[TxReceipt]:
    names = [receipt.tx_hash for receipt in receipts][::-1]
    return [replace(each, tx_hash=name) for each, name in zip(receipts, names, strict=True)]


async def test_transactions_swapped_in_block_and_receipts_alike_are_outvoted() -> None:
    """No root that we compute covers the names: only a second provider shows the swap."""
    world = World(sources=3)
    world.pay(1)
    world.pay(2)
    block = world.chain.mine()
    liar = world.sources[0]
    liar.bends, liar.forges = swapped_header, swapped_names
    alone = swapped_header(block.header)
    assert why_receipts_lie(alone, tuple(swapped_names(block.receipts))) is None
    providers = Providers(LOCAL, world.sources, world.clock)
    agreed = await providers.agreed(block.header.number)
    assert agreed.attested
    assert agreed.header.transactions == block.header.transactions
    assert await providers.proved_receipts(agreed.header) == block.receipts

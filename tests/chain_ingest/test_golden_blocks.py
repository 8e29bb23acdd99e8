"""Real blocks of the networks we list hash to their names; receipts of every kind to their root.

Where the blocks are from, and what of them is missing, is in tests/golden_blocks/README.md.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_hash.auto import keccak

from adapters.evm_decoding import decode_header, decode_logs, decode_receipts
from application.chain_source import Header
from chain_ingest.proof import (
    block_may_have_logged,
    receipts_root,
    why_header_lies,
    why_receipts_lie,
)
from tests.chain_ingest import independent as other

GOLDEN = {
    path.stem: json.loads(path.read_text())
    for path in sorted((Path(__file__).parents[1] / "golden_blocks").glob("*.json"))
}
WITH_RECEIPTS = [name for name, golden in GOLDEN.items() if "receipts" in golden]
HELICON = "avalanche_fuji_58917766"
SIGNER_AS_MINER = "polygon_mainnet_18524423"


def header_of(name: str) -> Header:
    return decode_header({"transactions": [], **GOLDEN[name]["block"]})


def test_there_are_blocks_of_every_network_we_list() -> None:
    networks = {name.split("_")[0] for name in GOLDEN}
    ours = {"ethereum", "polygon", "base", "op", "arbitrum", "avalanche"}
    assert networks == ours | {"geth", "anvil"}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_real_header_hashes_to_its_name(name: str) -> None:
    assert why_header_lies(header_of(name)) is None


@pytest.mark.parametrize("name", GOLDEN)
def test_a_real_header_with_any_of_its_fields_changed_does_not(name: str) -> None:
    block = {"transactions": [], **GOLDEN[name]["block"]}
    told = decode_header(block)
    unhashed = {"transactions", "hash"}
    if name == SIGNER_AS_MINER or not any(told.beneficiary):
        unhashed.add("miner")  # where the header names nobody, a node may tell of the signer
    texts = [field for field in block if isinstance(block[field], str) and field not in unhashed]
    bent = [decode_header({**block, field: _last_digit_changed(block[field])}) for field in texts]
    changed = [header for header in bent if header != told]  # some fields are nobody's: `size`
    assert len(changed) >= 14
    assert all(why_header_lies(header) for header in changed)


def _last_digit_changed(text: str) -> str:
    if text == "0x":
        return "0x01"
    return text[:-1] + ("1" if text[-1] != "1" else "2")


@pytest.mark.parametrize("name", WITH_RECEIPTS)
def test_the_receipts_of_a_real_block_prove_themselves(name: str) -> None:
    receipts = decode_receipts(GOLDEN[name]["receipts"])
    assert why_receipts_lie(header_of(name), receipts) is None


def test_a_signer_told_instead_of_no_beneficiary_is_no_lie() -> None:
    header = header_of(SIGNER_AS_MINER)
    assert any(header.beneficiary)
    assert why_header_lies(replace(header, beneficiary=bytes(20))) is None
    # Elsewhere the beneficiary is part of the hash.
    mainnet = header_of("ethereum_mainnet_26050794")
    assert why_header_lies(replace(mainnet, beneficiary=bytes(20))) is not None


def test_a_chain_that_executes_later_is_neither_skipped_by_its_bloom_nor_proved_by_its_root() -> (
    None
):
    header = header_of(HELICON)
    assert header.gas_used > 0
    assert not any(header.logs_bloom)
    assert block_may_have_logged(header, [b"\xaa" * 20], b"\x01" * 32)
    assert "older blocks" in str(why_receipts_lie(header, ()))
    london = replace(header, settled_height=None)
    assert not block_may_have_logged(london, [b"\xaa" * 20], b"\x01" * 32)


@pytest.mark.parametrize("name", sorted(GOLDEN.keys() - {HELICON}))
def test_no_provider_can_tell_of_a_settled_height_that_is_not_in_the_hash(name: str) -> None:
    """Else it could have a block's receipts proved by the root of another block."""
    block = {"transactions": [], **GOLDEN[name]["block"], "settledHeight": "0x1"}
    assert why_header_lies(decode_header(block)) is not None


# ---------------------------------------------------------------- synthetic, encoded elsewhere

ETHEREUM = {"legacy": 0, "2930": 1, "1559": 2, "4844": 3, "7702": 4}
ARBITRUM = {"deposit": 0x64, "unsigned": 0x65, "contract": 0x66, "retry": 0x68}
ARBITRUM |= {"submit retryable": 0x69, "internal": 0x6A, "arbitrum legacy": 0x78}
KINDS = {**ETHEREUM, **ARBITRUM, "bor state sync": 0x7F}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_receipt_of_this_type_is_proved(kind: int) -> None:
    told = [
        other.receipt(0, 2),
        other.receipt(1, kind, [other.transfer(7)], effectiveGasPrice="0x1"),
    ]
    block = other.block(told)
    header = decode_header(block)
    assert why_header_lies(header) is None
    assert why_receipts_lie(header, decode_receipts(other.placed(told))) is None


def test_deposits_of_the_op_stack_are_proved_with_nonce_and_version_and_before_canyon() -> None:
    canyon = [other.receipt(0, 0x7E, depositNonce="0x6b", depositReceiptVersion="0x1")]
    assert receipts_root(decode_receipts(other.placed(canyon))).hex() == other.root(canyon)[2:]
    regolith = [other.receipt(0, 0x7E, depositNonce="0x6b")]  # told, and in no root
    assert receipts_root(decode_receipts(other.placed(regolith))).hex() == other.root(regolith)[2:]
    version_gone = [{**canyon[0], "depositReceiptVersion": None}]
    assert (
        receipts_root(decode_receipts(other.placed(version_gone, other.block(canyon)))).hex()
        != other.root(canyon)[2:]
    )


def test_a_missing_bloom_is_made_from_the_logs() -> None:
    told = [other.receipt(0, 0x6A), other.receipt(1, 2, [other.transfer(7), other.transfer(8)])]
    without = [{k: v for k, v in each.items() if k != "logsBloom"} for each in told]
    assert (
        why_receipts_lie(
            decode_header(other.block(told)),
            decode_receipts(other.placed(without, other.block(told))),
        )
        is None
    )


# ---------------------------------------------------------------- what Bor shows beside a block


def state_sync(block: dict[str, Any], logs: list[dict[str, Any]]) -> dict[str, Any]:
    """As bor's own tests show it: type 0, nobody to nobody, the gas of the one before."""
    number, block_hash = int(block["number"], 16), bytes.fromhex(block["hash"][2:])
    name = keccak(b"matic-bor-receipt-" + number.to_bytes(8, "big") + block_hash)
    nobody = "0x" + "00" * 20
    return {
        **other.receipt(len(block["transactions"]), 0, logs),
        "cumulativeGasUsed": block["gasUsed"],
        "transactionHash": "0x" + name.hex(),
        "blockHash": block["hash"],
        "blockNumber": block["number"],
        "from": nobody,
        "to": nobody,
    }


def test_the_name_of_a_state_sync_is_the_one_bor_gives_it() -> None:
    block = {
        "number": "0x5",
        "hash": "0xd0f301420671b146217cc19eb8839fa85e2949ce6c85f39f8a01d77a60d5a3f8",
        "gasUsed": "0xe01c",
        "transactions": ["0x" + "00" * 32],
    }
    named = "0xb17b0f0829a178e7301fd9161ef0e09e4bebb950d48169c175fdb1ca5927fc8e"
    assert state_sync(block, [])["transactionHash"] == named


@pytest.mark.parametrize("count", [0, 1, 3])
def test_before_pip_74_a_state_sync_beside_the_block_is_not_believed(count: int) -> None:
    told = [other.receipt(index, 2, [other.transfer(index + 1)]) for index in range(count)]
    block = other.block(told)
    beside = state_sync(block, [other.transfer(10**12)])  # a bridge's mint, or a lie
    shown = {**block, "transactions": [*block["transactions"], beside["transactionHash"]]}
    receipts = decode_receipts([*other.placed(told, block), beside])
    assert decode_header(shown) == decode_header(block), "nodes that show it agree with the others"
    assert [each.tx_hash for each in receipts] == block["transactions"]
    assert why_receipts_lie(decode_header(shown), receipts) is None


def test_before_pip_74_the_logs_of_a_state_sync_are_nobody_s_word_for_anything() -> None:
    """Else whoever shows them would be taken for a liar: no receipt holds them."""
    block = other.block([other.receipt(0, 2)])
    beside = state_sync(block, [other.transfer(10**12)])
    true = {**beside, "transactionHash": block["transactions"][0]}
    logs = [{**other.transfer(10**12), **_place(beside)}, {**other.transfer(3), **_place(true)}]
    told = decode_logs(logs, None)
    assert [entry.tx_hash for entry in told.entries] == block["transactions"]


def _place(receipt: dict[str, Any]) -> dict[str, Any]:
    return {name: receipt[name] for name in ("blockNumber", "blockHash", "transactionHash")}


def test_the_name_of_another_block_s_state_sync_is_no_way_past_the_root() -> None:
    block = other.block([other.receipt(0, 2)])
    elsewhere = {**block, "number": "0x7c"}
    beside = {**state_sync(elsewhere, [other.transfer(10**12)]), "blockNumber": block["number"]}
    shown = {**block, "transactions": [*block["transactions"], beside["transactionHash"]]}
    receipts = decode_receipts([*other.placed([other.receipt(0, 2)], block), beside])
    assert len(receipts) == 2
    assert why_receipts_lie(decode_header(shown), receipts) is not None


def test_since_pip_74_a_state_sync_is_in_the_block_and_proved() -> None:
    told = [other.receipt(0, 2), other.receipt(1, 0x7F, [other.transfer(5)])]
    block = other.block(told)
    receipts = decode_receipts(other.placed(told, block))
    assert why_receipts_lie(decode_header(block), receipts) is None
    assert why_receipts_lie(decode_header(block), receipts[:1]) is not None
    forged = replace(receipts[1], logs=())
    assert why_receipts_lie(decode_header(block), (receipts[0], forged)) is not None

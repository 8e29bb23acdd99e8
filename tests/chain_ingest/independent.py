"""Receipts as JSON-RPC tells them, and their root by other libraries than the proof's own.

For the kinds of which no public block with all its receipts was found. Encoded by `rlp` and
`trie`, from the JSON, so that neither our decoding nor our encoding is used.
"""

from collections.abc import Sequence
from typing import Any

import rlp
from eth_hash.auto import keccak
from trie.hexary import HexaryTrie

Json = dict[str, Any]
TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
TOKEN, PAYER, PAYEE = "0x" + "aa" * 20, "0x" + "11" * 20, "0x" + "dd" * 20


def transfer(units: int) -> Json:
    topics = [TRANSFER, *("0x" + "00" * 12 + address[2:] for address in (PAYER, PAYEE))]
    return {"address": TOKEN, "topics": topics, "data": f"0x{units:064x}"}


def receipt(index: int, kind: int, logs: Sequence[Json] = (), **more: Any) -> Json:
    return {
        "transactionHash": f"0x{0x1000 + index:064x}",
        "transactionIndex": hex(index),
        "type": hex(kind),
        "status": "0x1",
        "cumulativeGasUsed": hex(50_000 * (index + 1)),
        "gasUsed": "0xc350",
        "logsBloom": "0x" + bloom(logs).hex(),
        "logs": list(logs),
        **more,
    }


def bloom(logs: Sequence[Json]) -> bytes:
    bits = 0
    for log in logs:
        for item in (log["address"], *log["topics"]):
            digest = keccak(bytes.fromhex(item[2:]))
            for start in (0, 2, 4):
                bits |= 1 << (int.from_bytes(digest[start : start + 2], "big") % 2048)
    return bits.to_bytes(256, "big")


def root(receipts: Sequence[Json]) -> str:
    trie = HexaryTrie({})
    for index, each in enumerate(receipts):
        trie[rlp.encode(index)] = encoded(each)
    return "0x" + bytes(trie.root_hash).hex()


def encoded(each: Json) -> bytes:
    body: list[Any] = [
        int(each["status"], 16),
        int(each["cumulativeGasUsed"], 16),
        raw(each["logsBloom"]),
        [
            [raw(log["address"]), [raw(t) for t in log["topics"]], raw(log["data"])]
            for log in each["logs"]
        ],
    ]
    if "depositReceiptVersion" in each:
        body += [int(each["depositNonce"], 16), int(each["depositReceiptVersion"], 16)]
    kind = int(each["type"], 16)
    return (bytes([kind]) if kind else b"") + bytes(rlp.encode(body))


def raw(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def block(receipts: Sequence[Json], **more: Any) -> Json:
    """A London header over these receipts, hashed by the library."""
    fields: Json = {
        "parentHash": "0x" + "01" * 32,
        "sha3Uncles": "0x" + "02" * 32,
        "miner": "0x" + "03" * 20,
        "stateRoot": "0x" + "04" * 32,
        "transactionsRoot": "0x" + "05" * 32,
        "receiptsRoot": root(receipts),
        "logsBloom": "0x" + bloom([log for each in receipts for log in each["logs"]]).hex(),
        "difficulty": "0x0",
        "number": "0x7b",
        "gasLimit": "0x1c9c380",
        "gasUsed": receipts[-1]["cumulativeGasUsed"] if receipts else "0x0",
        "timestamp": "0x66000000",
        "extraData": "0x",
        "mixHash": "0x" + "00" * 32,
        "nonce": "0x" + "00" * 8,
        "baseFeePerGas": "0x7",
        **more,
    }
    quantities = {"difficulty", "number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas"}
    items = [int(v, 16) if k in quantities else raw(v) for k, v in fields.items()]
    fields["hash"] = "0x" + keccak(rlp.encode(items)).hex()
    fields["transactions"] = [each["transactionHash"] for each in receipts]
    return fields


def placed(receipts: Sequence[Json], inside: Json | None = None) -> list[Json]:
    """With the block that each receipt says it is in."""
    told = inside or block(receipts)
    return [
        {**each, "blockHash": told["hash"], "blockNumber": told["number"]} for each in receipts
    ]

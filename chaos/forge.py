"""Blocks that never were, yet prove themselves: right hashes, roots and blooms.

Shapes  `fake_branch` goes on from a real block with blocks whose every transaction pays a watched
        address. Transactions are well-formed bytes with a signature that belongs to nobody.
        The encoder is this file's own and shares nothing with chain_ingest/proof.py, so a
        mistake there is not repeated here.
Source  Yellow Paper 4.3 and appendix D; EIP-2718, EIP-1559; header fields as of Prague.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

import rlp
from eth_utils.crypto import keccak
from trie.hexary import HexaryTrie

from chaos.mirror import Block, Json

TRANSFER = keccak(text="Transfer(address,address,uint256)")
_FIELDS = (
    *("parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot"),
    *("logsBloom", "difficulty", "number", "gasLimit", "gasUsed", "timestamp", "extraData"),
    *("mixHash", "nonce", "baseFeePerGas", "withdrawalsRoot", "blobGasUsed", "excessBlobGas"),
    *("parentBeaconBlockRoot", "requestsHash"),
)
_INTEGERS = frozenset(
    (
        *("difficulty", "number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas"),
        *("blobGasUsed", "excessBlobGas"),
    )
)
TRANSFER_GAS = 51_456
TRANSFERS_MAX = 3


def header_hash(header: Json) -> str:
    items = [
        _integer(int(header[name], 16)) if name in _INTEGERS else _octets(header[name])
        for name in _FIELDS
        if header.get(name) is not None
    ]
    return "0x" + keccak(rlp.encode(items)).hex()


def fake_branch(
    parent: Block, length: int, victims: Sequence[str], tokens: Sequence[str], rng: Random
) -> list[Block]:
    branch: list[Block] = []
    for _ in range(length):
        parent = _fake_block(parent, victims, tokens, rng)
        branch.append(parent)
    return branch


def _fake_block(
    parent: Block, victims: Sequence[str], tokens: Sequence[str], rng: Random
) -> Block:
    raws, receipts = [], []
    for index in range(rng.randint(1, TRANSFERS_MAX)):
        raw = _fake_transaction(parent, index, rng)
        raws.append(raw)
        receipts.append(_fake_receipt(raw, index, rng.choice(victims), rng.choice(tokens), rng))
    header = dict(parent.header)
    header |= {
        "parentHash": parent.hash,
        "number": hex(parent.number + 1),
        "timestamp": hex(int(parent.header["timestamp"], 16) + 12),
        "miner": "0x" + rng.randbytes(20).hex(),
        "stateRoot": "0x" + rng.randbytes(32).hex(),
        "mixHash": "0x" + rng.randbytes(32).hex(),
        "transactionsRoot": "0x" + _root(raws).hex(),
        "receiptsRoot": "0x" + _root([_encoded(receipt) for receipt in receipts]).hex(),
        "logsBloom": "0x" + _union(receipt["logsBloom"] for receipt in receipts),
        "gasUsed": receipts[-1]["cumulativeGasUsed"],
        "transactions": ["0x" + keccak(raw).hex() for raw in raws],
    }
    header["hash"] = header_hash(header)
    for receipt in receipts:
        _place(receipt, header)
    return Block(header, receipts)


def _fake_transaction(parent: Block, index: int, rng: Random) -> bytes:
    fields: list[Any] = [
        *(_integer(31337), _integer(parent.number + index), _integer(10**9), _integer(2 * 10**10)),
        *(_integer(200_000), rng.randbytes(20), b"", rng.randbytes(68), []),
        *(b"\x01", b"\x7f" + rng.randbytes(31), b"\x7f" + rng.randbytes(31)),
    ]
    return b"\x02" + bytes(rlp.encode(fields))


def _fake_receipt(raw: bytes, index: int, victim: str, token: str, rng: Random) -> Json:
    topics = [
        TRANSFER,
        bytes(12) + rng.randbytes(20),
        bytes(12) + bytes.fromhex(victim.removeprefix("0x")),
    ]
    log: Json = {
        "address": token,
        "topics": ["0x" + topic.hex() for topic in topics],
        "data": f"0x{rng.randint(1, 10**9):064x}",
        "logIndex": hex(index),
        "removed": False,
    }
    bloom = _bloom([bytes.fromhex(token.removeprefix("0x")), *topics])
    return {
        "type": "0x2",
        "status": "0x1",
        "cumulativeGasUsed": hex(TRANSFER_GAS * (index + 1)),
        "logs": [log],
        "logsBloom": "0x" + bloom.hex(),
        "transactionHash": "0x" + keccak(raw).hex(),
        "transactionIndex": hex(index),
        "gasUsed": hex(TRANSFER_GAS),
        "effectiveGasPrice": "0x3b9ace43",
        "from": "0x" + topics[1][12:].hex(),
        "to": token,
        "contractAddress": None,
    }


def _place(receipt: Json, header: Json) -> None:
    where = {"blockHash": header["hash"], "blockNumber": header["number"]}
    receipt |= where
    where |= {
        "transactionHash": receipt["transactionHash"],
        "transactionIndex": receipt["transactionIndex"],
        "blockTimestamp": header["timestamp"],
    }
    receipt["logs"] = [log | where for log in receipt["logs"]]


def _encoded(receipt: Json) -> bytes:
    logs = [
        [
            _octets(log["address"]),
            [_octets(topic) for topic in log["topics"]],
            _octets(log["data"]),
        ]
        for log in receipt["logs"]
    ]
    body = [
        _integer(int(receipt["status"], 16)),
        _integer(int(receipt["cumulativeGasUsed"], 16)),
        _octets(receipt["logsBloom"]),
        logs,
    ]
    return bytes([int(receipt["type"], 16)]) + bytes(rlp.encode(body))


def _root(items: Sequence[bytes]) -> bytes:
    trie = HexaryTrie({})
    for index, item in enumerate(items):
        trie[rlp.encode(index)] = item
    return bytes(trie.root_hash)


def blooms(bloom: bytes, item: bytes) -> bool:
    """Whether something with this item may have been logged; False is certain."""
    bits = _bits(item)
    return int.from_bytes(bloom, "big") & bits == bits


def _bloom(items: Sequence[bytes]) -> bytes:
    bits = 0
    for item in items:
        bits |= _bits(item)
    return bits.to_bytes(256, "big")


def _bits(item: bytes) -> int:
    bits, digest = 0, keccak(item)
    for start in (0, 2, 4):
        bits |= 1 << (int.from_bytes(digest[start : start + 2], "big") & 2047)
    return bits


def _union(blooms: Any) -> str:
    bits = 0
    for bloom in blooms:
        bits |= int(bloom, 16)
    return f"{bits:0512x}"


def _octets(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _integer(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")

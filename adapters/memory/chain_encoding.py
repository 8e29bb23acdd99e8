"""How a node makes hashes, roots and blooms: the twin's side, apart from chain_ingest/proof.py.

Written a second time on purpose: what proves and what is proved must not share a mistake. Both
are held against a real node in the tests.
"""

from collections.abc import Iterable, Sequence

import rlp
from eth_hash.auto import keccak
from trie.hexary import HexaryTrie

from application.chain_source import Header, ReceiptLog, TxReceipt

TRANSFER_TOPIC = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
EMPTY_LIST_HASH = bytes(keccak(rlp.encode([])))
_BLOOM_BYTES = 256


def address_bytes(address: str) -> bytes:
    return bytes.fromhex(address.removeprefix("0x"))


def word(address: bytes) -> bytes:
    return address.rjust(32, b"\0")


def transfer_log(token: str, sender: str, recipient: str, units: int) -> ReceiptLog:
    return ReceiptLog(
        address=address_bytes(token),
        topics=(TRANSFER_TOPIC, word(address_bytes(sender)), word(address_bytes(recipient))),
        data=units.to_bytes(32, "big"),
    )


def hash_of(header: Header) -> str:
    """Of a London header: the twin makes no younger ones."""
    assert header.base_fee is not None
    assert header.withdrawals_root is None
    body = [
        address_bytes(header.parent_hash),
        header.ommers_hash,
        header.beneficiary,
        header.state_root,
        header.transactions_root,
        header.receipts_root,
        header.logs_bloom,
        header.difficulty,
        header.number,
        header.gas_limit,
        header.gas_used,
        header.timestamp,
        header.extra_data,
        header.mix_hash,
        header.nonce,
        header.base_fee,
    ]
    return "0x" + keccak(rlp.encode(body)).hex()


def receipt_bytes(receipt: TxReceipt) -> bytes:
    logs = [[log.address, list(log.topics), log.data] for log in receipt.logs]
    body = [receipt.status, receipt.cumulative_gas_used, receipt.logs_bloom, logs]
    return bytes([receipt.type]) + bytes(rlp.encode(body))


def root_of(items: Sequence[bytes]) -> bytes:
    trie = HexaryTrie({})
    for index, item in enumerate(items):
        trie[rlp.encode(index)] = item
    return bytes(trie.root_hash)


def bloom_of(logs: Iterable[ReceiptLog]) -> bytes:
    bloom = 0
    for log in logs:
        for item in (log.address, *log.topics):
            digest = keccak(item)
            for start in (0, 2, 4):
                bloom |= 1 << (int.from_bytes(digest[start : start + 2], "big") & 2047)
    return bloom.to_bytes(_BLOOM_BYTES, "big")


def either(blooms: Iterable[bytes]) -> bytes:
    total = 0
    for bloom in blooms:
        total |= int.from_bytes(bloom, "big")
    return total.to_bytes(_BLOOM_BYTES, "big")

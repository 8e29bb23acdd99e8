"""Answers of a provider, checked against hashes that nobody can forge.

Shapes  A header proves itself: keccak(rlp(header)) is its hash. The receipts of a block prove
        themselves against the header's receipts root, its bloom says for certain that an
        address logged nothing. Transaction hashes are not covered by the receipts root, so they
        are compared with the list that the header's voters gave.
Errors  `why_header_lies` and `why_receipts_lie` give the reason, or None when all is well.
Cost    20 us a header, about 0.2 ms a receipt: a full block's receipts belong on a thread.
Source  Yellow Paper 4.3; EIP-1559, 4895, 4844, 4788, 7685 for header fields; EIP-2718 for typed
        receipts; the deposit receipt of the OP stack's specification.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import rlp
from eth_hash.auto import keccak
from trie.hexary import HexaryTrie

from application.chain_source import Header, ReceiptLog, TxReceipt

HEADERS_KEPT_MAX = 1_024
_BLOOM_BITS = 2048


@lru_cache(maxsize=HEADERS_KEPT_MAX)
def header_hash(header: Header) -> str:
    """Several providers tell of one header, and are asked again and again: computed once."""
    items: list[bytes] = [
        bytes.fromhex(header.parent_hash.removeprefix("0x")),
        header.ommers_hash,
        header.beneficiary,
        header.state_root,
        header.transactions_root,
        header.receipts_root,
        header.logs_bloom,
        _integer(header.difficulty),
        _integer(header.number),
        _integer(header.gas_limit),
        _integer(header.gas_used),
        _integer(header.timestamp),
        header.extra_data,
        header.mix_hash,
        header.nonce,
    ]
    for younger in _younger_fields(header):
        if younger is None:
            break  # each fork appends after the one before it
        items.append(younger)
    return "0x" + keccak(_flat_list(items)).hex()


def _flat_list(items: Iterable[bytes]) -> bytes:
    """RLP of a list of byte strings: the library's general way costs four times as much."""
    body = b"".join(map(_string, items))
    return _length(len(body), 0xC0) + body


def _string(item: bytes) -> bytes:
    if len(item) == 1 and item[0] < 0x80:
        return item
    return _length(len(item), 0x80) + item


def _length(size: int, offset: int) -> bytes:
    if size < 56:
        return bytes((offset + size,))
    written = _integer(size)
    return bytes((offset + 55 + len(written),)) + written


def _younger_fields(header: Header) -> tuple[bytes | None, ...]:
    return (
        _optional(header.base_fee),
        header.withdrawals_root,
        _optional(header.blob_gas_used),
        _optional(header.excess_blob_gas),
        header.parent_beacon_root,
        header.requests_hash,
    )


def why_header_lies(header: Header) -> str | None:
    computed = header_hash(header)
    if computed != header.hash:
        return f"block {header.number} calls itself {header.hash} and hashes to {computed}"
    return None


def receipts_root(receipts: Sequence[TxReceipt]) -> bytes:
    # Pruning drops nodes that later inserts replace: a full block stays small in memory.
    trie = HexaryTrie({}, prune=True)
    for index, receipt in enumerate(receipts):
        trie[rlp.encode(index)] = _encoded(receipt)
    return bytes(trie.root_hash)


def why_receipts_lie(header: Header, receipts: Sequence[TxReceipt]) -> str | None:
    named = tuple(receipt.tx_hash for receipt in receipts)
    if named != header.transactions:
        return f"receipts of block {header.number} name other transactions than the block"
    if receipts_root(receipts) != header.receipts_root:
        return f"receipts of block {header.number} do not give its receipts root"
    return None


def may_have_logged(logs_bloom: bytes, addresses: Iterable[bytes], topic: bytes) -> bool:
    """False is certain: none of these emitted a log with this topic. True is a maybe."""
    return _in_bloom(logs_bloom, topic) and any(
        _in_bloom(logs_bloom, address) for address in addresses
    )


def _in_bloom(bloom: bytes, item: bytes) -> bool:
    digest = keccak(item)
    for start in (0, 2, 4):
        bit = int.from_bytes(digest[start : start + 2], "big") % _BLOOM_BITS
        if not bloom[-1 - bit // 8] >> (bit % 8) & 1:
            return False
    return True


def _encoded(receipt: TxReceipt) -> bytes:
    body = rlp.encode(
        [
            _integer(receipt.status),
            _integer(receipt.cumulative_gas_used),
            receipt.logs_bloom,
            [_log(log) for log in receipt.logs],
            *(_integer(number) for number in receipt.deposit),
        ]
    )
    return bytes(body) if receipt.type == 0 else bytes([receipt.type]) + body


def _log(log: ReceiptLog) -> list[object]:
    return [log.address, list(log.topics), log.data]


def _integer(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _optional(number: int | None) -> bytes | None:
    return None if number is None else _integer(number)

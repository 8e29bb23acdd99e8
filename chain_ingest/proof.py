"""Answers of a provider, checked against hashes that nobody can forge.

Shapes  A header proves itself: keccak(rlp(header)) is its hash. Which fields it has follows from
        what the answer carries, never from the network's name: a form that gives the hash is
        the true one. The receipts of a block prove themselves against the header's receipts
        root, its bloom says for certain that an address logged nothing. Transaction hashes are
        not covered by the receipts root, so they are compared with the list that the header's
        voters gave.
        A receipt is proved or it is none: every receipt handed in must be inside the root. What
        Bor showed beside its blocks is left out before (adapters/evm_decoding.py).
        A chain that executes a block after agreeing on it (Avalanche from Helicon on) puts the
        root and the bloom of older blocks into the header. Its header says so by carrying
        `settled_height`; then the bloom rules nothing out, and a later block's root is the one
        that proves the receipts (chain_ingest/settlement.py).
Errors  `why_header_lies` and `why_receipts_lie` give the reason, or None when all is well.
Cost    25 us a header, 13 us a receipt of three logs: 2.6 ms a block of 200, where the general
        trie takes 33 (bench/proof.py). Receipts are proved on a thread of this process. Hashing
        lets the interpreter go several times a receipt, so that the event loop is late by
        0.6 ms in the median; a process of its own makes it later (0.9 ms), for the receipts must
        be pickled on this side, and a hashing library that is faster saves a fifth: neither is
        worth having.
Source  Yellow Paper 4.3; EIP-1559, 4895, 4844, 4788, 7685, 7928, 7843 for header fields; coreth
        for Avalanche's; EIP-2718 for typed receipts (also Arbitrum's 0x64 to 0x6a and 0x78, and
        Bor's 0x7f since PIP-74); the deposit receipt of the OP stack's specification.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

from eth_hash.auto import keccak

from application.chain_source import Header, LogEntry, ReceiptLog, TxReceipt
from chain_ingest import rlp
from chain_ingest.receipt_trie import root_of

_BLOOM_BITS = 2048
_NOBODY = bytes(20)


def header_hash(header: Header) -> str:
    """Computed each time: to keep a header whole would keep what a liar has stuffed it with."""
    fields = (
        bytes.fromhex(header.parent_hash.removeprefix("0x")),
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
        *_younger_fields(header),
    )
    return "0x" + keccak(rlp.list_of(_field(field) for field in fields)).hex()


def _younger_fields(header: Header) -> tuple[int | bytes | None, ...]:
    """What the forks added, up to the youngest the block has; before it nothing is left out."""
    fields = (
        _avalanche_fields(header) if header.ext_data_hash is not None else _ethereum_fields(header)
    )
    present = len(fields)
    while present and fields[present - 1] is None:
        present -= 1
    return fields[:present]


def _ethereum_fields(header: Header) -> tuple[int | bytes | None, ...]:
    return (
        header.base_fee,
        header.withdrawals_root,
        header.blob_gas_used,
        header.excess_blob_gas,
        header.parent_beacon_root,
        header.requests_hash,
        header.block_access_list_hash,
        header.slot_number,
    )


def _avalanche_fields(header: Header) -> tuple[int | bytes | None, ...]:
    return (
        header.ext_data_hash,
        header.base_fee,
        header.ext_data_gas_used,
        header.block_gas_cost,
        header.blob_gas_used,
        header.excess_blob_gas,
        header.parent_beacon_root,
        header.timestamp_milliseconds,
        header.min_delay_excess,
        header.target_exponent,
        header.min_price_exponent,
        header.settled_height,
        header.settled_gas_unix,
        header.settled_gas_numerator,
        header.settled_excess,
    )


def _field(field: int | bytes | None) -> bytes:
    """A field that a younger one follows and that the block does not have is an empty string."""
    if field is None:
        return rlp.string(b"")
    return rlp.number(field) if isinstance(field, int) else rlp.string(field)


def why_header_lies(header: Header) -> str | None:
    # It decides whose root proves what, so it must be in the hash.
    if header.settled_height is not None and header.ext_data_hash is None:
        return f"block {header.number} has a settled height that its hash does not cover"
    if header.settled_height is not None and header.settled_height >= header.number:
        return f"block {header.number} says that it settles block {header.settled_height}"
    computed = header_hash(header)
    if header.hash == computed:
        return None
    # Some nodes name the block's signer where a header of Bor has no beneficiary.
    if header.hash == header_hash(replace(header, beneficiary=_NOBODY)):
        return None
    return f"block {header.number} calls itself {header.hash} and hashes to {computed}"


def receipts_root(receipts: Sequence[TxReceipt]) -> bytes:
    return root_of([_encoded(receipt) for receipt in receipts])


def why_receipts_lie(header: Header, receipts: Sequence[TxReceipt]) -> str | None:
    if header.settled_height is not None:
        return f"the receipts root of block {header.number} is that of older blocks"
    named = tuple(receipt.tx_hash for receipt in receipts)
    if named != header.transactions:
        return f"receipts of block {header.number} name other transactions than the block"
    if receipts_root(receipts) != header.receipts_root:
        return f"receipts of block {header.number} do not give its receipts root"
    return None


def block_may_have_logged(header: Header, addresses: Iterable[bytes], topic: bytes) -> bool:
    """As its bloom says, unless that is the bloom of older blocks."""
    if header.settled_height is not None:
        return True
    return may_have_logged(header.logs_bloom, addresses, topic)


def may_have_logged(logs_bloom: bytes, addresses: Iterable[bytes], topic: bytes) -> bool:
    """False is certain: none of these emitted a log with this topic. True is a maybe."""
    return _in_bloom(logs_bloom, topic) and any(
        _in_bloom(logs_bloom, address) for address in addresses
    )


def _in_bloom(bloom: bytes, item: bytes) -> bool:
    return all(bloom[-1 - bit // 8] >> (bit % 8) & 1 for bit in _bits_of(item))


@lru_cache(maxsize=1_024)
def _bits_of(item: bytes) -> tuple[int, ...]:
    """The same few tokens are looked for in every block."""
    digest = keccak(item)
    return tuple(
        int.from_bytes(digest[start : start + 2], "big") % _BLOOM_BITS for start in (0, 2, 4)
    )


def _encoded(receipt: TxReceipt) -> bytes:
    body = rlp.list_of(
        (
            rlp.number(receipt.status),
            rlp.number(receipt.cumulative_gas_used),
            rlp.string(receipt.logs_bloom),
            rlp.list_of(map(_log, receipt.logs)),
            *map(rlp.number, receipt.deposit),
        )
    )
    return body if receipt.type == 0 else bytes((receipt.type,)) + body


def _log(log: ReceiptLog) -> bytes:
    topics = rlp.list_of(map(rlp.string, log.topics))
    return rlp.list_of((rlp.string(log.address), topics, rlp.string(log.data)))


def logs_not_held(
    receipts: Iterable[TxReceipt], entries: Iterable[LogEntry]
) -> tuple[LogEntry, ...]:
    """Those of a block's logs, as told, that are in none of its proved receipts."""
    told = {_content(entry): entry for entry in entries}
    if told:
        emitters = {bytes.fromhex(entry.address[2:]) for entry in told.values()}
        for receipt in receipts:
            for log in receipt.logs:
                if log.address in emitters:
                    told.pop(_content_in(receipt.tx_hash, log), None)
    return tuple(told.values())


def _content(entry: LogEntry) -> tuple[str, ...]:
    return entry.tx_hash, entry.address, entry.data, *entry.topics


def _content_in(tx_hash: str, log: ReceiptLog) -> tuple[str, ...]:
    topics = ("0x" + topic.hex() for topic in log.topics)
    return tx_hash, "0x" + log.address.hex(), "0x" + log.data.hex(), *topics

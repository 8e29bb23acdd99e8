"""JSON of an EVM node to our shapes. Anything of the wrong shape is Malformed or a ValueError.

Until PIP-74 Bor and Erigon listed a transaction and a receipt of their own making at the end of a
Polygon block with bridge events, which none of the block's roots cover, and whose name follows
from the block. They are left out here: some nodes tell of them and some do not, and nothing of
theirs can be proved. No true transaction can have that name. Since PIP-74 (type 0x7f) they are
in the block and in its roots like any other.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Any

from eth_hash.auto import keccak

from application.chain_source import Header, LogEntry, RangeLogs, ReceiptLog, TxReceipt
from application.outside import Receipt

_TRANSFER_TOPIC = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
_STATE_SYNC = b"matic-bor-receipt-"
_BLOOM_BYTES = 256
PLACE_MAX = 2**63 - 1  # what the store can hold
TRANSACTIONS_MAX = 50_000  # of one block
EXTRA_BYTES_MAX = 64 * 1024  # of one header; Bor's, with all its validators, has some kilobytes
_TIMESTAMP_MAX = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())


class Malformed(Exception):  # noqa: N818 - named for what is wrong with it
    """An answer that no node would give."""


def quantity(text: Any) -> int:
    if not isinstance(text, str) or not text.startswith("0x") or len(text) > 66:
        raise Malformed(f"not a quantity: {str(text)[:80]!r}")
    return int(text, 16)


def place(text: Any) -> int:
    """The number of a block or of a transaction: of what is counted one by one, and stored."""
    number = quantity(text)
    if number > PLACE_MAX:
        raise Malformed(f"nothing was ever counted so far: {number}")
    return number


def octets(text: Any, size: int | None = None) -> bytes:
    if not isinstance(text, str) or not text.startswith("0x"):
        raise Malformed(f"not hex data: {str(text)[:80]!r}")
    data = bytes.fromhex(text[2:])
    if size is not None and len(data) != size:
        raise Malformed(f"{len(data)} bytes instead of {size}")
    return data


def hex_of(text: Any, size: int | None = None) -> str:
    """Hex data in our one spelling, of just this size."""
    return "0x" + octets(text, size).hex()


def decode_header(block: dict[str, Any]) -> Header:
    timestamp = quantity(block["timestamp"])
    if timestamp > _TIMESTAMP_MAX:
        raise Malformed(f"no such moment: {timestamp}")
    number, block_hash = place(block["number"]), hex_of(block["hash"], 32)
    if len(block["transactions"]) > TRANSACTIONS_MAX:
        raise Malformed(f"{len(block['transactions'])} transactions in one block")
    transactions = [hex_of(tx_hash, 32) for tx_hash in block["transactions"]]
    if transactions and transactions[-1] == state_sync_hash(number, block_hash):
        transactions.pop()
    return Header(
        number=number,
        hash=block_hash,
        parent_hash=hex_of(block["parentHash"], 32),
        timestamp=timestamp,
        transactions=tuple(transactions),
        receipts_root=octets(block["receiptsRoot"], 32),
        logs_bloom=octets(block["logsBloom"], 256),
        ommers_hash=octets(block["sha3Uncles"], 32),
        beneficiary=octets(block["miner"], 20),
        state_root=octets(block["stateRoot"], 32),
        transactions_root=octets(block["transactionsRoot"], 32),
        difficulty=quantity(block["difficulty"]),
        gas_limit=quantity(block["gasLimit"]),
        gas_used=quantity(block["gasUsed"]),
        extra_data=_extra_data(block["extraData"]),
        mix_hash=octets(block["mixHash"], 32),
        nonce=octets(block["nonce"], 8),
        base_fee=_quantity_or_none(block.get("baseFeePerGas")),
        withdrawals_root=_octets_or_none(block.get("withdrawalsRoot")),
        blob_gas_used=_quantity_or_none(block.get("blobGasUsed")),
        excess_blob_gas=_quantity_or_none(block.get("excessBlobGas")),
        parent_beacon_root=_octets_or_none(block.get("parentBeaconBlockRoot")),
        requests_hash=_octets_or_none(block.get("requestsHash")),
        block_access_list_hash=_octets_or_none(block.get("blockAccessListHash")),
        slot_number=_quantity_or_none(block.get("slotNumber")),
        ext_data_hash=_octets_or_none(block.get("extDataHash")),
        ext_data_gas_used=_quantity_or_none(block.get("extDataGasUsed")),
        block_gas_cost=_quantity_or_none(block.get("blockGasCost")),
        timestamp_milliseconds=_quantity_or_none(block.get("timestampMilliseconds")),
        min_delay_excess=_quantity_or_none(block.get("minDelayExcess")),
        target_exponent=_quantity_or_none(block.get("targetExponent")),
        min_price_exponent=_quantity_or_none(block.get("minPriceExponent")),
        settled_height=_quantity_or_none(block.get("settledHeight")),
        settled_gas_unix=_quantity_or_none(block.get("settledGasUnix")),
        settled_gas_numerator=_quantity_or_none(block.get("settledGasNumerator")),
        settled_excess=_quantity_or_none(block.get("settledExcess")),
    )


def decode_logs(answer: list[dict[str, Any]], wanted: AbstractSet[str] | None) -> RangeLogs:
    """Logs to wanted recipients as entries; the others are only counted and summed.

    A million of them may pass here for one that is ours, so nothing is made of the rest.
    """
    entries = []
    count = digest = 0
    strangers: set[str] = set()  # most recipients of an answer come several times in it
    for log in answer:
        if log.get("removed"):
            continue  # belongs to subscriptions; here it would be another branch's log
        topics = log["topics"]
        count += 1
        digest += hash((log["blockHash"], log["transactionHash"], log["data"], *topics))
        topic = topics[2] if len(topics) > 2 else ""
        if topic in strangers:
            continue
        if wanted is None or "0x" + topic[26:].lower() in wanted:
            entry = _decode_log(log)
            if entry.tx_hash != state_sync_hash(entry.block_number, entry.block_hash):
                entries.append(entry)
        else:
            strangers.add(topic)
    return RangeLogs(tuple(entries), count, digest)


def _decode_log(entry: dict[str, Any]) -> LogEntry:
    return LogEntry(
        block_number=place(entry["blockNumber"]),
        block_hash=hex_of(entry["blockHash"], 32),
        tx_hash=hex_of(entry["transactionHash"], 32),
        address=hex_of(entry["address"], 20),
        topics=tuple(hex_of(topic, 32) for topic in entry["topics"]),
        data=hex_of(entry["data"]),
    )


def decode_receipts(answer: list[dict[str, Any]]) -> list[TxReceipt]:
    """The receipts that the block's root covers, of eth_getBlockReceipts."""
    receipts = [decode_receipt(receipt) for receipt in answer]
    if answer and receipts[-1].tx_hash == state_sync_hash(
        place(answer[-1]["blockNumber"]), hex_of(answer[-1]["blockHash"], 32)
    ):
        receipts.pop()
    return receipts


def decode_receipt(receipt: dict[str, Any]) -> TxReceipt:
    logs = tuple(
        ReceiptLog(
            address=octets(log["address"], 20),
            topics=tuple(octets(topic, 32) for topic in log["topics"]),
            data=octets(log["data"]),
        )
        for log in receipt["logs"]
    )
    bloom = receipt.get("logsBloom")  # some hosted nodes leave it out
    return TxReceipt(
        tx_hash=hex_of(receipt["transactionHash"], 32),
        type=_receipt_type(receipt),
        status=quantity(receipt["status"]),
        cumulative_gas_used=quantity(receipt["cumulativeGasUsed"]),
        logs_bloom=bloom_of(logs) if bloom is None else octets(bloom, _BLOOM_BYTES),
        logs=logs,
        deposit=_deposit(receipt),
    )


def _receipt_type(receipt: dict[str, Any]) -> int:
    kind = quantity(receipt.get("type") or "0x0")
    if kind > 0x7F:
        raise Malformed(f"no type of a transaction: {kind}")
    return kind


def _deposit(receipt: dict[str, Any]) -> tuple[int, ...]:
    """Nonce and version of an OP-stack deposit; without a version no root covers the nonce."""
    version = receipt.get("depositReceiptVersion")
    if version is None:
        return ()
    return quantity(receipt["depositNonce"]), quantity(version)


def state_sync_hash(number: int, block_hash: str) -> str:
    """What Bor calls the transaction that it shows beside a block."""
    block = number.to_bytes(8, "big") + bytes.fromhex(block_hash[2:])
    return "0x" + keccak(_STATE_SYNC + block).hex()


def bloom_of(logs: Iterable[ReceiptLog]) -> bytes:
    bloom = 0
    for log in logs:
        for item in (log.address, *log.topics):
            digest = keccak(item)
            for start in (0, 2, 4):
                bloom |= 1 << (int.from_bytes(digest[start : start + 2], "big") & 2047)
    return bloom.to_bytes(_BLOOM_BYTES, "big")


def decode_outside_receipt(receipt: dict[str, Any]) -> Receipt:
    return Receipt(
        tx_hash=hex_of(receipt["transactionHash"], 32),
        block_number=place(receipt["blockNumber"]),
        block_hash=hex_of(receipt["blockHash"], 32),
        succeeded=quantity(receipt["status"]) == 1,
        transfers=tuple(_transfer(log) for log in receipt["logs"] if _is_transfer(log)),
        gas_used=quantity(receipt["gasUsed"]),
        effective_gas_price=quantity(receipt["effectiveGasPrice"]),
        data_fee=quantity(receipt.get("l1Fee") or "0x0"),  # OP stack; elsewhere it is in the gas
    )


def _is_transfer(log: dict[str, Any]) -> bool:
    topics = log["topics"]
    if len(topics) != 3 or topics[0].lower() != _TRANSFER_TOPIC:
        return False
    return len(octets(log["data"])) == 32


def _transfer(log: dict[str, Any]) -> tuple[str, str, str, int]:
    sender, recipient = (octets(topic, 32)[12:].hex() for topic in log["topics"][1:])
    units = int.from_bytes(octets(log["data"], 32), "big")
    return hex_of(log["address"], 20), f"0x{sender}", f"0x{recipient}", units


def _extra_data(text: Any) -> bytes:
    """Its length is the one of a header's fields that its block's rules hardly bound."""
    data = octets(text)
    if len(data) > EXTRA_BYTES_MAX:
        raise Malformed(f"{len(data)} bytes of extra data in one header")
    return data


def _quantity_or_none(text: Any) -> int | None:
    return None if text is None else quantity(text)


def _octets_or_none(text: Any) -> bytes | None:
    return None if text is None else octets(text, 32)

"""JSON of an EVM node to our shapes. Anything of the wrong shape is Malformed or a ValueError."""

from datetime import UTC, datetime
from typing import Any

from application.chain_source import Header, LogEntry, ReceiptLog, TxReceipt
from application.outside import Receipt

_TRANSFER_TOPIC = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
_DEPOSIT = 0x7E
_TIMESTAMP_MAX = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())


class Malformed(Exception):  # noqa: N818 - named for what is wrong with it
    """An answer that no node would give."""


def quantity(text: Any) -> int:
    if not isinstance(text, str) or not text.startswith("0x") or len(text) > 66:
        raise Malformed(f"not a quantity: {str(text)[:80]!r}")
    return int(text, 16)


def octets(text: Any, size: int | None = None) -> bytes:
    if not isinstance(text, str) or not text.startswith("0x"):
        raise Malformed(f"not hex data: {str(text)[:80]!r}")
    data = bytes.fromhex(text[2:])
    if size is not None and len(data) != size:
        raise Malformed(f"{len(data)} bytes instead of {size}")
    return data


def hex_of(text: Any, size: int) -> str:
    """Hex data in our one spelling, of just this size."""
    return "0x" + octets(text, size).hex()


def decode_header(block: dict[str, Any]) -> Header:
    timestamp = quantity(block["timestamp"])
    if timestamp > _TIMESTAMP_MAX:
        raise Malformed(f"no such moment: {timestamp}")
    return Header(
        number=quantity(block["number"]),
        hash=hex_of(block["hash"], 32),
        parent_hash=hex_of(block["parentHash"], 32),
        timestamp=timestamp,
        transactions=tuple(hex_of(tx_hash, 32) for tx_hash in block["transactions"]),
        receipts_root=octets(block["receiptsRoot"], 32),
        logs_bloom=octets(block["logsBloom"], 256),
        ommers_hash=octets(block["sha3Uncles"], 32),
        beneficiary=octets(block["miner"], 20),
        state_root=octets(block["stateRoot"], 32),
        transactions_root=octets(block["transactionsRoot"], 32),
        difficulty=quantity(block["difficulty"]),
        gas_limit=quantity(block["gasLimit"]),
        gas_used=quantity(block["gasUsed"]),
        extra_data=octets(block["extraData"]),
        mix_hash=octets(block["mixHash"], 32),
        nonce=octets(block["nonce"], 8),
        base_fee=_quantity_or_none(block.get("baseFeePerGas")),
        withdrawals_root=_octets_or_none(block.get("withdrawalsRoot")),
        blob_gas_used=_quantity_or_none(block.get("blobGasUsed")),
        excess_blob_gas=_quantity_or_none(block.get("excessBlobGas")),
        parent_beacon_root=_octets_or_none(block.get("parentBeaconBlockRoot")),
        requests_hash=_octets_or_none(block.get("requestsHash")),
    )


def decode_log(entry: dict[str, Any]) -> LogEntry:
    return LogEntry(
        block_number=quantity(entry["blockNumber"]),
        block_hash=entry["blockHash"].lower(),
        tx_hash=entry["transactionHash"].lower(),
        address=entry["address"].lower(),
        topics=tuple(topic.lower() for topic in entry["topics"]),
        data=entry["data"],
    )


def decode_receipt(receipt: dict[str, Any]) -> TxReceipt:
    kind = quantity(receipt.get("type") or "0x0")
    extra = ("depositNonce", "depositReceiptVersion") if kind == _DEPOSIT else ()
    return TxReceipt(
        tx_hash=hex_of(receipt["transactionHash"], 32),
        type=kind,
        status=quantity(receipt["status"]),
        cumulative_gas_used=quantity(receipt["cumulativeGasUsed"]),
        logs_bloom=octets(receipt["logsBloom"], 256),
        logs=tuple(
            ReceiptLog(
                address=octets(log["address"], 20),
                topics=tuple(octets(topic, 32) for topic in log["topics"]),
                data=octets(log["data"]),
            )
            for log in receipt["logs"]
        ),
        deposit=tuple(quantity(receipt[name]) for name in extra if receipt.get(name) is not None),
    )


def decode_outside_receipt(receipt: dict[str, Any]) -> Receipt:
    return Receipt(
        tx_hash=hex_of(receipt["transactionHash"], 32),
        block_number=quantity(receipt["blockNumber"]),
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


def _quantity_or_none(text: Any) -> int | None:
    return None if text is None else quantity(text)


def _octets_or_none(text: Any) -> bytes | None:
    return None if text is None else octets(text, 32)

"""A log in a proved receipt gives a token movement, or the reason why it is none.

Shapes  `movements_in` reads all receipts of a block and gives a Movement per Transfer log of a
        configured token, Rejects for logs of such tokens that pose as one. `sighting_of` adds
        where it was proved. Nothing else counts: not call data, not tx.to, not a symbol.
Units   base units as the log says them, which is what arrived, whatever was asked for.
Source  ERC-20 (EIP-20): Transfer(address indexed from, address indexed to, uint256 value), so
        three topics and 32 bytes of data; ERC-721 has the same topic and a fourth one.
"""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from application.chain_source import Header, ReceiptLog, TxReceipt
from domain.events import Sighting
from domain.money import Amount
from domain.networks import Network

TRANSFER_TOPIC = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
_CLEAN = bytes(12)  # an address fills the lower 20 of a topic's 32 bytes

Reason = Literal[
    "token_not_configured",
    "not_a_transfer",
    "topics_not_three",
    "data_not_32_bytes",
    "dirty_address",
    "no_value",
    "to_itself",
]
# Logs that pose as a transfer of a token we know: worth an operator's eye.
SUSPICIOUS: frozenset[Reason] = frozenset(
    {"topics_not_three", "data_not_32_bytes", "dirty_address"}
)


@dataclass(frozen=True, slots=True)
class Movement:
    tx_hash: str
    log_index: int  # within the receipt
    token: str
    sender: str
    recipient: str
    units: int


@dataclass(frozen=True, slots=True)
class Reject:
    tx_hash: str
    log_index: int
    reason: Reason


def read_log(
    log: ReceiptLog, tokens: AbstractSet[bytes], tx_hash: str, log_index: int
) -> Movement | Reject:
    """The movement a log proves. The emitter is compared as bytes, never by name."""
    reason = _why_not(log, tokens)
    if reason is not None:
        return Reject(tx_hash, log_index, reason)
    return Movement(
        tx_hash=tx_hash,
        log_index=log_index,
        token="0x" + log.address.hex(),
        sender="0x" + log.topics[1][12:].hex(),
        recipient="0x" + log.topics[2][12:].hex(),
        units=int.from_bytes(log.data, "big"),
    )


def _why_not(log: ReceiptLog, tokens: AbstractSet[bytes]) -> Reason | None:
    if log.address not in tokens:
        return "token_not_configured"
    if not log.topics or log.topics[0] != TRANSFER_TOPIC:
        return "not_a_transfer"
    if len(log.topics) != 3:
        return "topics_not_three"
    if len(log.data) != 32:
        return "data_not_32_bytes"
    sender, recipient = log.topics[1], log.topics[2]
    if sender[:12] != _CLEAN or recipient[:12] != _CLEAN:
        return "dirty_address"
    if not any(log.data):
        return "no_value"
    if sender == recipient:
        return "to_itself"
    return None


def movements_in(
    receipts: Sequence[TxReceipt], tokens: AbstractSet[bytes], recipients: AbstractSet[str]
) -> tuple[tuple[Movement, ...], tuple[Reject, ...]]:
    """What went to watched addresses, and what only posed as a transfer of a known token."""
    moved: list[Movement] = []
    posed: list[Reject] = []
    for read in _read_all(receipts, tokens):
        if isinstance(read, Movement):
            if read.recipient in recipients:
                moved.append(read)
        elif read.reason in SUSPICIOUS:
            posed.append(read)
    return tuple(moved), tuple(posed)


def _read_all(
    receipts: Iterable[TxReceipt], tokens: AbstractSet[bytes]
) -> Iterator[Movement | Reject]:
    for receipt in receipts:
        if receipt.status != 1:
            continue  # a reverted transaction keeps no logs; one that shows some is lying
        for index, log in enumerate(receipt.logs):
            yield read_log(log, tokens, receipt.tx_hash, index)


def sighting_of(
    movement: Movement,
    network: Network,
    header: Header,
    *,
    attested: bool,
    providers: tuple[str, ...],
) -> Sighting:
    token = network.token_at(movement.token)
    assert token is not None, "read_log lets only configured tokens pass"
    return Sighting(
        transfer_id=f"{network.chain_id}:{movement.tx_hash}:{movement.log_index}",
        network=network.name,
        amount=Amount(units=movement.units, asset=network.asset(token)),
        token=movement.token,
        sender=movement.sender,
        recipient=movement.recipient,
        tx_hash=movement.tx_hash,
        log_index=movement.log_index,
        block_number=header.number,
        block_hash=header.hash,
        block_time=moment_of(header),
        attested=attested,
        providers=providers,
    )


def moment_of(header: Header) -> datetime:
    return datetime.fromtimestamp(header.timestamp, UTC)

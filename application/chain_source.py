"""Reading one chain through one provider, who may lag, fail or lie.

Shapes  Header has every field that its hash covers, and the hashes of its transactions, which it
        does not cover. LogEntry is what eth_getLogs says: a hint where to look, never a proof.
        TxReceipt has every field that the receipts root covers, so that it can be recomputed.
Units   integers are as on chain, `timestamp` in seconds since 1970. Hashes and addresses that
        are compared or stored are "0x" and lower-case hex; what is only hashed is bytes.
Errors  Unavailable("rpc", ...) for silence, time-outs, error answers, and answers that make no
        sense. RangeRefused when a range of logs is too wide for the provider.
Source  Ethereum execution-apis; header fields in the order of their forks, London to Prague.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from application.ports import Unavailable

Tag = Literal["latest", "safe", "finalized"]


class RangeRefused(Unavailable):
    """Too many blocks or results for one answer; `suggested` is what the provider would take."""

    def __init__(self, reason: str, suggested: tuple[int, int] | None = None) -> None:
        super().__init__("rpc", reason)
        self.suggested = suggested


@dataclass(frozen=True, slots=True)
class Header:
    """A block's header as one provider tells it. A field younger than the block's fork is None."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int
    transactions: tuple[str, ...]
    receipts_root: bytes
    logs_bloom: bytes
    ommers_hash: bytes
    beneficiary: bytes
    state_root: bytes
    transactions_root: bytes
    difficulty: int
    gas_limit: int
    gas_used: int
    extra_data: bytes
    mix_hash: bytes
    nonce: bytes
    base_fee: int | None = None
    withdrawals_root: bytes | None = None
    blob_gas_used: int | None = None
    excess_blob_gas: int | None = None
    parent_beacon_root: bytes | None = None
    requests_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line of eth_getLogs."""

    block_number: int
    block_hash: str
    tx_hash: str
    address: str
    topics: tuple[str, ...]
    data: str


@dataclass(frozen=True, slots=True)
class ReceiptLog:
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class TxReceipt:
    """`deposit` holds the two numbers that an OP-stack deposit receipt (type 0x7e) adds."""

    tx_hash: str
    type: int
    status: int
    cumulative_gas_used: int
    logs_bloom: bytes
    logs: tuple[ReceiptLog, ...]
    deposit: tuple[int, ...] = ()


class ChainSource(Protocol):
    """One provider of one network."""

    @property
    def name(self) -> str:
        """Whose answers these are; never the URL, which may hold a key."""
        ...

    async def chain_id(self) -> int: ...

    async def token_decimals(self, address: str) -> int | None:
        """What the contract says; None when there is no such contract or function."""
        ...

    async def header(self, block: int | Tag) -> Header | None:
        """None when the provider does not have that block (yet)."""
        ...

    async def header_by_hash(self, block_hash: str) -> Header | None: ...

    async def logs_of_block(
        self, block_hash: str, tokens: Sequence[str], recipients: Sequence[str] | None
    ) -> Sequence[LogEntry]:
        """Transfer logs of these tokens, to these recipients or to anybody."""
        ...

    async def logs_of_range(
        self, first: int, last: int, tokens: Sequence[str], recipients: Sequence[str] | None
    ) -> Sequence[LogEntry]:
        """Transfer logs of blocks first..last. Raises RangeRefused when that is too much."""
        ...

    async def receipts_of_block(self, block_hash: str) -> Sequence[TxReceipt]:
        """All receipts of a block, in the order of its transactions."""
        ...

"""Reading one chain through one provider, who may lag, fail or lie.

Shapes  Header has every field that its hash covers, and the hashes of its transactions, which it
        does not cover. LogEntry is what eth_getLogs says: a hint where to look, never a proof.
        TxReceipt has every field that the receipts root covers, so that it can be recomputed.
        None names what Bor showed beside its blocks until PIP-74: it is in no root.
Units   integers are as on chain, `timestamp` in seconds since 1970. Hashes and addresses that
        are compared or stored are "0x" and lower-case hex; what is only hashed is bytes.
Errors  ProviderFailed, an Unavailable("rpc", ...), says of what kind: silence, a time-out, an
        error answer, an answer that makes no sense. RangeRefused is the kind that asks for less.
Source  Ethereum execution-apis; header fields in the order of their forks, London to Amsterdam.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from application.ports import Unavailable

Tag = Literal["latest", "safe", "finalized"]


RECIPIENTS_ASKED_MAX = 1_000  # in one question; above it all transfers of the tokens are read

FailureKind = Literal[
    "failed",  # nobody said how
    "timeout",
    "connection",
    "http_status",
    "rate_limited",  # asked too often; `retry_after_seconds` when the provider says so
    "over_budget",  # not asked at all: our own bound on calls (chain_ingest/budget.py)
    "range_refused",
    "beyond_head",  # the provider does not have that block (yet)
    "too_large",
    "truncated",  # not JSON, or not all of it
    "wrong_id",  # no JSON-RPC answer to this request
    "wrong_shape",
    "refused",  # any other no
]


class ProviderFailed(Unavailable):
    """One provider did not give an answer that could be used."""

    def __init__(
        self, reason: str, kind: FailureKind, *, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__("rpc", reason)
        self.kind: FailureKind = kind
        self.retry_after_seconds = retry_after_seconds


def kind_of(outage: Unavailable) -> FailureKind:
    return outage.kind if isinstance(outage, ProviderFailed) else "failed"


class RangeRefused(ProviderFailed):
    """Too many blocks or results for one answer; `suggested` is what the provider would take."""

    def __init__(self, reason: str, suggested: tuple[int, int] | None = None) -> None:
        super().__init__(reason, "range_refused")
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
    block_access_list_hash: bytes | None = None
    slot_number: int | None = None
    # Avalanche's own. With the first of them the header has coreth's order of fields.
    ext_data_hash: bytes | None = None
    ext_data_gas_used: int | None = None
    block_gas_cost: int | None = None
    timestamp_milliseconds: int | None = None
    min_delay_excess: int | None = None
    target_exponent: int | None = None
    min_price_exponent: int | None = None
    # With it receipts root and bloom are those of older blocks, up to that height.
    settled_height: int | None = None
    settled_gas_unix: int | None = None
    settled_gas_numerator: int | None = None
    settled_excess: int | None = None


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
class RangeLogs:
    """What one provider says of a range: the logs asked for, and a sum over all it named for it.

    The sum is the same for the same logs in any order or partition, within one process only.
    Two providers whose sums differ do not have the same logs.
    """

    entries: tuple[LogEntry, ...]
    count: int
    digest: int

    @classmethod
    def of(cls, entries: Iterable[LogEntry]) -> "RangeLogs":
        """An answer that names just these."""
        told = tuple(entries)
        return cls(told, len(told), sum(hash(entry) for entry in told))


@dataclass(frozen=True, slots=True)
class ReceiptLog:
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class TxReceipt:
    """`deposit` holds the two numbers that an OP-stack deposit receipt (type 0x7e) adds.

    Nonce and version, since Canyon; before it the nonce is told and no root covers it.
    """

    tx_hash: str
    type: int
    status: int
    cumulative_gas_used: int
    logs_bloom: bytes
    logs: tuple[ReceiptLog, ...]
    deposit: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TxPlace:
    """The block a transaction is in, as one provider tells: a hint where to look."""

    block_number: int
    block_hash: str


Holding = tuple[str, str]
"""A token's address, and whose balance of it."""


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

    async def domain_separator(self, address: str) -> bytes | None:
        """DOMAIN_SEPARATOR() of a token, 32 bytes; None as for its decimals."""
        ...

    async def header(self, block: int | Tag) -> Header | None:
        """None when the provider does not have that block (yet)."""
        ...

    async def header_by_hash(self, block_hash: str) -> Header | None: ...

    async def logs_of_block(
        self, block_hash: str, tokens: Sequence[str], recipients: Collection[str] | None
    ) -> Sequence[LogEntry]:
        """Transfer logs of these tokens, to these recipients or to anybody.

        More than RECIPIENTS_ASKED_MAX recipients are not named in the question: all transfers
        are read, and matched before anything else is made of them.
        """
        ...

    async def logs_of_range(
        self, first: int, last: int, tokens: Sequence[str], recipients: Collection[str] | None
    ) -> RangeLogs:
        """As for a block, of blocks first..last. Raises RangeRefused when that is too much."""
        ...

    async def receipts_of_block(self, block_hash: str) -> Sequence[TxReceipt]:
        """All receipts of a block, in the order of its transactions."""
        ...

    async def transaction_place(self, tx_hash: str) -> TxPlace | None:
        """None for a transaction the provider does not know, or that is in no block yet."""
        ...

    async def balances(self, block_hash: str, holdings: Sequence[Holding]) -> Sequence[int]:
        """What each had at the end of this block, in the order asked.

        Only an archive node knows it of blocks older than some minutes.
        """
        ...

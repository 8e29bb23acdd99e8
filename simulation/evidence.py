"""What a finished history leaves behind: plain data, and nothing of the gateway's own code.

Shapes  The world fills an Evidence when a history has settled down; the oracle judges it. Only
        strings, integers, lists and dicts, so that neither side can lean on the other's types.
Units   moments are integer microseconds since 1970, UTC (`*_us`), except inside `data` of log
        rows, where they are the RFC 3339 text that was stored. Amounts are base units: integers
        here, decimal strings of digits inside `data`. Addresses and hashes are "0x" and
        lower-case hex. UUIDs are 32 lower-case hex digits without hyphens, except inside
        `data`, where they are as stored (with hyphens).
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]

# ---------------------------------------------------------------- how the gateway was set up


@dataclass(frozen=True, slots=True)
class TokenFacts:
    symbol: str
    address: str
    decimals: int
    accepted: bool


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    name: str
    chain_id: int
    mode: str
    tokens: tuple[TokenFacts, ...]
    confirmations: int  # what the policy asks for when the history began
    policy_version: int
    # Whether one provider's word is enough there, as on a chain for tests: a lie of the only
    # provider is then believed until it is taken back.
    believes_one: bool = False
    providers: int = 2  # how many there are to be asked
    # How far below its head the chain itself calls its blocks "safe" and "finalized".
    below_head: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TagTold:
    """A provider called the block of this number so, for the first time at this moment."""

    network: str
    provider: str
    tag: str  # safe, finalized
    number: int
    at_us: int


@dataclass(frozen=True, slots=True)
class MerchantFacts:
    merchant_id: str
    mode: str
    refund_wallet: str  # its address, the same on every network of the mode


# ---------------------------------------------------------------- the chains


@dataclass(frozen=True, slots=True)
class LogFacts:
    """One log of a receipt, as a node tells it; its index is its place in the receipt."""

    address: str
    topics: tuple[str, ...]
    data: str


@dataclass(frozen=True, slots=True)
class TxFacts:
    hash: str
    succeeded: bool
    logs: tuple[LogFacts, ...]


@dataclass(frozen=True, slots=True)
class BlockFacts:
    number: int
    hash: str
    parent: str
    time_us: int  # what its header says
    txs: tuple[TxFacts, ...]
    mined_at_us: int | None = None  # the virtual moment it first existed
    left_at_us: int | None = None  # when it first left its chain, were it to come back or not


@dataclass(frozen=True, slots=True)
class ChainFacts:
    """`canonical` from block 0 to the head; `orphaned` are all other blocks there ever were.

    `started_after` is the number of the block after which the ingester began to scan: what
    went before is none of its business.
    """

    network: str
    canonical: tuple[BlockFacts, ...]
    orphaned: tuple[BlockFacts, ...] = ()
    started_after: int = 0


# ---------------------------------------------------------------- the clients


@dataclass(frozen=True, slots=True)
class Request:
    """One call of a client, and what the client knows of it.

    what      create_session, cancel_session, refund, create_endpoint, delete_endpoint,
              replay; set_tolerance, set_receiving_address; prove_payer, announce;
              accept, assign, dismiss, refund_transfer, of what waits in the inbox
    outcome   ok: `answer` was received; refused: `code` was received; unknown: neither
    body      the call's arguments as the client wrote them
                create_session  amount (decimal), network, token (symbol), expires_in, pay_by
                cancel_session  session_id
                refund          session_id, amount (decimal or None), to_address (or None)
                create_endpoint url, event_types
                delete_endpoint endpoint_id
                replay          delivery_id
                set_tolerance   cents, basis_points; set_receiving_address  address
                prove_payer     session_id, address; the wallet that really signed, and the
                                session it signed for: signed_by, signed_for; customer
                announce        session_id, tx_hash, customer
                accept, assign, dismiss, refund_transfer
                                transfer (its stream), transfer_id, reason; session_id where
                                it is assigned; to_address (or None) where it goes back
    answer    create_session  session_id, address, network, asset, units, expires_at_us
              cancel_session  session_id, status
              refund          refund_id, session_id, units, destination, status
              create_endpoint endpoint_id, url, secret ("whsec_...")
              replay          delivery_id, status
              prove_payer, announce       as cancel_session
              accept, assign, dismiss     transfer, purpose, resolution, session_id
              refund_transfer             refund_id, transfer, units, destination, status
              set_...                     tolerance, address
    raw       the answer's stored bytes as text: a repeat under the same key gives the same
    repeats   the number of the request this one repeats, or None
    """

    number: int
    what: str
    merchant_id: str
    mode: str
    asked_at_us: int
    answered_at_us: int
    outcome: Literal["ok", "refused", "unknown"]
    body: Json
    key: str | None = None
    answer: Json | None = None
    raw: str | None = None
    code: str | None = None
    repeats: int | None = None


@dataclass(frozen=True, slots=True)
class Post:
    """One HTTP POST as it reached a receiver, and what the receiver did.

    `answered` is the status the receiver gave; None where it gave none in time. `heard` says
    whether the gateway got that answer.
    """

    url: str
    headers: dict[str, str]
    body: str
    at_us: int
    answered: int | None
    heard: bool = True  # False also when the sender died before it could hear
    # The sender's own clock at that moment: it may be skewed by up to ten minutes.
    sender_at_us: int | None = None


# ---------------------------------------------------------------- what was stored


@dataclass(frozen=True, slots=True)
class LogRow:
    position: int
    stream_type: str
    stream_id: str
    version: int
    name: str
    event_version: int
    event_id: str
    merchant_id: str | None
    mode: str | None
    occurred_at_us: int
    recorded_at_us: int
    data: Json
    # actor, correlation_id, causation_id, policy_version: as the envelope has them. The
    # correlation_id of what a client's request caused is "req_<number>".
    context: Json = field(default_factory=dict)
    # The virtual moment of the write, free of any process's skew.
    written_at_us: int | None = None
    # Rows that were written together have the same number; later ones a higher one.
    write: int | None = None


@dataclass(frozen=True, slots=True)
class AccountRow:
    account: str  # "<kind>:<merchant hex>"
    asset: str
    debits: int
    credits: int


@dataclass(frozen=True, slots=True)
class PostingRow:
    """One leg of the ledger's table: positive units are a debit, negative ones a credit."""

    position: int
    entry_id: str
    account: str
    asset: str
    units: int
    balance_after: int


@dataclass(frozen=True, slots=True)
class OutgoingRow:
    refund_id: str
    network: str
    wallet: str
    nonce: int | None
    state: str  # reserved, signed, refused
    tx_hash: str | None
    raw: str | None  # hex
    refusal: str | None


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Bytes that reached a node, whatever the sender was told."""

    network: str
    tx_hash: str
    raw: str  # hex
    at_us: int


@dataclass(frozen=True, slots=True)
class ParkedRow:
    """Something set aside for a person: a bus message, a fact, or a poisoned stream."""

    where: str  # "settlement", "dispatcher", "projection:payments"
    what: str
    error: str


@dataclass(frozen=True, slots=True)
class Death:
    """An exception that left a worker, which no fault of ours had asked for."""

    process: str
    error: str
    at_us: int


# ---------------------------------------------------------------- all of it


@dataclass(frozen=True, slots=True)
class Evidence:
    seed: int
    networks: tuple[NetworkFacts, ...]
    merchants: tuple[MerchantFacts, ...]
    chains: tuple[ChainFacts, ...]
    requests: tuple[Request, ...]
    log: tuple[LogRow, ...]
    # Read models: table name to its rows, in any order, each value as text or None.
    live: dict[str, list[dict[str, str | None]]]
    rebuilt: dict[str, list[dict[str, str | None]]]
    accounts: tuple[AccountRow, ...]
    postings: tuple[PostingRow, ...]
    posts: tuple[Post, ...]
    outgoing: tuple[OutgoingRow, ...]
    broadcasts: tuple[Broadcast, ...]
    parked: tuple[ParkedRow, ...]
    deaths: tuple[Death, ...]
    # Whether everything became quiet within the bound after the faults had ended.
    settled: bool
    ended_at_us: int
    grace_seconds: int
    # Names of every event the gateway may store.
    event_names: tuple[str, ...]
    # True while refunds could not be paid for a reason the history gave and never took back
    # (a wallet without gas, a stopped signer): open refunds are then no fault.
    refunds_held: bool = False
    # What the API shows of each session at the end, by session id (32 hex digits): status,
    # exceptions (list), received, confirmed, refunded (base units, integers).
    views: dict[str, Json] = field(default_factory=dict)
    tags: tuple[TagTold, ...] = ()


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold, and where to look."""

    invariant: str
    detail: str

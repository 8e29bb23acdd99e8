"""Ports to the chain, the bus, the signer and webhook receivers.

Shapes  A bus message is acked only after the commit of what it caused. Outgoing is the one
        transaction of one refund.
Errors  an outage is ports.Unavailable with the name of the service.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

from domain.networks import Finality, Network

# ---------------------------------------------------------------- bus


@dataclass(slots=True)
class BusMessage:
    """A message pulled from a durable consumer; ack only after the commit."""

    subject: str
    data: bytes
    deliveries: int  # 1 the first time
    handle: object = field(repr=False)
    message_id: str = ""  # as it was published


@dataclass(frozen=True, slots=True)
class Publication:
    subject: str
    data: bytes
    message_id: str


class Bus(Protocol):
    """NATS: JetStream for what must arrive, core for hints that may be lost."""

    async def publish(self, subject: str, data: bytes, *, message_id: str) -> None:
        """Store durably in the stream; raises Unavailable("nats", ...)."""
        ...

    async def publish_all(
        self, publications: Sequence[Publication]
    ) -> Sequence[BaseException | None]:
        """As `publish` for each, and in order where nothing fails; what became of each."""
        ...

    async def pull(
        self, subject: str, durable: str, *, limit: int, wait_seconds: float
    ) -> Sequence[BusMessage]: ...

    async def ack(self, message: BusMessage) -> None: ...

    async def retry_later(self, message: BusMessage, delay_seconds: float) -> None: ...

    async def give_up(self, message: BusMessage) -> None: ...

    async def hint(self, subject: str, data: bytes = b"") -> None:
        """Tell whoever listens now. Never raises: a hint may be lost."""
        ...

    def hints(self, subject: str) -> AsyncIterator[bytes]:
        """Hints as they come; ends and resumes by itself when the server is away."""
        ...


# "already_settled": its effect was in the log before this retry.
RetryOutcome = Literal["settled", "already_settled", "failed"]


@dataclass(frozen=True, slots=True)
class ParkedMessage:
    """A message no number of tries would get through; a person looks at it."""

    source: str
    message_id: str  # the publisher's; a digest of the content when it gave none
    subject: str
    data: bytes
    error: str  # why it was parked
    at: datetime
    retries: int = 0
    retried_at: datetime | None = None
    retry_reason: str | None = None  # what the person who tried it again said
    outcome: RetryOutcome | None = None  # of the last retry
    retry_error: str | None = None

    @property
    def settled(self) -> bool:
        return self.outcome in {"settled", "already_settled"}


class ParkedMessages(Protocol):
    async def park(self, source: str, message: BusMessage, error: str) -> None:
        """Keep it, before the bus is told to give it up. Again is the same as once."""
        ...

    async def list(self, limit: int, *, settled: bool = False) -> Sequence[ParkedMessage]:
        """Those that wait for a person, or all there ever were; newest first."""
        ...

    async def find(self, source: str, message_id: str) -> ParkedMessage | None: ...

    async def retried(
        self,
        message: ParkedMessage,
        outcome: RetryOutcome,
        *,
        at: datetime,
        reason: str,
        error: str | None,
    ) -> None:
        """Count the retry and keep what came of it; one that is settled stays as it is."""
        ...


# ---------------------------------------------------------------- chain access


@dataclass(frozen=True, slots=True)
class Receipt:
    tx_hash: str
    block_number: int
    block_hash: str
    succeeded: bool
    transfers: tuple[tuple[str, str, str, int], ...]  # token, sender, recipient, units
    gas_used: int
    effective_gas_price: int  # wei per gas
    data_fee: int = 0  # wei: what rollups take on top, for keeping the transaction elsewhere

    @property
    def cost(self) -> int:
        """What the sender paid for it, in wei; also where it failed."""
        return self.gas_used * self.effective_gas_price + self.data_fee


class ChainClient(Protocol):
    """JSON-RPC of one network, as the refund sender needs it. Raises Unavailable("rpc", ...)."""

    network: Network

    async def head_number(self) -> int: ...

    async def block_hash(self, number: int) -> str | None:
        """Of the block that this node's chain has at this height; None where it ends before."""
        ...

    async def tagged_number(self, tag: Finality) -> int | None:
        """The newest block the chain itself calls safe or finalized; None where it names none."""
        ...

    async def receipt(self, tx_hash: str) -> Receipt | None: ...

    async def transaction_count(self, address: str, *, pending: bool = False) -> int: ...

    async def fees(self) -> tuple[int, int]:
        """Max fee and tip per gas, in wei."""
        ...

    async def simulate_transfer(
        self, token: str, sender: str, recipient: str, units: int
    ) -> str | None:
        """None when the transfer would succeed, else why not."""
        ...

    async def broadcast(self, raw: bytes) -> None:
        """Hand the signed bytes to the network. Any answer of the node is fine: receipts decide."""
        ...

    async def balance(self, token: str, holder: str) -> int: ...

    async def native_balance(self, holder: str) -> int: ...


# ---------------------------------------------------------------- paying out

RESENT_MAX = 32


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One refund's one transaction.

    The signer gives the nonce when it approves, so that a refusal leaves no gap behind: a nonce
    nobody uses would block every later transaction of the wallet.
    """

    refund_id: UUID
    network: str
    wallet: str
    nonce: int | None
    state: Literal["reserved", "signed", "refused"]
    raw: bytes | None
    tx_hash: str | None
    refusal: str | None


@dataclass(frozen=True, slots=True)
class Payout:
    """Everything the signer needs to pay one refund, and may check again."""

    refund_id: UUID
    merchant_id: UUID
    network: Network
    wallet: str
    wallet_index: int
    token: str
    destination: str
    units: int
    max_fee: int  # wei per gas
    tip: int  # wei per gas
    chain_nonce: int  # transactions of the wallet on chain, as seen now


class OutgoingBook(Protocol):
    """Nonces and signed bytes, shared with the signer process through the database."""

    async def reserve(self, payout: Payout) -> Outgoing:
        """Ask the signer for this payout; the same row again for the same refund."""
        ...

    async def decline(self, payout: Payout, reason: str) -> Outgoing:
        """Close the refund unpaid, so that nobody can reserve it later.

        Gives the row of the refund as it is: not refused, if it was reserved before.
        """
        ...

    async def withdraw(self, refund_id: UUID, reason: str) -> Outgoing:
        """Take back what was reserved, unless the signer has approved it.

        Gives the row as it is then: refused, or with the nonce the signer gave it before. Of an
        approval and a withdrawal at the same moment exactly one happens.
        """
        ...

    async def signed_before(self, outgoing: Outgoing, first_nonce: int) -> Sequence[bytes]:
        """Bytes of the same wallet's transactions from this nonce on, up to this one's.

        At most RESENT_MAX, in order: what a reorg has thrown out goes out again first.
        """
        ...

    async def find(self, refund_id: UUID) -> Outgoing | None: ...


# ---------------------------------------------------------------- webhooks


@dataclass(frozen=True, slots=True)
class Attempted:
    """One HTTP POST. `error` is None exactly when the receiver answered 2xx."""

    status_code: int | None
    latency_ms: int
    error: str | None
    response_excerpt: bytes  # at most 16 KiB
    retry_after_seconds: int | None


class WebhookPoster(Protocol):
    async def post(
        self, *, url: str, secrets: Sequence[bytes], message_id: str, body: bytes
    ) -> Attempted:
        """Sign with both schemes and send once. Never raises for what a receiver does."""
        ...

    async def check_url(self, url: str) -> None:
        """Raises EndpointUrlRefused for a URL we would never post to."""
        ...


@dataclass(frozen=True, slots=True)
class Failing:
    """How long an endpoint has been failing every attempt."""

    since: datetime
    attempts: int


class EndpointHealth(Protocol):
    """Which endpoints fail every attempt, over all workers and restarts."""

    async def failed(self, endpoint_id: UUID, at: datetime, *, quiet_seconds: int) -> Failing:
        """Count a failed attempt. After `quiet_seconds` without one the count starts anew."""
        ...

    async def succeeded(self, endpoint_id: UUID) -> None: ...


class Checkpoints(Protocol):
    """How far a process that follows the log has come; kept apart from the log."""

    async def position(self, follower: str) -> int:
        """The last position that is dealt with; 0 at first."""
        ...

    async def move(self, follower: str, position: int) -> None:
        """Forward only: an older position changes nothing."""
        ...

    async def park(self, follower: str, position: int, reason: str) -> None:
        """Set one event aside where an operator sees it, so that the rest can go on."""
        ...

"""What read models answer. Projections implement these; nothing here is a source of truth.

Shapes  Rows carry the folded state of a stream with its version and log position. Pages are
        keyset pages, newest first; `next_cursor` is opaque and None on the last page.
Errors  CursorMalformed (domain/errors.py); ports.StoreUnavailable when the database is away. A lagging view is not an error: wait
        for a position with `Progress.wait_for`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from application.standing import Standing
from domain.delivery import WebhookDelivery
from domain.matching import AddressOwner
from domain.payment import PaymentSession
from domain.refund import Refund
from domain.transfer import OnchainTransfer, Resolution
from domain.values import Mode

T = TypeVar("T")
PAGE_SIZE_MAX = 100


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    items: tuple[T, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """What an API key opens."""

    key_id: UUID
    merchant_id: UUID
    mode: Mode
    scopes: tuple[str, ...]


class ApiKeys(Protocol):
    async def holder(self, key_hash: str) -> KeyHolder | None:
        """Whose key it is; None for unknown and revoked ones."""
        ...


class WatchList(Protocol):
    async def owner_of(self, network: str, address: str) -> AddressOwner | None:
        """Who was given this address (lower case). Test and live addresses never mix."""
        ...

    async def owners_of(
        self, network: str, addresses: Collection[str]
    ) -> Mapping[str, AddressOwner]:
        """The same for several addresses at once; those of nobody are left out."""
        ...


@dataclass(frozen=True, slots=True)
class SessionRow:
    session: PaymentSession
    version: int
    position: int


@dataclass(frozen=True, slots=True)
class SessionQuery:
    """One merchant's sessions; everything asked for must be so."""

    merchant_id: UUID
    mode: Mode
    limit: int = 20
    cursor: str | None = None
    session_id: UUID | None = None
    status: str | None = None
    network: str | None = None
    assets: tuple[str, ...] | None = None  # due in one of these
    merchant_reference: str | None = None
    tx_hash: str | None = None  # of a transfer ever seen for it
    payer: str | None = None  # a wallet that ever sent one
    address: str | None = None  # a payer, or the address that was made for the session
    created_from: datetime | None = None
    created_to: datetime | None = None  # exclusive
    units_min: int | None = None  # of the amount due, in base units
    units_max: int | None = None


class SessionReads(Protocol):
    async def find(self, session_id: UUID) -> SessionRow | None:
        """One session of any merchant: the caller checks whose it is."""
        ...

    async def page(self, query: SessionQuery) -> Page[SessionRow]:
        """Where filters are many and matches few a page may be short, or empty, and go on."""
        ...

    async def due_to_expire(self, now: datetime, limit: int, *, network: str) -> Sequence[UUID]:
        """Open sessions of the network whose window has closed, the first to close first."""
        ...

    async def expects(self, network: str) -> bool:
        """Whether any session is open there, of whatever merchant."""
        ...

    async def opened_since(self, network: str, not_expired_at: datetime) -> datetime | None:
        """When the oldest session of the network was opened whose window was open then still.

        Never later than that; earlier, if the window of an older one closed within that hour.
        """
        ...


@dataclass(frozen=True, slots=True)
class RefundRow:
    refund: Refund
    version: int
    position: int


class RefundReads(Protocol):
    async def find(self, refund_id: UUID) -> RefundRow | None: ...

    async def page(
        self,
        merchant_id: UUID,
        mode: Mode,
        *,
        session_id: UUID | None = None,
        transfer_id: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[RefundRow]: ...

    async def unfinished(self, limit: int) -> Sequence[UUID]:
        """Refunds neither completed nor failed, oldest first."""
        ...

    async def not_final(self, limit: int, *, cursor: str | None = None) -> Page[RefundRow]:
        """Refunds that are completed, in a block not known to be final; the latest first."""
        ...

    async def failed_on_chain_since(
        self, moment: datetime, limit: int, *, cursor: str | None = None
    ) -> Page[RefundRow]:
        """Refunds that failed by their receipt at this moment or later, the latest first."""
        ...


@dataclass(frozen=True, slots=True)
class TransferRow:
    transfer: OnchainTransfer
    version: int
    position: int


@dataclass(frozen=True, slots=True)
class TransferQuery:
    """Transfers of one merchant: those that wait for a decision, unless others are asked for."""

    merchant_id: UUID
    mode: Mode
    limit: int = 20
    cursor: str | None = None
    # Of those that are nobody's, the ones about which this was decided; "open" has also those
    # that a reorg has taken out.
    resolution: Resolution | None = None
    everything: bool = False  # also those that belong to a session or to the refund float
    network: str | None = None
    assets: tuple[str, ...] | None = None
    tx_hash: str | None = None
    sender: str | None = None


class InboxReads(Protocol):
    async def page(self, query: TransferQuery) -> Page[TransferRow]: ...

    async def concerning(self, session: PaymentSession, limit: int) -> Sequence[TransferRow]:
        """What went to the session's address, perhaps for it, and is nobody's; newest first.

        To a wallet that sessions share: only what its proven payers sent since it was opened,
        and the transactions announced for it.
        """
        ...

    async def newest(self, limit: int) -> Sequence[TransferRow]:
        """What waits for a decision, of every merchant and of none: for the operator."""
        ...


@dataclass(frozen=True, slots=True)
class AttemptRow:
    attempt: int
    at: datetime
    status_code: int | None
    latency_ms: int
    error: str | None
    response_excerpt: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    delivery: WebhookDelivery
    position: int


class DeliveryReads(Protocol):
    async def find(self, delivery_id: UUID) -> DeliveryRow | None: ...

    async def page(
        self,
        merchant_id: UUID,
        mode: Mode,
        *,
        endpoint_id: UUID | None = None,
        status: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[DeliveryRow]: ...

    async def attempts(self, delivery_id: UUID) -> Sequence[AttemptRow]: ...


class DeliveryQueue(Protocol):
    """Due deliveries, leased so that one worker at a time attempts each."""

    async def claim(
        self,
        now: datetime,
        *,
        slots: int,
        per_endpoint: int,
        busy: dict[UUID, int],
        lease_seconds: int,
    ) -> Sequence[UUID]:
        """Lease up to `slots` due deliveries, fair between endpoints.

        `busy` counts each endpoint's attempts in flight here: none gets more than
        `per_endpoint` together with them. A lease that runs out may be claimed again.
        """
        ...

    async def release(self, delivery_id: UUID) -> None: ...

    async def keep_response(self, delivery_id: UUID, attempt: int, excerpt: bytes) -> None:
        """What the receiver answered, at most 16 KiB, for the delivery log."""
        ...


@dataclass(frozen=True, slots=True)
class Passed:
    """How far a network's chain has been read, and how much of that is recorded."""

    number: int  # of the newest block passed
    hash: str  # of the same block
    time: datetime  # the newest moment of the chain that has been passed
    # When the oldest transfer was mined that is seen, and not yet recorded or parked.
    unrecorded_from: datetime | None
    # Of the oldest block that was passed on one provider's word: it may have hidden a transfer.
    unattested_from: datetime | None = None


class ChainHeads(Protocol):
    async def head(self, network: str) -> int | None:
        """The number of the newest block the ingester has passed; None before the first."""
        ...

    async def passed(self, network: str) -> Passed | None:
        """The same block with its time, and what of the chain is still on its way to the log."""
        ...

    async def standing(self, network: str) -> Standing | None:
        """What the ingester last said of itself; None before its first word."""
        ...


async def is_read_late(heads: ChainHeads, network: str, now: datetime) -> bool:
    """Whether payments there are seen or confirmed late, for so long that people hear of it."""
    standing = await heads.standing(network)
    if standing is None:
        return await heads.head(network) is None  # nobody has begun to read it
    return standing.shown(now)


WATCH_LIST_MODEL = "watch_list"  # the read model behind WatchList, as `Progress` knows it


class Progress(Protocol):
    async def wait_for(
        self, position: int, *, timeout_seconds: float, projection: str | None = None
    ) -> bool:
        """Whether every read model, or the named one, contains this position within the time.

        A named one that had to leave a stream aside at or below the position does not.
        """
        ...

    async def position(self, projection: str) -> int:
        """The checkpoint of one projection; 0 before its first batch."""
        ...


@dataclass(frozen=True, slots=True)
class TrialBalance:
    asset: str
    debits: int
    credits: int

    @property
    def difference(self) -> int:
        return self.debits - self.credits


@dataclass(frozen=True, slots=True)
class AccountBalance:
    account: str
    asset: str
    debits: int
    credits: int


class Books(Protocol):
    async def trial_balance(self) -> Sequence[TrialBalance]: ...

    async def balances(self) -> Sequence[AccountBalance]: ...

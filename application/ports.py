"""What the gateway needs from outside, and how each need fails.

Shapes  Streams are named by type and id; versions are 1, 2, 3 ...; a position is the place in the
        one log, in commit order. A Batch is written whole or not at all.
Errors  StreamConflict     a stream moved on: load and decide again
        AlreadyProcessed   this message's effect is in the log
        KeyAlreadyUsed     this idempotency key has an answer: compare and replay it
        Overdraft          an account would go below what it may hold
        StoreBusy          too many wait: answer 503 with Retry-After
        AskedTooOften      a bound on costly questions is reached: answer 429 with Retry-After
        NotReadYet         no ingester has ever begun with the network: answer 503
        StoreUnavailable   the database is not there; whether the write happened is unknown
                           only when `outcome_unknown` says so
        Every other port's outage is Unavailable with the name of the service.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

from domain.events import Event
from domain.values import Mode

E_co = TypeVar("E_co", bound=Event, covariant=True)

STREAMS_MAX = 1_024  # that one question may ask for


# ---------------------------------------------------------------- failures


class Unavailable(Exception):  # noqa: N818 - named for what the caller is told
    """A service we need does not answer. Nothing was lost; the caller may try again."""

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(f"{service}: {reason}")
        self.service = service
        self.reason = reason


class StoreUnavailable(Unavailable):
    def __init__(self, reason: str, *, outcome_unknown: bool = False) -> None:
        super().__init__("postgresql", reason)
        self.outcome_unknown = outcome_unknown


class StoreBusy(Unavailable):
    """The bounded queue of appends is full."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("postgresql", "too many writes are waiting")
        self.retry_after_seconds = retry_after_seconds


class AskedTooOften(Unavailable):
    """Refused before anything was asked: others, or the same one, have asked a lot already."""

    def __init__(self, service: str, reason: str, *, retry_after_seconds: int) -> None:
        super().__init__(service, reason)
        self.retry_after_seconds = retry_after_seconds


class NotReadYet(Unavailable):
    """Nobody has begun to read this chain: what is paid there now might never be seen."""

    def __init__(self, network: str) -> None:
        super().__init__(
            network,
            f"network {network} is not read yet: start gateway ingest --network {network}",
        )


class StreamConflict(Exception):  # noqa: N818
    """A stream has moved past its `after_version`; nothing of the batch was written."""


class AlreadyProcessed(Exception):  # noqa: N818
    """The batch's inbox message was processed before; nothing was written now."""


class Overdraft(Exception):  # noqa: N818
    """The database refused postings that would overdraw an account."""


# ---------------------------------------------------------------- event store


@dataclass(frozen=True, slots=True)
class Stream:
    type: str  # "payment_session"
    id: UUID


@dataclass(frozen=True, slots=True)
class Context:
    """The envelope: who acts, for whom, and because of what."""

    actor: str  # "api_key:<id>", "chain:137", "system"
    merchant_id: UUID | None = None
    mode: Mode | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    policy_version: int | None = None


@dataclass(frozen=True, slots=True)
class StreamAppend:
    stream: Stream
    after_version: int  # 0: the stream must not exist yet
    events: tuple[Event, ...]
    merchant_id: UUID | None = None  # whose fact it is, where the context does not say
    mode: Mode | None = None


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """A message of the bus whose effect this batch is."""

    source: str  # "chain.local"
    message_id: str


@dataclass(frozen=True, slots=True)
class StoredResponse:
    status: int
    body: bytes
    fingerprint: str


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """The answer to one POST, kept beside the facts it caused."""

    merchant_id: UUID
    mode: Mode
    key: str
    fingerprint: str  # SHA-256 of method, route, path parameters and canonical body, hex
    status: int
    body: bytes


class KeyAlreadyUsed(Exception):  # noqa: N818
    """The idempotency key has an answer already; nothing was written now."""

    def __init__(self, stored: StoredResponse) -> None:
        super().__init__("idempotency key already used")
        self.stored = stored


@dataclass(frozen=True, slots=True)
class Batch:
    """One decision: all of it or none. Without appends it only marks its message as processed."""

    appends: tuple[StreamAppend, ...]
    context: Context
    inbox: InboxMessage | None = None
    idempotency: IdempotencyRecord | None = None


@dataclass(frozen=True, slots=True)
class Recorded(Generic[E_co]):
    position: int
    event_id: UUID
    stream: Stream
    version: int
    event: E_co
    recorded_at: datetime
    context: Context

    @property
    def stream_id(self) -> UUID:
        return self.stream.id


class Fact(Protocol[E_co]):
    """What a fold asks of a recorded event; Recorded is one."""

    @property
    def position(self) -> int: ...

    @property
    def stream(self) -> Stream: ...

    @property
    def stream_id(self) -> UUID: ...

    @property
    def version(self) -> int: ...

    @property
    def event(self) -> E_co: ...


class Span(NamedTuple):
    """Facts between two positions of the log, and the bytes in which they are stored."""

    facts: Sequence[Fact[Event]]
    size: int


class EventStore(Protocol):
    """Append-only streams of events: the only memory the gateway trusts."""

    async def append(self, batch: Batch) -> int:
        """Write all of it or none; return the log position of the last event (0: no event).

        JournalEntryPosted events are booked into the accounts in the same transaction.
        Raises StreamConflict, AlreadyProcessed, KeyAlreadyUsed, Overdraft, StoreBusy,
        StoreUnavailable. Never retries blindly: after a lost answer it looks the events up.
        """
        ...

    async def read_stream(self, stream: Stream) -> Sequence[Recorded[Event]]:
        """All events of a stream in order; empty when there is none."""
        ...

    async def read_streams(
        self, streams: Collection[Stream]
    ) -> Mapping[Stream, Sequence[Recorded[Event]]]:
        """All events of up to STREAMS_MAX streams, each in order, as of one moment.

        Every stream asked for is among the answers; one that has no events is empty.
        """
        ...

    async def read_log(self, *, after: int, limit: int) -> Sequence[Recorded[Event]]:
        """Up to `limit` events after a position, in commit order, without gaps to come."""
        ...

    async def read_facts(self, *, after: int, limit: int) -> Sequence[Fact[Event]]:
        """The same, for those who fold the whole log: without the envelope, and far cheaper."""
        ...

    async def read_span(self, *, after: int, upto: int, skipping: Collection[str]) -> Span:
        """The facts of a span of positions, less those of these names, which are not decoded.

        For those who fold some facts of the whole log. `upto` is at most the head.
        """
        ...

    async def head(self) -> int:
        """The last position; 0 for an empty log."""
        ...

    async def stored_response(
        self, merchant_id: UUID, mode: Mode, key: str
    ) -> StoredResponse | None: ...


class StoredAnswers(Protocol):
    """The idempotency rows apart from the log, which alone are not kept for ever."""

    async def purge(self, before: datetime, limit: int) -> int:
        """Forget up to `limit` answers given before this moment, oldest first; how many."""
        ...


# ---------------------------------------------------------------- time, ids, secrets


class Waker(Protocol):
    """What ends a pause before its time: a stop, or a bell. An asyncio.Event is one."""

    def is_set(self) -> bool: ...

    async def wait(self) -> object: ...


class Clock(Protocol):
    def now(self) -> datetime:
        """The moment, in UTC."""
        ...

    async def sleep(self, seconds: float, *wakers: Waker) -> None:
        """So many seconds, or until one of the wakers is set."""
        ...


class Ids(Protocol):
    def new(self) -> UUID:
        """128 random bits: not to be guessed."""
        ...

    def secret(self, size_bytes: int) -> bytes: ...


class SecretUnknown(Exception):  # noqa: N818
    """The vault holds no secret of this id."""


class SubjectDestroyed(Exception):  # noqa: N818
    """Erasure is final: nothing is sealed for this subject any more."""


class Vault(Protocol):
    """Secrets and personal data, encrypted at rest; a destroyed subject is unreadable for ever."""

    async def put_secret(self, secret_id: UUID, secret: bytes) -> None:
        """Write once: the same secret again changes nothing, another one is a bug (ValueError)."""
        ...

    async def get_secret(self, secret_id: UUID) -> bytes:
        """Raises SecretUnknown."""
        ...

    async def seal(self, subject: str, text: str) -> str:
        """Ciphertext under the subject's own key, which is made when it is first needed.

        Raises SubjectDestroyed.
        """
        ...

    async def open(self, subject: str, ciphertext: str) -> str | None:
        """The text, or None when the subject's key has been destroyed."""
        ...

    async def destroy(self, subject: str) -> None: ...


class DepositAddresses(Protocol):
    async def allocate(
        self, merchant_id: UUID, mode: Mode, extended_public_key: str
    ) -> tuple[int, str]:
        """The next unused index below the key, and its address (lower case). Never twice."""
        ...

    def check(self, extended_public_key: str) -> str:
        """The first address below the key. Raises ExtendedKeyMalformed (private keys too)."""
        ...


class RefundWallets(Protocol):
    async def allocate(self) -> tuple[int, str]:
        """A new index below the signer's public key, and its address (lower case)."""
        ...


ParseAddress = Callable[[str], str]
"""An address as people write it, in lower case.

Raises AddressMalformed, also when mixed case does not add up to its EIP-55 checksum.
"""

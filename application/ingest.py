"""What the chain ingester remembers, and how it remembers it.

Shapes  A Passage writes what passing one block (or one back-filled range) means, an Orphaning
        what a reorg means; each is one transaction. Both name the cursor they were decided
        upon: if it is not the stored one any more, nothing is written. So two ingesters that
        both believe to be the leader cannot both write.
        A Ripening confirms what the chain itself has come to call safe, between two blocks.
        Report numbers follow from the cursor: 1, 2, 3 ... per network, without gaps.
        A Sighted is a sighting with its Terms: the version of the policy its transfer was first
        seen under, and the rule that this version gave it. Both are stored and never change,
        but for a rule of a block that leaves the chain and comes back.
        Headers, sightings and reports are marked, never deleted.
Errors  CursorMoved   another ingester wrote, or an earlier write whose answer was lost did
        CoverageGap   the blocks to be passed do not follow those passed before
        ports.StoreUnavailable
"""

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from application.standing import StandingStore
from domain.events import Sighting
from domain.networks import ConfirmationRule, Finality


class CursorMoved(Exception):  # noqa: N818 - named for what happened
    """The stored cursor is not the one this write was decided upon. Read it again."""


class CoverageGap(Exception):  # noqa: N818
    """Blocks nobody has scanned would be claimed as scanned."""


@dataclass(frozen=True, slots=True)
class BlockRef:
    number: int
    hash: str
    parent_hash: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """The newest block passed, and the number of the last report."""

    number: int
    hash: str
    report_number: int
    anchor: int  # the block above which scanning began: no fork is followed below it


@dataclass(frozen=True, slots=True)
class PassedHeader:
    ref: BlockRef
    time: datetime
    attested: bool  # two providers agreed on it
    providers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Terms:
    """When a sighting counts as safe: decided when it was first seen."""

    policy_version: int
    rule: ConfirmationRule


@dataclass(frozen=True, slots=True)
class Sighted:
    sighting: Sighting
    terms: Terms
    confirmed: bool = False  # it has been reported so


Purse = tuple[str, str]
"""Who receives and what: an address and an asset."""


@dataclass(frozen=True, slots=True)
class StoredReport:
    """An encoded report with its place in the order of its network."""

    report_number: int
    message_id: str
    subject: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Passage:
    """Blocks `first` to `header` have been scanned; what was in them and what follows.

    Cannot be made with a gap: `first` follows the cursor, and a single block names the cursor's
    block as its parent.
    """

    network: str
    cursor: Cursor
    first: int
    header: PassedHeader
    sightings: tuple[Sighted, ...]
    confirmed: tuple[Sighted, ...]
    reports: tuple[StoredReport, ...]
    at: datetime

    def __post_init__(self) -> None:
        ref = self.header.ref
        if self.first != self.cursor.number + 1 or ref.number < self.first:
            raise CoverageGap(f"{self.first} to {ref.number} do not follow {self.cursor.number}")
        if ref.number == self.first and ref.parent_hash != self.cursor.hash:
            raise CoverageGap(f"block {ref.number} does not stand on {self.cursor.hash}")


@dataclass(frozen=True, slots=True)
class Orphaning:
    """Blocks above `fork` have left the chain."""

    network: str
    cursor: Cursor
    fork: BlockRef
    reports: tuple[StoredReport, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class Reexamination:
    """A block first seen through one provider, now read again through a quorum.

    Sightings are what its receipts prove. What was stored of it and they do not prove leaves the
    chain first, and may be among the sightings in its true shape.
    """

    network: str
    cursor: Cursor
    header: PassedHeader
    sightings: tuple[Sighted, ...]
    reports: tuple[StoredReport, ...]  # for those not seen the first time, and those unproved
    at: datetime
    unproved: tuple[Sighted, ...] = ()


@dataclass(frozen=True, slots=True)
class Ripening:
    """Sightings that the chain's own word has made safe, though no block was passed."""

    network: str
    cursor: Cursor
    confirmed: tuple[Sighted, ...]
    reports: tuple[StoredReport, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class CoveredRange:
    """Blocks scanned without a gap, by the same providers."""

    first: int
    parent_hash: str  # of the first block: the hash of the one before it
    last: int
    last_hash: str
    providers: tuple[str, ...]
    attested: bool
    updated_at: datetime


class Lease(Protocol):
    """Leadership of one network, held by an open database session."""

    async def held(self) -> bool:
        """False once the session, and with it the lock, is gone."""
        ...

    async def release(self) -> None: ...


class IngestStore(StandingStore, Protocol):
    async def lead(self, network: str) -> Lease | None:
        """Become the one ingester of a network; None while another one is."""
        ...

    async def begin(self, network: str, anchor: PassedHeader, at: datetime) -> Cursor:
        """Start above `anchor`, once; later calls answer with the cursor there is."""
        ...

    async def cursor(self, network: str) -> Cursor | None: ...

    async def header_at(self, network: str, number: int) -> PassedHeader | None:
        """The block we hold canonical at that height, if its header was kept."""
        ...

    async def newest_header(self, network: str, up_to: int) -> PassedHeader | None:
        """The highest canonical block at or below that height whose header was kept."""
        ...

    async def newest_attested(self, network: str, *, above: int) -> PassedHeader | None:
        """The highest canonical block that two providers agreed on, above that number."""
        ...

    async def unattested(self, network: str, limit: int) -> Sequence[PassedHeader]:
        """Canonical blocks passed on one provider's word, oldest first."""
        ...

    async def sightings_above(self, network: str, number: int) -> Sequence[Sighted]:
        """Canonical sightings in higher blocks, oldest first: what a reorg would orphan."""
        ...

    async def sightings_in(self, network: str, block_hash: str) -> Sequence[Sighted]: ...

    async def first_terms(
        self, network: str, transfer_ids: Collection[str]
    ) -> Mapping[str, Terms]:
        """Those of each transfer's first sighting, canonical still or not."""
        ...

    async def received(
        self, network: str, purses: Collection[Purse], *, above: int
    ) -> Mapping[Purse, int]:
        """What canonical sightings in blocks above that number brought to each; 0 for none."""
        ...

    async def unconfirmed(
        self,
        network: str,
        *,
        head: int,
        tag: Finality | None = None,
        attested_only: bool,
        limit: int,
    ) -> Sequence[Sighted]:
        """Canonical sightings whose rule is met, and which have not been reported confirmed.

        Without a tag those that ask for a number of blocks, which `head` gives them; with one
        those that wait for it, at or below `head`, the newest block that has it.
        """
        ...

    async def awaited_tags(self, network: str, *, attested_only: bool) -> Mapping[Finality, int]:
        """Each tag that an unconfirmed canonical sighting waits for, and the lowest such block."""
        ...

    async def pass_blocks(self, passage: Passage) -> Cursor: ...

    async def orphan(self, orphaning: Orphaning) -> Cursor: ...

    async def reexamine(self, reexamination: Reexamination) -> Cursor: ...

    async def confirm(self, ripening: Ripening) -> Cursor: ...

    async def unpublished(self, network: str, limit: int) -> Sequence[StoredReport]:
        """Reports not yet on the bus, in order."""
        ...

    async def mark_published(self, network: str, numbers: Sequence[int], at: datetime) -> None: ...

    async def overdue(
        self, network: str, now: datetime, *, after_seconds: int, limit: int
    ) -> Sequence[StoredReport]:
        """Published reports nobody has recorded or parked in time, in order.

        The time doubles with every publication of a report, up to a bound.
        """
        ...

    async def coverage(self, network: str) -> Sequence[CoveredRange]:
        """What has been scanned, in order of the blocks."""
        ...


class RangeMemory(Protocol):
    """How many blocks of logs each provider of a network gave in one answer, as last learned."""

    async def widths(self, network: str) -> Mapping[str, int]:
        """By provider; empty for one never asked."""
        ...

    async def keep(self, network: str, widths: Mapping[str, int], at: datetime) -> None:
        """Add these, or put them in the place of older ones."""
        ...


class WatchedAddresses(Protocol):
    async def addresses(self, network: str) -> AbstractSet[str]:
        """Every watched address of a network, lower case; cheap when little has changed."""
        ...

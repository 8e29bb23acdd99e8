"""What the chain ingester remembers, and how it remembers it.

Shapes  A Passage writes what passing one block (or one back-filled range) means, an Orphaning
        what a reorg means; each is one transaction. Both name the cursor they were decided
        upon: if it is not the stored one any more, nothing is written. So two ingesters that
        both believe to be the leader cannot both write.
        Report numbers follow from the cursor: 1, 2, 3 ... per network, without gaps.
        Headers, sightings and reports are marked, never deleted.
Errors  CursorMoved   another ingester wrote, or an earlier write whose answer was lost did
        CoverageGap   the blocks to be passed do not follow those passed before
        ports.StoreUnavailable
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from domain.events import Sighting


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
    sightings: tuple[Sighting, ...]
    confirmed: tuple[Sighting, ...]
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
    """A block first seen through one provider, now read again through a quorum."""

    network: str
    cursor: Cursor
    header: PassedHeader
    sightings: tuple[Sighting, ...]
    reports: tuple[StoredReport, ...]  # for those not seen the first time
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


class IngestStore(Protocol):
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

    async def unattested(self, network: str, limit: int) -> Sequence[PassedHeader]:
        """Canonical blocks passed on one provider's word, oldest first."""
        ...

    async def sightings_above(self, network: str, number: int) -> Sequence[Sighting]:
        """Canonical sightings in higher blocks, oldest first: what a reorg would orphan."""
        ...

    async def sightings_in(self, network: str, block_hash: str) -> Sequence[Sighting]: ...

    async def unconfirmed(
        self, network: str, *, up_to: int, attested_only: bool, limit: int
    ) -> Sequence[Sighting]:
        """Canonical sightings at or below a height that have not been reported confirmed."""
        ...

    async def pass_blocks(self, passage: Passage) -> Cursor: ...

    async def orphan(self, orphaning: Orphaning) -> Cursor: ...

    async def reexamine(self, reexamination: Reexamination) -> Cursor: ...

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


class WatchedAddresses(Protocol):
    async def addresses(self, network: str) -> AbstractSet[str]:
        """Every watched address of a network, lower case; cheap when little has changed."""
        ...

"""What the chain says addresses hold, beside what was seen to arrive there and what is booked.

Shapes  A Reading is the last balance of a purse that the transfers seen explain. From one reading
        to the next a balance can grow only by what was seen: outgoing transfers make it smaller,
        so more on chain than was seen is a transfer that was missed.
        A Reconciliation is what one run checked and found; a Standing of the books says, an asset
        at a time, what the journal holds of what the chain brought.
Units   base units; block numbers.
Errors  ports.StoreUnavailable.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from application.ingest import CoveredRange, Purse, Sighted

Purpose = Literal["payment_session", "merchant_wallet", "refund_float"]


@dataclass(frozen=True, slots=True)
class WatchedAddress:
    address: str
    purpose: Purpose
    # When the session was created whose own it is: what came before is not for the session.
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    purse: Purse
    block_number: int
    block_hash: str
    units: int


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """One run. `rotated_to` is where in the watch list the next one goes on; 0: from the top."""

    network: str
    at: datetime
    block_number: int
    block_hash: str
    final: bool  # the chain calls the block so; else it is as deep as confirmations ask for
    checked: int  # balances, one a token and address
    undecided: int  # no two providers gave the same one
    differing: int  # more on chain than was seen to arrive
    found: int  # transfers that had been missed, and have been fed in
    unexplained: int  # still differing: no log tells where it came from
    rotated_to: int


@dataclass(frozen=True, slots=True)
class KnownSighting:
    sighted: Sighted
    canonical: bool


@dataclass(frozen=True, slots=True)
class Examined:
    """Of one covered range."""

    attested: int  # blocks that two providers agreed upon
    proved: int  # blocks with a transfer: each proved by its receipts


@dataclass(frozen=True, slots=True)
class Arrived:
    """One asset, on chain and in the books. All are sums of base units."""

    asset: str
    confirmed: int  # on chain, by the ingester's tables
    nobodys: int  # of these, to an address of no merchant, or dismissed: never booked
    settling: int  # of these, not yet recorded: the report is on its way
    leaving: int  # booked, and taken back by a reorg whose report is on its way
    booked: int  # by the journal

    @property
    def difference(self) -> int:
        """What nothing explains. Anything but zero is a fault."""
        return self.booked - (self.confirmed - self.nobodys - self.settling + self.leaving)


Mark = tuple[str, str, int]
"""An address, an asset and a block: up to it and with it."""


class ReconcileBook(Protocol):
    async def sightings_of(self, network: str, tx_hash: str) -> Sequence[KnownSighting]:
        """Every sighting of a transaction, in whatever block, the oldest first."""
        ...

    async def received_until(self, network: str, marks: Collection[Mark]) -> Mapping[Mark, int]:
        """What canonical sightings brought up to a block; 0 for none."""
        ...

    async def readings(self, network: str, purses: Collection[Purse]) -> Mapping[Purse, Reading]:
        """Those there are."""
        ...

    async def keep(self, run: Reconciliation, readings: Sequence[Reading]) -> None: ...

    async def newest(self, network: str) -> Reconciliation | None: ...

    async def examined(self, network: str, covered: CoveredRange) -> Examined: ...


class AddressesToCheck(Protocol):
    async def awaiting(self, network: str, limit: int) -> Sequence[WatchedAddress]:
        """Deposit addresses of sessions that wait for money, the last to expire first."""
        ...

    async def below(
        self, network: str, position: int, limit: int
    ) -> tuple[Sequence[WatchedAddress], int]:
        """The newest below a position of the watch list (0: all), and the position they reach.

        The position is 0 when there are no more.
        """
        ...


class BooksAndChain(Protocol):
    async def arrived(self, network: str) -> Sequence[Arrived]: ...

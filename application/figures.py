"""What reading a chain costs and how it goes: figures to be kept, and to be shown.

Shapes  CallCount is what one provider was asked of one kind and how long it took, CallFigures
        the same with its hour; ReadingCount and ReadingFigures are those of a network. Both are
        sums: what is kept for an hour is added up from as many parts as it was flushed in.
        ProviderState is what is known of a provider now; Backlog what waits in the outbox.
        `method` is the name of the JSON-RPC call, as the provider's own dashboard counts it.
        `outcome` is ANSWERED, or the kind of the failure.
Units   microseconds as integers, so that sums are exact; LATENCY_MICROS are upper bounds, the
        bucket after the last one holds what took longer. Hours begin at minute 0, in UTC.
Errors  ports.StoreUnavailable. Figures are for people: losing some harms nobody.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Literal, Protocol

ANSWERED = "answered"
LATENCY_MICROS = (
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
)
BUCKETS = len(LATENCY_MICROS) + 1
FIGURES_KEPT_DAYS = 90

Condition = Literal["answers", "fails", "down", "limited", "lied", "refused", "not_asked"]


def no_buckets() -> tuple[int, ...]:
    return (0,) * BUCKETS


@dataclass(frozen=True, slots=True)
class CallCount:
    calls: int = 0
    micros_sum: int = 0
    micros_max: int = 0
    buckets: tuple[int, ...] = field(default_factory=no_buckets)

    def __add__(self, other: "CallCount") -> "CallCount":
        return CallCount(
            self.calls + other.calls,
            self.micros_sum + other.micros_sum,
            max(self.micros_max, other.micros_max),
            tuple(a + b for a, b in zip(self.buckets, other.buckets, strict=True)),
        )

    def micros_at(self, share: float) -> int | None:
        """The bound that this share of the calls did not exceed; the slowest one above the last."""
        wanted = share * self.calls
        for bound, reached in zip(LATENCY_MICROS, accumulate(self.buckets), strict=False):
            if self.calls and reached >= wanted:
                return min(bound, self.micros_max)
        return self.micros_max if self.calls else None


def total(counts: Iterable[CallCount]) -> CallCount:
    return sum(counts, CallCount())


@dataclass(frozen=True, slots=True)
class CallFigures:
    """What a provider was asked in one hour; `first_at` and `last_at` bound the counting."""

    network: str
    provider: str
    hour: datetime
    method: str
    outcome: str
    count: CallCount
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class ReadingCount:
    """How following a network went: sums, but for `deepest_reorg`."""

    blocks: int = 0
    proofs: int = 0
    disagreements: int = 0
    lies: int = 0
    reorgs: int = 0
    deepest_reorg: int = 0

    def __add__(self, other: "ReadingCount") -> "ReadingCount":
        return ReadingCount(
            self.blocks + other.blocks,
            self.proofs + other.proofs,
            self.disagreements + other.disagreements,
            self.lies + other.lies,
            self.reorgs + other.reorgs,
            max(self.deepest_reorg, other.deepest_reorg),
        )


@dataclass(frozen=True, slots=True)
class ReadingFigures:
    network: str
    hour: datetime
    count: ReadingCount
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class ProviderState:
    network: str
    provider: str
    condition: Condition
    head: int | None  # the newest block it has told of
    answered_at: datetime | None
    failed_at: datetime | None
    failure: str | None  # the kind of the last one
    at: datetime


@dataclass(frozen=True, slots=True)
class Backlog:
    """Reports nobody has published, those nobody has recorded, and how old the oldest is."""

    unpublished: int
    unsettled: int
    oldest_at: datetime | None


class FiguresStore(Protocol):
    async def add(
        self,
        calls: Sequence[CallFigures],
        readings: Sequence[ReadingFigures],
        states: Sequence[ProviderState],
    ) -> None:
        """Add sums to what is kept of the same hour; replace states. All or none."""
        ...

    async def forget(self, before: datetime) -> None:
        """Drop the hours that began before then."""
        ...

    async def calls(self, network: str, since: datetime) -> Sequence[CallFigures]:
        """Hours that began at that moment or later, oldest first."""
        ...

    async def readings(self, network: str, since: datetime) -> Sequence[ReadingFigures]: ...

    async def states(self, network: str) -> Sequence[ProviderState]: ...

    async def backlog(self, network: str) -> Backlog: ...

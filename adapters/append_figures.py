"""How the writer of this process fares: counted as it happens, read when somebody asks.

Shapes  a Spread counts by upper bound, its last bucket what lies above all of them. `refused` has
        a count for each kind of answer that is not a position; `resolved` counts the unknown ones
        by what was found out about them later.
Units   seconds; sizes in batches.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from application.ports import (
    AlreadyProcessed,
    KeyAlreadyUsed,
    Overdraft,
    StoreBusy,
    StoreUnavailable,
    StreamConflict,
)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class Spread:
    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class AppendFigures:
    def __init__(self) -> None:
        self.sizes = Spread(SIZES)
        self.waits = Spread(SECONDS)
        self.writes = Spread(SECONDS)
        self.refused: Counter[str] = Counter()
        self.rescues = 0
        self.resolved: Counter[str] = Counter()
        self.events = 0

    def taken(self, waited_since: Sequence[float], now: float) -> None:
        """A group leaves the line."""
        self.sizes.add(len(waited_since))
        for since in waited_since:
            self.waits.add(now - since)

    def refuse(self, refusal: Exception) -> None:
        self.refused[kind_of(refusal)] += 1


RESOLVED_KINDS = ("written", "not_written")
KINDS = ("busy", "conflict", "repeated", "overdraft", "unavailable", "unknown", "failed")


def kind_of(refusal: Exception) -> str:
    """One of KINDS; `unknown` may have been written, `failed` is a bug of ours."""
    match refusal:
        case StoreBusy():
            return "busy"
        case StreamConflict():
            return "conflict"
        case KeyAlreadyUsed() | AlreadyProcessed():
            return "repeated"
        case Overdraft():
            return "overdraft"
        case StoreUnavailable(outcome_unknown=unknown):
            return "unknown" if unknown else "unavailable"
        case _:
            return "failed"

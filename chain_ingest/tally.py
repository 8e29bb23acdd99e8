"""What happens while a network is followed, counted: blocks, proofs, disagreements, lies, reorgs.

Shapes  Sums of one process since its start; `take` gives what has come since it was last taken.
        A disagreement is two providers that name different blocks for one height, or whose logs
        of one block differ; the same one counts each time it is met.
"""

from collections import Counter
from collections.abc import Mapping

from application.figures import ReadingCount

DEEP_REORG_BLOCKS = 64  # deeper than any that a chain goes through in a normal year


class Tally:
    def __init__(self) -> None:
        self._taken = ReadingCount()
        self._fresh = ReadingCount()
        self._lies: Counter[str] = Counter()
        self.deep_reorgs = 0  # since the start
        self.resting = False  # nobody waits for a payment: see chain_ingest/rest.py

    def passed(self, blocks: int) -> None:
        self._add(ReadingCount(blocks=blocks))

    def proved(self) -> None:
        self._add(ReadingCount(proofs=1))

    def disagreed(self) -> None:
        self._add(ReadingCount(disagreements=1))

    def lied(self, provider: str) -> None:
        self._lies[provider] += 1
        self._add(ReadingCount(lies=1))

    def reorganised(self, depth: int) -> None:
        self.deep_reorgs += depth >= DEEP_REORG_BLOCKS
        self._add(ReadingCount(reorgs=1, deepest_reorg=depth))

    @property
    def lies(self) -> Mapping[str, int]:
        """By provider."""
        return dict(self._lies)

    def count(self) -> ReadingCount:
        """Everything since the start."""
        return self._taken + self._fresh

    def take(self) -> ReadingCount:
        fresh, self._fresh = self._fresh, ReadingCount()
        self._taken += fresh
        return fresh

    def _add(self, count: ReadingCount) -> None:
        self._fresh += count

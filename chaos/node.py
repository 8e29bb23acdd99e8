"""The real node of the campaigns: anvil, mining when told.

anvil 1.7.1 keeps about a thousand states and moves older ones to disk; rolled back to one of
those it has no contracts and no balances (seen at 1,000 blocks, depth 20). So history is pruned
to what the deepest fork needs, and nothing goes to disk.
"""

from collections.abc import Sequence
from pathlib import Path

from gateway.embedded_anvil import Anvil, ChainOptions

STATES_KEPT = 300


class Node(Anvil):
    def __init__(self, home: Path) -> None:
        super().__init__(home, ChainOptions(mining="manual", persistent=False))

    def _command(self) -> Sequence[str]:
        return (*super()._command(), "--prune-history", str(STATES_KEPT))

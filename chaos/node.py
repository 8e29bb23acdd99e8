"""The real node of the campaigns: anvil, mining when told."""

from pathlib import Path

from gateway.embedded_anvil import Anvil, ChainOptions


class Node(Anvil):
    def __init__(self, home: Path) -> None:
        super().__init__(home, ChainOptions(mining="manual", persistent=False))

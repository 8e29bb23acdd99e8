"""How far a benchmark is, one line a step, on a terminal and in a log alike.

Units   seconds since the benchmark began
"""

import time

from rich.console import Console

LINES_MAX = 10  # of one step


class Steps:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = time.monotonic()
        self._said: dict[str, int] = {}

    @property
    def seconds(self) -> int:
        return round(time.monotonic() - self._begun)

    def told(self, what: str, done: int, total: int) -> None:
        """Say so, if enough has happened since the last line."""
        reached = done * LINES_MAX // max(total, 1)
        if reached > self._said.get(what, -1) or done == total:
            self._said[what] = reached
            self._console.print(f"{self.seconds:>5} s  {what}: {done:,} of {total:,}")

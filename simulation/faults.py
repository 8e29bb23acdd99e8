"""What goes wrong, decided from the steps' own salts, and counted when it really happened.

Shapes  A Window is a trouble that lasts until a moment, or for so many times; it draws from a
        generator of its own, so that one trouble never changes what another one does. Windows
        have names such as "bus.lost_acks" and "provider.polygon.1.lag".
        A Plan is one process's next death: at its n-th callback, or at its n-th arrival at a point.
Units   microseconds of virtual time.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from random import Random  # noqa: TID251 - seeded by a step's salt
from typing import Any

from simulation.loop import SimLoop


@dataclass(slots=True)
class Window:
    name: str
    until_us: int
    random: Random
    amount: int = 1
    left: int | None = None  # how many times still; None: as long as it lasts

    def chance(self, one_in: int) -> bool:
        return self.random.randrange(one_in) == 0


class Trace:
    """A running digest of all that happens: equal for equal histories, in every process."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.lines: list[str] | None = None  # kept when somebody wants to read them

    def add(self, *parts: object) -> None:
        line = " ".join(str(part) for part in parts)
        self._digest.update(line.encode() + b"\n")
        if self.lines is not None:
            self.lines.append(line)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


class Faults:
    def __init__(self, loop: SimLoop, trace: Trace) -> None:
        self.counts: Counter[str] = Counter()
        self._loop = loop
        self._trace = trace
        self._windows: dict[str, Window] = {}

    def open(
        self,
        name: str,
        seconds: int,
        salt: Any,
        *,
        amount: int = 1,
        times: int | None = None,
    ) -> None:
        until_us = self._loop.now_us + seconds * 1_000_000
        random = Random(f"{name} {salt}")  # noqa: S311 - repeatable, not secret
        self._windows[name] = Window(name, until_us, random, amount, times)

    def close(self, name: str) -> None:
        self._windows.pop(name, None)

    def active(self, name: str) -> Window | None:
        """The trouble of this name, if it is on."""
        window = self._windows.get(name)
        if window is None:
            return None
        if window.until_us <= self._loop.now_us or window.left == 0:
            del self._windows[name]
            return None
        return window

    def strikes(self, name: str, *, one_in: int = 1) -> Window | None:
        """The same, when it happens this time: it is counted."""
        window = self.active(name) if self._windows else None
        if window is None or (one_in > 1 and not window.chance(one_in)):
            return None
        if window.left is not None:
            window.left -= 1
        self.count(name)
        return window

    def count(self, name: str) -> None:
        """Numbers in a name say where; the kind is counted without them."""
        self.counts[kind_of(name)] += 1
        self._trace.add("fault", name, self._loop.now_us)

    def end_all(self) -> None:
        self._windows.clear()


def kind_of(name: str) -> str:
    """The kind of "provider.polygon.1.lag" is "provider.lag"."""
    first, *_, last = name.split(".")
    return f"{first}.{last}"


@dataclass(slots=True)
class Plan:
    """How a process is going to die: the `after`-th time it comes to `point`."""

    point: str
    after: int
    down_seconds: int

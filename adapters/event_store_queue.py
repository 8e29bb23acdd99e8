"""Who waits to be written, and who goes together.

Shapes  batches that share a stream, a message or a key never meet in a group: the later one waits,
        and those that share anything with it wait behind it. So nobody is overtaken by what it
        waits for, and `take` always takes the first.
Fair    a batch with N before it, of which at most C must be written one after another, is in one
        of the next C + N // GROUP_MAX + 1 groups, whoever comes after it.
Units   batches. A line holds WAITING_MAX; who comes then is told StoreBusy, and nothing is kept.
"""

from collections import deque
from collections.abc import Hashable

from adapters.event_store_draft import Draft
from application.ports import StoreBusy

GROUP_MAX = 256
WAITING_MAX = 4_096
RETRY_AFTER_SECONDS = 1


class WaitingLine:
    def __init__(self, waiting_max: int = WAITING_MAX) -> None:
        self._waiting_max = waiting_max
        self._waiting: deque[Draft] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def insist_on_room(self) -> None:
        """Raises StoreBusy; before a batch is encoded, which would be for nothing."""
        if len(self._waiting) >= self._waiting_max:
            raise StoreBusy(RETRY_AFTER_SECONDS)

    def add(self, ready: Draft) -> None:
        self._waiting.append(ready)

    def take(self) -> list[Draft]:
        """The next group, without those that must come after one taken or passed over."""
        group: list[Draft] = []
        later: list[Draft] = []
        claimed: set[Hashable] = set()
        while self._waiting and len(group) < GROUP_MAX:
            each = self._waiting.popleft()
            (group if claimed.isdisjoint(each.claims) else later).append(each)
            claimed |= each.claims
        self._waiting.extendleft(reversed(later))
        return group

    def leave(self) -> deque[Draft]:
        """Everybody, at once."""
        waiting, self._waiting = self._waiting, deque()
        return waiting

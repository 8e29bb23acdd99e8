"""Group append for threads: who finds nobody writing writes for all who wait.

Shapes  a thread hands in its events and waits. The first one becomes the writer: it takes all that
        wait and may go together, writes them in one transaction under the log's lock, tells each
        what became of it, and goes on until nobody waits, at most ROUNDS_MAX times; then the next
        in line takes over. No thread of our own is needed, so nothing has to be closed.
        A request's future that answers None means: you are the writer now.
        A refused one (a version that is there, tracking that has passed) is found by asking, as in
        event_store_write.py, and harms nobody else.
Units   requests; GROUP_MAX of them in a transaction, WAITING_MAX in the line.
Errors  the library's. OperationalError when the line is full, before anything is written. When a
        connection is lost nobody tries again: after a lost answer nobody knows without looking.
"""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from eventsourcing.persistence import OperationalError, StoredEvent, Tracking

GROUP_MAX = 256
WAITING_MAX = 4_096
ROUNDS_MAX = 16  # one thread writes for the others so often, then somebody else does

Positions = list[int]
Outcome = Positions | Exception


@dataclass(slots=True, eq=False)
class Request:
    events: Sequence[StoredEvent]
    tracking: Tracking | None
    done: "Future[Positions | None]" = field(default_factory=Future)

    @property
    def claims(self) -> frozenset[Hashable]:
        """What no two requests of one group may share."""
        named = [self.tracking.application_name] if self.tracking else []
        return frozenset([*(event.originator_id for event in self.events), *named])


class Groups:
    """The line of one recorder's threads; `write` gets a group and answers for each of it."""

    def __init__(
        self,
        write: Callable[[Sequence[Request]], Sequence[Outcome]],
        *,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self._write = write
        self._waiting_max = waiting_max
        self._waiting: deque[Request] = deque()
        self._line = threading.Lock()
        self._writing = False

    def insert(self, events: Sequence[StoredEvent], tracking: Tracking | None) -> Positions:
        """Positions of the events, once they are durable."""
        request = Request(events, tracking)
        with self._line:
            if len(self._waiting) >= self._waiting_max:
                raise OperationalError("too many writes are waiting")
            self._waiting.append(request)
            leads = not self._writing
            self._writing = True
        while True:
            if leads:
                self._lead()
            try:
                positions = request.done.result()
            except BaseException:
                self._leave(request)  # told to end while it waited; else it has left already
                raise
            if positions is not None:
                return positions
            request.done, leads = Future(), True

    def _lead(self) -> None:
        """Write until nobody waits, or somebody else has taken over."""
        try:
            for _ in range(ROUNDS_MAX):
                group = self._take()
                if not group:
                    return
                self._serve(group)
        finally:
            self._hand_over()

    def _hand_over(self) -> None:
        """To the first who waits, also when this thread is told to end."""
        with self._line:
            self._writing = bool(self._waiting)
            if self._waiting:
                self._waiting[0].done.set_result(None)

    def _leave(self, request: Request) -> None:
        """Out of the line; had it been made the writer meanwhile, the next one is."""
        with self._line:
            if request not in self._waiting:
                return
            self._waiting.remove(request)
            led = request.done.done()
        if led:
            self._hand_over()

    def _take(self) -> list[Request]:
        group: list[Request] = []
        later: list[Request] = []
        claimed: set[Hashable] = set()
        with self._line:
            while self._waiting and len(group) < GROUP_MAX:
                each = self._waiting.popleft()
                claims = each.claims
                (group if claimed.isdisjoint(claims) else later).append(each)
                claimed |= claims
            self._waiting.extendleft(reversed(later))
        return group

    def _serve(self, group: Sequence[Request]) -> None:
        try:
            outcomes = self._write(group)
        except Exception as error:  # noqa: BLE001 - raised again in each thread that waits
            outcomes = [_again(error) for _ in group]
        except BaseException:
            # This thread is told to end; the others must not wait for it.
            for each in group:
                each.done.set_exception(OperationalError("the writer was interrupted"))
            raise
        for each, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Exception):
                each.done.set_exception(outcome)
            else:
                each.done.set_result(outcome)


def _again(error: Exception) -> Exception:
    """An exception for each thread: one shared by many would collect all their tracebacks."""
    try:
        return type(error)(*error.args)
    except Exception:  # noqa: BLE001 - it takes other arguments than it keeps
        return OperationalError(str(error))

"""How much of the log a process takes in at once, by how long that took before.

Shapes  A step that was ended for its length halves the batch, down to a single fact: the same
        batch would only be ended again. A full batch that took less than half of what it may
        doubles it, up to the maximum.
        Each size is said once on the way down, until the batch was whole for WHOLE_STEPS: one
        that goes up and down fills no log.
Units   seconds of a step, of which the server allows a transaction `limit`
"""

from collections.abc import Iterator

import psycopg
import structlog
from psycopg import errors

BATCH_EVENTS_MAX = 1_000
NEARLY = 0.9  # of the limit: a connection lost so late was ended by it
ROOMY = 0.5  # of the limit: twice as much would still fit
WHOLE_STEPS = 100  # in a row
FACT_TOO_SLOW = (
    "PostgreSQL needs longer for one fact of the log than a transaction may last: "
    "look at its disks, its locks and the way to it"
)

_FOR_ITS_LENGTH = (TimeoutError, errors.TransactionTimeout, errors.QueryCanceled)
_LOSSES = (psycopg.OperationalError, psycopg.InterfaceError)

log = structlog.get_logger(__name__)


class TooSlow(Exception):  # noqa: N818 - named for what is the case
    """A step was ended for its length: nothing of it is kept, and the next one is smaller."""

    def __init__(self, reason: str, *, smaller: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.smaller = smaller  # else it was of a single fact already


class Pace:
    """Outlives the connection: who is given another one goes on with the size found out."""

    def __init__(self, events_max: int = BATCH_EVENTS_MAX) -> None:
        self._events_max = events_max
        self._least_said = events_max
        self._slow_fact: int | None = None
        self._whole = 0
        self.events = events_max

    def succeeded(self, size: int, seconds: float, limit: float) -> None:
        if self.events == self._events_max:
            self._whole += 1
            if self._whole == WHOLE_STEPS and self._least_said < self._events_max:
                self._least_said = self._events_max
                log.info("projections_batch_whole_again", events=self.events)
        elif size == self.events and seconds < limit * ROOMY:
            self.events = min(self.events * 2, self._events_max)

    def failed(
        self, error: Exception, seconds: float, limit: float, *, size: int, position: int
    ) -> TooSlow | None:
        """None unless the step, of `size` after that position, was ended for its length."""
        if not _ended_for_length(error, seconds, limit):
            return None
        tried = min(size, self.events)
        slow = TooSlow(_reason(error), smaller=tried > 1)
        if slow.smaller:
            self._shrink(tried // 2, slow.reason, seconds)
        elif position != self._slow_fact:
            self._slow_fact = position
            log.error(
                "projections_fact_too_slow",
                after_position=position,
                reason=slow.reason,
                seconds=round(seconds, 1),
                hint=FACT_TOO_SLOW,
            )
        return slow

    def _shrink(self, events: int, reason: str, seconds: float) -> None:
        self.events, self._whole = events, 0
        if self.events < self._least_said:
            self._least_said = self.events
            log.warning(
                "projections_batch_reduced",
                events=self.events,
                reason=reason,
                seconds=round(seconds, 1),
            )


def _reason(error: Exception) -> str:
    """In a pipeline the server's last word is lost with the connection, but not how late."""
    last = list(_causes(error))[-1]
    if isinstance(last, _LOSSES) and last.sqlstate is None:
        return errors.TransactionTimeout.__name__
    return cause_of(error)


def cause_of(error: BaseException) -> str:
    """The name of what the server said, or of what was at the bottom of it."""
    return type(list(_causes(error))[-1]).__name__


def _ended_for_length(error: Exception, seconds: float, limit: float) -> bool:
    causes = list(_causes(error))
    if any(isinstance(each, _FOR_ITS_LENGTH) for each in causes):
        return True
    return seconds >= limit * NEARLY and any(isinstance(each, _LOSSES) for each in causes)


def _causes(error: BaseException) -> Iterator[BaseException]:
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__

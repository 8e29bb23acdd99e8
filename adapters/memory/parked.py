"""An in-memory twin of parked messages."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from adapters.parked import parked_id, storable
from application.chain_messages import SOURCE
from application.outside import BusMessage, ParkedMessage, RetryOutcome
from application.ports import Clock


class MemoryParkedMessages:
    """application.outside.ParkedMessages."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._parked: dict[tuple[str, str], ParkedMessage] = {}

    async def park(self, source: str, message: BusMessage, error: str) -> None:
        key = (source, parked_id(message))
        kept = storable(error)
        parked = ParkedMessage(*key, message.subject, message.data, kept, self._clock.now())
        self._parked.setdefault(key, parked)

    async def list(self, limit: int, *, settled: bool = False) -> Sequence[ParkedMessage]:
        wanted = [each for each in self._parked.values() if settled or not each.settled]
        return sorted(wanted, key=lambda each: each.at, reverse=True)[:limit]

    async def find(self, source: str, message_id: str) -> ParkedMessage | None:
        return self._parked.get((source, storable(message_id)))

    async def retried(
        self,
        message: ParkedMessage,
        outcome: RetryOutcome,
        *,
        at: datetime,
        reason: str,
        error: str | None,
    ) -> None:
        key = (message.source, message.message_id)
        now = self._parked[key]
        if now.settled:
            return
        self._parked[key] = replace(
            now,
            retries=now.retries + 1,
            retried_at=at,
            retry_reason=storable(reason),
            outcome=outcome,
            retry_error=None if error is None else storable(error),
        )

    def all_parked(self) -> Sequence[ParkedMessage]:
        """Oldest first."""
        return tuple(self._parked.values())

    def holds(self, message_id: str) -> bool:
        return (SOURCE, message_id) in self._parked

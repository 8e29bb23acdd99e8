"""Twin of the purge of stored answers, over the log of the in-memory event store."""

from datetime import datetime

from adapters.memory.store import MemoryLog


class MemoryStoredAnswers:
    """Implements application.ports.StoredAnswers."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def purge(self, before: datetime, limit: int) -> int:
        given = self._log.answered_at
        old = sorted((at, key) for key, at in given.items() if at < before)[:limit]
        for _, key in old:
            del self._log.answers[key], given[key]
        return len(old)

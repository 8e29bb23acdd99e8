"""Forgets the answers to POSTs after seven days: an idempotency key is new again then.

Shapes  A few rows a round, so that no round holds up the writers: one round a minute, or one a
        second while full batches say that more wait.
Errors  outages are waited for.
"""

import asyncio
from datetime import timedelta

import structlog

from application.ports import Clock, StoredAnswers, Unavailable
from workers.pacing import Outages

log = structlog.get_logger(__name__)

KEPT_DAYS = 7
BATCH_MAX = 1_000
ROUND_SECONDS = 60.0
FULL_ROUND_SECONDS = 1.0


class Purge:
    def __init__(self, answers: StoredAnswers, clock: Clock) -> None:
        self._answers = answers
        self._clock = clock
        self._outages = Outages("purge")

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            purged = 0
            try:
                purged = await self.purge_old()
                self._outages.back()
            except Unavailable as outage:
                self._outages.away(outage)
            seconds = ROUND_SECONDS if purged < BATCH_MAX else FULL_ROUND_SECONDS
            await self._clock.sleep(seconds, stop)

    async def purge_old(self) -> int:
        """One batch; how many there were."""
        before = self._clock.now() - timedelta(days=KEPT_DAYS)
        purged = await self._answers.purge(before, BATCH_MAX)
        if purged:
            log.info("answers_purged", count=purged)
        return purged

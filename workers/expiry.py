"""Closes the windows of payment sessions that nobody has paid in time.

The read model says which sessions may be due; the session itself decides, so a lagging view
costs a look and nothing else.
"""

import asyncio
from uuid import UUID

import structlog

from application.deciders import PAYMENT
from application.handling import Handler, UnitOfWork
from application.ports import Clock, Context, Unavailable
from application.reads import SessionReads
from domain import commands as c
from workers.pacing import Outages, pause

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
BATCH_MAX = 256
AT_ONCE_MAX = 32
CONTEXT = Context(actor="system")


class Expiry:
    def __init__(self, sessions: SessionReads, handler: Handler, clock: Clock) -> None:
        self._sessions = sessions
        self._handler = handler
        self._clock = clock
        self._outages = Outages("expiry")
        self._failed: set[UUID] = set()

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            expired = 0
            try:
                expired = await self.expire_due()
                self._outages.back()
            except Unavailable as outage:
                self._outages.away(outage)
            # A full batch means that more wait, unless the view has not followed yet.
            if expired < BATCH_MAX:
                await pause(self._clock, POLL_SECONDS, stop)

    async def expire_due(self) -> int:
        """Expire one batch; how many were still open."""
        due = await self._sessions.due_to_expire(self._clock.now(), BATCH_MAX)
        expired = 0
        for first in range(0, len(due), AT_ONCE_MAX):
            together = due[first : first + AT_ONCE_MAX]
            outcomes = await asyncio.gather(
                *(self._expire(one) for one in together), return_exceptions=True
            )
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
                expired += outcome
        return expired

    async def _expire(self, session_id: UUID) -> bool:
        async def work(unit: UnitOfWork) -> bool:
            before = await unit.load(PAYMENT, session_id)
            after = await unit.decide(PAYMENT, session_id, c.ExpireSession(at=unit.now))
            return before != after

        try:
            return await self._handler.execute(CONTEXT, work)
        except Unavailable:
            raise
        except Exception:
            # One broken session must not keep the others open.
            if session_id not in self._failed:
                self._failed.add(session_id)
                log.exception("session_cannot_expire", session_id=session_id.hex)
            return False

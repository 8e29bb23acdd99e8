"""Closes the windows of payment sessions that nobody has paid in time.

Rule    A transfer mined before `expires_at` is in time, whenever we hear of it. So a window is
        closed by the time of the chain, not by ours: when a block of that moment or later has
        been passed, and every transfer seen before it is recorded. While the chain cannot be
        read, or what was read cannot be recorded, its sessions stay open; so too while a block
        was read through one provider only, who may have kept a transfer to himself.
        A chain may make no blocks while nobody uses it. It counts as read up to QUIET_BLOCKS
        block times ago if its node answers, and the newest block it has is the one we have passed:
        a shorter branch is news too.
        A session of a network that is not configured any more stays open: nobody reads it.
Shapes  The read model says which sessions may be due; the session itself decides, so a lagging
        view costs a look and nothing else.
Errors  an outage of one network's node holds up the sessions of that network only.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from application.deciders import PAYMENT
from application.handling import Handler, UnitOfWork
from application.outside import ChainClient
from application.ports import Clock, Context, Unavailable
from application.reads import ChainHeads, Passed, SessionReads
from domain import commands as c
from workers.pacing import Outages

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
BATCH_MAX = 256  # a network and round
AT_ONCE_MAX = 32
QUIET_BLOCKS = 300  # Ethereum: an hour; Polygon: ten minutes; the local chain: five
CONTEXT = Context(actor="system")


class Expiry:
    def __init__(
        self,
        sessions: SessionReads,
        heads: ChainHeads,
        chains: Mapping[str, ChainClient],
        handler: Handler,
        clock: Clock,
    ) -> None:
        self._sessions = sessions
        self._heads = heads
        self._chains = chains
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
                await self._clock.sleep(POLL_SECONDS, stop)

    async def expire_due(self) -> int:
        """Expire one batch of each network; how many were still open."""
        return sum(
            _all_well(await asyncio.gather(*map(self._of, self._chains), return_exceptions=True))
        )

    async def _of(self, network: str) -> int:
        try:
            until = await self._settled_until(network)
            self._outages.back(what=network)
        except Unavailable as outage:
            if outage.service != "rpc":
                raise
            self._outages.away(outage, what=network)
            return 0
        if until is None:
            return 0
        due = await self._sessions.due_to_expire(until, BATCH_MAX, network=network)
        expired = 0
        for first in range(0, len(due), AT_ONCE_MAX):
            together = due[first : first + AT_ONCE_MAX]
            expired += sum(
                _all_well(
                    await asyncio.gather(
                        *(self._expire(one) for one in together), return_exceptions=True
                    )
                )
            )
        return expired

    async def _settled_until(self, network: str) -> datetime | None:
        """Before which moment no payment can have been mined that is not recorded."""
        passed = await self._heads.passed(network)
        if passed is None:
            return None
        now = self._clock.now()
        until = passed.time
        chain = self._chains[network]
        quiet_until = now - timedelta(seconds=QUIET_BLOCKS * chain.network.block_seconds)
        if until < quiet_until and await _is_head(passed, chain):
            until = quiet_until
        if passed.unrecorded_from is not None:
            until = min(until, passed.unrecorded_from)
        one_will_do = chain.network.policy.allow_unattested
        if passed.unattested_from is not None and not one_will_do:
            until = min(until, passed.unattested_from)
        return min(until, now)

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


async def _is_head(passed: Passed, chain: ChainClient) -> bool:
    if await chain.head_number() != passed.number:
        return False
    return await chain.block_hash(passed.number) == passed.hash


def _all_well(outcomes: Sequence[int | BaseException]) -> list[int]:
    """What all of them gave, after all have ended; or what the first of them raised."""
    well: list[int] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        well.append(outcome)
    return well

"""What is final for ever, and the network that stands still because the chain denies it.

Shapes  The newest block that two providers call final is never given up by itself: a branch that
        two providers vouch for and that does not have it halts the network, and so does a reorg
        deeper than REORG_BLOCKS_MAX below the newest block that two vouch for: what one provider
        alone has told since makes no reorg deeper. A halt is a fact in the log (domain/halts.py), so that a
        restart, another process and the auditor know it. While it stands nothing is confirmed
        and nothing passed. A person lets it go on; then what was final is forgotten once, and
        one reorg is followed as deep as RESUMED_BLOCKS_MAX: the decision is used up by it, or
        once a quorum's block stands on ours, so that there is none to follow.
        What is known of both is read anew with every lease, the log every LOOK_SECONDS besides.
Units   block numbers; seconds by the Clock port.
Errors  ports.Unavailable: a halt that could not be written is written before anything else.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from application.halts import Halts
from application.ingest import BlockRef, Cursor, IngestStore
from application.ports import Clock
from application.standing import FinalBlock, Finality
from domain.events import HaltCause
from domain.halts import Halt
from domain.networks import Network

log = structlog.get_logger(__name__)

REORG_BLOCKS_MAX = 1_024
RESUMED_BLOCKS_MAX = 4_096
# On one provider's word, past the newest block that two vouch for; what is beyond it waits.
UNATTESTED_BLOCKS_MAX = 256
LOOK_SECONDS = 5.0


class Halted(Exception):  # noqa: N818 - named for what happened
    """The network stands still from here on."""


@dataclass(frozen=True, slots=True)
class _Reason:
    cause: HaltCause
    detail: str
    number: int
    our_hash: str
    their_hash: str


class Halting:
    def __init__(self, network: Network, halts: Halts, store: IngestStore, clock: Clock) -> None:
        self._network = network
        self._halts = halts
        self._store = store
        self._clock = clock
        self._finality: Finality | None = None  # None: not read under this lease
        self._halt: Halt | None = None
        self._unwritten: _Reason | None = None
        self._look_not_before: datetime | None = None
        self.heard = False  # under this lease, how far the chain is final

    def forget(self) -> None:
        """Another one may have led meanwhile."""
        self._finality = None
        self.heard = False
        self._look_not_before = None

    @property
    def halt(self) -> Halt | None:
        """The one that stands, as far as this process knows."""
        return self._halt

    @property
    def finality(self) -> Finality:
        return self._finality or Finality()

    @property
    def final(self) -> FinalBlock | None:
        """The newest block of ours that two providers have called final."""
        return self.finality.block

    async def stands_still(self) -> bool:
        """Whether nothing may be done; to be asked before anything is."""
        if self._unwritten is not None:
            await self._write(self._unwritten)
        if self._finality is None:
            self._finality = await self._store.finality(self._network.name)
        now = self._clock.now()
        if self._look_not_before is None or now >= self._look_not_before or self._halt is not None:
            await self._look()
            self._look_not_before = now + timedelta(seconds=LOOK_SECONDS)
        return self._halt is not None

    async def _look(self) -> None:
        known = await self._halts.of(self._network.name)
        if known.resumed > self.finality.resumed:
            # What a person has decided counts once, however often it is read.
            await self._keep(Finality(resumed=known.resumed, deep=True))
            log.warning("network_resumed", network=self._network.name)
        if known.halt is not None and self._halt is None:
            log.error("network_halted", network=self._network.name, reason=known.halt.detail)
        self._halt = known.halt

    # ------------------------------------------------------------ what is final

    async def told(self, number: int | None) -> None:
        """How far the chain is said to be final; None while too few say anything."""
        known = self.finality
        self.heard = self.heard or number is not None
        if number is not None and (known.told is None or number > known.told):
            await self._keep(replace(known, told=number, told_at=self._clock.now()))

    async def keep(self, block: BlockRef) -> None:
        """One of ours that two providers call final."""
        final = FinalBlock(block.number, block.hash)
        await self._keep(replace(self.finality, block=final, block_at=self._clock.now()))

    async def decision_used(self) -> None:
        """A reorg was followed, or there is none: a person's decision is good for one."""
        if self.finality.deep:
            await self._keep(replace(self.finality, deep=False))

    async def _keep(self, finality: Finality) -> None:
        await self._store.keep_finality(self._network.name, finality)
        self._finality = finality

    # ------------------------------------------------------------ what denies it

    async def floor(self, cursor: Cursor) -> int:
        """The lowest block that a reorg may leave standing."""
        known = self.finality
        deepest = RESUMED_BLOCKS_MAX if known.deep else REORG_BLOCKS_MAX
        final = known.block.number if known.block is not None else 0
        newest = await self._store.newest_attested(
            self._network.name, above=cursor.number - UNATTESTED_BLOCKS_MAX - 1
        )
        # With one provider configured nothing is attested, and its word is all there is.
        vouched = cursor.number if newest is None else newest.ref.number
        return max(cursor.anchor, vouched - deepest, final)

    async def too_deep(self, cursor: Cursor, tip: BlockRef) -> None:
        """The chain and ours share no block at or above the floor. Raises Halted."""
        floor = await self.floor(cursor)
        final = self.final
        if final is not None and floor == final.number:
            at_final = tip.hash if tip.number == final.number else ""
            await self.violated(
                BlockRef(final.number, final.hash, ""), BlockRef(final.number, at_final, "")
            )
        detail = (
            f"block {tip.number} ({tip.hash}) and our record share no block at or above {floor}, "
            f"where the kept headers end"
        )
        await self._stop(
            _Reason("reorg_too_deep", detail, cursor.number, cursor.hash, tip.hash),
            "reorg_too_deep",
        )

    async def violated(self, ours: BlockRef, theirs: BlockRef) -> None:
        """A branch that two vouch for does not have a block that two called final."""
        instead = f"it is {theirs.hash}" if theirs.hash else "the chain does not have it"
        detail = f"block {ours.number} ({ours.hash}) was final by quorum; now {instead}"
        await self._stop(
            _Reason("finality_violated", detail, ours.number, ours.hash, theirs.hash),
            "finality_violated",
        )

    async def _stop(self, reason: _Reason, event: str) -> None:
        log.error(event, network=self._network.name, block=reason.number, reason=reason.detail)
        self._unwritten = reason
        await self._write(reason)
        raise Halted(reason.detail)

    async def _write(self, reason: _Reason) -> None:
        known = await self._halts.halt(
            self._network,
            reason.cause,
            reason.detail,
            block_number=reason.number,
            our_hash=reason.our_hash,
            their_hash=reason.their_hash or None,
        )
        self._unwritten = None
        self._halt = known.halt

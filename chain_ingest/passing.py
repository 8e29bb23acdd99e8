"""Writes what passing blocks means: sightings, what they confirm, and the reports of both.

Shapes  A new sighting is observed, and gets its terms; sightings whose rule is met are confirmed:
        a number of blocks with the block that makes it full, a tag whenever the chain has moved
        it on. Both need attested words: the sighting's own, and that of the block that buries
        it; unless the policy configured now takes one provider's word. What a quorum's reading
        does not prove of a block that one provider told is retracted, and told anew if it was
        only told wrongly. (How far its providers
        are trusted is a matter of this process, and so not of the version.)
Units   confirmations: head number minus block number plus one.
"""

from collections.abc import Mapping
from dataclasses import replace

import structlog

from application.chain_messages import head_subject
from application.ingest import (
    BlockRef,
    Cursor,
    IngestStore,
    Orphaning,
    Passage,
    PassedHeader,
    Reexamination,
    Ripening,
    Sighted,
)
from application.outside import Bus
from application.ports import Clock
from chain_ingest.outbox import OutboxPublisher
from chain_ingest.providers import Agreed
from chain_ingest.reports import Numbering
from chain_ingest.tally import Tally
from chain_ingest.terms import Policy
from chain_ingest.transfers import moment_of
from domain.events import Sighting
from domain.networks import Finality, Network

log = structlog.get_logger(__name__)

CONFIRMED_AT_ONCE_MAX = 5_000  # in one write; the next one confirms the rest


class Passing:
    def __init__(
        self,
        network: Network,
        store: IngestStore,
        policy: Policy,
        outbox: OutboxPublisher,
        bus: Bus,
        clock: Clock,
        tally: Tally | None = None,
    ) -> None:
        self._network = network
        self._store = store
        self._policy = policy
        self._outbox = outbox
        self._bus = bus
        self._clock = clock
        self._tally = tally or Tally()

    async def begin(self, anchor: Agreed) -> Cursor:
        at = self._clock.now()
        return await self._store.begin(self._network.name, passed(anchor), at)

    async def pass_blocks(
        self, cursor: Cursor, first: int, block: Agreed, sightings: tuple[Sighting, ...]
    ) -> Cursor:
        """Blocks `first` to `block` are scanned; these sightings were in them."""
        head = block.header.number
        at = self._clock.now()
        seen = await self._policy.terms_for(sightings)
        confirmed = await self._confirmed_by(block, seen)
        numbering = Numbering(self._network, cursor, at)
        for each in seen:
            numbering.observed(each, head)
        for each in confirmed:
            numbering.confirmed(each, head)
        moved = await self._store.pass_blocks(
            Passage(
                network=self._network.name,
                cursor=cursor,
                first=first,
                header=passed(block),
                sightings=seen,
                confirmed=confirmed,
                reports=numbering.reports,
                at=at,
            )
        )
        self._tally.passed(head - first + 1)
        await self._tell(numbering, head)
        return moved

    async def _confirmed_by(
        self, block: Agreed, fresh: tuple[Sighted, ...]
    ) -> tuple[Sighted, ...]:
        one_will_do = self._network.policy.allow_unattested
        if not (block.attested or one_will_do):
            return ()
        head = block.header.number
        older = await self._store.unconfirmed(
            self._network.name,
            head=head,
            attested_only=not one_will_do,
            limit=CONFIRMED_AT_ONCE_MAX,
        )
        deep_already = (
            each
            for each in fresh
            if each.terms.rule.tag is None
            and each.sighting.block_number + each.terms.rule.blocks - 1 <= head
            and (each.sighting.attested or one_will_do)
        )
        return (*older, *deep_already)

    async def confirm_tagged(self, cursor: Cursor, reached: Mapping[Finality, int]) -> bool:
        """Confirm what waits for a tag, where the chain has reached it; False for nothing."""
        ripe: list[Sighted] = []
        for tag, number in reached.items():
            ripe += await self._store.unconfirmed(
                self._network.name,
                head=min(number, cursor.number),
                tag=tag,
                attested_only=not self._network.policy.allow_unattested,
                limit=CONFIRMED_AT_ONCE_MAX,
            )
        if not ripe:
            return False
        at = self._clock.now()
        numbering = Numbering(self._network, cursor, at)
        for each in ripe:
            numbering.confirmed(each, cursor.number)
        await self._store.confirm(
            Ripening(
                network=self._network.name,
                cursor=cursor,
                confirmed=tuple(ripe),
                reports=numbering.reports,
                at=at,
            )
        )
        await self._tell(numbering, cursor.number)
        return True

    async def orphan(
        self, cursor: Cursor, fork: BlockRef, tip: BlockRef
    ) -> tuple[Cursor, tuple[Sighted, ...]]:
        """Blocks above the fork are gone: say so first, then retract what they held."""
        orphaned = tuple(await self._store.sightings_above(self._network.name, fork.number))
        at = self._clock.now()
        numbering = Numbering(self._network, cursor, at)
        numbering.reorg(cursor, fork, tip, orphaned)
        for each in orphaned:
            numbering.retracted(each)
        moved = await self._store.orphan(
            Orphaning(
                network=self._network.name,
                cursor=cursor,
                fork=fork,
                reports=numbering.reports,
                at=at,
            )
        )
        self._tally.reorganised(cursor.number - fork.number)
        await self._tell(numbering, fork.number)
        return moved, orphaned

    async def reexamine(
        self, cursor: Cursor, block: Agreed, sightings: tuple[Sighting, ...]
    ) -> Cursor:
        """A block first read through one provider: now attested, with more or less in it.

        The sightings are all that its receipts prove, for those too of whom some are stored.
        """
        held = await self._store.sightings_in(self._network.name, block.header.hash)
        true = {_substance(each) for each in sightings}
        gone = [each for each in held if block.attested and _substance(each.sighting) not in true]
        known = {each.sighting.transfer_id: each for each in held if each not in gone}
        again = [
            replace(known[each.transfer_id], sighting=each)
            for each in sightings
            if each.transfer_id in known
        ]
        missed = await self._policy.terms_for(
            [each for each in sightings if each.transfer_id not in known], gone=gone
        )
        at = self._clock.now()
        numbering = Numbering(self._network, cursor, at)
        for each in gone:
            numbering.retracted(each)
            self._say_unproved(each)
        for each in missed:
            numbering.observed(each, cursor.number)
        moved = await self._store.reexamine(
            Reexamination(
                network=self._network.name,
                cursor=cursor,
                header=passed(block),
                sightings=(*again, *missed),
                reports=numbering.reports,
                at=at,
                unproved=tuple(gone),
            )
        )
        await self._tell(numbering, cursor.number)
        return moved

    def _say_unproved(self, seen: Sighted) -> None:
        log.error(
            "sighting_unproved",
            network=self._network.name,
            transfer=seen.sighting.transfer_id,
            block=seen.sighting.block_number,
            told_by=seen.sighting.providers,
        )

    async def _tell(self, numbering: Numbering, head: int) -> None:
        if numbering.reports:
            self._outbox.wake()
        await self._bus.hint(head_subject(self._network.name), str(head).encode())


def ref_of(block: Agreed) -> BlockRef:
    header = block.header
    return BlockRef(header.number, header.hash, header.parent_hash)


def passed(block: Agreed) -> PassedHeader:
    return PassedHeader(
        ref=ref_of(block),
        time=moment_of(block.header),
        attested=block.attested,
        providers=block.providers,
    )


def _substance(sighting: Sighting) -> tuple[object, ...]:
    """What a sighting says of its block, whoever vouches for that."""
    moved = (sighting.sender, sighting.recipient, sighting.token, sighting.amount)
    return (sighting.transfer_id, *moved)

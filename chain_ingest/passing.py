"""Writes what passing blocks means: sightings, what they confirm, and the reports of both.

Shapes  A new sighting is observed; sightings that now stand deep enough are confirmed. Both need
        attested words: the sighting's own, and that of the block that buries it; unless the
        network's policy takes one provider's word.
Units   confirmations: head number minus block number plus one.
"""

from application.chain_messages import head_subject
from application.ingest import (
    BlockRef,
    Cursor,
    IngestStore,
    Orphaning,
    Passage,
    PassedHeader,
    Reexamination,
)
from application.outside import Bus
from application.ports import Clock
from chain_ingest.outbox import OutboxPublisher
from chain_ingest.providers import Agreed
from chain_ingest.reports import Numbering
from chain_ingest.transfers import moment_of
from domain.events import Sighting
from domain.networks import Network

CONFIRMED_AT_ONCE_MAX = 5_000  # with one block; the next one confirms the rest


class Passing:
    def __init__(
        self,
        network: Network,
        store: IngestStore,
        outbox: OutboxPublisher,
        bus: Bus,
        clock: Clock,
    ) -> None:
        self._network = network
        self._store = store
        self._outbox = outbox
        self._bus = bus
        self._clock = clock

    async def begin(self, anchor: Agreed) -> Cursor:
        at = self._clock.now()
        return await self._store.begin(self._network.name, passed(anchor), at)

    async def pass_blocks(
        self, cursor: Cursor, first: int, block: Agreed, sightings: tuple[Sighting, ...]
    ) -> Cursor:
        """Blocks `first` to `block` are scanned; these sightings were in them."""
        head = block.header.number
        at = self._clock.now()
        confirmed = await self._confirmed_by(block, sightings)
        numbering = Numbering(self._network, cursor, at)
        for sighting in sightings:
            numbering.observed(sighting, head)
        for sighting in confirmed:
            numbering.confirmed(sighting, head)
        moved = await self._store.pass_blocks(
            Passage(
                network=self._network.name,
                cursor=cursor,
                first=first,
                header=passed(block),
                sightings=sightings,
                confirmed=confirmed,
                reports=numbering.reports,
                at=at,
            )
        )
        await self._tell(numbering, head)
        return moved

    async def _confirmed_by(
        self, block: Agreed, fresh: tuple[Sighting, ...]
    ) -> tuple[Sighting, ...]:
        policy = self._network.policy
        if not (block.attested or policy.allow_unattested):
            return ()
        up_to = block.header.number - policy.blocks + 1
        older = await self._store.unconfirmed(
            self._network.name,
            up_to=up_to,
            attested_only=not policy.allow_unattested,
            limit=CONFIRMED_AT_ONCE_MAX,
        )
        deep_already = (
            sighting
            for sighting in fresh
            if sighting.block_number <= up_to and (sighting.attested or policy.allow_unattested)
        )
        return (*older, *deep_already)

    async def orphan(
        self, cursor: Cursor, fork: BlockRef, tip: BlockRef
    ) -> tuple[Cursor, tuple[Sighting, ...]]:
        """Blocks above the fork are gone: say so first, then retract what they held."""
        orphaned = tuple(await self._store.sightings_above(self._network.name, fork.number))
        at = self._clock.now()
        numbering = Numbering(self._network, cursor, at)
        numbering.reorg(cursor, fork, tip, orphaned)
        for sighting in orphaned:
            numbering.retracted(sighting)
        moved = await self._store.orphan(
            Orphaning(
                network=self._network.name,
                cursor=cursor,
                fork=fork,
                reports=numbering.reports,
                at=at,
            )
        )
        await self._tell(numbering, fork.number)
        return moved, orphaned

    async def reexamine(
        self, cursor: Cursor, block: Agreed, sightings: tuple[Sighting, ...]
    ) -> Cursor:
        """A block first read through one provider: now attested, perhaps with more in it."""
        known = {
            sighting.transfer_id
            for sighting in await self._store.sightings_in(self._network.name, block.header.hash)
        }
        at = self._clock.now()
        numbering = Numbering(self._network, cursor, at)
        for sighting in sightings:
            if sighting.transfer_id not in known:
                numbering.observed(sighting, cursor.number)
        moved = await self._store.reexamine(
            Reexamination(
                network=self._network.name,
                cursor=cursor,
                header=passed(block),
                sightings=sightings,
                reports=numbering.reports,
                at=at,
            )
        )
        await self._tell(numbering, cursor.number)
        return moved

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

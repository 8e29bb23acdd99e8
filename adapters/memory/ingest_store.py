"""An in-memory twin of the ingester's store and of its chain heads.

Shapes  As adapters/ingest_store.py: a write names the cursor it was decided upon. `settled` says
        whether a message id is in the consumer's inbox.
Faults  `outage` makes every call fail; `lose_answer` lets the next write happen and then fail,
        as a connection lost during COMMIT does.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from adapters.ingest_store import REPUBLISH_SECONDS_MAX
from adapters.memory.ingest_rows import (
    Block,
    NetworkRows,
    Post,
    Seen,
    confirm,
    extend,
    observed_at,
    write_header,
    write_sightings,
)
from adapters.memory.standing import MemoryStandings
from application.figures import Backlog
from application.ingest import (
    BlockRef,
    CoveredRange,
    Cursor,
    CursorMoved,
    Orphaning,
    Passage,
    PassedHeader,
    Purse,
    Reexamination,
    Ripening,
    Sighted,
    StoredReport,
    Terms,
)
from application.ports import StoreUnavailable
from application.reads import Passed
from application.standing import Standing
from domain.networks import Finality

_DOUBLINGS_MAX = 20


class MemoryLease:
    def __init__(self, leaders: dict[str, "MemoryLease"], network: str) -> None:
        self._leaders = leaders
        self._network = network

    async def held(self) -> bool:
        return self._leaders.get(self._network) is self

    async def release(self) -> None:
        if await self.held():
            del self._leaders[self._network]


class MemoryIngestStore(MemoryStandings):
    def __init__(self, *, settled: Callable[[str], bool] | None = None) -> None:
        super().__init__()
        self.outage = False
        self.lose_answer = False
        self.leaders: dict[str, MemoryLease] = {}  # a test takes a lease away by deleting it
        self._settled = settled or (lambda _: False)
        self._networks: dict[str, NetworkRows] = {}

    async def lead(self, network: str) -> MemoryLease | None:
        self._insist_on_service()
        if network in self.leaders:
            return None
        lease = self.leaders[network] = MemoryLease(self.leaders, network)
        return lease

    async def begin(self, network: str, anchor: PassedHeader, at: datetime) -> Cursor:  # noqa: ARG002 - the real one stores the moment
        self._insist_on_service()
        ref = anchor.ref
        if network not in self._networks:
            held = NetworkRows(Cursor(ref.number, ref.hash, 0, ref.number))
            held.blocks[ref.hash] = Block(anchor)
            self._networks[network] = held
        return self._networks[network].cursor

    # ------------------------------------------------------------ reading

    async def cursor(self, network: str) -> Cursor | None:
        self._insist_on_service()
        held = self._networks.get(network)
        return None if held is None else held.cursor

    async def header_at(self, network: str, number: int) -> PassedHeader | None:
        for block in self._canonical(network):
            if block.ref.number == number:
                return block
        return None

    async def unattested(self, network: str, limit: int) -> Sequence[PassedHeader]:
        waiting = [block for block in self._canonical(network) if not block.attested]
        return sorted(waiting, key=lambda block: block.ref.number)[:limit]

    async def newest_attested(self, network: str, *, above: int) -> PassedHeader | None:
        higher = (each for each in self._canonical(network) if each.ref.number > above)
        attested = (each for each in higher if each.attested)
        return max(attested, key=lambda block: block.ref.number, default=None)

    async def newest_header(self, network: str, up_to: int) -> PassedHeader | None:
        below = (each for each in self._canonical(network) if each.ref.number <= up_to)
        return max(below, key=lambda block: block.ref.number, default=None)

    async def sightings_above(self, network: str, number: int) -> Sequence[Sighted]:
        return [seen.told() for seen in self._live(network) if seen.sighting.block_number > number]

    async def sightings_in(self, network: str, block_hash: str) -> Sequence[Sighted]:
        return [
            seen.told() for seen in self._live(network) if seen.sighting.block_hash == block_hash
        ]

    async def first_terms(
        self, network: str, transfer_ids: Collection[str]
    ) -> Mapping[str, Terms]:
        first: dict[str, Terms] = {}
        for seen in self._rows(network):
            if seen.sighting.transfer_id in transfer_ids:
                first.setdefault(seen.sighting.transfer_id, seen.terms)
        return first

    async def received(
        self, network: str, purses: Collection[Purse], *, above: int
    ) -> Mapping[Purse, int]:
        sums = dict.fromkeys(purses, 0)
        for seen in self._rows(network):
            purse = (seen.sighting.recipient, seen.sighting.amount.asset)
            recent = seen.sighting.block_number > above
            if seen.state != "orphaned" and recent and purse in sums:
                sums[purse] += seen.sighting.amount.units
        return sums

    async def unconfirmed(
        self,
        network: str,
        *,
        head: int,
        tag: Finality | None = None,
        attested_only: bool,
        limit: int,
    ) -> Sequence[Sighted]:
        found = [
            seen.told()
            for seen in self._live(network)
            if seen.waits(attested_only=attested_only)
            and seen.terms.rule.tag == tag
            and seen.sighting.block_number + (0 if tag else seen.terms.rule.blocks - 1) <= head
        ]
        return found[:limit]

    async def awaited_tags(self, network: str, *, attested_only: bool) -> Mapping[Finality, int]:
        lowest: dict[Finality, int] = {}
        for seen in self._live(network):
            if seen.terms.rule.tag is not None and seen.waits(attested_only=attested_only):
                lowest.setdefault(seen.terms.rule.tag, seen.sighting.block_number)
        return lowest

    async def coverage(self, network: str) -> Sequence[CoveredRange]:
        self._insist_on_service()
        held = self._networks.get(network)
        return [] if held is None else list(held.coverage)

    def _canonical(self, network: str) -> list[PassedHeader]:
        self._insist_on_service()
        held = self._networks.get(network)
        blocks = [] if held is None else held.blocks.values()
        return [block.header for block in blocks if block.canonical]

    def _rows(self, network: str) -> Collection[Seen]:
        self._insist_on_service()
        held = self._networks.get(network)
        return [] if held is None else held.seen.values()

    def _live(self, network: str) -> list[Seen]:
        return sorted(
            (seen for seen in self._rows(network) if seen.state != "orphaned"),
            key=lambda seen: (seen.sighting.block_number, seen.sighting.transfer_id),
        )

    # ------------------------------------------------------------ writing

    async def pass_blocks(self, passage: Passage) -> Cursor:
        ref = passage.header.ref
        held = self._move(passage.network, passage.cursor, ref, passage.reports, passage.at)
        write_header(held, passage.header)
        write_sightings(held, passage.sightings)
        confirm(held, passage.confirmed)
        extend(held.coverage, passage)
        return self._answered(held)

    async def orphan(self, orphaning: Orphaning) -> Cursor:
        fork = orphaning.fork
        held = self._move(
            orphaning.network, orphaning.cursor, fork, orphaning.reports, orphaning.at
        )
        for block in held.blocks.values():
            block.canonical = block.canonical and block.header.ref.number <= fork.number
        for seen in held.seen.values():
            if seen.sighting.block_number > fork.number:
                seen.state = "orphaned"
        held.coverage = [
            replace(each, last=fork.number, last_hash=fork.hash, updated_at=orphaning.at)
            if each.last > fork.number
            else each
            for each in held.coverage
            if each.first <= fork.number
        ]
        return self._answered(held)

    async def reexamine(self, reexamination: Reexamination) -> Cursor:
        again = reexamination
        stays = BlockRef(again.cursor.number, again.cursor.hash, "")
        held = self._move(again.network, again.cursor, stays, again.reports, again.at)
        write_header(held, again.header)
        for unproved in again.unproved:
            held.seen[again.header.ref.hash, unproved.sighting.transfer_id].state = "orphaned"
        write_sightings(held, again.sightings)
        number = again.header.ref.number
        doubtful = {
            block.header.ref.number
            for block in held.blocks.values()
            if block.canonical and not block.header.attested
        }
        held.coverage = [
            replace(each, attested=True)
            if each.first <= number <= each.last
            and not any(each.first <= one <= each.last for one in doubtful)
            else each
            for each in held.coverage
        ]
        return self._answered(held)

    async def confirm(self, ripening: Ripening) -> Cursor:
        stays = BlockRef(ripening.cursor.number, ripening.cursor.hash, "")
        held = self._move(ripening.network, ripening.cursor, stays, ripening.reports, ripening.at)
        confirm(held, ripening.confirmed)
        return self._answered(held)

    def _move(
        self,
        network: str,
        before: Cursor,
        to: BlockRef,
        reports: Sequence[StoredReport],
        at: datetime | None = None,
    ) -> NetworkRows:
        self._insist_on_service()
        held = self._networks[network]
        if held.cursor != before:
            raise CursorMoved(network)
        last = reports[-1].report_number if reports else before.report_number
        held.cursor = Cursor(to.number, to.hash, last, before.anchor)
        held.outbox += [Post(report, at) for report in reports]
        return held

    def _answered(self, held: NetworkRows) -> Cursor:
        if self.lose_answer:
            self.lose_answer = False
            raise StoreUnavailable("the connection failed", outcome_unknown=True)
        return held.cursor

    # ------------------------------------------------------------ outbox

    async def unpublished(self, network: str, limit: int) -> Sequence[StoredReport]:
        posts = [post.report for post in self._outbox(network) if post.published_at is None]
        return posts[:limit]

    async def mark_published(self, network: str, numbers: Sequence[int], at: datetime) -> None:
        for post in self._outbox(network):
            if post.report.report_number in numbers:
                post.published_at = at
                post.publications += 1

    async def overdue(
        self, network: str, now: datetime, *, after_seconds: int, limit: int
    ) -> Sequence[StoredReport]:
        found: list[StoredReport] = []
        for post in self._outbox(network):
            post.settled = post.settled or self._settled(post.report.message_id)
            if post.published_at is None or post.settled:
                continue
            seconds = after_seconds * 2 ** min(post.publications - 1, _DOUBLINGS_MAX)
            due_at = post.published_at + timedelta(seconds=min(seconds, REPUBLISH_SECONDS_MAX))
            if due_at <= now:
                found.append(post.report)
        return found[:limit]

    def _outbox(self, network: str) -> list[Post]:
        self._insist_on_service()
        held = self._networks.get(network)
        return [] if held is None else held.outbox

    def reports(self, network: str) -> list[StoredReport]:
        """Every report ever made, in order."""
        return [post.report for post in self._outbox(network)]

    def cursor_of(self, network: str) -> Cursor | None:
        """How far a network has come, for those who look from outside."""
        held = self._networks.get(network)
        return None if held is None else held.cursor

    def all_attested(self, network: str) -> bool:
        return all(header.attested for header in self.passed_blocks(network))

    def all_told(self, network: str) -> bool:
        """Whether every report is published, and recorded or parked."""
        return all(
            post.published_at is not None
            and (post.settled or self._settled(post.report.message_id))
            for post in self._outbox(network)
        )

    def backlog(self, network: str) -> Backlog:
        """What nobody has published, and what nobody has recorded or parked."""
        waiting = [
            post
            for post in self._outbox(network)
            if post.published_at is None
            or not (post.settled or self._settled(post.report.message_id))
        ]
        made = (post.created_at for post in waiting if post.created_at is not None)
        unpublished = sum(post.published_at is None for post in waiting)
        return Backlog(unpublished, len(waiting) - unpublished, min(made, default=None))

    def passed_blocks(self, network: str) -> list[PassedHeader]:
        return self._canonical(network)

    def unrecorded_from(self, network: str) -> datetime | None:
        """When the oldest transfer was mined whose report nobody has recorded or parked."""
        waiting = (
            post.report
            for post in self._outbox(network)
            if not (post.settled or self._settled(post.report.message_id))
        )
        return min((time for each in waiting for time in observed_at(each)), default=None)

    def _insist_on_service(self) -> None:
        if self.outage:
            raise StoreUnavailable("switched off by a test")


class MemoryChainHeads:
    """application.reads.ChainHeads over the twin."""

    def __init__(self, store: MemoryIngestStore) -> None:
        self._store = store

    async def head(self, network: str) -> int | None:
        cursor = await self._store.cursor(network)
        return None if cursor is None else cursor.number

    async def standing(self, network: str) -> Standing | None:
        return await self._store.standing(network)

    async def passed(self, network: str) -> Passed | None:
        cursor = await self._store.cursor(network)
        if cursor is None:
            return None
        blocks = self._store.passed_blocks(network)
        unattested = [block for block in blocks if not block.attested]
        oldest = min(unattested, key=lambda block: block.ref.number, default=None)
        return Passed(
            cursor.number,
            cursor.hash,
            max(block.time for block in blocks),
            self._store.unrecorded_from(network),
            None if oldest is None else oldest.time,
        )

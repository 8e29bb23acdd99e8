"""One network, header by header: connect, disconnect, and whatever follows from both.

Shapes  `step` does one thing: begins, confirms what the chain has come to call safe, passes one
        block (or one back-filled range), unwinds one reorg, or reads one unattested block again;
        with a block that a quorum vouches for it does that too, or a busy chain left no time for it.
        Before the first one it adopts the configured confirmation policy, once a lease. It decides from the stored cursor each time,
        so a step that failed half-way, or whose answer was lost, is simply done again.
        A head below our cursor with the same blocks is a lagging node, not a reorg; a different
        block at any height we hold is one.
Units   seconds; block numbers.
        Before anything else it looks whether the network is halted: then nothing is done. A reorg
        below what two providers called final, or below what is kept, halts it (halting.py).
Errors  Misconfigured ends the first `run` of a process: the operator must act. Outages are waited
        for, logged when they begin and when they end, and told to everybody else as the standing
        (standing.py).
"""

import asyncio

import structlog

from application.ingest import BlockRef, Cursor, CursorMoved, IngestStore, Sighted
from application.ports import Clock, Unavailable
from chain_ingest.backfill import BEHIND_BLOCKS_MIN, Backfill
from chain_ingest.beginning import Beginning
from chain_ingest.canonical import (
    Connect,
    Disconnect,
    ForkTooDeep,
    InStep,
    LookBack,
    Step,
    next_step,
)
from chain_ingest.finality import Tags
from chain_ingest.halting import UNATTESTED_BLOCKS_MAX, Halted, Halting
from chain_ingest.pace import Pace
from chain_ingest.passing import Passing, ref_of
from chain_ingest.providers import Agreed, NoQuorum, Providers
from chain_ingest.rest import REST_RANGE_BLOCKS_MIN, Rest
from chain_ingest.scanner import Scanner
from chain_ingest.standing import StandingKeeper
from chain_ingest.terms import Policy
from chain_ingest.watch import Together, Watch
from domain.networks import Network

log = structlog.get_logger(__name__)

OUTAGE_SECONDS_FIRST, OUTAGE_SECONDS_MAX = 0.2, 5.0


class Follower:
    """Follows while it leads; see chain_ingest/service.py for who leads."""

    def __init__(  # noqa: PLR0913 - one argument a part
        self,
        network: Network,
        providers: Providers,
        store: IngestStore,
        policy: Policy,
        watch: Watch,
        passing: Passing,
        clock: Clock,
        *,
        start_block: int | None = None,
        pace: Pace | None = None,
        rest: Rest | None = None,
        beginning: Beginning | None = None,
    ) -> None:
        """`start_block`: the first one to scan, 1 or higher; None: as `beginning` finds it, and
        without that what comes from now on.

        `rest`: look less often while nobody waits; without it every block is passed at once.
        """
        self._network = network
        self._providers = providers
        self._store = store
        self._policy = policy
        self._watch = watch
        self._passing = passing
        self._clock = clock
        self._scanner = Scanner(network, providers)
        self._backfill = Backfill(providers, self._scanner, clock)
        self._halting = Halting(network, policy.halts, store, clock)
        self._tags = Tags(network, providers, store, self._halting, clock)
        self._standing = StandingKeeper(
            network, store, self._halting, clock, single=providers.single
        )
        self._pace = pace or Pace(network, clock)
        self._rest = rest
        self._start_block = start_block
        self._beginning = beginning
        self._trouble: str | None = None
        self._outage_seconds = OUTAGE_SECONDS_FIRST

    async def run(self, stop: asyncio.Event) -> None:
        await self._providers.check()
        self._policy.forget()
        self._halting.forget()
        self._standing.forget()
        if self._providers.single:
            log.warning(
                "one_provider",
                network=self._network.name,
                meaning="every block is taken on its word, unattested",
            )
        while not stop.is_set():
            wait_seconds = await self._try_step()
            if wait_seconds:
                await self._pace.pause(wait_seconds, stop)

    async def _try_step(self) -> float:
        """How long to wait before the next one; 0 when there may be more to do."""
        try:
            moved = await self.step()
        except CursorMoved:
            return OUTAGE_SECONDS_FIRST  # an earlier write did happen, or another leads now
        except Unavailable as trouble:
            self._in_trouble(trouble)
            await self._tell(trouble)
            wait_seconds = self._outage_seconds
            self._outage_seconds = min(wait_seconds * 2, OUTAGE_SECONDS_MAX)
            return wait_seconds
        if self._trouble is not None:
            log.info("ingest_goes_on", network=self._network.name)
            self._trouble = None
        self._outage_seconds = OUTAGE_SECONDS_FIRST
        await self._tell(None)
        return self._pace.wait_seconds(moved=moved)

    def _in_trouble(self, trouble: Unavailable) -> None:
        kind = trouble.service
        if self._trouble == kind:
            return
        self._trouble = kind
        log.warning("ingest_waits", network=self._network.name, kind=kind, reason=str(trouble))

    async def _tell(self, outage: Unavailable | None) -> None:
        await self._standing.tell(outage, tags_count=self._policy.tags_count)

    # ------------------------------------------------------------ one step

    async def step(self) -> bool:
        """Do one thing; False when there is nothing to do, or nothing may be done."""
        await self._policy.adopt()
        if await self._halting.stands_still():
            if self._rest is not None:
                self._rest.is_over()  # it stands still because of the halt, and pages for it
            return False
        try:
            return await self._step()
        except Halted:
            return False

    async def _step(self) -> bool:
        cursor = await self._store.cursor(self._network.name)
        if cursor is not None and await self._looks_away():
            return False
        tip = await self._providers.tip()
        if tip is None:
            raise NoQuorum("too few providers tell their head")
        self._standing.tip = self._pace.tip = tip.number
        if cursor is None:
            return await self._begin(tip.number)
        reached = await self._tags.reached(awaited=self._policy.has_tags)
        if reached and await self._passing.confirm_tagged(cursor, reached):
            return True
        if await self._caught_up_by_range(cursor, tip.number):
            return True
        if self._rest is not None and self._rest.near_enough(cursor, tip.number):
            return False
        height = min(tip.number, cursor.number + 1)
        if tip.agreed is not None and tip.number == height:
            return await self._follow(cursor, tip.agreed)
        return await self._follow(cursor, await self._providers.agreed(height))

    async def _looks_away(self) -> bool:
        if self._rest is None:
            return False
        away = await self._rest.looks_away()
        self._standing.slack_seconds = self._rest.slack_seconds
        return away

    async def _begin(self, tip: int) -> bool:
        anchor_number = await self._first_anchor(tip)
        if anchor_number > tip:
            return False
        anchor = await self._providers.agreed(anchor_number)
        if not (anchor.attested or self._providers.single):
            raise NoQuorum("the block to begin with must be agreed")
        await self._passing.begin(anchor)
        log.info("ingest_begins", network=self._network.name, after_block=anchor_number)
        return True

    async def _first_anchor(self, tip: int) -> int:
        if self._start_block is not None:
            return max(self._start_block - 1, 0)
        return tip if self._beginning is None else await self._beginning.after_block(tip)

    async def _caught_up_by_range(self, cursor: Cursor, tip: int) -> bool:
        resting = self._rest is not None and self._rest.on
        behind_min = REST_RANGE_BLOCKS_MIN if resting else BEHIND_BLOCKS_MIN
        end = await self._backfill.end_of_range(cursor, tip, behind_min=behind_min)
        if end is None:
            return False
        watched = await self._watch.addresses(self._network.name)
        sightings = await self._backfill.sightings(cursor, end, watched)
        if sightings is not None:
            moved = await self._passing.pass_blocks(cursor, cursor.number + 1, end, sightings)
            if self._rest is not None:
                self._rest.near_enough(moved, tip)
            self._standing.passed(end.header.number, attested=end.attested)
            await self._read_one_more(moved, end)
        return True

    async def _follow(self, cursor: Cursor, block: Agreed) -> bool:
        try:
            step = await self._compare(cursor, block)
        except ForkTooDeep as fork:
            if not (block.attested or self._providers.single):
                raise NoQuorum(f"{fork}, on one provider's word") from fork
            await self._halting.too_deep(cursor, ref_of(block))
            raise
        match step:
            case Connect():
                await self._insist_on_a_second(step, block)
                watched = await self._watch.addresses(self._network.name)
                sightings = await self._scanner.sightings(block, watched)
                moved = await self._passing.pass_blocks(
                    cursor, step.block.number, block, sightings
                )
                if block.attested:
                    await self._halting.decision_used()
                self._standing.passed(step.block.number, attested=block.attested)
                self._pace.passed(step.block.number)
                await self._read_one_more(moved, block)
                return True
            case Disconnect():
                await self._disconnect(cursor, step, block)
                return True
            case _:
                return await self._read_again(cursor, block)

    async def _insist_on_a_second(self, step: Connect, block: Agreed) -> None:
        """One provider's word is taken for so many blocks: what it makes up must be undone."""
        if block.attested or self._providers.single:
            return
        since = step.block.number - UNATTESTED_BLOCKS_MAX
        if await self._store.newest_attested(self._network.name, above=since - 1) is None:
            raise NoQuorum(
                f"two providers vouch for no block since {since}, and one alone is followed for "
                f"{UNATTESTED_BLOCKS_MAX} blocks"
            )

    async def _compare(self, cursor: Cursor, block: Agreed) -> Connect | Disconnect | InStep:
        """Ask canonical.py, and fetch the headers it asks for, each proved by its hash."""
        tip = ref_of(block)
        ours = BlockRef(cursor.number, cursor.hash, "")
        held = {cursor.number: ours}
        known: dict[str, BlockRef] = {}
        floor = await self._halting.floor(cursor)
        child = tip
        await self._hold(held, tip.number)
        if tip.number < floor and tip.number not in held:
            raise NoQuorum(f"the head is block {tip.number} now, too far back to be compared")
        while True:
            await self._hold(held, child.number)
            step: Step = next_step(ours, held, tip, known, floor=floor)
            if not isinstance(step, LookBack):
                return step
            header = await self._providers.ancestor(step.block_hash)
            if header.number != child.number - 1:
                raise NoQuorum(f"block {child.number} stands on block {header.number}")
            child = BlockRef(header.number, header.hash, header.parent_hash)
            known[child.hash] = child

    async def _hold(self, held: dict[int, BlockRef], number: int) -> None:
        if number not in held:
            stored = await self._store.header_at(self._network.name, number)
            if stored is not None:
                held[number] = stored.ref

    async def _disconnect(self, cursor: Cursor, step: Disconnect, block: Agreed) -> None:
        if not (block.attested or self._providers.single):
            raise NoQuorum("a reorg on one provider's word is not followed")
        _, orphaned = await self._passing.orphan(cursor, step.fork, step.tip)
        await self._halting.decision_used()
        depth = cursor.number - step.fork.number
        say = log.error if self._too_deep(depth, orphaned) else log.warning
        say(
            "reorg",
            network=self._network.name,
            depth=depth,
            fork=step.fork.number,
            orphaned=len(orphaned),
        )

    def _too_deep(self, depth: int, orphaned: tuple[Sighted, ...]) -> bool:
        """Whether it took a confirmed transfer, or would have taken one of the smallest amount."""
        policy = self._network.policy
        broken = policy.tag is None and depth >= policy.blocks
        return broken or any(each.confirmed for each in orphaned)

    async def _read_one_more(self, cursor: Cursor, block: Agreed) -> None:
        """Also while there is always a next block: a busy chain must not starve the old ones."""
        try:
            await self._read_again(cursor, block)
        except Unavailable as outage:
            # The new blocks are passed all the same; in step with the head it counts as trouble.
            log.info("read_again_later", network=self._network.name, reason=outage.reason)

    async def _read_again(self, cursor: Cursor, block: Agreed) -> bool:
        """With a quorum back, blocks passed on one word are read again, the oldest first."""
        if self._providers.single or not block.attested:
            return False
        waiting = await self._store.unattested(self._network.name, 1)
        if not waiting:
            return False
        again = await self._providers.agreed_by_hash(waiting[0].ref.hash)
        if not again.attested:
            return False
        watched = await self._watch.addresses(self._network.name)
        held = await self._store.sightings_in(self._network.name, again.header.hash)
        if held:  # whether they are there is for the receipts to say, and not for any log
            theirs = {each.sighting.recipient for each in held}
            sightings = await self._scanner.proved(again, Together(watched, theirs))
        else:
            sightings = await self._scanner.sightings(again, watched)
        await self._passing.reexamine(cursor, again, sightings)
        return True

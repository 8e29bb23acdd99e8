"""Reading a transaction or a range of blocks again, on demand, and saying what there is.

Shapes  A block is agreed by two providers, its receipts are proved against its header, and only
        these are read: what the logs said when the block was passed plays no part. In a range
        the logs of every provider say which blocks to prove; `thorough` proves each block whose
        bloom does not rule our transfers out, whatever the logs say.
        What should have been seen and was not is MISSED. With `apply` it is fed in as the
        ingester does it: one write that names the cursor, numbered in the order of its network;
        so nothing is counted twice, whether or not an ingester runs meanwhile.
Units   block numbers; confirmations as in chain_ingest/passing.py.
Errors  ports.Unavailable, NoQuorum and Unprovable: nothing can be said now; nothing is fed in
        while the network is halted (chain_ingest/halting.py). NothingRead before
        the ingester's first block; TooManyBlocks for a range beyond RECHECK_BLOCKS_MAX.
"""

import asyncio
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from application.chain_source import (
    RECIPIENTS_ASKED_MAX,
    ChainSource,
    LogEntry,
    TxReceipt,
)
from application.handling import Handler
from application.ingest import Cursor, CursorMoved, IngestStore
from application.ports import Unavailable
from application.reconciling import ReconcileBook
from chain_ingest.lookups import places_of
from chain_ingest.passing import Passing
from chain_ingest.proof import block_may_have_logged, may_have_logged
from chain_ingest.providers import QUORUM, Agreed, NoQuorum, Providers
from chain_ingest.recheck_words import Finding, Telling
from chain_ingest.scanner import Scanner
from chain_ingest.terms import Policy
from chain_ingest.transfers import TRANSFER_TOPIC, movements_in, sighting_of
from chain_ingest.watch import Watch
from domain.events import Sighting
from domain.networks import Network

RECHECK_BLOCKS_MAX = 10_000
BLOCKS_AT_ONCE_MAX = 4
APPLY_ATTEMPTS_MAX = 8  # each time a block was passed in between
FINDINGS_MAX = 1_000  # of one range, told in words; the rest is counted


class NothingRead(Exception):  # noqa: N818 - named for what is so
    """The ingester has passed no block of this network yet."""


class TooManyBlocks(Exception):  # noqa: N818
    """More than one recheck reads; ask for less."""


@dataclass(frozen=True, slots=True)
class Rechecked:
    network: str
    blocks: int  # read again
    proved: int  # of these, read whole, by their receipts
    read_up_to: int  # the newest block the ingester has passed
    findings: tuple[Finding, ...]
    untold: int = 0  # findings beyond FINDINGS_MAX: known transfers, nothing wrong with them

    @property
    def wrong(self) -> bool:
        """Whether something is not as it should be, still."""
        return any(finding.wrong for finding in self.findings)

    @property
    def fed_in(self) -> int:
        return sum(finding.verdict == "fed_in" for finding in self.findings)


@dataclass(frozen=True, slots=True)
class _Read:
    """One block, read again."""

    block: Agreed
    receipts: tuple[TxReceipt, ...] | None  # None: nothing of ours can be in it


class Recheck:
    def __init__(
        self,
        network: Network,
        providers: Providers,
        store: IngestStore,
        book: ReconcileBook,
        policy: Policy,
        watch: Watch,
        passing: Passing,
        handler: Handler,
    ) -> None:
        self._network = network
        self._providers = providers
        self._store = store
        self._book = book
        self._policy = policy
        self._watch = watch
        self._passing = passing
        self._scanner = Scanner(network, providers)
        self._tokens = frozenset(bytes.fromhex(token.address[2:]) for token in network.tokens)
        self._tell = Telling(network, handler)

    # ------------------------------------------------------------ one transaction

    async def transaction(self, tx_hash: str, *, apply: bool = False) -> Rechecked:
        cursor = await self._cursor()
        places, answered = await places_of(self._providers, tx_hash)
        known = await self._book.sightings_of(self._network.name, tx_hash)
        if not places:
            finding = self._tell.not_on_chain(tx_hash, answered, known)
            return self._result(cursor, (finding,))
        for place in places:
            agreed = await self._providers.agreed(place.block_number)
            if agreed.header.hash == place.block_hash:
                receipts = await self._providers.proved_receipts(agreed.header)
                ours = tuple(each for each in receipts if each.tx_hash == tx_hash)
                if ours:
                    read = _Read(agreed, receipts)
                    findings = await self._of_transaction(read, ours[0], cursor, apply=apply)
                    return self._result(cursor, findings, blocks=1, proved=1)
        number = places[0].block_number
        return self._result(cursor, (self._tell.contested(tx_hash, number),))

    async def _of_transaction(
        self, read: _Read, receipt: TxReceipt, cursor: Cursor, *, apply: bool
    ) -> tuple[Finding, ...]:
        if receipt.status != 1:
            return (self._tell.failed(receipt.tx_hash, read.block.header.number),)
        watched = await self._watch.addresses(self._network.name)
        found = await self._judged(read, cursor, watched, apply=apply)
        mine = tuple(each for each in found if each.about(receipt.tx_hash))
        others = self._tell.others(receipt, self._tokens, watched)
        return (*mine, *others) or (
            self._tell.no_transfer(receipt.tx_hash, read.block.header.number),
        )

    # ------------------------------------------------------------ a range

    async def blocks(
        self,
        first: int,
        last: int,
        *,
        thorough: bool = False,
        apply: bool = False,
        only: AbstractSet[str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Rechecked:
        """`only`: these recipients, instead of every watched one."""
        cursor = await self._cursor()
        last = min(last, cursor.number)
        if last - first + 1 > RECHECK_BLOCKS_MAX:
            raise TooManyBlocks(f"{last - first + 1} blocks; at most {RECHECK_BLOCKS_MAX} at once")
        watched = await self._watch.addresses(self._network.name) if only is None else only
        findings: list[Finding] = []
        proved = untold = 0
        for start in range(first, last + 1, BLOCKS_AT_ONCE_MAX):
            numbers = range(start, min(start + BLOCKS_AT_ONCE_MAX, last + 1))
            some = await asyncio.gather(*(self._read(n, watched, thorough) for n in numbers))
            for read in some:
                proved += read.receipts is not None
                for finding in await self._judged(read, cursor, watched, apply=apply):
                    if len(findings) < FINDINGS_MAX or finding.wrong:
                        findings.append(finding)
                    else:
                        untold += 1
            if progress is not None:
                progress(len(some))
        blocks = max(last - first + 1, 0)
        return self._result(cursor, tuple(findings), blocks=blocks, proved=proved, untold=untold)

    async def _read(self, number: int, watched: AbstractSet[str], thorough: bool) -> _Read:
        block = await self._providers.agreed(number)
        if not (block.attested or self._providers.single):
            raise NoQuorum(f"only one provider vouches for block {number}")
        held = await self._store.sightings_in(self._network.name, block.header.hash)
        if not held and not await self._worth_a_proof(block, watched, thorough):
            return _Read(block, None)
        return _Read(block, await self._providers.proved_receipts(block.header))

    async def _worth_a_proof(
        self,
        block: Agreed,
        watched: AbstractSet[str],
        thorough: bool,
    ) -> bool:
        header, bloom = block.header, block.header.logs_bloom
        if not watched or not block_may_have_logged(header, self._tokens, TRANSFER_TOPIC):
            return False
        asked = sorted(watched) if len(watched) <= RECIPIENTS_ASKED_MAX else None
        own_bloom = header.settled_height is None
        if own_bloom and asked is not None and not any(_names(bloom, each) for each in asked):
            return False
        return thorough or await self._anybody_tells(block, watched, asked)

    async def _anybody_tells(
        self, block: Agreed, watched: AbstractSet[str], asked: Sequence[str] | None
    ) -> bool:
        """Whether one provider of all has a log for us; at least a quorum must have answered."""

        async def logs(source: ChainSource) -> Sequence[LogEntry]:
            return await source.logs_of_block(block.header.hash, self._scanner.tokens, asked)

        told = await self._providers.everybody(logs)
        if len(told) < (1 if self._providers.single else QUORUM):
            raise NoQuorum(f"logs of block {block.header.number}: too few providers answer")
        return any(any(self._scanner.matching(each, watched)) for each in told.values())

    # ------------------------------------------------------------ judging one block

    async def _judged(
        self, read: _Read, cursor: Cursor, watched: AbstractSet[str], *, apply: bool
    ) -> list[Finding]:
        """What the block holds of ours, against what is stored of it."""
        name, header = self._network.name, read.block.header
        ours = await self._store.header_at(name, header.number)
        if ours is not None and ours.ref.hash != header.hash:
            return [self._tell.elsewhere(header.number, ours.ref.hash, header.hash)]
        if read.receipts is None:
            return []
        there = self._sightings(read, watched)
        stored = {
            each.sighting.transfer_id: each
            for each in await self._store.sightings_in(name, header.hash)
        }
        findings = [
            await self._tell.known(stored[each.transfer_id], cursor.number)
            for each in there
            if each.transfer_id in stored
        ]
        fresh = [each for each in there if each.transfer_id not in stored]
        if fresh:
            findings += await self._missed(read, fresh, cursor, apply=apply)
        stored_for = {seen.sighting.recipient for seen in stored.values()}
        proved = {each.transfer_id for each in self._sightings(read, stored_for)}
        findings += [self._tell.phantom(seen) for one, seen in stored.items() if one not in proved]
        return findings

    def _sightings(self, read: _Read, watched: AbstractSet[str]) -> list[Sighting]:
        assert read.receipts is not None, "only blocks that were proved are judged"
        movements, _ = movements_in(read.receipts, self._tokens, watched)
        block = read.block
        return [
            sighting_of(
                movement,
                self._network,
                block.header,
                attested=block.attested,
                providers=block.providers,
            )
            for movement in movements
        ]

    async def _missed(
        self, read: _Read, fresh: Sequence[Sighting], cursor: Cursor, *, apply: bool
    ) -> list[Finding]:
        if read.block.header.number > cursor.number:
            return [self._tell.not_read_yet(each, cursor.number) for each in fresh]
        if not apply:
            return [self._tell.missed(each) for each in fresh]
        await self._feed_in(read)
        return [self._tell.fed_in(each) for each in fresh]

    async def _feed_in(self, read: _Read) -> None:
        """All that the block has for us: so it counts as read again, and nothing is left out."""
        block = read.block
        name = self._network.name
        held = await self._store.sightings_in(name, block.header.hash)
        theirs = {each.sighting.recipient for each in held}
        watched = await self._watch.addresses(name)
        sightings = tuple(self._sightings(read, watched | theirs))
        if not (block.attested or self._providers.single):
            raise NoQuorum(f"only one provider vouches for block {block.header.number}")
        if (await self._policy.halts.of(self._network.name)).halt is not None:
            raise Unavailable("chain", "the network is halted, and nothing of it is fed in")
        await self._policy.adopt()
        for _ in range(APPLY_ATTEMPTS_MAX):
            cursor = await self._cursor()
            await self._insist_it_is_ours(block, cursor)
            try:
                await self._passing.reexamine(cursor, block, sightings)
            except CursorMoved:
                continue  # the ingester passed a block meanwhile
            return
        raise NoQuorum(f"the cursor moved {APPLY_ATTEMPTS_MAX} times: try again")

    async def _insist_it_is_ours(self, block: Agreed, cursor: Cursor) -> None:
        """On the chain that our cursor stands on; where we hold the block, its hash says so."""
        name, number = self._network.name, block.header.number
        held = await self._store.header_at(name, number)
        if held is not None and held.ref.hash == block.header.hash and number <= cursor.number:
            return
        ours = await self._providers.agreed(cursor.number)
        if held is not None or number > cursor.number or ours.header.hash != cursor.hash:
            raise NoQuorum(f"block {number} is not on the branch we follow: try again")

    # ------------------------------------------------------------ parts

    async def _cursor(self) -> Cursor:
        cursor = await self._store.cursor(self._network.name)
        if cursor is None:
            raise NothingRead(f"no block of {self._network.name} has been read yet")
        return cursor

    def _result(
        self,
        cursor: Cursor,
        findings: tuple[Finding, ...],
        *,
        blocks: int = 0,
        proved: int = 0,
        untold: int = 0,
    ) -> Rechecked:
        name = self._network.name
        return Rechecked(name, blocks, proved, cursor.number, findings, untold)


def _names(bloom: bytes, recipient: str) -> bool:
    topic = bytes(12) + bytes.fromhex(recipient[2:])
    return may_have_logged(bloom, (topic,), TRANSFER_TOPIC)

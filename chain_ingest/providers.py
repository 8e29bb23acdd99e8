"""One to three providers of a network, none of them believed alone.

Shapes  A block is agreed when two providers give the same header hash and the same transaction
        hashes; then it is `attested`. With one provider configured, or the others down, its
        word is taken and marked unattested. Providers that contradict each other agree on
        nothing. Logs are the union of two answers; receipts count only with a proof, and show
        who made a log up.
        Failover serves liveness; it never lowers the quorum while a second provider answers.
Units   seconds; heights are block numbers.
Errors  Misconfigured   as chain_ingest/admission.py says: refuse to start (later: go on without it)
        NoQuorum        not now; the caller waits and asks again
        Unprovable      no provider gave receipts that hash to the header's root
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from application.chain_source import ChainSource, Header, RangeLogs, TxReceipt
from application.ingest import RangeMemory
from application.ports import Clock, Unavailable
from chain_ingest.panel import Heard, Panel
from chain_ingest.proof import logs_not_held, why_header_lies, why_receipts_lie
from chain_ingest.ranges import NoRangeMemory, Ranges
from chain_ingest.settlement import NotSettled, settlement_of, why_settled_receipts_lie
from chain_ingest.tally import Tally
from domain.networks import Finality, Network

log = structlog.get_logger(__name__)

T = TypeVar("T")
QUORUM = 2


class NoQuorum(Unavailable):
    def __init__(self, reason: str) -> None:
        super().__init__("rpc", reason)


class Disagreement(NoQuorum):
    """Those who answer contradict each other."""


class Unprovable(Unavailable):
    def __init__(self, reason: str) -> None:
        super().__init__("rpc", reason)


@dataclass(frozen=True, slots=True)
class Agreed:
    """A header, and whose word it is."""

    header: Header
    providers: tuple[str, ...]
    attested: bool


@dataclass(frozen=True, slots=True)
class Tip:
    """The height to follow to; with its block when the newest headers agree already."""

    number: int
    agreed: Agreed | None


class Providers:
    def __init__(
        self,
        network: Network,
        sources: Sequence[ChainSource],
        clock: Clock,
        tally: Tally | None = None,
        range_memory: RangeMemory | None = None,
    ) -> None:
        self.ranges = Ranges(network.name, range_memory or NoRangeMemory(), clock)
        self._tally = tally or Tally()
        self.panel = Panel(network, sources, clock, self._tally)

    @property
    def single(self) -> bool:
        """Only one is configured: no second opinion will ever come."""
        return self.panel.single

    async def check(self) -> None:
        """Ask every provider that answers for its chain and our tokens; refuse what differs.

        A provider that is silent now is checked before its first answer is used. The first time
        raises Misconfigured; after that whoever differs is left out.
        """
        await self.panel.check()

    async def tip(self) -> Tip | None:
        """The height a quorum has reached; one provider's own when the others are down."""
        answers = [
            (source, header)
            for source, header in await self.panel.all(lambda source: source.header("latest"))
            if header is not None and self._true_header(source, header)
        ]
        for source, header in answers:
            self.panel.saw_head(source, header)
        heights = sorted((header.number for _, header in answers), reverse=True)
        if len(heights) >= QUORUM:
            number = heights[QUORUM - 1]
        elif heights and self.panel.others_are_down(1):
            number = heights[0]
        else:
            return None
        here = [answer for answer in answers if answer[1].number == number]
        try:
            return Tip(number, self._count("the newest block", number, here))
        except NoQuorum:
            return Tip(number, None)

    async def finalized(self) -> Agreed | None:
        """The newest block final by quorum: the lower of two opinions, agreed again by number."""
        told = await self.tagged("finalized")
        numbers = sorted(header.number for header in told.values())
        if len(numbers) >= QUORUM:
            return await self.agreed(numbers[-QUORUM])
        if numbers and self.panel.others_are_down(1):
            return await self.agreed(numbers[0])
        return None

    async def tagged(self, tag: Finality) -> Mapping[str, Header]:
        """The block that each provider calls so; whoever does not serve the tag is left out.

        Nobody is taken out of service for that: its blocks are as good as ever.
        """
        answers = await self.panel.all(lambda source: source.header(tag), blame=False)
        return {
            source.name: header
            for source, header in answers
            if header is not None and self._true_header(source, header)
        }

    async def holders(self, number: int, block_hash: str, names: Collection[str]) -> int:
        """How many of these providers have this very block at that height."""
        answers = await self.panel.all(lambda source: source.header(number), names=names)
        return sum(
            header is not None
            and self._true_header(source, header, number)
            and header.hash == block_hash
            for source, header in answers
        )

    async def agreed(self, number: int) -> Agreed:
        """The canonical block at a height. Raises NoQuorum."""
        answers = await self.panel.all(lambda source: source.header(number))
        return self._count(f"block {number}", number, answers)

    async def agreed_by_hash(self, block_hash: str) -> Agreed:
        """A block by its hash, with its transactions agreed. Raises NoQuorum."""
        answers = await self.panel.all(lambda source: source.header_by_hash(block_hash))
        agreed = self._count(f"block {block_hash}", None, answers)
        if agreed.header.hash != block_hash:
            raise NoQuorum(f"asked for {block_hash}, told of {agreed.header.hash}")
        return agreed

    async def ancestor(self, block_hash: str) -> Header:
        """The header with this hash; any provider will do, for the hash proves it."""

        async def fetch(source: ChainSource) -> Header | None:
            header = await source.header_by_hash(block_hash)
            if header is None or not self._true_header(source, header):
                return None
            return header if header.hash == block_hash else None

        return await self._first(fetch, f"nobody has block {block_hash}")

    async def logs_of_block(
        self, block: Agreed, tokens: Sequence[str], recipients: Collection[str] | None
    ) -> Heard:
        """Two answers, or one for a block that one provider vouches for."""
        wanted = QUORUM if block.attested else 1

        async def read(source: ChainSource) -> RangeLogs | None:
            told = await self.panel.ask(
                source, lambda source: source.logs_of_block(block.header.hash, tokens, recipients)
            )
            return None if told is None else RangeLogs.of(told[0])

        what = f"logs of block {block.header.number}"
        heard = await self.panel.logs(self.panel.healthiest(), read, wanted, what)
        if len(heard.providers) < wanted:
            raise NoQuorum(f"{what}: {len(heard.providers)} of {wanted} providers answered")
        return heard

    def check_logs(self, block: Agreed, receipts: Sequence[TxReceipt], heard: Heard) -> None:
        """Who alone names a log of an attested block that its proved receipts lack has lied.

        What two name alike is none's lie: there are nodes that show what is in no block's roots.
        """
        if not block.attested:
            return
        alone = heard.alone.get(block.header.hash, {})
        false = logs_not_held(receipts, alone)
        for name in sorted({alone[entry] for entry in false}):
            self.panel.lied(name, f"told of a log that block {block.header.number} does not hold")

    async def proved_receipts(self, header: Header) -> tuple[TxReceipt, ...]:
        """All receipts of a block, hashed to its root. Raises Unprovable, or NoQuorum."""
        if header.settled_height is not None:
            return await self._settled_receipts(header)

        async def fetch(source: ChainSource) -> tuple[TxReceipt, ...] | None:
            receipts = tuple(await source.receipts_of_block(header.hash))
            lie = await asyncio.to_thread(why_receipts_lie, header, receipts)
            if lie is None:
                self._tally.proved()
                return receipts
            self.panel.lied(source.name, lie)
            return None

        try:
            return await self._first(fetch, f"no receipts prove block {header.number}")
        except NoQuorum as nobody:
            raise Unprovable(nobody.reason) from nobody

    async def _settled_receipts(self, header: Header) -> tuple[TxReceipt, ...]:
        """As above, of a block that a later one settles (chain_ingest/settlement.py)."""

        async def agree(number: int) -> Header:
            block = await self.agreed(number)
            # That block's root is the proof: it takes as many voices as the block itself.
            if not (block.attested or self.single):
                raise NoQuorum(f"block {number}, which settles, is vouched for by one provider")
            return block.header

        try:
            settlement = await settlement_of(header, agree)
        except NotSettled as early:
            raise NoQuorum(str(early)) from early

        async def fetch(source: ChainSource) -> tuple[TxReceipt, ...] | None:
            told = [
                tuple(await source.receipts_of_block(block.hash)) for block in settlement.blocks
            ]
            lie = await asyncio.to_thread(why_settled_receipts_lie, settlement, told)
            if lie is None:
                self._tally.proved()
                return told[settlement.blocks.index(header)]
            self.panel.lied(source.name, lie)
            return None

        try:
            return await self._first(fetch, f"no receipts prove block {header.number}")
        except NoQuorum as nobody:
            raise Unprovable(nobody.reason) from nobody

    async def everybody(self, question: Callable[[ChainSource], Awaitable[T]]) -> Mapping[str, T]:
        """What each provider in service says; the silent are left out, and not blamed for it."""
        answers = await self.panel.all(question, blame=False)
        return {source.name: answer for source, answer in answers}

    # ------------------------------------------------------------ counting

    def _count(
        self,
        what: str,
        number: int | None,
        answers: Sequence[tuple[ChainSource, Header | None]],
    ) -> Agreed:
        votes: dict[tuple[str, tuple[str, ...]], list[tuple[str, Header]]] = {}
        for source, header in answers:
            if header is None or not self._true_header(source, header, number):
                continue
            vote = (header.hash, header.transactions)
            votes.setdefault(vote, []).append((source.name, header))
        if not votes:
            raise NoQuorum(f"nobody has {what}" if answers else f"{what}: nobody answered")
        if len(votes) > 1:
            self._tally.disagreed()
        best = max(votes.values(), key=len)
        names = tuple(name for name, _ in best)
        if len(best) >= QUORUM:
            return Agreed(best[0][1], names, attested=True)
        if len(votes) == 1 and self.panel.others_are_down(len(best)):
            return Agreed(best[0][1], names, attested=False)
        kind = Disagreement if len(votes) > 1 else NoQuorum
        raise kind(f"{what}: {len(votes)} versions from {len(answers)} providers")

    def _true_header(self, source: ChainSource, header: Header, number: int | None = None) -> bool:
        lie = why_header_lies(header)
        if lie is None and number is not None and header.number != number:
            lie = f"asked for block {number}, told of {header.number}"
        if lie is not None:
            self.panel.lied(source.name, lie)
        return lie is None

    async def _first(
        self, question: Callable[[ChainSource], Awaitable[T | None]], nobody: str
    ) -> T:
        found = await self.panel.first(question)
        if found is None:
            raise NoQuorum(nobody)
        return found

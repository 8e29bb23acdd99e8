"""One to three providers of a network, none of them believed alone.

Shapes  A block is agreed when two providers give the same header hash and the same transaction
        hashes; then it is `attested`. With one provider configured, or the others down, its
        word is taken and marked unattested. Providers that contradict each other agree on
        nothing. Logs are the union of two answers; receipts count only with a proof.
        Failover serves liveness; it never lowers the quorum while a second provider answers.
Units   seconds; heights are block numbers.
Errors  Misconfigured   wrong chain, or a token whose decimals are not ours: refuse to start
        NoQuorum        not now; the caller waits and asks again
        Unprovable      no provider gave receipts that hash to the header's root
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from application.chain_source import ChainSource, Header, LogEntry, RangeRefused, TxReceipt
from application.ports import Clock, Unavailable
from chain_ingest.health import Health
from chain_ingest.proof import why_header_lies, why_receipts_lie
from domain.networks import Finality, Network

log = structlog.get_logger(__name__)

T = TypeVar("T")
PROVIDERS_MAX = 3
QUORUM = 2


class Misconfigured(Exception):  # noqa: N818 - a mistake of the operator, who is told which
    """A provider serves another chain, or a token is not what the configuration says."""


class NoQuorum(Unavailable):
    def __init__(self, reason: str) -> None:
        super().__init__("rpc", reason)


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
    def __init__(self, network: Network, sources: Sequence[ChainSource], clock: Clock) -> None:
        assert 1 <= len(sources) <= PROVIDERS_MAX, "one to three providers a network"
        names = [source.name for source in sources]
        assert len(set(names)) == len(names), "each provider has a name of its own"
        self._network = network
        self._sources = tuple(sources)
        self._health = {source.name: Health(source.name, clock) for source in sources}

    @property
    def single(self) -> bool:
        """Only one is configured: no second opinion will ever come."""
        return len(self._sources) == 1

    async def check(self) -> None:
        """Ask every provider that answers for its chain and our tokens; refuse what differs.

        A provider that is silent now is checked before its first answer is used.
        """
        await asyncio.gather(*(self._admit(source) for source in self._sources))

    async def tip(self) -> Tip | None:
        """The height a quorum has reached; one provider's own when the others are down."""
        answers = [
            (source, header)
            for source, header in await self._ask_all(lambda source: source.header("latest"))
            if header is not None and self._true_header(source, header)
        ]
        heights = sorted((header.number for _, header in answers), reverse=True)
        if len(heights) >= QUORUM:
            number = heights[QUORUM - 1]
        elif heights and self._others_are_down(1):
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
        if numbers and self._others_are_down(1):
            return await self.agreed(numbers[0])
        return None

    async def tagged(self, tag: Finality) -> Mapping[str, Header]:
        """The block that each provider calls so; whoever does not serve the tag is left out.

        Nobody is taken out of service for that: its blocks are as good as ever.
        """
        answers = await self._ask_all(lambda source: source.header(tag), blame=False)
        return {
            source.name: header
            for source, header in answers
            if header is not None and self._true_header(source, header)
        }

    async def holders(self, number: int, block_hash: str, names: Collection[str]) -> int:
        """How many of these providers have this very block at that height."""
        answers = await self._ask_all(lambda source: source.header(number), names=names)
        return sum(
            header is not None
            and self._true_header(source, header, number)
            and header.hash == block_hash
            for source, header in answers
        )

    async def agreed(self, number: int) -> Agreed:
        """The canonical block at a height. Raises NoQuorum."""
        answers = await self._ask_all(lambda source: source.header(number))
        return self._count(f"block {number}", number, answers)

    async def agreed_by_hash(self, block_hash: str) -> Agreed:
        """A block by its hash, with its transactions agreed. Raises NoQuorum."""
        answers = await self._ask_all(lambda source: source.header_by_hash(block_hash))
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
        self, block: Agreed, tokens: Sequence[str], recipients: Sequence[str] | None
    ) -> tuple[LogEntry, ...]:
        """The union of two answers, or of one for a block that one provider vouches for."""
        wanted = QUORUM if block.attested else 1
        return await self._union(
            lambda source: source.logs_of_block(block.header.hash, tokens, recipients),
            wanted,
            f"logs of block {block.header.number}",
        )

    async def logs_of_range(
        self,
        first: int,
        last: int,
        tokens: Sequence[str],
        recipients: Sequence[str] | None,
        *,
        attested: bool,
    ) -> tuple[LogEntry, ...]:
        """As for a block. RangeRefused passes through: the caller asks for less."""
        return await self._union(
            lambda source: source.logs_of_range(first, last, tokens, recipients),
            QUORUM if attested else 1,
            f"logs of blocks {first} to {last}",
        )

    async def proved_receipts(self, header: Header) -> tuple[TxReceipt, ...]:
        """All receipts of a block, hashed to its root. Raises Unprovable."""

        async def fetch(source: ChainSource) -> tuple[TxReceipt, ...] | None:
            receipts = tuple(await source.receipts_of_block(header.hash))
            lie = await asyncio.to_thread(why_receipts_lie, header, receipts)
            if lie is None:
                return receipts
            self._health[source.name].lied(lie)
            return None

        try:
            return await self._first(fetch, f"no receipts prove block {header.number}")
        except NoQuorum as nobody:
            raise Unprovable(nobody.reason) from nobody

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
            raise NoQuorum(f"nobody has {what}")
        best = max(votes.values(), key=len)
        names = tuple(name for name, _ in best)
        if len(best) >= QUORUM:
            return Agreed(best[0][1], names, attested=True)
        if len(votes) == 1 and self._others_are_down(len(best)):
            return Agreed(best[0][1], names, attested=False)
        raise NoQuorum(f"{what}: {len(votes)} versions from {len(answers)} providers")

    def _others_are_down(self, answered: int) -> bool:
        """Whether nobody else is there to be waited for."""
        down = sum(self._health[source.name].down for source in self._sources)
        return answered + down >= len(self._sources)

    def _true_header(self, source: ChainSource, header: Header, number: int | None = None) -> bool:
        lie = why_header_lies(header)
        if lie is None and number is not None and header.number != number:
            lie = f"asked for block {number}, told of {header.number}"
        if lie is not None:
            self._health[source.name].lied(lie)
        return lie is None

    # ------------------------------------------------------------ asking

    def _in_service(self) -> list[ChainSource]:
        return [source for source in self._sources if self._health[source.name].may_be_asked]

    async def _ask_all(
        self,
        question: Callable[[ChainSource], Awaitable[T]],
        *,
        names: Collection[str] | None = None,
        blame: bool = True,
    ) -> list[tuple[ChainSource, T]]:
        """Everybody in service at once, or those named; the silent are left out, and noted."""
        sources = [
            source for source in self._in_service() if names is None or source.name in names
        ]
        answers = await asyncio.gather(
            *(self._ask(source, question, blame=blame) for source in sources)
        )
        return [
            (source, answer[0])
            for source, answer in zip(sources, answers, strict=True)
            if answer is not None
        ]

    async def _ask(
        self,
        source: ChainSource,
        question: Callable[[ChainSource], Awaitable[T]],
        *,
        blame: bool = True,
    ) -> tuple[T] | None:
        """The answer in a tuple, so that an answer of None is not taken for silence."""
        health = self._health[source.name]
        try:
            if not await self._admit(source):
                return None
            answer = await question(source)
        except RangeRefused:
            raise
        except Unavailable as outage:
            if blame:
                health.failed(outage)
            return None
        except Misconfigured as wrong:
            health.refuse(str(wrong))  # it was silent at start-up; the others go on
            return None
        health.answered()
        return (answer,)

    async def _first(
        self, question: Callable[[ChainSource], Awaitable[T | None]], nobody: str
    ) -> T:
        """One provider after the other, until one gives what holds."""
        for source in self._in_service():
            answer = await self._ask(source, question)
            if answer is not None and answer[0] is not None:
                return answer[0]
        raise NoQuorum(nobody)

    async def _union(
        self,
        question: Callable[[ChainSource], Awaitable[Sequence[LogEntry]]],
        wanted: int,
        what: str,
    ) -> tuple[LogEntry, ...]:
        """Ask `wanted` providers at once, and the next one for each that stays silent."""
        waiting = self._in_service()
        found: dict[LogEntry, None] = {}
        answered = 0
        while answered < wanted and waiting:
            batch, waiting = waiting[: wanted - answered], waiting[wanted - answered :]
            answers = await asyncio.gather(*(self._ask(source, question) for source in batch))
            for answer in answers:
                if answer is not None:
                    answered += 1
                    found.update(dict.fromkeys(answer[0]))
        if answered < wanted:
            raise NoQuorum(f"{what}: {answered} of {wanted} providers answered")
        return tuple(found)

    # ------------------------------------------------------------ admission

    async def _admit(self, source: ChainSource) -> bool:
        """Whether the source serves our chain and tokens; asked once, before anything else."""
        health = self._health[source.name]
        if health.admitted:
            return True
        try:
            wrong = await self._why_misconfigured(source)
        except Unavailable as outage:
            health.failed(outage)
            return False
        if wrong is not None:
            raise Misconfigured(f"{self._network.name}, provider {source.name}: {wrong}")
        health.admitted = True
        return True

    async def _why_misconfigured(self, source: ChainSource) -> str | None:
        chain_id = await source.chain_id()
        if chain_id != self._network.chain_id:
            return f"serves chain {chain_id}, not {self._network.chain_id}"
        for token in self._network.tokens:
            decimals = await source.token_decimals(token.address)
            if decimals is None:
                return f"has no token {token.symbol} at {token.address}"
            if decimals != token.decimals:
                return f"{token.symbol} has {decimals} decimals there, not {token.decimals}"
        return None

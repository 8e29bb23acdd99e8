"""Counts what a provider is asked, how it answers and how long it takes.

Shapes  Meter holds the sums of one process since its start, bounded by the methods and kinds of
        failure there are; MeteredSource puts one around a provider and changes nothing else.
        It sits next to the provider: time spent waiting for a budget is not the provider's.
Units   microseconds by the Clock port; a clock put back counts as no time.
Errors  those of the source, unchanged.
"""

from bisect import bisect_left
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from application.chain_source import (
    ChainSource,
    Header,
    Holding,
    LogEntry,
    RangeLogs,
    Tag,
    TxPlace,
    TxReceipt,
    kind_of,
)
from application.figures import ANSWERED, BUCKETS, LATENCY_MICROS, CallCount
from application.ports import Clock, Unavailable

T = TypeVar("T")
KINDS_MAX = 16  # further ones are counted together
OTHER = "other"
_MICROSECOND = timedelta(microseconds=1)

Call = tuple[str, str]
"""A method and its outcome."""


@dataclass(slots=True)
class _Sum:
    calls: int = 0
    micros_sum: int = 0
    micros_max: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * BUCKETS)

    def add(self, calls: int, micros: int) -> None:
        self.calls += calls
        self.micros_sum += calls * micros
        self.micros_max = max(self.micros_max, micros)
        self.buckets[bisect_left(LATENCY_MICROS, micros)] += calls

    def told(self) -> CallCount:
        return CallCount(self.calls, self.micros_sum, self.micros_max, tuple(self.buckets))


class Meter:
    """The sums of one provider of one network."""

    def __init__(self, provider: str, clock: Clock) -> None:
        self.provider = provider
        self.head: int | None = None
        self.answered_at: datetime | None = None
        self.failed_at: datetime | None = None
        self.failure: str | None = None
        self._clock = clock
        self._taken: dict[Call, CallCount] = {}
        self._sums: dict[Call, _Sum] = {}
        self._kinds: set[str] = set()

    def counts(self) -> Mapping[Call, CallCount]:
        """Everything since the start."""
        counts = dict(self._taken)
        for call, each in self._sums.items():
            counts[call] = counts.get(call, CallCount()) + each.told()
        return counts

    def take(self) -> Mapping[Call, CallCount]:
        """What has come since it was last taken; whoever takes it and loses it has lost it."""
        fresh = {call: each.told() for call, each in self._sums.items()}
        self._taken = dict(self.counts())
        self._sums = {}
        return fresh

    async def timed(self, method: str, answer: Awaitable[T], *, calls: int = 1) -> T:
        """`calls`: how many go together in one message; each is paid for, and took as long."""
        begun = self._clock.now()
        try:
            given = await answer
        except Unavailable as outage:
            kind = self._bounded(kind_of(outage))
            self._count(method, kind, begun, calls)
            self.failed_at, self.failure = self._clock.now(), kind
            raise
        self._count(method, ANSWERED, begun, calls)
        self.answered_at = self._clock.now()
        return given

    def saw_head(self, header: Header | None) -> None:
        if header is not None:
            self.head = header.number

    def _count(self, method: str, outcome: str, begun: datetime, calls: int) -> None:
        if not calls:
            return
        micros = max((self._clock.now() - begun) // _MICROSECOND, 0)
        self._sums.setdefault((method, outcome), _Sum()).add(calls, micros)

    def _bounded(self, kind: str) -> str:
        if kind not in self._kinds and len(self._kinds) >= KINDS_MAX:
            return OTHER
        self._kinds.add(kind)
        return kind


class MeteredSource:
    """A ChainSource that counts; each method is named as its JSON-RPC call."""

    def __init__(self, source: ChainSource, clock: Clock) -> None:
        self.meter = Meter(source.name, clock)
        self._source = source

    @property
    def name(self) -> str:
        return self._source.name

    async def chain_id(self) -> int:
        return await self.meter.timed("eth_chainId", self._source.chain_id())

    async def token_decimals(self, address: str) -> int | None:
        return await self.meter.timed("eth_call", self._source.token_decimals(address))

    async def domain_separator(self, address: str) -> bytes | None:
        return await self.meter.timed("eth_call", self._source.domain_separator(address))

    async def header(self, block: int | Tag) -> Header | None:
        header = await self.meter.timed("eth_getBlockByNumber", self._source.header(block))
        if block == "latest":
            self.meter.saw_head(header)
        return header

    async def header_by_hash(self, block_hash: str) -> Header | None:
        return await self.meter.timed(
            "eth_getBlockByHash", self._source.header_by_hash(block_hash)
        )

    async def logs_of_block(
        self, block_hash: str, tokens: Sequence[str], recipients: Collection[str] | None
    ) -> Sequence[LogEntry]:
        return await self.meter.timed(
            "eth_getLogs", self._source.logs_of_block(block_hash, tokens, recipients)
        )

    async def logs_of_range(
        self, first: int, last: int, tokens: Sequence[str], recipients: Collection[str] | None
    ) -> RangeLogs:
        return await self.meter.timed(
            "eth_getLogs", self._source.logs_of_range(first, last, tokens, recipients)
        )

    async def receipts_of_block(self, block_hash: str) -> Sequence[TxReceipt]:
        return await self.meter.timed(
            "eth_getBlockReceipts", self._source.receipts_of_block(block_hash)
        )

    async def transaction_place(self, tx_hash: str) -> TxPlace | None:
        return await self.meter.timed(
            "eth_getTransactionReceipt", self._source.transaction_place(tx_hash)
        )

    async def balances(self, block_hash: str, holdings: Sequence[Holding]) -> Sequence[int]:
        asked = self._source.balances(block_hash, holdings)
        return await self.meter.timed("eth_call", asked, calls=len(holdings))

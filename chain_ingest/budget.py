"""How often a provider may be asked, and a source that keeps to it.

Shapes  A bucket of calls that fills at `requests_per_second`, up to one second's worth. What is
        pressing goes into debt and waits its turn; back-fill, reconciling and questions of people
        wait until a share of the bucket is left over, so that the newest block comes first.
        A provider that says "too often" knows better than the setting: the rate falls below the
        most it was lately asked in one second, and comes back by RECOVERY_SHARE a second. One such
        answer in a quiet moment says little, so the first fall ends at what live work needs; only
        answers that go on lead below it.
Units   calls a second; seconds by the Clock port.
Errors  ProviderFailed "over_budget" instead of waiting longer than WAIT_SECONDS_MAX.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta
from typing import TypeVar

import structlog

from application.chain_source import (
    ChainSource,
    Header,
    Holding,
    LogEntry,
    ProviderFailed,
    RangeLogs,
    Tag,
    TxPlace,
    TxReceipt,
)
from application.ports import Clock

log = structlog.get_logger(__name__)

T = TypeVar("T")
REQUESTS_PER_SECOND_DEFAULT = 500.0
REQUESTS_PER_SECOND_MIN = 0.5
WAIT_SECONDS_MAX = 5.0
RESERVED_SHARE = 0.25  # of the bucket, for what is pressing
SHRINK_FACTOR = 0.7
RECOVERY_SHARE = 0.05  # of the rate, a second
LIVE_CALLS_PER_SECOND = 8.0  # a block a second: its header, logs, receipts, and some to spare
PEAK_KEPT_SHARE = 0.98  # of the busiest second, after each further one: half of it in 34
_SECOND = timedelta(seconds=1)


class Budget:
    """Of one provider."""

    def __init__(self, provider: str, requests_per_second: float, clock: Clock) -> None:
        assert requests_per_second >= REQUESTS_PER_SECOND_MIN, "a provider is asked now and then"
        self.rate = requests_per_second
        self._allowed = requests_per_second
        self._provider = provider
        self._clock = clock
        self._calls = self._bucket
        self._filled_at = clock.now()
        self._window_at = clock.now()
        self._window = 0  # calls in this second
        self._peak = 0.0  # in the busiest one lately, fading
        self._shrunk_at = clock.now() - _SECOND

    async def take(self, calls: int, *, pressing: bool) -> None:
        """Wait until so many calls may be made. Raises ProviderFailed instead of waiting long."""
        wait_seconds = self._debt(calls) if pressing else await self._left_over(calls)
        if wait_seconds > WAIT_SECONDS_MAX:
            raise self._over_budget(wait_seconds)
        self._calls -= calls
        self._count(calls)
        if wait_seconds > 0:
            await self._clock.sleep(wait_seconds)

    def limited(self) -> None:
        """The provider says that it is asked too often."""
        now = self._clock.now()
        self._fill()
        if now - self._shrunk_at < _SECOND:
            return  # it speaks of the same second
        self._shrunk_at = now
        self._count(0)
        asked = max(float(self._window), self._peak, LIVE_CALLS_PER_SECOND)
        self.rate = max(min(self.rate, asked) * SHRINK_FACTOR, REQUESTS_PER_SECOND_MIN)
        self._calls = min(self._calls, 0.0)
        log.info("budget_shrinks", provider=self._provider, requests_per_second=self.rate)

    # ------------------------------------------------------------ within

    @property
    def _bucket(self) -> float:
        return max(self.rate, 1.0)

    def _fill(self) -> None:
        now = self._clock.now()
        seconds = max((now - self._filled_at).total_seconds(), 0.0)
        self._filled_at = now
        grown = self.rate * (1 + RECOVERY_SHARE) ** min(seconds, 3_600.0)
        self.rate = min(grown, self._allowed)
        self._calls = min(self._calls + self.rate * seconds, self._bucket)

    def _debt(self, calls: int) -> float:
        self._fill()
        return (calls - self._calls) / self.rate

    async def _left_over(self, calls: int) -> float:
        """Wait here, without a place in the queue, for as long as others are in a hurry."""
        waited = 0.0
        while True:
            self._fill()
            reserved = min(self._bucket * RESERVED_SHARE, self._bucket - 1)
            wanted = min(calls + reserved, self._bucket)  # a full bucket will do for many calls
            missing_seconds = (wanted - self._calls) / self.rate
            if missing_seconds <= 0:
                return 0.0
            turn_seconds = max(missing_seconds, 1 / self.rate)
            waited += turn_seconds
            if waited > WAIT_SECONDS_MAX:
                raise self._over_budget(waited)
            await self._clock.sleep(turn_seconds)

    def _count(self, calls: int) -> None:
        now = self._clock.now()
        passed = now - self._window_at
        if passed >= _SECOND:
            faded = self._peak * PEAK_KEPT_SHARE ** min(passed.total_seconds(), 3_600.0)
            self._peak = max(float(self._window), faded)
            self._window, self._window_at = 0, now
        self._window += calls

    def _over_budget(self, seconds: float) -> ProviderFailed:
        return ProviderFailed(
            f"{self._provider}: {seconds:.1f} s until it may be asked again", "over_budget"
        )


class BudgetedSource:
    """A ChainSource that waits for its budget before each call, and tells it of refusals."""

    def __init__(self, source: ChainSource, budget: Budget) -> None:
        self._source = source
        self._budget = budget

    @property
    def name(self) -> str:
        return self._source.name

    async def chain_id(self) -> int:
        return await self._asked(self._source.chain_id)

    async def token_decimals(self, address: str) -> int | None:
        return await self._asked(lambda: self._source.token_decimals(address))

    async def domain_separator(self, address: str) -> bytes | None:
        return await self._asked(lambda: self._source.domain_separator(address))

    async def header(self, block: int | Tag) -> Header | None:
        return await self._asked(lambda: self._source.header(block))

    async def header_by_hash(self, block_hash: str) -> Header | None:
        return await self._asked(lambda: self._source.header_by_hash(block_hash))

    async def logs_of_block(
        self, block_hash: str, tokens: Sequence[str], recipients: Collection[str] | None
    ) -> Sequence[LogEntry]:
        return await self._asked(
            lambda: self._source.logs_of_block(block_hash, tokens, recipients)
        )

    async def logs_of_range(
        self, first: int, last: int, tokens: Sequence[str], recipients: Collection[str] | None
    ) -> RangeLogs:
        return await self._asked(
            lambda: self._source.logs_of_range(first, last, tokens, recipients), pressing=False
        )

    async def receipts_of_block(self, block_hash: str) -> Sequence[TxReceipt]:
        return await self._asked(lambda: self._source.receipts_of_block(block_hash))

    async def transaction_place(self, tx_hash: str) -> TxPlace | None:
        return await self._asked(lambda: self._source.transaction_place(tx_hash), pressing=False)

    async def balances(self, block_hash: str, holdings: Sequence[Holding]) -> Sequence[int]:
        return await self._asked(
            lambda: self._source.balances(block_hash, holdings),
            calls=len(holdings),
            pressing=False,
        )

    async def _asked(
        self, question: Callable[[], Awaitable[T]], *, calls: int = 1, pressing: bool = True
    ) -> T:
        await self._budget.take(calls, pressing=pressing)
        try:
            return await question()
        except ProviderFailed as failed:
            if failed.kind == "rate_limited":
                self._budget.limited()
            raise

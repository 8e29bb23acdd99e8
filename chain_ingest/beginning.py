"""Where an ingester without START_BLOCK begins: before the first session it could miss, or now.

Shapes  A session opens only where the ingester has begun (application/sessions.py). Where there
        are sessions all the same, opened under an older version or before the ingester's tables
        were lost, it begins with the newest block from before the first of them that can still be
        paid. That block is looked for backwards from the head, in growing steps, so that no
        node need keep headers of long ago.
Units   seconds, of our clock and of blocks; block numbers. A session is open for 31 days at
        most, with its grace, so the look back is never longer than LOOK_BACK_SECONDS_MAX.
Errors  NoQuorum while a block on the way is not agreed; ModelBehind while the payments' read
        model does not know of every session; ports.StoreUnavailable.
"""

from datetime import datetime, timedelta
from typing import Protocol

from application.ports import Clock, Unavailable
from application.reads import Progress
from application.sessions import GRACE_SECONDS_DEFAULT, WINDOW_SECONDS_MAX
from chain_ingest.providers import NoQuorum, Providers
from chain_ingest.rest import MODEL
from chain_ingest.watch import CATCH_UP_SECONDS_MAX, LogHead
from domain.matching import BIRTH_SLACK_SECONDS
from domain.networks import Network

LOOK_BACK_SECONDS_MAX = WINDOW_SECONDS_MAX + GRACE_SECONDS_DEFAULT + BIRTH_SLACK_SECONDS


class ModelBehind(Unavailable):
    def __init__(self, position: int) -> None:
        super().__init__("projections", f"payments have not reached position {position}")


class Openings(Protocol):
    async def opened_since(self, network: str, not_expired_at: datetime) -> datetime | None:
        """When the oldest session of the network was opened whose window was open then still."""
        ...


class Beginning:
    def __init__(
        self,
        network: Network,
        providers: Providers,
        log: LogHead,
        progress: Progress,
        openings: Openings,
        clock: Clock,
    ) -> None:
        self._network = network
        self._providers = providers
        self._log = log
        self._progress = progress
        self._openings = openings
        self._clock = clock

    async def after_block(self, tip: int) -> int:
        """The block above which to begin."""
        since = await self._since()
        return tip if since is None else await self._last_before(since, tip)

    async def _since(self) -> datetime | None:
        head = await self._log.head()
        if not await self._progress.wait_for(
            head, timeout_seconds=CATCH_UP_SECONDS_MAX, projection=MODEL
        ):
            raise ModelBehind(head)
        now = self._clock.now()
        still_credited = now - timedelta(seconds=GRACE_SECONDS_DEFAULT)
        opened = await self._openings.opened_since(self._network.name, still_credited)
        if opened is None:
            return None
        earliest = now - timedelta(seconds=LOOK_BACK_SECONDS_MAX)
        return max(opened - timedelta(seconds=BIRTH_SLACK_SECONDS), earliest)

    async def _last_before(self, since: datetime, tip: int) -> int:
        before = int(since.timestamp())
        age_seconds = max((self._clock.now() - since).total_seconds(), 1)
        step = int(age_seconds / self._network.block_seconds) + 1
        low, high = max(tip - step, 0), tip + 1
        while low > 0 and await self._time_of(low) >= before:
            step *= 2  # blocks come faster than the network's are said to
            low, high = max(tip - step, 0), low
        while high - low > 1:
            middle = (low + high) // 2
            if await self._time_of(middle) < before:
                low = middle
            else:
                high = middle
        return low

    async def _time_of(self, number: int) -> int:
        block = await self._providers.agreed(number)
        if not (block.attested or self._providers.single):
            raise NoQuorum("where to begin must be agreed")
        return block.header.timestamp

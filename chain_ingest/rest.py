"""When nobody waits for a payment the chain is looked at every other minute, and read by ranges.

Shapes  Somebody waits while a session is open on the network, or a transfer is not yet safe; an
        address that was given out long ago is not waited for, though it is watched for ever: what
        it is paid is seen REST_SECONDS later than usual. A session that opens ends the rest
        within CHECK_SECONDS, and the blocks of the rest are read then, before its customer can
        pay: nothing is skipped.
        Whoever does not know whether somebody waits does not rest.
Units   seconds by the Clock port; blocks.
Errors  ports.StoreUnavailable.
"""

from datetime import datetime, timedelta
from typing import Protocol

from application.ingest import Cursor, IngestStore
from application.ports import Clock
from application.reads import Progress
from chain_ingest.tally import Tally
from chain_ingest.watch import LogHead
from domain.networks import Network

REST_SECONDS = 120.0
CHECK_SECONDS = 1.0
REST_RANGE_BLOCKS_MIN = 32  # fewer are not worth the questions a range costs
BEHIND_SECONDS_MAX = 180  # further behind than this nobody rests
MODEL = "payments"
MODEL_SECONDS_MAX = 0.05
_ANY_HEIGHT = 2**62


class Expecting(Protocol):
    async def expects(self, network: str) -> bool:
        """Whether a session is open on the network, as far as the payments' read model knows."""
        ...


class Rest:
    def __init__(
        self,
        network: Network,
        store: IngestStore,
        log: LogHead,
        progress: Progress,
        expecting: Expecting,
        clock: Clock,
        tally: Tally,
    ) -> None:
        self._network = network
        self._store = store
        self._log = log
        self._progress = progress
        self._expecting = expecting
        self._clock = clock
        self._tally = tally
        self._next_look: datetime | None = None
        self._next_check: datetime | None = None

    @property
    def on(self) -> bool:
        """Whether nobody waited when this was last looked into."""
        return self._tally.resting

    @property
    def slack_seconds(self) -> float:
        """How much longer than usual the head may stand still."""
        return REST_SECONDS + BEHIND_SECONDS_MAX if self.on else 0.0

    async def looks_away(self) -> bool:
        """Whether there is nothing to look for at this moment."""
        now = self._clock.now()
        if self._next_check is None or now >= self._next_check:
            self._next_check = now + timedelta(seconds=CHECK_SECONDS)
            self._tally.resting = not await self._somebody_waits()
        return self.on and self._next_look is not None and now < self._next_look

    def is_over(self) -> None:
        """Nothing is read, and not for want of customers: whoever waits is asked about anew."""
        self._tally.resting = False
        self._next_check = self._next_look = None

    def near_enough(self, cursor: Cursor, tip: int) -> bool:
        """Whether to leave the blocks up to `tip` for later; if so, until the next look."""
        behind_seconds = (tip - cursor.number) * self._network.block_seconds
        if not self.on or behind_seconds > BEHIND_SECONDS_MAX:
            return False
        self._next_look = self._clock.now() + timedelta(seconds=REST_SECONDS)
        return True

    async def _somebody_waits(self) -> bool:
        name = self._network.name
        head = await self._log.head()
        if not await self._progress.wait_for(
            head, timeout_seconds=MODEL_SECONDS_MAX, projection=MODEL
        ):
            return True
        if await self._expecting.expects(name):
            return True
        unsafe = await self._store.unconfirmed(
            name, head=_ANY_HEIGHT, attested_only=False, limit=1
        )
        return bool(unsafe) or bool(await self._store.awaited_tags(name, attested_only=False))

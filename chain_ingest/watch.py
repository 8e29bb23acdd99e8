"""The addresses to look for, no older than the block they are looked for in.

An address is given out before anybody can pay to it. So after a block has been seen, whatever
the log holds by then includes every address the block can pay: read the log's head, wait until
the watch list has come so far, and only then use it. Other read models may lag: no block waits
for them.

Errors  WatchListBehind: the block is not passed; it is tried again.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Protocol

from application.ingest import WatchedAddresses
from application.ports import Unavailable
from application.reads import WATCH_LIST_MODEL, Progress

CATCH_UP_SECONDS_MAX = 2.0


class WatchListBehind(Unavailable):
    def __init__(self, position: int) -> None:
        super().__init__("projections", f"the watch list has not reached position {position}")


class LogHead(Protocol):
    """The part of the event store that is needed here."""

    async def head(self) -> int: ...


class Watch:
    def __init__(self, log: LogHead, progress: Progress, watched: WatchedAddresses) -> None:
        self._log = log
        self._progress = progress
        self._watched = watched

    async def addresses(self, network: str) -> AbstractSet[str]:
        head = await self._log.head()
        if not await self._progress.wait_for(
            head, timeout_seconds=CATCH_UP_SECONDS_MAX, projection=WATCH_LIST_MODEL
        ):
            raise WatchListBehind(head)
        return await self._watched.addresses(network)


class Together(AbstractSet[str]):
    """Two sets looked up as one: a million addresses are not copied to add a few."""

    def __init__(self, many: AbstractSet[str], few: AbstractSet[str]) -> None:
        self._many = many
        self._rest = {each for each in few if each not in many}

    def __contains__(self, address: object) -> bool:
        return address in self._rest or address in self._many

    def __iter__(self) -> Iterator[str]:
        yield from self._many
        yield from self._rest

    def __len__(self) -> int:
        return len(self._many) + len(self._rest)

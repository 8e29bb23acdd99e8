"""How a worker goes about many things at once, and how it speaks of outages: once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from application.ports import Unavailable

log = structlog.get_logger(__name__)

T = TypeVar("T")


async def in_rounds(
    those: Sequence[T], at_once: int, work: Callable[[T], Awaitable[None]]
) -> None:
    """Work on each, at most `at_once` at a time, a round after the other."""
    for first in range(0, len(those), at_once):
        await asyncio.gather(*(work(one) for one in those[first : first + at_once]))


class Outages:
    """Says once that a service went away and once that it came back."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._away: set[str] = set()

    def away(self, outage: Unavailable, *, what: str = "") -> None:
        """`what` tells several of one service apart: the network of an RPC."""
        if what not in self._away:
            self._away.add(what)
            log.warning(
                "worker_waits",
                worker=self._worker,
                what=what or outage.service,
                service=outage.service,
                reason=outage.reason,
            )

    def back(self, *, what: str = "") -> None:
        if what in self._away:
            self._away.remove(what)
            log.info("worker_goes_on", worker=self._worker, what=what)

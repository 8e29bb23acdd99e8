"""A long rebuild divided between two processes: this one, and a helper that takes its share.

Shapes  Helper.replay() brings some projections up to the head in another process, in the schemas
        that were begun for them here, and says meanwhile how far it has come. Whoever calls it
        holds the locks of all of them; cancelled, it ends the process.
        Shares are by what projections cost an event (`Projection.cost`) and how far each has to
        go. They are of whole projections: no table has two writers.
        That it is done is believed when the database says so too. What either has missed while
        the other was still at it is caught up by all together, in the end.
Errors  HelperFailed  the other process ended before its work: why, as it said itself
        what either of the two raises ends both; the same command goes on from there
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from psycopg import AsyncConnection

from projections.rebuild import Job, Pace, Phase, catch_up, failing, look_again, replay

OnHelped = Callable[[Phase, int, str | None], Awaitable[None]]


class HelperFailed(Exception):  # noqa: N818 - named for what happened
    """The process that shared the work has ended without having done it."""


class Helper(Protocol):
    @property
    def events_min(self) -> int:
        """So many are to be replayed at least, before it is worth its start."""
        ...

    async def replay(self, names: Sequence[str], tell: OnHelped) -> None:
        """Raises HelperFailed, StoreUnavailable."""
        ...


async def replay_shared(
    connection: AsyncConnection, jobs: Sequence[Job], pace: Pace, helper: Helper | None
) -> None:
    """As `replay` does, with the helper if there is one and it is worth it."""
    head = await pace.store.head()
    furthest = max((head - job.position for job in jobs), default=0)
    mine, theirs = divided(jobs, head)
    if helper is None or furthest < helper.events_min or not theirs:
        await replay(connection, jobs, pace)
        return

    async def tell(phase: Phase, position: int, projection: str | None) -> None:
        pace.beside = position
        await pace.at(phase, min(job.position for job in mine), projection)

    pace.beside = min(job.position for job in theirs)
    names = [job.projection.name for job in theirs]
    tasks = (
        asyncio.create_task(replay(connection, mine, pace)),
        asyncio.create_task(helper.replay(names, tell)),
    )
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        pace.beside = None
    await _take_over(connection, theirs)
    async with failing(connection, jobs):
        await catch_up(connection, jobs, pace, "catching up")


async def _take_over(connection: AsyncConnection, jobs: Sequence[Job]) -> None:
    await look_again(connection, jobs)
    async with connection.transaction():
        cursor = await connection.execute(
            "SELECT schema FROM rm_admin.rebuilds "
            "WHERE schema = ANY(%s) AND state = 'ready' AND indexed",
            ([job.schema for job in jobs],),
        )
        ready = {row[0] for row in await cursor.fetchall()}
    missing = [job.schema for job in jobs if job.schema not in ready]
    if missing:
        raise HelperFailed(
            f"the second process has said that it was done, but {', '.join(missing)} is not ready; "
            "the same command goes on from there"
        )
    for job in jobs:
        job.indexed = True


def divided(jobs: Sequence[Job], head: int) -> tuple[list[Job], list[Job]]:
    """Two shares of about the same weight, the dearest first, each to who has less so far."""
    weights = {job.schema: job.projection.cost * (head - job.position) for job in jobs}
    shares: tuple[list[Job], list[Job]] = ([], [])
    totals = [0, 0]
    for job in sorted(jobs, key=lambda each: -weights[each.schema]):
        lighter = 0 if totals[0] <= totals[1] else 1
        shares[lighter].append(job)
        totals[lighter] += weights[job.schema]
    return shares

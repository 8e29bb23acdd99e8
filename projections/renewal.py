"""The whole of a rebuild: replay, compare, show; safe to run again wherever it was ended.

Shapes  `rebuild` does the first of the three: tables that are whole, and not shown.
        `renew` does it for some projections at once; each is shown by itself when it is equal to
        what was shown, or when somebody accepts that it is not, and says why.
        `bring_up` does it for a new release: those whose version nobody is shown yet.
Errors  as in rebuild.py, comparing.py and switching.py; differences are no error but an answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection

from application.ports import Clock, EventStore
from projections import checkpoints
from projections.comparing import (
    Comparison,
    NothingToCompare,
    compare_kept,
    compare_rebuilt,
)
from projections.database import Connections
from projections.projection import Projection
from projections.rebuild import Job, OnProgress, Order, Pace, begin, catch_up, resumed
from projections.sharing import Helper, replay_shared
from projections.switching import RebuildBehind, Switched, switch
from projections.upkeep import working

CATCH_UPS_MAX = 20  # while facts come faster than one switch may fold


@dataclass(frozen=True, slots=True)
class Renewed:
    """What became of one projection; not `switched` when it differs and nobody accepted that."""

    projection: Projection
    schema: str
    position: int
    resumed: bool
    parked: int
    comparison: Comparison | None  # None where what is shown has tables of another version
    switched: Switched | None


@dataclass(frozen=True, slots=True)
class Rebuilt:
    projection: Projection
    schema: str
    position: int
    parked: int


async def rebuild(
    owner: Connections,
    store: EventStore,
    projections: Sequence[Projection],
    clock: Clock,
    order: Order | None = None,
    helper: Helper | None = None,
    on_progress: OnProgress | None = None,
) -> list[Rebuilt]:
    """Replay the log into a schema each, not yet shown."""
    async with working(owner, [each.name for each in projections]) as connection:
        jobs = await begin(connection, projections, order or Order("system"), clock)
        pace = Pace(store, clock, on_progress or (lambda _: None))
        await replay_shared(connection, jobs, pace, helper)
        return [await _rebuilt(connection, job) for job in jobs]


async def _rebuilt(connection: AsyncConnection, job: Job) -> Rebuilt:
    cursor = await connection.execute(
        "SELECT count(*) FROM rm_admin.parked WHERE schema = %s", (job.schema,)
    )
    row = await cursor.fetchone()
    assert row is not None
    return Rebuilt(job.projection, job.schema, job.position, row[0])


async def renew(
    owner: Connections,
    store: EventStore,
    projections: Sequence[Projection],
    clock: Clock,
    order: Order,
    *,
    accept_differences: bool = False,
    on_progress: OnProgress | None = None,
    helper: Helper | None = None,
) -> list[Renewed]:
    """Rebuild these and show them. Ended at any moment, the next call goes on from there."""
    pace = Pace(store, clock, on_progress or (lambda _: None))
    async with working(owner, [each.name for each in projections]) as connection:
        jobs = await begin(connection, projections, order, clock)
        await replay_shared(connection, jobs, pace, helper)
        renewed: list[Renewed] = []
        for job in jobs:
            await pace.at("comparing", job.position, job.projection.name)
            comparison = await compare_rebuilt(owner, connection, store, job, clock)
            differing = [each.table for each in comparison.differences] if comparison else []
            switched = None
            if accept_differences or not differing:
                await pace.at("switching", job.position, job.projection.name)
                switched = await _show(connection, job, pace, order, differing)
            renewed.append(await _told(connection, job, comparison, switched))
        return renewed


async def _show(
    connection: AsyncConnection, job: Job, pace: Pace, order: Order, differing: Sequence[str]
) -> Switched:
    for _ in range(CATCH_UPS_MAX - 1):
        try:
            return await switch(
                connection, pace.store, job.projection, job.schema, pace.clock, order, differing
            )
        except RebuildBehind:
            await catch_up(connection, [job], pace, "catching up")
    return await switch(
        connection, pace.store, job.projection, job.schema, pace.clock, order, differing
    )


async def _told(
    connection: AsyncConnection, job: Job, comparison: Comparison | None, switched: Switched | None
) -> Renewed:
    cursor = await connection.execute(
        "SELECT count(*) FROM rm_admin.parked WHERE schema = %s", (job.schema,)
    )
    row = await cursor.fetchone()
    await connection.commit()
    assert row is not None
    position = job.position if switched is None else switched.position
    return Renewed(job.projection, job.schema, position, job.resumed, row[0], comparison, switched)


async def compare(
    owner: Connections, store: EventStore, projection: Projection, clock: Clock
) -> Comparison:
    """What is rebuilt and not shown yet, or else what is kept, beside what is shown."""
    async with owner.connection() as connection:
        job = await resumed(connection, projection)
    if job is None:
        return await compare_kept(owner, projection)
    async with working(owner, [projection.name]) as connection:
        async with connection.transaction():
            job = await resumed(connection, projection)
        if job is None or not job.indexed:
            raise NothingToCompare(
                f"the rebuild of {projection.name} is not finished: "
                f"`gateway projections rebuild {projection.name}` goes on with it"
            )
        comparison = await compare_rebuilt(owner, connection, store, job, clock)
    if comparison is None:
        raise NothingToCompare(f"what is shown of {projection.name} is of another version")
    return comparison


async def not_shown(
    connections: Connections, projections: Sequence[Projection]
) -> list[Projection]:
    """Those of which neither what is shown nor what is kept is of this code's version."""
    async with connections.connection() as connection:
        return [
            each for each in projections if not await checkpoints.followed_places(connection, each)
        ]


async def bring_up(
    owner: Connections,
    store: EventStore,
    projections: Sequence[Projection],
    clock: Clock,
    order: Order,
    *,
    on_progress: OnProgress | None = None,
    helper: Helper | None = None,
) -> list[Renewed]:
    """Build what a new release brings beside what is shown, and show it."""
    new = await not_shown(owner, projections)
    if not new:
        return []
    return await renew(owner, store, new, clock, order, on_progress=on_progress, helper=helper)

"""What a new release needs of the database before its processes start: tables, and rows in them.

Shapes  Migrations, then the schemas of read models, then those of a new version are rebuilt
        beside what is shown, while the processes of the release before go on, and shown at the
        end. It may be killed at any moment: the next run goes on from there.
        What was done is a fact of this release, at which processes of the one before would stop.
        So while they still read the log it is only noted, and told once they are gone.
Errors  those of migrating and of rebuilding; psycopg's own.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters import migrate
from adapters.clock import SystemClock, SystemIds
from adapters.event_store import PostgresEventStore
from adapters.postgres import Postgres, acting_as
from adapters.revisions import Phase
from application.handling import Handler
from application.upkeep import Upkeep
from gateway.rebuild_helper import helper_for
from projections.catalogue import PROJECTIONS
from projections.rebuild import OnProgress, Order
from projections.renewal import Renewed, bring_up
from projections.schema import MIGRATION, OWNER, ensure_schemas
from projections.upkeep import tell

POOL_SIZE_MAX = 4


def make_tables(owner_dsn: str, phase: Phase | None = None) -> list[str]:
    """What was missing, by name. Read models are there before the processes that need them."""
    made = migrate.migrate(owner_dsn, phase)
    return made if phase == "after" else [*made, *ensure_schemas(owner_dsn)]


async def fill_tables(
    owner_dsn: str,
    on_progress: OnProgress | None = None,
    *,
    telling: bool = True,
    processes: int | None = None,
) -> list[Renewed]:
    """Read models of which this release has a new version: rebuilt, and shown."""
    clock, as_owner = SystemClock(), acting_as(owner_dsn, OWNER)
    async with _opened(owner_dsn) as (owner, store):
        try:
            return await bring_up(
                owner,
                store,
                PROJECTIONS,
                clock,
                Order(MIGRATION),
                on_progress=on_progress,
                helper=helper_for(as_owner, as_owner, processes),
            )
        finally:
            if telling:
                await tell(owner, Upkeep(Handler(store, clock)))


async def tell_what_was_done(owner_dsn: str) -> int:
    """Append what was noted while the release before still ran; how many operations that were."""
    async with _opened(owner_dsn) as (owner, store):
        return await tell(owner, Upkeep(Handler(store, SystemClock())))


@asynccontextmanager
async def _opened(owner_dsn: str) -> AsyncIterator[tuple[Postgres, PostgresEventStore]]:
    async with (
        Postgres(
            acting_as(owner_dsn, OWNER), name="gateway-migrate", max_size=POOL_SIZE_MAX
        ) as owner,
        PostgresEventStore(owner, ids=SystemIds()) as store,
    ):
        yield owner, store

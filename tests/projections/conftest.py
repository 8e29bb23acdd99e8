"""Read models in a database of the test's own, and the log they are made of.

stage   a log in memory, the tables, and connections as the application's and the owner's role
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.store import MemoryEventStore
from adapters.postgres import Postgres
from application.handling import Handler
from projections.catalogue import PROJECTIONS
from projections.runner import ProjectionRunner
from projections.schema import ensure_schemas
from tests.conftest import Migrated
from tests.examples import AT
from tests.projections.history import History


@dataclass
class Stage:
    clock: FakeClock
    store: MemoryEventStore
    app: Postgres
    owner: Postgres

    def history(self, seed: int = 1) -> History:
        return History(Handler(self.store, self.clock), self.clock, seed)

    def runner(self) -> ProjectionRunner:
        return ProjectionRunner(self.app, self.store, PROJECTIONS, None, self.clock)


@pytest.fixture
async def stage(migrated: Migrated) -> AsyncIterator[Stage]:
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn)
    clock = FakeClock(AT)
    store = MemoryEventStore(ids=SeededIds(1), clock=clock)
    async with (
        Postgres(migrated.app_dsn, name="test-app", max_size=4) as app,
        Postgres(migrated.owner_dsn, name="test-owner", max_size=2) as owner,
    ):
        yield Stage(clock, store, app, owner)

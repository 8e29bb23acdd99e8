"""The eventsourcing library's own contract tests, unchanged, on our tables and on the twin.

What they print (rates) is theirs. Beside them: what we promise to followers of our log.
"""

from collections.abc import Iterator
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest
from eventsourcing.persistence import (
    ApplicationRecorder,
    InfrastructureFactory,
    NotSupportedError,
    ProcessRecorder,
    StoredEvent,
    Tracking,
    TrackingRecorder,
)
from eventsourcing.tests import persistence as contract
from eventsourcing.utils import Environment

from adapters import recorder
from adapters.memory.store import MemoryRecorder
from tests.conftest import Migrated

pytestmark = pytest.mark.services


def environment(dsn: str, **more: str) -> Environment:
    """What an auditor sets to read our log with the library alone."""
    parts = urlsplit(dsn)
    return Environment(
        "",
        {
            "PERSISTENCE_MODULE": "adapters.recorder",
            "POSTGRES_DBNAME": parts.path.removeprefix("/"),
            "POSTGRES_HOST": parts.hostname or "",
            "POSTGRES_PORT": str(parts.port),
            "POSTGRES_USER": parts.username or "",
            "POSTGRES_PASSWORD": parts.password or "",
            **more,
        },
    )


class OnPostgres:
    """As gw_app: the library needs no privilege that the application has not."""

    @pytest.fixture(autouse=True)
    def _on_our_tables(self, migrated: Migrated) -> Iterator[None]:
        self.dsn = migrated.app_dsn
        self.env = environment(self.dsn)
        self.infrastructure: InfrastructureFactory[Any] = InfrastructureFactory.construct(self.env)
        yield
        self.infrastructure.close()

    def create_recorder(self) -> Any:
        return self.infrastructure.process_recorder()


class TestAggregateRecorder(OnPostgres, contract.AggregateRecorderTestCase):
    def create_recorder(self) -> Any:
        return self.infrastructure.aggregate_recorder()


class TestApplicationRecorder(OnPostgres, contract.ApplicationRecorderTestCase):
    def create_recorder(self) -> Any:
        return self.infrastructure.application_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestTrackingRecorder(OnPostgres, contract.TrackingRecorderTestCase):
    def create_recorder(self) -> Any:
        return self.infrastructure.tracking_recorder()


class TestProcessRecorder(OnPostgres, contract.ProcessRecorderTestCase):
    pass


class TestPositionsDoNotInterleave(OnPostgres, contract.NonInterleavingNotificationIDsBaseCase):
    pass


class ChosenTrackingRecorder(recorder.EventTrackingRecorder):
    """What a projection's view may name as its own."""


class TestFactory(contract.InfrastructureFactoryTestCase[recorder.EventFactory]):
    @pytest.fixture(autouse=True)
    def _on_our_tables(self, migrated: Migrated) -> None:
        self.env = environment(migrated.app_dsn)

    def expected_factory_class(self) -> type[recorder.EventFactory]:
        return recorder.EventFactory

    def expected_aggregate_recorder_class(self) -> type[recorder.EventAggregateRecorder]:
        return recorder.EventAggregateRecorder

    def expected_application_recorder_class(self) -> type[ApplicationRecorder]:
        return recorder.EventApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[TrackingRecorder]:
        return recorder.EventTrackingRecorder

    def tracking_recorder_subclass(self) -> type[TrackingRecorder]:
        return ChosenTrackingRecorder

    def expected_process_recorder_class(self) -> type[ProcessRecorder]:
        return recorder.EventProcessRecorder


class OnTwin:
    def create_recorder(self) -> Any:
        return MemoryRecorder()


class TestTwinAsApplicationRecorder(OnTwin, contract.ApplicationRecorderTestCase):
    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestTwinAsTrackingRecorder(OnTwin, contract.TrackingRecorderTestCase):
    pass


class TestTwinAsProcessRecorder(OnTwin, contract.ProcessRecorderTestCase):
    pass


class TestPositionsOfTheTwinDoNotInterleave(
    OnTwin, contract.NonInterleavingNotificationIDsBaseCase
):
    pass


# ---------------------------------------------------------------- our own promises


def stored(version: int, stream: UUID | None = None) -> StoredEvent:
    return StoredEvent(stream or UUID(int=1), version, "payment_session.expired", b"{}")


def test_the_mode_that_loses_events_cannot_be_turned_on(migrated: Migrated) -> None:
    with pytest.raises(OSError, match="POSTGRES_ENABLE_DB_FUNCTIONS"):
        InfrastructureFactory.construct(
            environment(migrated.app_dsn, POSTGRES_ENABLE_DB_FUNCTIONS="y")
        )


def test_there_are_no_snapshots(migrated: Migrated) -> None:
    opened = InfrastructureFactory.construct(environment(migrated.app_dsn))
    with opened as factory, pytest.raises(NotSupportedError):
        factory.aggregate_recorder(purpose="snapshots")


def test_a_follower_hears_of_an_event_that_came_after_it_subscribed(migrated: Migrated) -> None:
    with InfrastructureFactory.construct(environment(migrated.app_dsn)) as factory:
        log = factory.application_recorder()
        waiting = Event()

        def write_later() -> None:
            waiting.wait()
            log.insert_events([stored(1)])

        writer = Thread(target=write_later)
        writer.start()
        with log.subscribe(gt=0) as subscription:
            waiting.set()
            assert next(subscription).id == 1
        writer.join()


def test_refused_tracking_takes_its_events_with_it(migrated: Migrated) -> None:
    with InfrastructureFactory.construct(environment(migrated.app_dsn)) as factory:
        process = factory.process_recorder()
        process.insert_events([stored(1)], tracking=Tracking("upstream", 5))
        with pytest.raises(Exception, match="has passed"):
            process.insert_events([stored(2)], tracking=Tracking("upstream", 5))
        assert process.max_notification_id() == 1


def test_the_library_writes_rows_an_auditor_can_read(migrated: Migrated) -> None:
    with InfrastructureFactory.construct(environment(migrated.app_dsn)) as factory:
        factory.application_recorder().insert_events([stored(1)])
    with psycopg.connect(migrated.readonly_dsn) as connection:
        row = connection.execute(
            "SELECT position, stream_type, topic, data FROM es.readable"
        ).fetchone()
    assert row == (1, "eventsourcing", "payment_session.expired", {})

"""The eventsourcing library's own contract tests, unchanged, on our tables and on the twin.

What they print (rates) is theirs. Beside them: what we promise to followers of our log.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain, groupby
from threading import Event, Thread, get_ident
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest
from eventsourcing.persistence import (
    ApplicationRecorder,
    InfrastructureFactory,
    IntegrityError,
    NotSupportedError,
    OperationalError,
    ProcessRecorder,
    StoredEvent,
    Tracking,
    TrackingRecorder,
)
from eventsourcing.tests import persistence as contract
from eventsourcing.utils import Environment

from adapters import recorder
from adapters.event_store_sql import LOG_LOCK
from adapters.memory.store import MemoryRecorder
from adapters.postgres import LOCK_TIMEOUT_MS
from adapters.recorder_groups import ROUNDS_MAX, Groups, Request
from tests.conftest import Migrated

pytestmark = pytest.mark.services
GATHERING_SECONDS = 0.1


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


# ---------------------------------------------------------------- threads together


@contextmanager
def held(migrated: Migrated) -> Iterator[None]:
    """The log's lock in strange hands: whoever writes meanwhile waits in one line."""
    with psycopg.connect(migrated.app_dsn) as stranger:
        stranger.execute("SELECT pg_advisory_xact_lock(%s, %s)", LOG_LOCK)
        yield


def together(
    migrated: Migrated, writes: Sequence[Callable[[], object]], waiting: Callable[[], int]
) -> list[object]:
    """All at once, the first alone and the others in the group behind it."""
    with ThreadPoolExecutor(len(writes)) as threads, held(migrated):
        running = [threads.submit(writes[0])]
        sleep(GATHERING_SECONDS)
        running += [threads.submit(write) for write in writes[1:]]
        while waiting() < len(writes) - 1:
            sleep(0.001)
    return [each.exception() or each.result() for each in running]


def line_of(opened: object) -> Groups:
    assert isinstance(opened, recorder.EventAggregateRecorder)
    return opened._groups


def test_threads_that_write_at_once_are_written_in_one_transaction(migrated: Migrated) -> None:
    with InfrastructureFactory.construct(environment(migrated.app_dsn)) as factory:
        log = factory.application_recorder()
        writes = [partial(log.insert_events, [stored(1, UUID(int=n))]) for n in range(1, 21)]
        got = together(migrated, writes, lambda: len(line_of(log)._waiting))
    positions = sorted(sum(each) for each in got if isinstance(each, list))
    assert positions == list(range(1, 21))
    with psycopg.connect(migrated.readonly_dsn) as connection:
        (transactions,) = connection.execute(
            "SELECT count(DISTINCT xmin::text) FROM es.events"
        ).fetchone() or (0,)
    assert transactions == 2, "the first, and all who came while it waited"


def test_a_stale_version_or_tracking_in_a_group_harms_nobody_else(migrated: Migrated) -> None:
    with InfrastructureFactory.construct(environment(migrated.app_dsn)) as factory:
        process = factory.process_recorder()
        process.insert_events([stored(1)], tracking=Tracking("passed", 5))
        insert = process.insert_events
        got = together(
            migrated,
            [
                partial(insert, [stored(1, UUID(int=2))]),
                partial(insert, [stored(1)], tracking=Tracking("mine", 1)),
                partial(insert, [stored(1, UUID(int=3))], tracking=Tracking("passed", 5)),
                partial(insert, [stored(1, UUID(int=4)), stored(2, UUID(int=4))]),
                partial(insert, [stored(1, UUID(int=5))], tracking=Tracking("other", 1)),
            ],
            lambda: len(line_of(process)._waiting),
        )
        tracked = [process.max_tracking_id(name) for name in ("passed", "mine", "other")]
        assert tracked == [5, None, 1], "a refused one has tracked nothing"
        assert process.max_notification_id() == 5
    assert [type(each) for each in got] == [list, IntegrityError, IntegrityError, list, list]
    positions = [each for each in got if isinstance(each, list)]
    assert sorted(chain.from_iterable(positions)) == [2, 3, 4, 5]


def test_of_threads_that_write_one_stream_each_waits_for_the_other(migrated: Migrated) -> None:
    with InfrastructureFactory.construct(environment(migrated.app_dsn)) as factory:
        log = factory.application_recorder()
        writes = [partial(log.insert_events, [stored(n)]) for n in (1, 2, 3, 3)]
        got = together(migrated, writes, lambda: len(line_of(log)._waiting))
        assert log.max_notification_id() == 3
    assert Counter(type(each) for each in got) == {list: 3, IntegrityError: 1}


def test_threads_that_find_the_line_full_are_told_at_once(migrated: Migrated) -> None:
    with InfrastructureFactory.construct(environment(migrated.app_dsn)) as factory:
        log = factory.application_recorder()
        line_of(log)._waiting_max = 2
        with ThreadPoolExecutor(3) as threads, held(migrated):
            running = [threads.submit(log.insert_events, [stored(1, UUID(int=1))])]
            sleep(GATHERING_SECONDS)
            running += [
                threads.submit(log.insert_events, [stored(1, UUID(int=n))]) for n in (2, 3)
            ]
            while len(line_of(log)._waiting) < 2:
                sleep(0.001)
            with pytest.raises(OperationalError, match="too many writes"):
                log.insert_events([stored(1, UUID(int=4))])
        assert [each.result() for each in running] in ([[1], [2], [3]], [[1], [3], [2]])


def test_the_lock_in_strange_hands_is_waited_for_seconds_only(migrated: Migrated) -> None:
    opened = InfrastructureFactory.construct(environment(migrated.app_dsn))
    with opened as factory, held(migrated):
        begun = monotonic()
        with pytest.raises(OperationalError, match="lock timeout"):
            factory.application_recorder().insert_events([stored(1)])
        assert monotonic() - begun < 2 * LOCK_TIMEOUT_MS / 1_000


def test_the_one_who_writes_for_all_is_let_go_after_a_while() -> None:
    """A thread that came first has an end of its own to come to, however many come after it."""
    served: list[int] = []

    def write(group: Sequence[Request]) -> list[list[int]]:
        served.append(get_ident())
        sleep(0.001)
        return [[1] for _ in group]

    groups = Groups(write)
    stop = Event()

    def caller() -> int:
        count = 0
        while not stop.is_set():
            groups.insert([stored(1)], None)  # one stream: one at a time
            count += 1
        return count

    with ThreadPoolExecutor(4) as threads:
        callers = [threads.submit(caller) for _ in range(4)]
        sleep(0.5)
        stop.set()
        counts = [each.result(timeout=5) for each in callers]
    assert len(served) == sum(counts)
    assert min(counts) > 0
    runs = [len(list(run)) for _, run in groupby(served)]
    assert max(runs) <= 2 * ROUNDS_MAX, "a new request of its own may let it lead once more"


def test_a_writer_that_is_interrupted_hands_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(group: Sequence[Request]) -> list[list[int]]:
        if group[0].events[0].originator_version == 1:
            sleep(GATHERING_SECONDS)
            raise KeyboardInterrupt
        return [[7] for _ in group]

    groups = Groups(write)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(groups.insert, [stored(1)], None)
        sleep(GATHERING_SECONDS / 2)
        second = threads.submit(groups.insert, [stored(2)], None)
        with pytest.raises(KeyboardInterrupt):
            first.result(timeout=5)
        assert second.result(timeout=5) == [7]

"""Our log as the eventsourcing library sees it: a PERSISTENCE_MODULE on es.events.

With PERSISTENCE_MODULE=adapters.recorder and the library's own POSTGRES_* settings a plain
`Application`, `ProjectionRunner` or auditor's script reads and follows the log, and writes to it
under the same lock and in the same order as the gateway itself.

Shapes  originator id, version, topic and state are columns of es.events; a notification id is a
        position. Tracking is es.tracking. Tables come from migrations, never from here.
        Threads that write at once are written together (recorder_groups.py).
        Followers poll: NOTIFY takes a lock of the whole server at every commit.
Errors  the library's; OperationalError within seconds when the log's lock cannot be had.
        EnvironmentError for settings that would break the log's promises.
Source  eventsourcing 9.5.6. Its function mode writes without any lock, so that readers miss
        events, and forgets tracking: refused here.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from eventsourcing import persistence as library
from eventsourcing import postgres as library_postgres
from eventsourcing.persistence import Notification, StoredEvent, Tracking
from eventsourcing.utils import resolve_topic, strtobool
from psycopg import Cursor
from psycopg.rows import DictRow

from adapters.event_store_sql import LOCK
from adapters.postgres import LOCK_TIMEOUT_MS, STATEMENT_TIMEOUT_MS
from adapters.recorder_groups import Groups, Outcome, Request
from domain.values import derived_id

POLL_SECONDS = 0.02
# The library's own time-outs are off; one round trip, and the lock is a statement of its own still.
_LOCK = (
    f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; "
    f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}; {LOCK}"
)
STREAM_TYPE = "eventsourcing"

_INSERT = """
INSERT INTO es.events (position, stream_type, stream_id, version, topic, schema_version, event_id,
                       occurred_at, recorded_at, state, meta)
SELECT (SELECT coalesce(max(position), 0) FROM es.events) + u.n, %s, u.stream_id, u.version,
       u.topic, 1, u.event_id, clock_timestamp(),
       greatest(now(), (SELECT recorded_at FROM es.events ORDER BY position DESC LIMIT 1)),
       u.state, '{}'
FROM unnest(%s::uuid[], %s::bigint[], %s::text[], %s::uuid[], %b::bytea[])
     WITH ORDINALITY AS u(stream_id, version, topic, event_id, state, n)
ORDER BY u.n
RETURNING position
"""
_TAKEN = """
SELECT u.stream_id, u.version FROM unnest(%s::uuid[], %s::bigint[]) AS u(stream_id, version)
WHERE (SELECT true FROM es.events e WHERE e.stream_id = u.stream_id AND e.version = u.version
       LIMIT 1)
"""
_SELECT_STREAM = """
SELECT stream_id, version, topic, state FROM es.events
WHERE stream_id = %(id)s AND (%(gt)s::bigint IS NULL OR version > %(gt)s)
  AND (%(lte)s::bigint IS NULL OR version <= %(lte)s)
ORDER BY version {direction} LIMIT %(limit)s
"""
_ASCENDING = _SELECT_STREAM.format(direction="ASC")
_DESCENDING = _SELECT_STREAM.format(direction="DESC")
_SELECT_LOG = """
SELECT position, stream_id, version, topic, state FROM es.events
WHERE position >= %(first)s AND (%(stop)s::bigint IS NULL OR position <= %(stop)s)
  AND (%(topics)s::text[] IS NULL OR topic = ANY(%(topics)s))
ORDER BY position LIMIT %(limit)s
"""
_MAX_POSITION = "SELECT max(position) AS max FROM es.events"
_TRACK = """
INSERT INTO es.tracking AS t (application_name, notification_id) VALUES (%s, %s)
ON CONFLICT (application_name) DO UPDATE SET notification_id = excluded.notification_id
WHERE t.notification_id < excluded.notification_id
RETURNING notification_id
"""
_MAX_TRACKING = "SELECT notification_id AS max FROM es.tracking WHERE application_name = %s"


class _OnOurTables:
    def __init__(self, datastore: library_postgres.PostgresDatastore) -> None:
        self.datastore = datastore
        self._groups = Groups(self._write)

    def _insert(
        self, stored_events: Sequence[StoredEvent], tracking: Tracking | None = None
    ) -> list[int]:
        if not stored_events and tracking is None:
            return []
        return self._groups.insert(stored_events, tracking)

    def _write(self, group: Sequence[Request]) -> list[Outcome]:
        """One transaction, no retry: after a lost answer nobody knows without looking."""
        try:
            with self.datastore.transaction(commit=True) as cursor:
                return _written(cursor, group)
        except (library.OperationalError, library.InterfaceError):
            raise
        except library.PersistenceError as error:
            # The server has refused what the questions let pass, and nothing is written.
            if len(group) == 1:
                return [error]
            return [outcome for each in group for outcome in self._write([each])]


class EventAggregateRecorder(_OnOurTables, library.AggregateRecorder):
    def insert_events(
        self, stored_events: Sequence[StoredEvent], **_: Any
    ) -> Sequence[int] | None:
        self._insert(stored_events)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        given = {"id": originator_id, "gt": gt, "lte": lte, "limit": limit}
        with self.datastore.cursor() as cursor:
            cursor.execute(_DESCENDING if desc else _ASCENDING, given, prepare=True)
            return [
                StoredEvent(row["stream_id"], row["version"], row["topic"], bytes(row["state"]))
                for row in cursor.fetchall()
            ]


class EventApplicationRecorder(EventAggregateRecorder, library.ApplicationRecorder):
    def insert_events(
        self, stored_events: Sequence[StoredEvent], **_: Any
    ) -> Sequence[int] | None:
        return self._insert(stored_events)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        first = 0 if start is None else start if inclusive_of_start else start + 1
        given = {"first": first, "stop": stop, "topics": list(topics) or None, "limit": limit}
        with self.datastore.cursor() as cursor:
            cursor.execute(_SELECT_LOG, given, prepare=True)
            return [
                Notification(
                    id=row["position"],
                    originator_id=row["stream_id"],
                    originator_version=row["version"],
                    topic=row["topic"],
                    state=bytes(row["state"]),
                )
                for row in cursor.fetchall()
            ]

    def max_notification_id(self) -> int | None:
        return _maximum(self.datastore, _MAX_POSITION, ())

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> library.Subscription[library.ApplicationRecorder]:
        return PollingSubscription(self, gt=gt, topics=topics)


class PollingSubscription(library.ListenNotifySubscription[library.ApplicationRecorder]):
    """The library's subscription, woken by the clock instead of by NOTIFY."""

    def _loop_on_pull(self) -> None:
        try:
            while not self._has_been_stopped:
                self._pull()
                self._has_been_notified.wait(timeout=POLL_SECONDS)
        except BaseException as error:  # noqa: BLE001 - raised again where the events are taken
            self._thread_error = error
            self.stop()


class EventTrackingRecorder(_OnOurTables, library.TrackingRecorder):
    def insert_tracking(self, tracking: Tracking) -> None:
        self._insert((), tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        return _maximum(self.datastore, _MAX_TRACKING, (application_name,))


class EventProcessRecorder(
    EventTrackingRecorder, EventApplicationRecorder, library.ProcessRecorder
):
    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        return self._insert(stored_events, kwargs.get("tracking"))


class EventFactory(library_postgres.PostgresFactory):
    """Found by the library through PERSISTENCE_MODULE; there must be one factory a module."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        if strtobool(self.env.get(self.POSTGRES_ENABLE_DB_FUNCTIONS) or "no"):
            self.close()
            raise OSError(f"{self.POSTGRES_ENABLE_DB_FUNCTIONS} loses events and must stay off")

    def aggregate_recorder(self, purpose: str = "events") -> library.AggregateRecorder:
        if purpose != "events":
            raise library.NotSupportedError(f"there is no table of {purpose}: streams are short")
        return EventAggregateRecorder(self.datastore)

    def application_recorder(self) -> library.ApplicationRecorder:
        return EventApplicationRecorder(self.datastore)

    def tracking_recorder(self, tracking_recorder_class: Any = None) -> Any:
        chosen = tracking_recorder_class or self._chosen_tracking_recorder()
        return chosen(self.datastore)

    def process_recorder(self) -> library.ProcessRecorder:
        return EventProcessRecorder(self.datastore)

    def _chosen_tracking_recorder(self) -> Any:
        topic = self.env.get(self.TRACKING_RECORDER_TOPIC)
        return resolve_topic(topic) if topic else EventTrackingRecorder


def _written(cursor: Cursor[DictRow], group: Sequence[Request]) -> list[Outcome]:
    """Ask first, then write for all who are not refused; a refused one changes nothing."""
    events = [event for each in group for event in each.events]
    if events:
        # Alone, or what is asked next would be answered from before the lock.
        cursor.execute(_LOCK)
    outcomes: list[Outcome] = list(_refusals(cursor, group, events))
    accepted = [n for n, outcome in enumerate(outcomes) if not isinstance(outcome, Exception)]
    written = [event for n in accepted for event in group[n].events]
    if not written:
        return outcomes
    cursor.execute(_INSERT, (STREAM_TYPE, *_columns(written)), prepare=True)
    positions = iter([row["position"] for row in cursor.fetchall()])
    for n in accepted:
        outcomes[n] = list(islice(positions, len(group[n].events)))
    return outcomes


def _refusals(
    cursor: Cursor[DictRow], group: Sequence[Request], events: Sequence[StoredEvent]
) -> Iterator[Outcome]:
    """An IntegrityError for each that comes too late, an empty list for the others."""
    taken: set[tuple[object, int]] = set()
    if len(group) > 1 and events:  # alone, the table itself says so
        cursor.execute(_TAKEN, _columns(events)[:2], prepare=True)
        taken = {(row["stream_id"], row["version"]) for row in cursor.fetchall()}
    # In one order for all groups, so that no two wait for each other's followers.
    passed: dict[int, Outcome] = {}
    for n in sorted(range(len(group)), key=lambda n: _follower(group[n])):
        each = group[n]
        if any((event.originator_id, event.originator_version) in taken for event in each.events):
            passed[n] = library.IntegrityError("a stream has moved on")
        elif each.tracking is not None and not _track(cursor, each.tracking):
            name, position = each.tracking.application_name, each.tracking.notification_id
            passed[n] = library.IntegrityError(f"{name} has passed {position} already")
    return (passed.get(n, []) for n in range(len(group)))


def _follower(request: Request) -> str:
    return "" if request.tracking is None else request.tracking.application_name


def _columns(stored_events: Sequence[StoredEvent]) -> tuple[list[Any], ...]:
    ids = [event.originator_id for event in stored_events]
    versions = [event.originator_version for event in stored_events]
    event_ids = [
        derived_id("eventsourcing", str(id_), str(version))
        for id_, version in zip(ids, versions, strict=True)
    ]
    topics = [event.topic for event in stored_events]
    return ids, versions, topics, event_ids, [event.state for event in stored_events]


def _track(cursor: Cursor[DictRow], tracking: Tracking) -> bool:
    """False if it has passed already."""
    cursor.execute(_TRACK, (tracking.application_name, tracking.notification_id), prepare=True)
    return cursor.fetchone() is not None


def _maximum(
    datastore: library_postgres.PostgresDatastore, statement: str, given: tuple[str, ...]
) -> int | None:
    with datastore.cursor() as cursor:
        cursor.execute(statement, given, prepare=True)
        row = cursor.fetchone()
    return None if row is None else row["max"]

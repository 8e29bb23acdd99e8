"""The library's own projections of our log, a transaction an event.

Shapes  The log is followed through adapters/recorder.py. The library's default mapper knows
        classes by their module; ours are known by permanent names, so it is given one. Views are
        the library's own tracking recorder with tables beside:
        Sessions    one read model, the least there can be: a small row a stream
        ReadModels  what a rebuild makes: our folds, into our tables, but for their indexes. It is
                    all in one view, where the library's way is a runner each, and holds every
                    state in memory, so that it never reads a row: both are to its favour.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
from eventsourcing.application import Application
from eventsourcing.persistence import Mapper, StoredEvent, Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.sql import SQL, Identifier

from application.ports import Stream
from domain.events import EVENTS, Event, SessionCreated, decode
from projections.catalogue import PROJECTIONS
from projections.packing import register
from projections.projection import Held

READ_MODELS = "followed_"  # and the projection's name: a schema each
TIMEOUT_SECONDS = 120.0
_TABLE = """
CREATE TABLE IF NOT EXISTS public.followed (
    stream_id uuid PRIMARY KEY, version bigint NOT NULL, topic text NOT NULL, merchant_id uuid
)
"""
_UPSERT = """
INSERT INTO public.followed (stream_id, version, topic, merchant_id) VALUES (%s, %s, %s, %s)
ON CONFLICT (stream_id) DO UPDATE SET version = excluded.version, topic = excluded.topic
"""


@dataclass(frozen=True, slots=True)
class Fact:
    """One of our facts, with what the library asks of a domain event."""

    originator_id: UUID
    originator_version: int
    event: Event


class FactMapper(Mapper[UUID]):
    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        raise NotImplementedError("it only follows")

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        version = EVENTS[stored_event.topic].version  # a loaded log is of this code's version
        event = decode(stored_event.topic, version, stored_event.state)
        assert isinstance(stored_event.originator_id, UUID)
        return Fact(stored_event.originator_id, stored_event.originator_version, event)


class Log(Application[UUID]):
    name = "log"

    def construct_mapper(self) -> Mapper[UUID]:
        return FactMapper(self.construct_transcoder())


class Sessions(PostgresTrackingRecorder):
    def follow(self, fact: Fact, tracking: Tracking) -> None:
        owner = fact.event.merchant_id if isinstance(fact.event, SessionCreated) else None
        row = (fact.originator_id, fact.originator_version, fact.event.name, owner)
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(_UPSERT, row, prepare=True)


class SessionsProjection(Projection[Sessions]):
    name = "sessions"

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.follow(domain_event, tracking)


@dataclass(frozen=True, slots=True)
class Numbered:
    """What our folds ask of a fact."""

    position: int
    stream: Stream
    version: int
    event: Event

    @property
    def stream_id(self) -> UUID:
        return self.stream.id


class ReadModels(PostgresTrackingRecorder):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held: dict[str, dict[int, Held[Any]]] = defaultdict(dict)
        self._upserts = {
            (each.name, table.name): table.upsert(READ_MODELS + each.name).as_string()
            for each in PROJECTIONS
            for table in each.tables
        }

    def follow(self, fact: Fact, tracking: Tracking) -> None:
        stream = Stream("followed", fact.originator_id)
        numbered = Numbered(tracking.notification_id, stream, fact.originator_version, fact.event)
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            register(cursor.adapters)
            for projection in PROJECTIONS:
                if type(fact.event) not in projection.handles:
                    continue
                held = self._held[projection.name]
                folded = projection.fold([numbered], held)
                assert not folded.poison, folded.poison
                for table in projection.tables:
                    if rows := folded.rows.get(table.name):
                        upsert = self._upserts[projection.name, table.name]
                        cursor.execute(upsert, table.arguments(rows), prepare=True)
                held.update(folded.held)


class ReadModelsProjection(Projection[ReadModels]):
    name = "read_models"

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.follow(domain_event, tracking)


def environment(dsn: str) -> Mapping[str, str]:
    parts = urlsplit(dsn)
    return {
        "PERSISTENCE_MODULE": "adapters.recorder",
        "SESSIONS_PERSISTENCE_MODULE": "eventsourcing.postgres",
        "READ_MODELS_PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts.path.removeprefix("/"),
        "POSTGRES_HOST": parts.hostname or "",
        "POSTGRES_PORT": str(parts.port),
        "POSTGRES_USER": parts.username or "",
        "POSTGRES_PASSWORD": parts.password or "",
    }


def follow(admin_dsn: str, upto: int) -> None:
    """The least there can be, up to a position."""
    with psycopg.connect(admin_dsn) as connection:
        connection.execute(_TABLE)
    _run(admin_dsn, SessionsProjection, Sessions, upto)


def follow_into_all(admin_dsn: str, upto: int) -> None:
    """All that a rebuild makes, up to a position."""
    with psycopg.connect(admin_dsn) as connection:
        for projection in PROJECTIONS:
            schema = READ_MODELS + projection.name
            connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(schema)))
            for table in projection.tables:
                connection.execute(table.create(schema))
    _run(admin_dsn, ReadModelsProjection, ReadModels, upto)


def _run(
    admin_dsn: str,
    projection: type[Projection[Any]],
    view: type[PostgresTrackingRecorder],
    upto: int,
) -> None:
    with ProjectionRunner(
        application_class=Log,
        projection_class=projection,
        view_class=view,
        env=dict(environment(admin_dsn)),
    ) as runner:
        runner.wait(upto, timeout=TIMEOUT_SECONDS)

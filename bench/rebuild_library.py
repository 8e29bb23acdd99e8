"""The library's own projection of our log: one read model, a transaction an event.

Shapes  The log is followed through adapters/recorder.py, the view is the library's own tracking
        recorder with one table beside: a row a payment session. The library's default mapper
        knows classes by their module; ours are known by permanent names, so it is given one.
"""

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

from domain.events import EVENTS, Event, SessionCreated, decode

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


def environment(dsn: str) -> Mapping[str, str]:
    parts = urlsplit(dsn)
    return {
        "PERSISTENCE_MODULE": "adapters.recorder",
        "SESSIONS_PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts.path.removeprefix("/"),
        "POSTGRES_HOST": parts.hostname or "",
        "POSTGRES_PORT": str(parts.port),
        "POSTGRES_USER": parts.username or "",
        "POSTGRES_PASSWORD": parts.password or "",
    }


def follow(admin_dsn: str, upto: int) -> int:
    """Follow the log to a position; give the number of sessions seen."""
    with psycopg.connect(admin_dsn) as connection:
        connection.execute(_TABLE)
    with ProjectionRunner(
        application_class=Log,
        projection_class=SessionsProjection,
        view_class=Sessions,
        env=dict(environment(admin_dsn)),
    ) as runner:
        runner.wait(upto, timeout=TIMEOUT_SECONDS)
    with psycopg.connect(admin_dsn) as connection:
        (count,) = connection.execute("SELECT count(*) FROM public.followed").fetchone() or (0,)
    return int(count)

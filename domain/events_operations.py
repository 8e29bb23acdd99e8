"""Facts about the read models themselves: who rebuilt, showed, parked or dropped what, and why.

Shapes  Nothing is decided from these: they tell what was done to tables, which the log's other
        facts could make anew. Who did it is in the envelope, as for every fact.
        `tables` and `replaced` name schemas of the database, such as "rm_payments_v2_r1".
"""

from uuid import UUID

from domain.event_base import Event


class ProjectionRebuildStarted(Event):
    """The log is replayed into fresh tables, beside those that are shown."""

    name = "projection.rebuild_started"

    projection: str
    tables: str
    reason: str | None = None


class ProjectionSwitched(Event):
    """Rebuilt tables are shown from this position on; those before are kept behind them.

    `differing` names the tables whose rows were not the same, which somebody accepted.
    """

    name = "projection.switched"

    projection: str
    tables: str
    replaced: str | None
    position: int
    differing: tuple[str, ...] = ()
    reason: str | None = None


class ProjectionSwitchedBack(Event):
    """The tables shown before are shown again."""

    name = "projection.switched_back"

    projection: str
    tables: str
    replaced: str
    position: int
    reason: str


class ProjectionDropped(Event):
    """Tables that were not shown are gone."""

    name = "projection.dropped"

    projection: str
    tables: str
    reason: str


class ProjectionStreamParked(Event):
    """A person left a stream aside: its facts from this position on are in no row."""

    name = "projection.stream_parked"

    projection: str
    stream_type: str
    stream_id: UUID
    position: int
    reason: str


class ProjectionStreamRetried(Event):
    """A person had a parked stream folded again; one that failed again stays parked."""

    name = "projection.stream_retried"

    projection: str
    stream_type: str
    stream_id: UUID
    settled: bool
    reason: str

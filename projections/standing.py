"""How each schema of each projection stands: for operators, and for Prometheus.

Shapes  One row a schema. Its state is where it is in its life:
        live      what `rm` shows
        kept      shown before; kept up to date, for the way back
        building  being rebuilt: by whom is told while a process works on it
        ready     rebuilt, and not shown yet
        failed    the database refused something while it was rebuilt
        What is wrong with it is another field, `trouble`.
Units   lag in events of the log, which has no gaps, and in seconds since the first of them was
        recorded; the rate in events a second.
Errors  NotMigrated; ports.StoreUnavailable.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from psycopg import errors

from projections.checkpoints import NotMigrated
from projections.database import Connections
from projections.projection import Projection
from projections.runner import LEADER_LOCKS, leader_key
from projections.upkeep import WORK_LOCKS, lock_key

LAG_SECONDS_MAX = 10.0  # above that a followed schema is behind, and somebody should look
State = Literal["live", "kept", "building", "ready", "failed"]
Trouble = Literal["no_leader", "behind", "parked", "interrupted", "not_shown", "failed"]


@dataclass(frozen=True, slots=True)
class Standing:
    projection: str
    version: int
    schema: str
    state: State
    position: int
    head: int
    lag_seconds: float
    parked: int
    leader: str | None  # of the process that keeps it up to date, or rebuilds it
    since: datetime | None  # when it was shown, or hidden, or asked for
    by: str | None  # who asked for it
    error: str | None
    ours: bool  # of the version of this code
    rate: float | None = None

    @property
    def lag_events(self) -> int:
        return max(self.head - self.position, 0)

    @property
    def seconds_left(self) -> float | None:
        return self.lag_events / self.rate if self.rate else None

    @property
    def trouble(self) -> Trouble | None:
        """The gravest thing that somebody should do something about."""
        if self.state in {"live", "kept"}:
            if self.leader is None:
                # Kept by other code on purpose: what is shown is what counts.
                return "no_leader" if self.state == "live" or self.ours else None
            if self.lag_seconds > LAG_SECONDS_MAX:
                return "behind"
            return "parked" if self.parked else None
        if self.state == "failed":
            return "failed"
        if self.state == "building":
            return None if self.leader else "interrupted"
        return None if self.leader else "not_shown"


_HOLDERS = """
SELECT l.classid::bigint, l.objid::bigint,
       concat_ws(', ', a.application_name, 'pid ' || l.pid, host(a.client_addr))
FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = ANY(%s)
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# How old the first event is that is missing; the log has no gaps, so it is the next one.
_ROWS = """
WITH head AS (SELECT coalesce(max(position), 0) AS position FROM es.events)
SELECT c.name, c.version, c.schema,
       CASE WHEN c.live THEN 'live' WHEN c.followed THEN 'kept' ELSE r.state END,
       c.position, head.position,
       coalesce(extract(epoch FROM clock_timestamp() - (
           SELECT recorded_at FROM es.events WHERE position = c.position + 1)), 0)::float,
       (SELECT count(*) FROM rm_admin.parked p WHERE p.schema = c.schema),
       coalesce(c.kept_since, r.switched_at, r.asked_at), r.asked_by, r.error,
       ((c.position - r.worked_from)
           / nullif(extract(epoch FROM c.updated_at - r.worked_since), 0))::float
FROM head CROSS JOIN rm_admin.checkpoints c LEFT JOIN rm_admin.rebuilds r USING (schema)
ORDER BY c.name, c.live DESC, c.followed DESC, c.schema
"""
_UNTOLD = "SELECT projection, count(*) FROM rm_admin.operations WHERE NOT told GROUP BY projection"
Holders = Mapping[tuple[int, int], str]


async def standings(connections: Connections, projections: Sequence[Projection]) -> list[Standing]:
    """Every schema there is, also of other versions; those of `projections` are ours."""
    async with connections.connection() as connection:
        try:
            cursor = await connection.execute(_ROWS)
        except (errors.UndefinedTable, errors.UndefinedColumn) as error:
            raise NotMigrated("rm_admin") from error
        rows = await cursor.fetchall()
        cursor = await connection.execute(_HOLDERS, ([LEADER_LOCKS, WORK_LOCKS],))
        holders = {(kind, key): who for kind, key, who in await cursor.fetchall()}
    ours = {(each.name, each.version) for each in projections}
    return [_standing(row, holders, ours) for row in rows]


def _standing(row: Sequence[Any], holders: Holders, ours: Collection[tuple[str, int]]) -> Standing:
    name, version, _, state, *_ = row
    followed = state in {"live", "kept"}
    lead = (LEADER_LOCKS, leader_key(name, version))
    key = lead if followed else (WORK_LOCKS, lock_key(name))
    return Standing(
        projection=name,
        version=version,
        schema=row[2],
        state=state,
        position=row[4],
        head=row[5],
        lag_seconds=max(row[6], 0.0),
        parked=row[7],
        leader=holders.get(key),
        since=row[8],
        by=row[9],
        error=row[10],
        ours=(name, version) in ours,
        rate=None if followed else max(row[11] or 0.0, 0.0),
    )


async def untold(connections: Connections) -> Mapping[str, int]:
    """By projection, how many operations are noted of which the log has not been told."""
    async with connections.reading() as connection:
        try:
            cursor = await connection.execute(_UNTOLD)
        except errors.UndefinedTable as error:
            raise NotMigrated("rm_admin") from error
        return dict(await cursor.fetchall())


def with_rates(
    before: Sequence[Standing], after: Sequence[Standing], seconds: float
) -> list[Standing]:
    """The later look, with how fast each has moved since the earlier one.

    A rebuild moves in batches larger than that: its rate is that of the whole command so far.
    """
    began = {each.schema: each.position for each in before}
    return [
        replace(each, rate=(each.position - began.get(each.schema, each.position)) / seconds)
        if each.rate is None
        else each
        for each in after
    ]

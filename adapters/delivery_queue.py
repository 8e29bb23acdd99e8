"""Due deliveries in PostgreSQL, leased; and which endpoints fail every attempt.

Shapes  what is due is read from rm.deliveries, a projection that may lag: whoever claims looks
        at the delivery's stream before attempting. A lease is a row of work.delivery_leases;
        whoever dies holding one loses it when its time is over.
        A released lease stands for RELEASED_HOLD_SECONDS more, so that a delivery which has
        just been settled is not claimed again before the projection has heard of it.
        None of this must survive a crash of the server (a lost lease or release costs a repeated
        attempt at most), so its commits do not wait for the disk.
Units   at most `per_endpoint` leases an endpoint, over all workers of the database.
Errors  StoreUnavailable.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID

from psycopg import AsyncConnection

from adapters.postgres import Postgres
from application.outside import Failing
from application.ports import Clock

RELEASED_HOLD_SECONDS = 1
RESPONSE_BYTES_MAX = 16_384
PURGE_EVERY_SECONDS = 10
PURGE_ROWS_MAX = 10_000

# Claims of all workers come one after the other: they take a millisecond, and only so is the
# limit of an endpoint exact. In a statement of its own, so that the claim's snapshot is newer.
_ONE_CLAIM_AT_A_TIME = """
SELECT pg_advisory_xact_lock(hashtext('work.delivery_leases')),
       set_config('synchronous_commit', 'off', true)
"""

# Walks from endpoint to endpoint along the partial index (endpoint_id, next_attempt_at) of what
# is due, taking of each the oldest few it has room for: a million due rows of a dead endpoint
# cost what one costs. The oldest of all these then share the free slots.
_CLAIM = """
WITH RECURSIVE
busy AS (
    SELECT endpoint_id, max(attempts) AS attempts FROM (
        SELECT * FROM unnest(%(busy_endpoints)s::uuid[], %(busy_counts)s::bigint[])
            AS here (endpoint_id, attempts)
        UNION ALL
        SELECT endpoint_id, count(*) FROM work.delivery_leases
        WHERE lease_until > %(now)s AND NOT released GROUP BY endpoint_id
    ) AS counted GROUP BY endpoint_id
),
endpoints AS (
    (SELECT endpoint_id FROM rm.deliveries WHERE status = 'due' ORDER BY endpoint_id LIMIT 1)
    UNION ALL
    SELECT following.endpoint_id FROM endpoints CROSS JOIN LATERAL (
        SELECT endpoint_id FROM rm.deliveries
        WHERE status = 'due' AND endpoint_id > endpoints.endpoint_id
        ORDER BY endpoint_id LIMIT 1
    ) AS following
),
picked AS (
    SELECT oldest.delivery_id, endpoints.endpoint_id
    FROM endpoints LEFT JOIN busy USING (endpoint_id) CROSS JOIN LATERAL (
        SELECT due.delivery_id, due.next_attempt_at FROM rm.deliveries AS due
        WHERE due.endpoint_id = endpoints.endpoint_id AND due.status = 'due'
          AND due.next_attempt_at <= %(now)s
          AND NOT EXISTS (
              SELECT 1 FROM work.delivery_leases AS lease
              WHERE lease.delivery_id = due.delivery_id AND lease.lease_until > %(now)s
          )
        ORDER BY due.next_attempt_at
        LIMIT greatest(%(per_endpoint)s - coalesce(busy.attempts, 0), 0)
    ) AS oldest
    ORDER BY oldest.next_attempt_at LIMIT %(slots)s
)
INSERT INTO work.delivery_leases AS lease (delivery_id, endpoint_id, lease_until, owner, released)
SELECT delivery_id, endpoint_id, %(until)s, %(owner)s, false FROM picked
ON CONFLICT (delivery_id) DO UPDATE
    SET lease_until = excluded.lease_until, owner = excluded.owner, released = false
    WHERE lease.lease_until <= %(now)s
RETURNING delivery_id
"""

# set_config makes the commit of this very statement not wait for the disk.
_RELEASE = """
UPDATE work.delivery_leases SET released = true, lease_until = %s
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS no_wait
WHERE delivery_id = %s AND owner = %s AND NOT released
"""

_KEEP_RESPONSE = """
INSERT INTO work.delivery_responses (delivery_id, attempt, excerpt, at)
SELECT %s, %s, %s, %s
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS no_wait
ON CONFLICT (delivery_id, attempt) DO UPDATE SET excerpt = excluded.excerpt, at = excluded.at
"""

_PURGE = """
DELETE FROM work.delivery_leases WHERE delivery_id IN (
    SELECT delivery_id FROM work.delivery_leases WHERE lease_until < %s LIMIT %s
    FOR UPDATE SKIP LOCKED
)
"""

_FAILED = """
INSERT INTO work.endpoint_failures AS known (endpoint_id, since, last_at, attempts)
VALUES (%(endpoint)s, %(at)s, %(at)s, 1)
ON CONFLICT (endpoint_id) DO UPDATE SET
    since = CASE WHEN known.last_at < %(quiet)s THEN excluded.since ELSE known.since END,
    attempts = CASE WHEN known.last_at < %(quiet)s THEN 1 ELSE known.attempts + 1 END,
    last_at = greatest(known.last_at, excluded.last_at)
RETURNING since, attempts
"""

_SUCCEEDED = "DELETE FROM work.endpoint_failures WHERE endpoint_id = %s"


class PostgresDeliveryQueue:
    """The DeliveryQueue of one worker; `owner` names it in the leases and is its alone."""

    def __init__(self, pg: Postgres, clock: Clock, *, owner: str) -> None:
        self._pg = pg
        self._clock = clock
        self._owner = owner
        self._purged_at: datetime | None = None

    async def claim(
        self,
        now: datetime,
        *,
        slots: int,
        per_endpoint: int,
        busy: dict[UUID, int],
        lease_seconds: int,
    ) -> Sequence[UUID]:
        wanted = {
            "now": now,
            "until": now + timedelta(seconds=lease_seconds),
            "owner": self._owner,
            "slots": slots,
            "per_endpoint": per_endpoint,
            "busy_endpoints": list(busy),
            "busy_counts": list(busy.values()),
        }
        async with self._pg.connection() as connection:
            await connection.execute(_ONE_CLAIM_AT_A_TIME)
            claimed = await connection.execute(_CLAIM, wanted)
            leased = tuple(row[0] for row in await claimed.fetchall())
        await self._purge(now)
        return leased

    async def release(self, delivery_id: UUID) -> None:
        until = self._clock.now() + timedelta(seconds=RELEASED_HOLD_SECONDS)
        async with _one_statement(self._pg) as connection:
            await connection.execute(_RELEASE, (until, delivery_id, self._owner))

    async def keep_response(self, delivery_id: UUID, attempt: int, excerpt: bytes) -> None:
        kept = excerpt[:RESPONSE_BYTES_MAX]
        async with _one_statement(self._pg) as connection:
            await connection.execute(
                _KEEP_RESPONSE, (delivery_id, attempt, kept, self._clock.now())
            )

    async def _purge(self, now: datetime) -> None:
        """Leases that are over mean nothing any more; forget them now and then."""
        every = timedelta(seconds=PURGE_EVERY_SECONDS)
        if self._purged_at is not None and now - self._purged_at < every:
            return
        self._purged_at = now
        async with self._pg.connection() as connection:
            await connection.execute(_PURGE, (now, PURGE_ROWS_MAX))


@asynccontextmanager
async def _one_statement(pg: Postgres) -> AsyncIterator[AsyncConnection]:
    """A connection whose next statement commits by itself: one round trip instead of three."""
    async with pg.connection() as connection:
        await connection.set_autocommit(True)
        try:
            yield connection
        finally:
            if not connection.closed:
                await connection.set_autocommit(False)


class PostgresEndpointHealth:
    def __init__(self, pg: Postgres) -> None:
        self._pg = pg

    async def failed(self, endpoint_id: UUID, at: datetime, *, quiet_seconds: int) -> Failing:
        quiet = at - timedelta(seconds=quiet_seconds)
        given = {"endpoint": endpoint_id, "at": at, "quiet": quiet}
        async with _one_statement(self._pg) as connection:
            row = await (await connection.execute(_FAILED, given)).fetchone()
        assert row is not None
        return Failing(since=row[0], attempts=row[1])

    async def succeeded(self, endpoint_id: UUID) -> None:
        async with _one_statement(self._pg) as connection:
            await connection.execute(_SUCCEEDED, (endpoint_id,))

"""Removes idempotency rows that have served their time.

es.inbox stays whole. The outbox asks it whether a report is recorded, JetStream may deliver an
old message again, and its rows are few and small beside the headers, sightings and reports that
are kept for ever too.

Errors  ports.StoreUnavailable.
"""

from datetime import datetime

from adapters.postgres import Postgres

# Rows are never updated: of two purges at once the slower waits, and removes what is left.
_PURGE = """
DELETE FROM es.idempotency
WHERE (merchant_id, mode, key) IN (
    SELECT merchant_id, mode, key FROM es.idempotency
    WHERE created_at < %s ORDER BY created_at LIMIT %s)
"""


class PostgresStoredAnswers:
    """Implements application.ports.StoredAnswers."""

    def __init__(self, pg: Postgres) -> None:
        self._pg = pg

    async def purge(self, before: datetime, limit: int) -> int:
        async with self._pg.connection() as connection:
            return (await connection.execute(_PURGE, (before, limit))).rowcount

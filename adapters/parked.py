"""Messages nobody could apply, in PostgreSQL: table ingest.parked (migrations 0002 and 0012).

Errors  ports.StoreUnavailable.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from adapters.postgres import Postgres
from application.outside import BusMessage, ParkedMessage, RetryOutcome

TEXT_CHARACTERS_MAX = 4_000

_PARK = """
INSERT INTO ingest.parked (source, message_id, subject, data, error, at)
VALUES (%s, %s, %s, %s, %s, clock_timestamp()) ON CONFLICT DO NOTHING
"""
_COLUMNS = """
source, message_id, subject, data, error, at, retries, retried_at, retry_reason, outcome,
retry_error
"""
# S608: _COLUMNS is the constant above.
_FROM = f"SELECT {_COLUMNS} FROM ingest.parked"  # noqa: S608
_NEWEST_FIRST = "ORDER BY at DESC, source, message_id LIMIT %s"
_LIST = f"{_FROM} {_NEWEST_FIRST}"
_WAITING = f"{_FROM} WHERE outcome IS NULL OR outcome = 'failed' {_NEWEST_FIRST}"
_FIND = f"{_FROM} WHERE source = %s AND message_id = %s"
# What is settled stays so, whoever else was trying it at the same moment.
_RETRIED = """
UPDATE ingest.parked
SET retries = retries + 1, retried_at = %s, retry_reason = %s, outcome = %s, retry_error = %s
WHERE source = %s AND message_id = %s AND (outcome IS NULL OR outcome = 'failed')
"""


class PostgresParkedMessages:
    """application.outside.ParkedMessages."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def park(self, source: str, message: BusMessage, error: str) -> None:
        values = (source, parked_id(message), message.subject, message.data, storable(error))
        async with self._postgres.reading() as connection:
            await connection.execute(_PARK, values)

    async def list(self, limit: int, *, settled: bool = False) -> Sequence[ParkedMessage]:
        query = _LIST if settled else _WAITING
        async with self._postgres.reading() as connection:
            rows = await (await connection.execute(query, (limit,))).fetchall()
        return [ParkedMessage(*row) for row in rows]

    async def find(self, source: str, message_id: str) -> ParkedMessage | None:
        values = (source, storable(message_id))
        async with self._postgres.reading() as connection:
            row = await (await connection.execute(_FIND, values)).fetchone()
        return None if row is None else ParkedMessage(*row)

    async def retried(
        self,
        message: ParkedMessage,
        outcome: RetryOutcome,
        *,
        at: datetime,
        reason: str,
        error: str | None,
    ) -> None:
        values = (at, storable(reason), outcome, None if error is None else storable(error))
        async with self._postgres.reading() as connection:
            await connection.execute(_RETRIED, (*values, message.source, message.message_id))


def parked_id(message: BusMessage) -> str:
    """The publisher's id, or for one who gave none the same digest for the same bytes."""
    if message.message_id:
        return storable(message.message_id)
    return "sha256:" + sha256(message.subject.encode() + b"\0" + message.data).hexdigest()


def storable(text: str) -> str:
    """PostgreSQL's text holds no NUL, and an error may quote anything at any length."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:TEXT_CHARACTERS_MAX]

"""How far each follower of the log has come, in PostgreSQL.

Errors  StoreUnavailable.
"""

from adapters.postgres import Postgres

_POSITION = "SELECT position FROM work.checkpoints WHERE follower = %s"
_MOVE = """
INSERT INTO work.checkpoints AS known (follower, position) VALUES (%s, %s)
ON CONFLICT (follower) DO UPDATE SET position = excluded.position, moved_at = clock_timestamp()
WHERE known.position < excluded.position
"""
_PARK = """
INSERT INTO work.parked_events (follower, position, reason) VALUES (%s, %s, %s)
ON CONFLICT (follower, position) DO UPDATE SET reason = excluded.reason
"""


class PostgresCheckpoints:
    def __init__(self, pg: Postgres) -> None:
        self._pg = pg

    async def position(self, follower: str) -> int:
        async with self._pg.reading() as connection:
            row = await (await connection.execute(_POSITION, (follower,))).fetchone()
        return 0 if row is None else int(row[0])

    async def move(self, follower: str, position: int) -> None:
        async with self._pg.connection() as connection:
            await connection.execute(_MOVE, (follower, position))

    async def park(self, follower: str, position: int, reason: str) -> None:
        async with self._pg.connection() as connection:
            await connection.execute(_PARK, (follower, position, reason))

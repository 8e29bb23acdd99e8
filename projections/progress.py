"""How far the read models have come, for those who must see what they have just written.

Shapes  All of them together: the place of the one furthest behind, streams left aside or not; who
        reads back what they wrote waits for that.
        One by its name, for those who must know everything it could tell them: it contains a
        position only if it has left no stream aside at or below it.
"""

import asyncio

from projections.database import Connections

POLL_SECONDS_MIN = 0.005
POLL_SECONDS_MAX = 0.05

_LOWEST = "SELECT coalesce(min(position), 0) FROM rm_admin.checkpoints WHERE live"
_CHECKPOINT = """
SELECT coalesce(min(position), 0) FROM rm_admin.checkpoints WHERE live AND name = %s
"""
_CONTAINED = """
SELECT coalesce(min(least(c.position, p.position - 1)), 0)
FROM rm_admin.checkpoints c LEFT JOIN rm_admin.parked p ON p.schema = c.schema
WHERE c.live AND c.name = %s
"""


class ProgressReads:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def position(self, projection: str) -> int:
        return await self._read(_CHECKPOINT, projection)

    async def wait_for(
        self, position: int, *, timeout_seconds: float, projection: str | None = None
    ) -> bool:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_seconds
        pause_seconds = POLL_SECONDS_MIN
        while await self._reached(projection) < position:
            left_seconds = ends_at - loop.time()
            if left_seconds <= 0:
                return False
            await asyncio.sleep(min(pause_seconds, left_seconds))
            pause_seconds = min(pause_seconds * 1.5, POLL_SECONDS_MAX)
        return True

    async def _reached(self, projection: str | None) -> int:
        if projection is None:
            return await self._read(_LOWEST)
        return await self._read(_CONTAINED, projection)

    async def _read(self, query: str, *values: str) -> int:
        """0 when there is none."""
        async with self._connections.connection() as connection:
            row = await (await connection.execute(query, values or None)).fetchone()
        assert row is not None
        position: int = row[0]
        return position

"""How far the read models have come, for those who must see what they have just written."""

import asyncio

from projections.database import Connections

POLL_SECONDS_MIN = 0.005
POLL_SECONDS_MAX = 0.05


class ProgressReads:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def position(self, projection: str) -> int:
        return await self._lowest(projection)

    async def wait_for(self, position: int, *, timeout_seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_seconds
        pause_seconds = POLL_SECONDS_MIN
        while await self._lowest() < position:
            left_seconds = ends_at - loop.time()
            if left_seconds <= 0:
                return False
            await asyncio.sleep(min(pause_seconds, left_seconds))
            pause_seconds = min(pause_seconds * 1.5, POLL_SECONDS_MAX)
        return True

    async def _lowest(self, projection: str | None = None) -> int:
        """The place of the live read model that is furthest behind; 0 when there is none."""
        async with self._connections.connection() as connection:
            cursor = await connection.execute(
                "SELECT coalesce(min(position), 0) FROM rm_admin.checkpoints "
                "WHERE live AND name = coalesce(%s, name)",
                (projection,),
            )
            row = await cursor.fetchone()
        assert row is not None
        position: int = row[0]
        return position

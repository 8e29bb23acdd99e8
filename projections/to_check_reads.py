"""Which addresses the hourly reconcile reads: application.reconciling.AddressesToCheck.

Errors  ports.StoreUnavailable.
"""

from collections.abc import Sequence

from application.reconciling import WatchedAddress
from domain.networks import NetworkBook
from projections.database import Connections

POSITION_MAX = 2**63 - 1
_AWAITING = """
SELECT own_address, created_at FROM rm.payments
WHERE status = 'pending' AND own_address IS NOT NULL AND network = %s
ORDER BY expires_at DESC, position DESC LIMIT %s
"""
_BELOW = """
SELECT address, purpose, opened.created_at, watched.position FROM rm.watch_list AS watched
LEFT JOIN LATERAL (
    SELECT created_at FROM rm.payments
    WHERE purpose = 'payment_session' AND session_id = subject_id LIMIT 1
) AS opened ON true
WHERE watched.mode = %s AND watched.position < %s
ORDER BY watched.position DESC LIMIT %s
"""


class ToCheckReads:
    def __init__(self, connections: Connections, networks: NetworkBook) -> None:
        self._connections = connections
        self._networks = networks

    async def awaiting(self, network: str, limit: int) -> Sequence[WatchedAddress]:
        async with self._connections.reading() as connection:
            cursor = await connection.execute(_AWAITING, (network, limit))
            rows = await cursor.fetchall()
        return [WatchedAddress(address, "payment_session", since) for address, since in rows]

    async def below(
        self, network: str, position: int, limit: int
    ) -> tuple[Sequence[WatchedAddress], int]:
        mode = self._networks.get(network).mode
        async with self._connections.reading() as connection:
            cursor = await connection.execute(_BELOW, (mode, position or POSITION_MAX, limit + 1))
            rows = await cursor.fetchall()
        chosen, more = rows[:limit], len(rows) > limit
        found = [WatchedAddress(*each[:3]) for each in chosen]
        return found, chosen[-1][3] if more else 0

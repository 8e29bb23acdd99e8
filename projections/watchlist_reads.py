"""Who was given an address, and all addresses to watch on a network.

Shapes  `addresses` gives one growing set a mode, shared by its callers and only ever added to:
        after the first call a refresh reads what is new since the last position, and no more.
Errors  ports.StoreUnavailable.
"""

import asyncio
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from domain.matching import AddressOwner
from domain.networks import NetworkBook
from domain.values import Mode
from projections.database import Connections
from projections.pages import has_nul

CHANGES_MAX = 10_000  # rows a statement


@dataclass(slots=True)
class _Watched:
    addresses: set[str] = field(default_factory=set)
    position: int = 0
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)


class WatchListReads:
    def __init__(self, connections: Connections, networks: NetworkBook) -> None:
        self._connections = connections
        self._modes: dict[str, Mode] = {each.name: each.mode for each in networks.networks}
        self._watched: dict[Mode, _Watched] = {"live": _Watched(), "test": _Watched()}

    async def owner_of(self, network: str, address: str) -> AddressOwner | None:
        mode = self._modes.get(network)
        if mode is None or has_nul(address):
            return None
        async with self._connections.connection() as connection:
            cursor = await connection.execute(
                "SELECT purpose, subject_id, merchant_id FROM rm.watch_list "
                "WHERE mode = %s AND address = %s",
                (mode, address),
            )
            row = await cursor.fetchone()
        if row is None:
            return None
        purpose, subject_id, merchant_id = row
        return AddressOwner(purpose=purpose, subject_id=subject_id, merchant_id=merchant_id)

    async def addresses(self, network: str) -> AbstractSet[str]:
        """Everything to watch on this network as of now; empty for a network we do not serve."""
        mode = self._modes.get(network)
        if mode is None:
            return frozenset()
        watched = self._watched[mode]
        async with watched.reading:
            while await self._refresh(mode, watched) == CHANGES_MAX:
                pass
        return watched.addresses

    async def _refresh(self, mode: Mode, watched: _Watched) -> int:
        async with self._connections.connection() as connection:
            cursor = await connection.execute(
                "SELECT address, position FROM rm.watch_list WHERE mode = %s AND position > %s "
                "ORDER BY position LIMIT %s",
                (mode, watched.position, CHANGES_MAX),
            )
            rows = await cursor.fetchall()
        watched.addresses.update(address for address, _ in rows)
        if rows:
            # One fact watches one address, so no row of this position is left behind.
            watched.position = rows[-1][1]
        return len(rows)

"""Who was given an address, and all addresses to watch on a network.

Shapes  `addresses` gives one growing set a mode, shared by its callers and only ever added to:
        after the first call a refresh reads what is new since the last position, and no more.
        When other tables are shown (a rebuild, a new version) all of it is read once more:
        they may hold rows of old positions that the ones before had left out.
Units   above ADDRESSES_MAX it goes on, slower and larger in proportion, and says so once a mode.
Errors  ports.StoreUnavailable.
"""

import asyncio
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import structlog

from domain.matching import AddressOwner
from domain.networks import NetworkBook
from domain.values import Mode
from projections.address_set import AddressSet
from projections.database import Connections
from projections.pages import has_nul

ADDRESSES_MAX = 1_000_000  # what was measured; nothing breaks above it
CHANGES_MAX = 10_000  # rows a statement

_OWNERS = """
SELECT address, purpose, subject_id, merchant_id FROM rm.watch_list
WHERE mode = %s AND address = ANY(%s)
"""
# Packed by the server: an object a row would cost more than all the rest.
_NEW = """
SELECT (SELECT schema || '/' || epoch FROM rm_admin.checkpoints WHERE name = 'watch_list' AND live),
       count(*), max(position), string_agg(decode(substr(address, 3), 'hex'), ''::bytea)
FROM (
    SELECT address, position FROM rm.watch_list WHERE mode = %s AND position > %s
    ORDER BY position LIMIT %s
) AS new
"""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Watched:
    addresses: AddressSet = field(default_factory=AddressSet)
    position: int = 0
    schema: str | None = None  # whose rows were read up to that position
    warned: bool = False
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)


class WatchListReads:
    def __init__(self, connections: Connections, networks: NetworkBook) -> None:
        self._connections = connections
        self._modes: dict[str, Mode] = {each.name: each.mode for each in networks.networks}
        self._watched: dict[Mode, _Watched] = {}  # a process reads those of its networks only

    async def owner_of(self, network: str, address: str) -> AddressOwner | None:
        mode = self._modes.get(network)
        if mode is None or has_nul(address):
            return None
        return (await self._owners(mode, [address])).get(address)

    async def owners_of(
        self, network: str, addresses: Collection[str]
    ) -> Mapping[str, AddressOwner]:
        mode = self._modes.get(network)
        asked = [address for address in addresses if not has_nul(address)]
        if mode is None or not asked:
            return {}
        return await self._owners(mode, asked)

    async def _owners(self, mode: Mode, addresses: list[str]) -> dict[str, AddressOwner]:
        async with self._connections.reading() as connection:
            cursor = await connection.execute(_OWNERS, (mode, addresses))
            rows = await cursor.fetchall()
        return {
            address: AddressOwner(purpose=purpose, subject_id=subject_id, merchant_id=merchant_id)
            for address, purpose, subject_id, merchant_id in rows
        }

    async def addresses(self, network: str) -> AbstractSet[str]:
        """Everything to watch on this network as of now; empty for a network we do not serve."""
        mode = self._modes.get(network)
        if mode is None:
            return frozenset()
        watched = self._watched.setdefault(mode, _Watched())
        async with watched.reading:
            while await self._refresh(mode, watched):
                pass
        if len(watched.addresses) > ADDRESSES_MAX and not watched.warned:
            watched.warned = True
            log.warning(
                "watch_list_large", mode=mode, addresses=len(watched.addresses), max=ADDRESSES_MAX
            )
        return watched.addresses

    async def _refresh(self, mode: Mode, watched: _Watched) -> bool:
        """One statement; whether there may be more to read."""
        async with self._connections.reading() as connection:
            cursor = await connection.execute(_NEW, (mode, watched.position, CHANGES_MAX))
            row = await cursor.fetchone()
        assert row is not None
        schema, count, position, packed = row
        if schema != watched.schema:
            watched.schema, watched.position = schema, 0
            return True
        if count:
            watched.addresses.add(packed)
            # One fact watches one address, so no row of this position is left behind.
            watched.position = position
        return bool(count == CHANGES_MAX)

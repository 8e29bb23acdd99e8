"""Whose an API key is."""

from application.reads import KeyHolder
from projections.database import Connections
from projections.pages import has_nul


class ApiKeyReads:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def holder(self, key_hash: str) -> KeyHolder | None:
        if has_nul(key_hash):
            return None
        async with self._connections.reading() as connection:
            cursor = await connection.execute(
                "SELECT key_id, merchant_id, mode, scopes FROM rm.api_keys "
                "WHERE key_hash = %s AND NOT revoked",
                (key_hash,),
            )
            row = await cursor.fetchone()
        if row is None:
            return None
        key_id, merchant_id, mode, scopes = row
        return KeyHolder(key_id, merchant_id, mode, tuple(scopes.split()))

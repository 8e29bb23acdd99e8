"""How wide a range of logs each provider gives, in PostgreSQL (migration 0010).

Errors  StoreUnavailable.
"""

from collections.abc import Mapping
from datetime import datetime

from adapters.postgres import Postgres

_WIDTHS = "SELECT provider, blocks FROM ingest.provider_ranges WHERE network = %s"
_KEEP = """
INSERT INTO ingest.provider_ranges (network, provider, blocks, updated_at)
SELECT %s, provider, blocks, %s FROM unnest(%s::text[], %s::integer[]) AS new (provider, blocks)
ON CONFLICT (network, provider)
DO UPDATE SET blocks = excluded.blocks, updated_at = excluded.updated_at
"""


class PostgresProviderRanges:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def widths(self, network: str) -> Mapping[str, int]:
        async with self._postgres.reading() as connection:
            rows = await (await connection.execute(_WIDTHS, (network,))).fetchall()
        return {str(provider): int(blocks) for provider, blocks in rows}

    async def keep(self, network: str, widths: Mapping[str, int], at: datetime) -> None:
        values = (network, at, list(widths), list(widths.values()))
        async with self._postgres.connection() as connection:
            await connection.execute(_KEEP, values)

"""What only a support desk asks the database: terms of a sighting, strays at an address.

Errors  StoreUnavailable.
"""

from collections.abc import Sequence
from uuid import UUID

from adapters.postgres import Postgres
from application.ingest import Terms
from domain.networks import ConfirmationRule

STRAYS_MAX = 20

_TERMS = """
SELECT policy_version, rule_blocks, rule_tag FROM ingest.sightings
WHERE network = %s AND block_hash = %s AND transfer_id = %s
"""
_STRAYS = """
SELECT stream_id FROM rm.transfers
WHERE purpose = 'unmatched' AND merchant_id = %s AND network = %s AND recipient = %s
ORDER BY position LIMIT %s
"""


class PostgresSupportReads:
    """Implements gateway.explain.SupportReads."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def terms(self, network: str, block_hash: str, transfer_id: str) -> Terms | None:
        """Under which policy and rule a transfer waits to be confirmed in this block."""
        async with self._postgres.reading() as connection:
            cursor = await connection.execute(_TERMS, (network, block_hash, transfer_id))
            row = await cursor.fetchone()
        if row is None:
            return None
        version, blocks, tag = row
        return Terms(version, ConfirmationRule(blocks=blocks, tag=tag))

    async def strays(self, merchant_id: UUID, network: str, address: str) -> Sequence[UUID]:
        """Streams of the merchant's unmatched transfers to an address, the oldest first."""
        given = (merchant_id, network, address, STRAYS_MAX)
        async with self._postgres.reading() as connection:
            cursor = await connection.execute(_STRAYS, given)
            return [row[0] for row in await cursor.fetchall()]

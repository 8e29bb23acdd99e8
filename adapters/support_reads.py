"""What only a support desk asks the database: terms of a sighting, strays at an address.

Errors  StoreUnavailable.
"""

from collections.abc import Sequence
from uuid import UUID

from adapters.postgres import Postgres
from application.ingest import Terms
from domain.networks import ConfirmationRule
from domain.payment import PaymentSession

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
# No index of its own: a merchant's newer transfers are read by theirs, which a person waits for.
_ELSEWHERE = """
SELECT stream_id FROM rm.transfers
WHERE merchant_id = %(merchant_id)s AND position > %(after)s AND purpose = 'payment_session'
  AND network = %(network)s AND recipient = %(address)s AND subject_id <> %(session_id)s
ORDER BY position LIMIT %(limit)s
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

    async def elsewhere(self, session: PaymentSession, after: int) -> Sequence[UUID]:
        """Streams of transfers to the session's address that another session got."""
        given = {
            "merchant_id": session.merchant_id,
            "after": after,
            "network": session.network,
            "address": session.deposit_address,
            "session_id": session.session_id,
            "limit": STRAYS_MAX,
        }
        async with self._postgres.reading() as connection:
            cursor = await connection.execute(_ELSEWHERE, given)
            return [row[0] for row in await cursor.fetchall()]

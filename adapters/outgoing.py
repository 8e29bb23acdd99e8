"""Outgoing transactions as the refund sender sees them: it asks, and reads what was signed.

Shapes  signer.outgoing has one row a refund; the sender inserts it, and can change nothing of it
        afterwards but one thing: withdraw it while it has no nonce, through the database
        function signer.withdraw. A payout that is declined gets its row too, refused from the start, so that
        of two senders that look at one refund the slower finds the quicker one's decision.
Units   base units; wei per gas. PostgreSQL's numeric comes as a whole Decimal and becomes int.
Errors  ports.StoreUnavailable.
"""

from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from adapters.postgres import Postgres
from application.outside import RESENT_MAX, Outgoing, Payout
from application.paying_out import TRANSFER_GAS_LIMIT

_INSERT = b"""
INSERT INTO signer.outgoing (refund_id, merchant_id, network, chain_id, wallet, wallet_index,
    token, destination, units, gas_limit, max_fee, tip, chain_nonce, state, decided_at, refusal)
VALUES (%(refund_id)s, %(merchant_id)s, %(network)s, %(chain_id)s, %(wallet)s, %(wallet_index)s,
    %(token)s, %(destination)s, %(units)s, %(gas_limit)s, %(max_fee)s, %(tip)s, %(chain_nonce)s,
    %(state)s, CASE %(state)s WHEN 'refused' THEN clock_timestamp() END, %(refusal)s)
ON CONFLICT (refund_id) DO NOTHING
"""
_FIND = b"""
SELECT o.refund_id, o.network, o.wallet, o.nonce, o.state, a.raw, a.tx_hash, o.refusal
FROM signer.outgoing o
LEFT JOIN LATERAL (
    SELECT raw, tx_hash FROM signer.outgoing_attempts
    WHERE refund_id = o.refund_id ORDER BY attempt DESC LIMIT 1
) a ON true
WHERE o.refund_id = %s
"""
_WITHDRAW = b"SELECT signer.withdraw(%s, %s)"
_SIGNED_BEFORE = b"""
SELECT a.raw
FROM signer.outgoing this
JOIN signer.outgoing o ON (o.chain_id, o.wallet) = (this.chain_id, this.wallet)
CROSS JOIN LATERAL (
    SELECT raw FROM signer.outgoing_attempts
    WHERE refund_id = o.refund_id ORDER BY attempt DESC LIMIT 1
) a
WHERE this.refund_id = %s AND o.nonce >= %s AND o.nonce < this.nonce
ORDER BY o.nonce LIMIT %s
"""


class PostgresOutgoing:
    """Implements application.outside.OutgoingBook."""

    def __init__(self, pg: Postgres) -> None:
        self._pg = pg

    async def reserve(self, payout: Payout) -> Outgoing:
        return await self._insert(payout, None)

    async def decline(self, payout: Payout, reason: str) -> Outgoing:
        return await self._insert(payout, reason)

    async def withdraw(self, refund_id: UUID, reason: str) -> Outgoing:
        async with self._pg.connection() as connection:
            await connection.execute(_WITHDRAW, (refund_id, reason))
            # A statement of its own: it sees what was committed while the row was locked.
            found = await _find(connection, refund_id)
        assert found is not None, "only what was reserved is withdrawn"
        return found

    async def find(self, refund_id: UUID) -> Outgoing | None:
        async with self._pg.connection() as connection:
            return await _find(connection, refund_id)

    async def signed_before(self, outgoing: Outgoing, first_nonce: int) -> list[bytes]:
        async with self._pg.connection() as connection:
            cursor = await connection.execute(
                _SIGNED_BEFORE, (outgoing.refund_id, first_nonce, RESENT_MAX)
            )
            return [bytes(raw) for (raw,) in await cursor.fetchall()]

    async def _insert(self, payout: Payout, refusal: str | None) -> Outgoing:
        async with self._pg.connection() as connection:
            await connection.execute(_INSERT, _parameters(payout, refusal))
            found = await _find(connection, payout.refund_id)
        assert found is not None
        return found


async def _find(connection: psycopg.AsyncConnection, refund_id: UUID) -> Outgoing | None:
    cursor = await connection.cursor(row_factory=dict_row).execute(_FIND, (refund_id,))
    row = await cursor.fetchone()
    return None if row is None else Outgoing(**row)


def _parameters(payout: Payout, refusal: str | None) -> dict[str, Any]:
    return {
        "refund_id": payout.refund_id,
        "merchant_id": payout.merchant_id,
        "network": payout.network.name,
        "chain_id": payout.network.chain_id,
        "wallet": payout.wallet,
        "wallet_index": payout.wallet_index,
        "token": payout.token,
        "destination": payout.destination,
        "units": payout.units,
        "gas_limit": TRANSFER_GAS_LIMIT,
        "max_fee": payout.max_fee,
        "tip": payout.tip,
        "chain_nonce": payout.chain_nonce,
        "state": "reserved" if refusal is None else "refused",
        "refusal": refusal,
    }

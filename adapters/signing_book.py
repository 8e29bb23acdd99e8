"""Outgoing transactions as the signer sees them: it approves, counts, and keeps what it signed.

Shapes  An approval is one transaction under a lock that all signers share: kill switch, caps of
        the day, the wallet's next nonce and the row itself. So two signers never pass a cap
        together, and no nonce exists without a row that will be signed.
Units   micros, millionths of a dollar; a day is the last 24 hours.
Errors  ports.StoreUnavailable.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from adapters.postgres import Postgres
from application.paying_out import (
    DAY_SECONDS,
    Approved,
    Caps,
    Held,
    Refused,
    SignedTransfer,
    Terms,
    Unsigned,
    Verdict,
)

_LOCK = b"SELECT pg_advisory_xact_lock(26487, 7)"  # 0x6777, as the other locks of the gateway
_UNSIGNED = b"""
SELECT o.refund_id, o.merchant_id, o.network, o.chain_id, o.wallet, o.wallet_index, o.token,
    o.destination, o.units, o.gas_limit, o.max_fee, o.tip, o.chain_nonce
FROM signer.outgoing o
LEFT JOIN signer.wallets w ON (w.chain_id, w.address) = (o.chain_id, o.wallet)
WHERE o.state = 'reserved' AND w.locked IS NULL
ORDER BY o.reserved_at, o.refund_id LIMIT %s
"""
_LOOK = b"""
SELECT o.merchant_id, o.chain_id, o.wallet, o.wallet_index, o.chain_nonce, o.state, o.nonce,
    o.refusal, w.next_nonce, w.locked, k.signing_enabled, k.why, k.per_transaction_micros,
    k.per_merchant_day_micros, k.per_day_micros,
    EXISTS (SELECT FROM signer.wallets x WHERE x.address = o.destination) AS to_ourselves
FROM signer.outgoing o
CROSS JOIN signer.controls k
LEFT JOIN signer.wallets w ON (w.chain_id, w.address) = (o.chain_id, o.wallet)
WHERE o.refund_id = %s FOR UPDATE OF o
"""
_SPENT = b"""
SELECT coalesce(sum(micros), 0), coalesce(sum(micros) FILTER (WHERE merchant_id = %s), 0)
FROM signer.outgoing WHERE approved_at > %s AND chain_id = ANY (%s)
"""
_APPROVE = (
    b"UPDATE signer.outgoing SET nonce = %s, micros = %s, approved_at = %s WHERE refund_id = %s"
)
_WALLET = b"""
INSERT INTO signer.wallets (chain_id, address, wallet_index, next_nonce, locked)
VALUES (%(chain_id)s, %(wallet)s, %(wallet_index)s, %(next_nonce)s, %(locked)s)
ON CONFLICT (chain_id, address) DO UPDATE
    SET next_nonce = excluded.next_nonce, locked = excluded.locked
"""
_STORE = b"""
WITH decided AS (
    UPDATE signer.outgoing SET state = 'signed', decided_at = %(now)s
    WHERE refund_id = %(refund_id)s AND state = 'reserved' AND nonce IS NOT NULL
    RETURNING refund_id, max_fee, tip
)
INSERT INTO signer.outgoing_attempts (refund_id, attempt, max_fee, tip, raw, tx_hash, signed_at)
SELECT refund_id, 1, max_fee, tip, %(raw)s, %(tx_hash)s, %(now)s FROM decided
"""
_REFUSE = b"""
UPDATE signer.outgoing SET state = 'refused', refusal = %s, decided_at = %s
WHERE refund_id = %s AND state = 'reserved' AND nonce IS NULL
"""
_IS_REFUSED = b"SELECT state = 'refused' FROM signer.outgoing WHERE refund_id = %s"


class PostgresSigningBook:
    """Implements application.paying_out.SigningBook, as gw_signer."""

    def __init__(self, pg: Postgres) -> None:
        self._pg = pg

    async def unsigned(self, limit: int) -> list[Unsigned]:
        async with self._pg.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(_UNSIGNED, (limit,))
            return [_unsigned(row) for row in await cursor.fetchall()]

    async def approve(self, refund_id: UUID, terms: Terms, now: datetime) -> Verdict:
        async with self._pg.connection() as connection:
            await connection.execute(_LOCK)
            # A statement of its own: it sees what the lock's last holder committed.
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(_LOOK, (refund_id,))
            row = await cursor.fetchone()
            assert row is not None, "only what was reserved is approved"
            verdict = _standing(row) or await _over_a_cap(connection, row, terms, now)
            if verdict is not None:
                return verdict
            return await _give_nonce(connection, refund_id, row, terms, now)

    async def store(self, refund_id: UUID, signed: SignedTransfer, now: datetime) -> None:
        parameters = {
            "refund_id": refund_id,
            "raw": signed.raw,
            "tx_hash": signed.tx_hash,
            "now": now,
        }
        async with self._pg.connection() as connection:
            await connection.execute(_STORE, parameters)

    async def refuse(self, refund_id: UUID, reason: str, now: datetime) -> bool:
        async with self._pg.connection() as connection:
            await connection.execute(_REFUSE, (reason, now, refund_id))
            cursor = await connection.execute(_IS_REFUSED, (refund_id,))
            row = await cursor.fetchone()
            return row is not None and bool(row[0])


def _unsigned(row: dict[str, Any]) -> Unsigned:
    numbers = {name: int(row[name]) for name in ("units", "max_fee", "tip")}
    return Unsigned(**{**row, **numbers})


def _standing(row: dict[str, Any]) -> Verdict | None:
    """What is decided already, or stands in the way of every decision."""
    if row["state"] == "refused":
        return Refused(row["refusal"])
    if row["state"] == "signed":
        return Approved(row["nonce"])
    if not row["signing_enabled"]:
        return Held(f"signing is stopped: {row['why']}", everything=True)
    if row["nonce"] is not None:
        return Approved(row["nonce"])
    if row["locked"] is not None:
        return Held(row["locked"], everything=False)
    if row["to_ourselves"]:
        return Refused("the destination is one of the gateway's own wallets")
    return None


async def _over_a_cap(
    connection: psycopg.AsyncConnection, row: dict[str, Any], terms: Terms, now: datetime
) -> Refused | None:
    day_began = now - timedelta(seconds=DAY_SECONDS)
    cursor = await connection.execute(
        _SPENT, (row["merchant_id"], day_began, list(terms.chain_ids))
    )
    sums = await cursor.fetchone()
    assert sums is not None
    return over_a_cap(_caps(row, terms.caps), terms.micros, int(sums[0]), int(sums[1]))


def over_a_cap(caps: Caps, micros: int, all_day: int, merchant_day: int) -> Refused | None:
    """Which cap this amount would pass, given what has left in the last 24 hours."""
    if micros > caps.per_transaction:
        return Refused("more than may leave in one refund")
    if merchant_day + micros > caps.per_merchant_day:
        return Refused("more than may leave for one merchant in 24 hours")
    if all_day + micros > caps.per_day:
        return Refused("more than the gateway may pay out in 24 hours")
    return None


def _caps(row: dict[str, Any], caps: Caps) -> Caps:
    """The database can only tighten the caps of the signer's own settings."""

    def least(name: str, setting: int) -> int:
        return setting if row[name] is None else min(setting, int(row[name]))

    return Caps(
        per_transaction=least("per_transaction_micros", caps.per_transaction),
        per_merchant_day=least("per_merchant_day_micros", caps.per_merchant_day),
        per_day=least("per_day_micros", caps.per_day),
    )


async def _give_nonce(
    connection: psycopg.AsyncConnection,
    refund_id: UUID,
    row: dict[str, Any],
    terms: Terms,
    now: datetime,
) -> Approved | Held:
    seen, ours = row["chain_nonce"], row["next_nonce"]
    locked = why_locked(seen, ours, known_wallets_only=terms.known_wallets_only)
    nonce = seen if ours is None else ours
    wallet = {name: row[name] for name in ("chain_id", "wallet", "wallet_index")}
    if locked is not None:
        await connection.execute(_WALLET, {**wallet, "next_nonce": nonce, "locked": locked})
        return Held(locked, everything=False)
    await connection.execute(_WALLET, {**wallet, "next_nonce": nonce + 1, "locked": None})
    await connection.execute(_APPROVE, (nonce, terms.micros, now, refund_id))
    return Approved(nonce)


def why_locked(seen: int, ours: int | None, *, known_wallets_only: bool) -> str | None:
    """The chain has seen transactions of this wallet that we know nothing of.

    Either this database is an old copy, and a refund in it may be paid already, or somebody
    else has the key. Both want a person.
    """
    if ours is None and known_wallets_only and seen > 0:
        return f"the chain has {seen} transactions of this wallet, and this database none"
    if ours is not None and seen > ours:
        return f"the chain has {seen} transactions of this wallet, and this database {ours}"
    return None

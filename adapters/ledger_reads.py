"""The books at any position of the log, from the postings and not from a read model.

Shapes  application.statements.Ledger. A posting carries the balance it left, so a balance is one
        look into an index, and one more for the mode of its entry; a month's movements are a
        range of the same index.
        Positions have no gaps and `recorded_at` never goes back along them, so a moment is found
        by halving, without an index that every append would pay for.
Units   base units; a balance is debits less credits.
Errors  StoreUnavailable.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import orjson

from adapters.postgres import Postgres
from application.statements import CHART, OF_ACCEPTED, Balance, Booked, Turnover
from domain.journal import account
from domain.values import Mode

_HEAD = "SELECT coalesce(max(position), 0) FROM es.events"

# Everything up to `low` was recorded before the moment, everything from `high` on was not.
_POSITION_BEFORE = """
WITH RECURSIVE halving (low, high) AS (
    SELECT 0::bigint, coalesce(max(position), 0) + 1 FROM es.events
    UNION ALL
    SELECT CASE WHEN e.recorded_at < %(moment)s THEN e.position ELSE h.low END,
           CASE WHEN e.recorded_at < %(moment)s THEN h.high ELSE e.position END
    FROM halving h JOIN es.events e ON e.position = (h.low + h.high) / 2
    WHERE h.high - h.low > 1
)
SELECT max(low) FROM halving
"""

_BALANCE_AT = """
SELECT balance_after FROM ledger.postings
WHERE account = %s AND asset = %s AND position <= %s
ORDER BY position DESC, leg DESC LIMIT 1
"""

_BALANCES_AT = """
SELECT a.account, a.asset, p.balance_after, e.mode
FROM ledger.accounts a
CROSS JOIN LATERAL (SELECT x.position, x.balance_after FROM ledger.postings x
                    WHERE x.account = a.account AND x.asset = a.asset
                      AND x.position <= %(position)s
                    ORDER BY x.position DESC, x.leg DESC LIMIT 1) AS p
JOIN es.events e ON e.position = p.position
WHERE %(accounts)s::text[] IS NULL OR a.account = ANY(%(accounts)s)
ORDER BY a.account COLLATE "C", a.asset COLLATE "C"
"""

_TURNOVERS = """
SELECT account, asset, coalesce(sum(units) FILTER (WHERE units > 0), 0),
       coalesce(-sum(units) FILTER (WHERE units < 0), 0)
FROM ledger.postings
WHERE account = ANY(%s) AND position > %s AND position <= %s
GROUP BY account, asset ORDER BY account COLLATE "C", asset COLLATE "C"
"""

# An entry of several postings is one entry. Its stored shape is in tests/golden.
_BOOKED = """
SELECT CASE WHEN 'merchant_payable' IN (split_part(p.posting ->> 'debit', ':', 1),
                                        split_part(p.posting ->> 'credit', ':', 1))
            THEN coalesce(%(of_accepted)s::jsonb ->> e.cause, e.cause) ELSE e.cause END AS cause,
       p.posting #>> '{amount,asset}' AS asset,
       count(*) FILTER (WHERE p.n = 1), sum((p.posting #>> '{amount,units}')::numeric)
FROM (SELECT x.entry, split_part(x.entry ->> 'cause', ' ', 1) AS cause
      FROM (SELECT convert_from(state, 'UTF8')::jsonb AS entry FROM es.events
            WHERE merchant_id = %(merchant_id)s AND topic = 'journal.entry_posted'
              AND mode = %(mode)s AND position > %(after)s AND position <= %(upto)s) AS x) AS e
CROSS JOIN LATERAL jsonb_array_elements(e.entry -> 'postings') WITH ORDINALITY AS p (posting, n)
GROUP BY 1, 2
"""

_OF_ACCEPTED = orjson.dumps(OF_ACCEPTED).decode()

_COMPLETED = """
SELECT 'payment.completed', e.fact #>> '{amount,asset}' AS asset, count(*),
       sum((e.fact #>> '{amount,units}')::numeric)
FROM (SELECT convert_from(state, 'UTF8')::jsonb AS fact FROM es.events
      WHERE merchant_id = %(merchant_id)s AND topic = 'payment.completed'
        AND mode = %(mode)s AND position > %(after)s AND position <= %(upto)s) AS e
GROUP BY 2
"""


class PostgresLedger:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def head(self) -> int:
        async with self._postgres.reading() as connection:
            row = await (await connection.execute(_HEAD)).fetchone()
        assert row is not None, "an aggregate answers one row"
        return int(row[0])

    async def position_before(self, moment: datetime) -> int:
        async with self._postgres.reading() as connection:
            cursor = await connection.execute(_POSITION_BEFORE, {"moment": moment})
            row = await cursor.fetchone()
        assert row is not None, "an aggregate answers one row"
        return int(row[0])

    async def balance_at(self, account: str, asset: str, position: int) -> int:
        async with self._postgres.reading() as connection:
            cursor = await connection.execute(_BALANCE_AT, (account, asset, position))
            row = await cursor.fetchone()
        return 0 if row is None else int(row[0])

    async def balances_at(
        self, position: int, merchant_id: UUID | None = None
    ) -> Sequence[Balance]:
        accounts = None if merchant_id is None else _accounts(merchant_id)
        given = {"position": position, "accounts": accounts}
        async with self._postgres.reading() as connection:
            cursor = await connection.execute(_BALANCES_AT, given)
            rows = await cursor.fetchall()
        return [Balance(name, asset, int(units), mode) for name, asset, units, mode in rows]

    async def turnovers(self, merchant_id: UUID, after: int, upto: int) -> Sequence[Turnover]:
        async with self._postgres.reading() as connection:
            cursor = await connection.execute(_TURNOVERS, (_accounts(merchant_id), after, upto))
            rows = await cursor.fetchall()
        return [
            Turnover(name, asset, int(debits), int(cred)) for name, asset, debits, cred in rows
        ]

    async def booked(
        self, merchant_id: UUID, mode: Mode, after: int, upto: int
    ) -> Sequence[Booked]:
        return await self._counted(_BOOKED, merchant_id, mode, after, upto)

    async def completed(
        self, merchant_id: UUID, mode: Mode, after: int, upto: int
    ) -> Sequence[Booked]:
        return await self._counted(_COMPLETED, merchant_id, mode, after, upto)

    async def _counted(
        self, statement: str, merchant_id: UUID, mode: Mode, after: int, upto: int
    ) -> Sequence[Booked]:
        given = {
            "merchant_id": merchant_id,
            "mode": mode,
            "after": after,
            "upto": upto,
            "of_accepted": _OF_ACCEPTED,
        }
        async with self._postgres.reading() as connection:
            cursor = await connection.execute(statement.encode(), given)
            rows = await cursor.fetchall()
        rows.sort()  # by cause and asset, whatever the database's collation
        return [Booked(cause, asset, count, int(units)) for cause, asset, count, units in rows]


def _accounts(merchant_id: UUID) -> list[str]:
    return [account(kind, merchant_id) for kind in CHART]

"""What the database itself holds of the books, by SQL and without any code of ours."""

from typing import Any
from uuid import UUID

import psycopg
import pytest

from application.statements import CHART
from domain.journal import NO_OVERDRAFT_CREDIT, NO_OVERDRAFT_DEBIT
from tests.adapters.ways_round import EVENT
from tests.conftest import Migrated

pytestmark = pytest.mark.services
ROLES = ("app_dsn", "owner_dsn", "admin_dsn")
# A reorg can take back what was given back before: the loss shows on these.
EITHER_SIDE = {"merchant_payable", "suspense"}

LEGS = """
INSERT INTO ledger.postings (position, leg, entry_id, merchant_id, account, asset, units,
                             account_version, balance_after)
SELECT 1, n, %s, %s, account, asset, units, 1, units
FROM unnest(%s::text[], %s::text[], %s::numeric[]) WITH ORDINALITY AS u(account, asset, units, n)
"""
ACCOUNT = "INSERT INTO ledger.accounts VALUES (%s, 'asset', %s, %s, 1)"
Legs = list[tuple[str, str, int]]


async def _post(connection: psycopg.AsyncConnection, legs: Legs) -> None:
    """With the event they belong to: the books go on at the head of the log."""
    columns: list[Any] = [list(column) for column in zip(*legs, strict=True)]
    async with connection.transaction():
        await connection.execute(EVENT.format(position="1", recorded_at="clock_timestamp()"))
        await connection.execute(LEGS, (UUID(int=1), UUID(int=2), *columns))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", sorted(CHART))
async def test_no_entry_of_any_account_is_kept_unless_it_sums_to_zero(
    migrated: Migrated, role: str, kind: str
) -> None:
    name, other = f"{kind}:a", "other:a"
    odd: tuple[Legs, ...] = (
        [(name, "usdc", 5)],
        [(name, "usdc", -5)],
        [(name, "usdc", 5), (other, "usdc", -4)],
        [(name, "usdc", 5), (other, "usdt", -5)],
        [(name, "usdc", 5), (other, "usdc", -5), (name, "eth", 10**30)],
    )
    async with await psycopg.AsyncConnection.connect(getattr(migrated, role)) as connection:
        for legs in odd:
            with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="sum to zero"):
                await _post(connection, legs)
        await _post(connection, [(name, "usdc", 5), (other, "usdc", -5)])


@pytest.mark.parametrize("role", ROLES)
async def test_no_account_stands_on_its_other_side(migrated: Migrated, role: str) -> None:
    async with await psycopg.AsyncConnection.connect(getattr(migrated, role)) as connection:
        for kind, (side, _) in CHART.items():
            other_side = (1, 2) if side == "debit" else (2, 1)
            if kind in EITHER_SIDE:
                await connection.execute(ACCOUNT, (f"{kind}:a", *other_side))
                continue
            with pytest.raises(psycopg.errors.CheckViolation) as refused:
                async with connection.transaction():
                    await connection.execute(ACCOUNT, (f"{kind}:a", *other_side))
            assert refused.value.diag.constraint_name == "no_overdraft"
            await connection.execute(ACCOUNT, (f"{kind}:a", *reversed(other_side)))
            with pytest.raises(psycopg.errors.CheckViolation):
                async with connection.transaction():
                    await connection.execute(
                        "UPDATE ledger.accounts SET debits = %s, credits = %s WHERE account = %s",
                        (*other_side, f"{kind}:a"),
                    )


async def test_database_and_domain_guard_the_same_accounts(migrated: Migrated) -> None:
    async with await psycopg.AsyncConnection.connect(migrated.app_dsn) as connection:
        cursor = await connection.execute(
            "SELECT kind, ledger.no_overdraft(kind || ':a') FROM unnest(%s::text[]) AS kind",
            (list(CHART),),
        )
        held: dict[str, str | None] = dict(await cursor.fetchall())
    domain = dict.fromkeys(NO_OVERDRAFT_CREDIT, "credit") | dict.fromkeys(
        NO_OVERDRAFT_DEBIT, "debit"
    )
    assert held == domain | dict.fromkeys(EITHER_SIDE)


async def test_a_balance_at_a_position_is_one_look_into_an_index(migrated: Migrated) -> None:
    """Of 20,000 postings of one account, only the last one before the position is read."""
    async with await psycopg.AsyncConnection.connect(migrated.owner_dsn) as connection:
        await connection.execute(
            "INSERT INTO ledger.postings SELECT n, leg, md5(n::text)::uuid, %s, "
            "CASE leg WHEN 1 THEN 'hot_wallet:a' ELSE 'refund_float:a' END, 'usdc', "
            "CASE leg WHEN 1 THEN 1 ELSE -1 END, n, CASE leg WHEN 1 THEN n ELSE -n END "
            "FROM generate_series(1, 20000) n, generate_series(1, 2) leg",
            (UUID(int=2),),
        )
        await connection.execute("ANALYZE ledger.postings")
        cursor = await connection.execute(
            "EXPLAIN (ANALYZE, FORMAT JSON) SELECT balance_after FROM ledger.postings "
            "WHERE account = 'hot_wallet:a' AND asset = 'usdc' AND position <= 777 "
            "ORDER BY position DESC, leg DESC LIMIT 1"
        )
        row = await cursor.fetchone()
    assert row is not None
    scan = row[0][0]["Plan"]["Plans"][0]
    assert scan["Index Name"] == "postings_history"
    assert scan["Actual Rows"] == 1

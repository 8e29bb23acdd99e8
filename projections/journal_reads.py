"""The books as anybody may check them: every account, and the sum of both sides per asset."""

from collections.abc import Sequence

from application.reads import AccountBalance, TrialBalance
from projections.database import Connections


class JournalReads:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def trial_balance(self) -> Sequence[TrialBalance]:
        async with self._connections.reading() as connection:
            cursor = await connection.execute(
                "SELECT asset, sum(debits), sum(credits) FROM rm.balances "
                "GROUP BY asset ORDER BY asset"
            )
            rows = await cursor.fetchall()
        return [
            TrialBalance(asset, int(debits), int(credits_)) for asset, debits, credits_ in rows
        ]

    async def balances(self) -> Sequence[AccountBalance]:
        async with self._connections.reading() as connection:
            cursor = await connection.execute(
                "SELECT account, asset, debits, credits FROM rm.balances ORDER BY account, asset"
            )
            rows = await cursor.fetchall()
        return [
            AccountBalance(account, asset, int(debits), int(credits_))
            for account, asset, debits, credits_ in rows
        ]

"""Deposit addresses and refund wallets, counted below public keys in PostgreSQL.

Shapes  A counter belongs to the key, not to the merchant: two merchants, or test and live, that
        use one key never get the same address. Indexes are never given twice; those of requests
        that came to nothing stay unused.
Path    address number i of an account's key is m/44'/60'/n'/0/i, see addresses.py.
Errors  ExtendedKeyMalformed; ports.StoreUnavailable.
"""

from uuid import UUID

from adapters.addresses import INDEX_MAX, ExtendedKey
from adapters.postgres import Postgres
from domain.values import Mode

PARSED_KEYS_MAX = 4_096

# Not waiting for the disk is safe here. An address only counts once its session is in the log;
# that commit comes later and does wait, and the write-ahead log reaches the disk in order, so it
# takes this counter with it. What a crash can lose is an index that nobody was told about.
_NEXT_DEPOSIT = """
WITH hurry AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO work.deposit_counters AS counter (key_identity, next_index)
SELECT %(key)s, 1 FROM hurry
ON CONFLICT (key_identity) DO UPDATE SET next_index = counter.next_index + 1
RETURNING next_index - 1
"""
# A wallet may be topped up by whoever reads its address off this answer: this one does wait.
_NEXT_WALLET = """
INSERT INTO work.refund_wallet_counter AS counter (key_identity, next_index)
VALUES (%(key)s, 1)
ON CONFLICT (key_identity) DO UPDATE SET next_index = counter.next_index + 1
RETURNING next_index - 1
"""


class XpubAddresses:
    """A fresh deposit address for each session, below the merchant's own key."""

    def __init__(self, pg: Postgres) -> None:
        self._pg = pg
        self._parsed: dict[str, ExtendedKey] = {}

    async def allocate(
        self, merchant_id: UUID, mode: Mode, extended_public_key: str
    ) -> tuple[int, str]:
        """The next unused index below the key, and its address. `merchant_id` plays no part."""
        del merchant_id, mode
        key = self._key(extended_public_key)
        index = await _next_index(self._pg, _NEXT_DEPOSIT, key)
        return index, key.address(index)

    def check(self, extended_public_key: str) -> str:
        return self._key(extended_public_key).address(0)

    def _key(self, text: str) -> ExtendedKey:
        found = self._parsed.get(text)
        if found is None:
            found = ExtendedKey.parse(text)
            if len(self._parsed) >= PARSED_KEYS_MAX:
                self._parsed.clear()
            self._parsed[text] = found
        return found


class HotWallets:
    """Refund wallets below the signer's public key: the signer derives the same by index."""

    def __init__(self, pg: Postgres, extended_public_key: str) -> None:
        self._pg = pg
        self._key = ExtendedKey.parse(extended_public_key)

    async def allocate(self) -> tuple[int, str]:
        index = await _next_index(self._pg, _NEXT_WALLET, self._key)
        return index, self._key.address(index)


async def _next_index(pg: Postgres, statement: str, key: ExtendedKey) -> int:
    async with pg.connection() as connection:
        cursor = await connection.execute(statement.encode(), {"key": key.identity})
        row = await cursor.fetchone()
    assert row is not None
    index = int(row[0])
    assert index <= INDEX_MAX, "this key has no public children left"
    return index

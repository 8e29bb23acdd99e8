"""How networks stand, in PostgreSQL: ingest.finality and ingest.standings (migration 0008).

Shapes  One row a network, written over by its leading ingester alone.
Errors  ports.StoreUnavailable.
"""

from adapters.postgres import Postgres
from application.standing import FinalBlock, Finality, Standing, Trouble

_FINALITY = """
SELECT number, hash, final_at, told, told_at, resumed, deep
FROM ingest.finality WHERE network = %s
"""

_KEEP_FINALITY = """
INSERT INTO ingest.finality (network, number, hash, final_at, told, told_at, resumed, deep)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (network) DO UPDATE SET
    number = excluded.number, hash = excluded.hash, final_at = excluded.final_at,
    told = excluded.told, told_at = excluded.told_at, resumed = excluded.resumed,
    deep = excluded.deep
"""

_STANDING = """
SELECT at, tip, attested, single, trouble, since, detail, pending
FROM ingest.standings WHERE network = %s
"""

_KEEP_STANDING = """
INSERT INTO ingest.standings
    (network, at, tip, attested, single, trouble, since, detail, pending)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (network) DO UPDATE SET
    at = excluded.at, tip = excluded.tip, attested = excluded.attested,
    single = excluded.single, trouble = excluded.trouble, since = excluded.since,
    detail = excluded.detail, pending = excluded.pending
"""


class PostgresStandings:
    """application.standing.StandingStore, and Standings for those who read."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def finality(self, network: str) -> Finality:
        async with self._postgres.reading() as connection:
            row = await (await connection.execute(_FINALITY, (network,))).fetchone()
        if row is None:
            return Finality()
        number, block_hash, *rest = row
        block = None if number is None else FinalBlock(number, block_hash)
        return Finality(block, *rest)

    async def keep_finality(self, network: str, finality: Finality) -> None:
        block = finality.block
        values = (
            network,
            None if block is None else block.number,
            None if block is None else block.hash,
            finality.block_at,
            finality.told,
            finality.told_at,
            finality.resumed,
            finality.deep,
        )
        async with self._postgres.reading() as connection:
            await connection.execute(_KEEP_FINALITY, values)

    async def standing(self, network: str) -> Standing | None:
        async with self._postgres.reading() as connection:
            row = await (await connection.execute(_STANDING, (network,))).fetchone()
        if row is None:
            return None
        at, tip, attested, single, trouble, since, detail, pending = row
        told: Trouble | None = trouble
        return Standing(network, at, tip, attested, single, told, since, detail, pending)

    async def keep_standing(self, standing: Standing) -> None:
        values = (
            standing.network,
            standing.at,
            standing.tip,
            standing.attested,
            standing.single,
            standing.trouble,
            standing.since,
            standing.detail,
            standing.pending,
        )
        async with self._postgres.reading() as connection:
            await connection.execute(_KEEP_STANDING, values)

"""How far the ingester has read each chain, as the other processes see it.

Shapes  A transfer is recorded once its report's message id is in es.inbox, and parked when no
        number of tries would record it; until then it is on its way, however the bus fares.
Errors  ports.StoreUnavailable.
"""

from adapters.standing import PostgresStandings
from application.chain_messages import SOURCE
from application.reads import Passed

_HEAD = "SELECT number FROM ingest.cursors WHERE network = %s"

# Each part of the outbox by the partial index it has: the whole of it only ever grows.
_PASSED = """
SELECT c.number, c.hash, h.time, (
    SELECT min((o.report #>> '{sighting,block_time}')::timestamptz)
    FROM (
        SELECT message_id, es.as_json(data) AS report FROM ingest.outbox
        WHERE network = %(network)s AND published_at IS NULL
        UNION ALL
        SELECT message_id, es.as_json(data) FROM ingest.outbox
        WHERE network = %(network)s AND published_at IS NOT NULL AND settled_at IS NULL
    ) AS o
    WHERE o.report ->> 'kind' = 'observed'
        AND NOT EXISTS (SELECT FROM es.inbox AS i
                        WHERE i.source = %(source)s AND i.message_id = o.message_id)
        AND NOT EXISTS (SELECT FROM ingest.parked AS p
                        WHERE p.source = %(source)s AND p.message_id = o.message_id)), (
    SELECT time FROM ingest.headers
    WHERE network = c.network AND canonical AND NOT attested
    ORDER BY number LIMIT 1)
FROM ingest.cursors AS c CROSS JOIN LATERAL (
    SELECT time FROM ingest.headers
    WHERE network = c.network AND canonical AND number <= c.number
    ORDER BY number DESC LIMIT 1
) AS h
WHERE c.network = %(network)s
"""


class PostgresChainHeads(PostgresStandings):
    """Implements application.reads.ChainHeads."""

    async def head(self, network: str) -> int | None:
        async with self._postgres.reading() as connection:
            row = await (await connection.execute(_HEAD, (network,))).fetchone()
        return None if row is None else int(row[0])

    async def passed(self, network: str) -> Passed | None:
        async with self._postgres.reading() as connection:
            values = {"network": network, "source": SOURCE}
            row = await (await connection.execute(_PASSED, values)).fetchone()
        return None if row is None else Passed(*row)

"""The statements of adapters/reconciling.py, on the tables of migrations 0002, 0005 and 0009."""

SIGHTINGS_OF = """
SELECT sighting::text, policy_version, rule_blocks, rule_tag, state = 'confirmed',
    state <> 'orphaned'
FROM ingest.sightings WHERE network = %s AND sighting ->> 'tx_hash' = %s
ORDER BY seen_at, block_number, transfer_id
"""

RECEIVED_UNTIL = """
SELECT m.recipient, m.asset, m.up_to, coalesce(sum(s.units), 0)::text
FROM unnest(%(recipients)s::text[], %(assets)s::text[], %(blocks)s::bigint[])
    AS m (recipient, asset, up_to)
LEFT JOIN ingest.sightings AS s ON s.network = %(network)s AND s.recipient = m.recipient
    AND s.asset = m.asset AND s.block_number <= m.up_to AND s.state <> 'orphaned'
GROUP BY m.recipient, m.asset, m.up_to
"""

READINGS = """
SELECT r.address, r.asset, r.block_number, r.block_hash, r.units::text
FROM unnest(%(addresses)s::text[], %(assets)s::text[]) AS purse (address, asset)
JOIN ingest.balance_readings AS r USING (address, asset) WHERE r.network = %(network)s
"""

KEEP_READING = """
INSERT INTO ingest.balance_readings (network, address, asset, block_number, block_hash, units, at)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (network, address, asset) DO UPDATE SET
    block_number = excluded.block_number, block_hash = excluded.block_hash,
    units = excluded.units, at = excluded.at
"""

KEEP_RUN = """
INSERT INTO ingest.reconciliations (network, at, block_number, block_hash, final, checked,
    undecided, differing, found, unexplained, rotated_to)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""

NEWEST_RUN = """
SELECT network, at, block_number, block_hash, final, checked, undecided, differing, found,
    unexplained, rotated_to
FROM ingest.reconciliations WHERE network = %s ORDER BY id DESC LIMIT 1
"""

# Blocks of an unattested range may have been read again, each for itself.
EXAMINED = """
SELECT
    CASE WHEN %(attested)s THEN %(last)s::bigint - %(first)s + 1 ELSE (
        SELECT count(*) FROM ingest.headers
        WHERE network = %(network)s AND canonical AND attested
            AND number BETWEEN %(first)s AND %(last)s)
    END, (
        SELECT count(DISTINCT block_number) FROM ingest.sightings
        WHERE network = %(network)s AND state <> 'orphaned'
            AND block_number BETWEEN %(first)s AND %(last)s)
"""

# `s` is what the chain has confirmed, `t` what the log says of it; a dismissed transfer and one
# to an address of nobody are in no account.
ARRIVED = """
SELECT coalesce(s.asset, t.asset),
    coalesce(sum(s.units), 0)::text,
    coalesce(sum(s.units) FILTER (WHERE t.status = 'confirmed' AND t.unbooked), 0)::text,
    coalesce(sum(s.units) FILTER (WHERE t.status IS DISTINCT FROM 'confirmed'), 0)::text,
    coalesce(sum(t.units) FILTER (
        WHERE s.units IS NULL AND t.status = 'confirmed' AND NOT t.unbooked), 0)::text
FROM (
    SELECT transfer_id, asset, units FROM ingest.sightings
    WHERE network = %(network)s AND state = 'confirmed'
) AS s
FULL JOIN (
    SELECT transfer_id, asset, units, status,
        purpose = 'unmatched' AND (merchant_id IS NULL OR resolution = 'dismissed') AS unbooked
    FROM rm.transfers WHERE network = %(network)s
) AS t USING (transfer_id)
GROUP BY 1 ORDER BY 1
"""

# What arrived at refund wallets is what they hold, less what reorgs took back after it was
# spent, and with what they spent: on refunds, and on nothing else.
BOOKED = """
SELECT asset, sum(CASE split_part(account, ':', 1)
    WHEN 'customer_receipts' THEN debits - credits
    WHEN 'hot_wallet' THEN debits - credits
    WHEN 'float_shortfall' THEN credits - debits
    WHEN 'customer_refunds' THEN credits - debits
    ELSE 0 END)::text
FROM ledger.accounts WHERE asset = ANY(%s) GROUP BY asset
"""

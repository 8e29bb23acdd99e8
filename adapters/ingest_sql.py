"""The statements of adapters/ingest_store.py, on the tables of migrations 0002 and 0005."""

LEAD = """
SELECT pg_try_advisory_lock(hashtextextended('ingest:' || %s, 0)),
       set_config('idle_session_timeout', %s, false)
"""
CURSOR = "SELECT number, hash, report_number, anchor FROM ingest.cursors WHERE network = %s"

BEGIN_CURSOR = """
INSERT INTO ingest.cursors (network, number, hash, report_number, anchor, updated_at)
VALUES (%s, %s, %s, 0, %s, %s) ON CONFLICT (network) DO NOTHING
"""

MOVE_CURSOR = """
UPDATE ingest.cursors SET number = %s, hash = %s, report_number = %s, updated_at = %s
WHERE network = %s AND number = %s AND hash = %s AND report_number = %s
"""

_HEADER = "SELECT number, hash, parent_hash, time, attested, providers FROM ingest.headers"

HEADER_AT = f"{_HEADER} WHERE network = %s AND number = %s AND canonical"

NEWEST_HEADER = (
    f"{_HEADER} WHERE network = %s AND number <= %s AND canonical ORDER BY number DESC LIMIT 1"
)

NEWEST_ATTESTED = (
    f"{_HEADER} WHERE network = %s AND number > %s AND canonical AND attested "
    "ORDER BY number DESC LIMIT 1"
)

UNATTESTED = (
    f"{_HEADER} WHERE network = %s AND canonical AND NOT attested ORDER BY number LIMIT %s"
)

# A block may leave the chain and come back: the same row, canonical again, and attested only if
# it was read through a quorum this time too; else its logs would not be read again.
CANONICAL_HEADER = """
INSERT INTO ingest.headers AS old
    (network, hash, number, parent_hash, time, attested, providers, canonical, seen_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, true, %s)
ON CONFLICT (network, hash) DO UPDATE SET
    canonical = true,
    orphaned_at = NULL,
    attested = excluded.attested OR (old.canonical AND old.attested),
    providers = CASE WHEN old.canonical AND old.attested
        THEN old.providers ELSE excluded.providers END
"""

# Seen again in the same block: after a reorg to and fro it must be confirmed again; read again
# through a quorum it stays what it was.
SIGHT = """
INSERT INTO ingest.sightings AS old
    (network, block_hash, transfer_id, block_number, state, attested, sighting, policy_version,
     rule_blocks, rule_tag, seen_at, changed_at)
VALUES (%s, %s, %s, %s, 'observed', %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (network, block_hash, transfer_id) DO UPDATE SET
    state = CASE WHEN old.state = 'orphaned' THEN 'observed' ELSE old.state END,
    attested = excluded.attested OR (old.state <> 'orphaned' AND old.attested),
    sighting = CASE WHEN old.state <> 'orphaned' AND old.attested
        THEN old.sighting ELSE excluded.sighting END,
    rule_blocks = CASE WHEN old.state = 'orphaned'
        THEN excluded.rule_blocks ELSE old.rule_blocks END,
    rule_tag = CASE WHEN old.state = 'orphaned' THEN excluded.rule_tag ELSE old.rule_tag END,
    changed_at = excluded.changed_at
"""

CONFIRM = """
UPDATE ingest.sightings AS s SET state = 'confirmed', changed_at = %s
FROM unnest(%s::text[], %s::text[]) AS named (block_hash, transfer_id)
WHERE s.network = %s AND s.block_hash = named.block_hash AND s.transfer_id = named.transfer_id
    AND s.state = 'observed'
"""

_SIGHTINGS = (
    "SELECT sighting::text, policy_version, rule_blocks, rule_tag, state = 'confirmed' "
    "FROM ingest.sightings"
)

SIGHTINGS_ABOVE = (
    f"{_SIGHTINGS} WHERE network = %s AND block_number > %s AND state <> 'orphaned' "
    "ORDER BY block_number, transfer_id"
)
SIGHTINGS_IN = (
    f"{_SIGHTINGS} WHERE network = %s AND block_hash = %s AND state <> 'orphaned' "
    "ORDER BY transfer_id"
)
_CONFIRMABLE = "(attested OR NOT %s) ORDER BY block_number, transfer_id LIMIT %s"

UNCONFIRMED = (
    f"{_SIGHTINGS} WHERE network = %s AND state = 'observed' AND rule_tag IS NULL "
    f"AND block_number + rule_blocks <= %s + 1 AND {_CONFIRMABLE}"
)
UNCONFIRMED_TAGGED = (
    f"{_SIGHTINGS} WHERE network = %s AND state = 'observed' AND rule_tag = %s "
    f"AND block_number <= %s AND {_CONFIRMABLE}"
)

AWAITED_TAGS = """
SELECT rule_tag, min(block_number) FROM ingest.sightings
WHERE network = %s AND state = 'observed' AND rule_tag IS NOT NULL AND (attested OR NOT %s)
GROUP BY rule_tag
"""

FIRST_TERMS = """
SELECT DISTINCT ON (transfer_id) transfer_id, policy_version, rule_blocks, rule_tag
FROM ingest.sightings WHERE network = %s AND transfer_id = ANY(%s)
ORDER BY transfer_id, seen_at, block_number
"""

RECEIVED = """
SELECT s.recipient, s.asset, sum(s.units)::text
FROM unnest(%s::text[], %s::text[]) AS purse (recipient, asset)
JOIN ingest.sightings AS s USING (recipient, asset)
WHERE s.network = %s AND s.state <> 'orphaned' AND s.block_number > %s
GROUP BY s.recipient, s.asset
"""

REPORT = """
INSERT INTO ingest.outbox (network, report_number, message_id, subject, data, created_at)
VALUES (%s, %s, %s, %s, %s, %s)
"""

# The last range grows while the same providers vouch for it; else a new one begins beside it.
EXTEND_COVERAGE = """
WITH grown AS (
    UPDATE ingest.coverage
    SET last = %(last)s, last_hash = %(last_hash)s, updated_at = %(at)s
    WHERE network = %(network)s AND withdrawn_at IS NULL AND last = %(first)s - 1
        AND last_hash = %(parent_hash)s AND providers = %(providers)s
        AND attested = %(attested)s
    RETURNING id
)
INSERT INTO ingest.coverage
    (network, first, parent_hash, last, last_hash, providers, attested, updated_at)
SELECT %(network)s, %(first)s, %(parent_hash)s, %(last)s, %(last_hash)s, %(providers)s,
    %(attested)s, %(at)s
WHERE NOT EXISTS (SELECT FROM grown)
"""

WITHDRAW = (
    """
    UPDATE ingest.headers SET canonical = false, orphaned_at = %(at)s
    WHERE network = %(network)s AND number > %(fork)s AND canonical
    """,
    """
    UPDATE ingest.sightings SET state = 'orphaned', changed_at = %(at)s
    WHERE network = %(network)s AND block_number > %(fork)s AND state <> 'orphaned'
    """,
    """
    UPDATE ingest.coverage SET withdrawn_at = %(at)s
    WHERE network = %(network)s AND first > %(fork)s AND withdrawn_at IS NULL
    """,
    """
    UPDATE ingest.coverage SET last = %(fork)s, last_hash = %(fork_hash)s, updated_at = %(at)s
    WHERE network = %(network)s AND last > %(fork)s AND withdrawn_at IS NULL
    """,
)

UNPROVED = """
UPDATE ingest.sightings SET state = 'orphaned', changed_at = %s
WHERE network = %s AND block_hash = %s AND transfer_id = ANY(%s) AND state <> 'orphaned'
"""

# A range counts as attested once its last unattested block has been read again.
REATTEST = """
UPDATE ingest.coverage AS c SET attested = true
WHERE c.network = %s AND NOT c.attested AND c.withdrawn_at IS NULL
    AND %s BETWEEN c.first AND c.last
    AND NOT EXISTS (
        SELECT FROM ingest.headers AS h
        WHERE h.network = c.network AND h.canonical AND NOT h.attested
            AND h.number BETWEEN c.first AND c.last)
"""

COVERAGE = """
SELECT first, parent_hash, last, last_hash, providers, attested, updated_at
FROM ingest.coverage WHERE network = %s AND withdrawn_at IS NULL ORDER BY first
"""

_OUTBOX = "SELECT report_number, message_id, subject, data FROM ingest.outbox"

UNPUBLISHED = (
    f"{_OUTBOX} WHERE network = %s AND published_at IS NULL ORDER BY report_number LIMIT %s"
)

MARK_PUBLISHED = """
UPDATE ingest.outbox SET published_at = %s, publications = publications + 1
WHERE network = %s AND report_number = ANY(%s)
"""

SETTLE = """
UPDATE ingest.outbox AS o SET settled_at = %(now)s
WHERE o.network = %(network)s AND o.published_at IS NOT NULL AND o.settled_at IS NULL
    AND (EXISTS (SELECT FROM es.inbox AS i
                 WHERE i.source = %(source)s AND i.message_id = o.message_id)
        OR EXISTS (SELECT FROM ingest.parked AS p
                   WHERE p.source = %(source)s AND p.message_id = o.message_id))
"""

OVERDUE = f"""
{_OUTBOX}
WHERE network = %(network)s AND published_at IS NOT NULL AND settled_at IS NULL
    AND published_at <= %(now)s - make_interval(secs =>
        least(%(seconds)s * 2 ^ least(publications - 1, 20), %(seconds_max)s))
ORDER BY report_number LIMIT %(limit)s
"""

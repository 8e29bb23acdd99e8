"""The statements of the group append.

Each does its work for a whole group. Lists are looked up by scalar or lateral subqueries with
LIMIT, which PostgreSQL answers from the index row by row; as EXISTS it may choose to join the
whole table. What they find they name by its place in the list, counted from 1.
"""

# One writer at a time for the whole log. The lock ends with its transaction, whatever happens
# to the client, and unlike a table lock it meets neither VACUUM nor an index being built.
LOG_LOCK = (0x6777, 1)
LOCK = f"SELECT pg_advisory_xact_lock({LOG_LOCK[0]}, {LOG_LOCK[1]})"

# A statement of its own after LOCK: under READ COMMITTED it sees all that earlier holders of
# the lock committed.
CHECK = """
SELECT (SELECT coalesce(max(position), 0) FROM es.events) AS head,
       ARRAY(SELECT u.n FROM unnest(%b::uuid[], %b::bigint[]) WITH ORDINALITY AS u(id, after, n)
             WHERE coalesce((SELECT e.version FROM es.events e WHERE e.stream_id = u.id
                             ORDER BY e.version DESC LIMIT 1), 0) <> u.after) AS moved
"""

SEEN = """
SELECT u.n FROM unnest(%b::text[], %b::text[]) WITH ORDINALITY AS u(source, id, n)
WHERE (SELECT true FROM es.inbox i WHERE i.source = u.source AND i.message_id = u.id LIMIT 1)
"""

ANSWERED = """
SELECT u.n, k.status, k.body, k.fingerprint
FROM unnest(%b::uuid[], %b::text[], %b::text[]) WITH ORDINALITY AS u(merchant_id, mode, key, n)
CROSS JOIN LATERAL (SELECT * FROM es.idempotency x WHERE x.merchant_id = u.merchant_id
                    AND x.mode = u.mode AND x.key = u.key LIMIT 1) AS k
"""

ACCOUNTS = """
SELECT a.account, a.asset, a.debits::text, a.credits::text, a.version
FROM unnest(%b::text[], %b::text[]) AS u(account, asset)
CROSS JOIN LATERAL (SELECT * FROM ledger.accounts x
                    WHERE x.account = u.account AND x.asset = u.asset LIMIT 1) AS a
"""

# Two parameters instead of eleven arrays, and both are made before the lock is held. The state
# travels beside the JSON: its bytes are what is hashed, so nothing may take them apart.
# recorded_at never goes back, even if the server's clock does: months of the books end by it.
INSERT_EVENTS = """
INSERT INTO es.events (position, stream_type, stream_id, version, topic, schema_version, event_id,
                       merchant_id, mode, occurred_at, recorded_at, state, meta)
SELECT %b::bigint + r.n, r.stream_type, r.stream_id, r.version, r.topic, r.schema_version,
       r.event_id, r.merchant_id, r.mode, r.occurred_at,
       greatest(clock.now, (SELECT recorded_at FROM es.events ORDER BY position DESC LIMIT 1)),
       r.state, r.meta
FROM (SELECT clock_timestamp() AS now OFFSET 0) AS clock, ROWS FROM (
    json_to_recordset(%s::text::json) AS (
        stream_type text, stream_id uuid, version bigint, topic text, schema_version int,
        event_id uuid, merchant_id uuid, mode text, occurred_at timestamptz, meta jsonb),
    unnest(%b::bytea[])
) WITH ORDINALITY AS r(stream_type, stream_id, version, topic, schema_version, event_id,
                       merchant_id, mode, occurred_at, meta, state, n)
ORDER BY r.n
"""

INSERT_INBOX = """
INSERT INTO es.inbox (source, message_id, position)
SELECT * FROM unnest(%b::text[], %b::text[], %b::bigint[])
"""

INSERT_IDEMPOTENCY = """
INSERT INTO es.idempotency (merchant_id, mode, key, fingerprint, status, body, position)
SELECT * FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::int[], %b::bytea[],
                     %b::bigint[])
"""

INSERT_POSTINGS = """
INSERT INTO ledger.postings (position, leg, entry_id, merchant_id, account, asset, units,
                             account_version, balance_after)
SELECT * FROM unnest(%b::bigint[], %b::int[], %b::uuid[], %b::uuid[], %b::text[], %b::text[],
                     %b::numeric[], %b::bigint[], %b::numeric[])
"""

# Whole sums, not increments: a proposed row is checked for overdraft before PostgreSQL looks
# whether the account exists, and an increment alone would look like one.
UPSERT_ACCOUNTS = """
INSERT INTO ledger.accounts (account, asset, debits, credits, version)
SELECT * FROM unnest(%b::text[], %b::text[], %b::numeric[], %b::numeric[], %b::bigint[])
ON CONFLICT (account, asset) DO UPDATE
SET debits = excluded.debits, credits = excluded.credits, version = excluded.version
"""

STORED_RESPONSE = """
SELECT status, body, fingerprint FROM es.idempotency
WHERE merchant_id = %s AND mode = %s AND key = %s
"""

HEAD = "SELECT coalesce(max(position), 0) FROM es.events"

COLUMNS = """position, stream_type, stream_id, version, topic, schema_version, event_id,
merchant_id, mode, occurred_at, recorded_at, state, meta::text"""

# S608: COLUMNS is the constant above.
READ_STREAM = f"SELECT {COLUMNS} FROM es.events WHERE stream_id = %s ORDER BY version LIMIT %s"  # noqa: S608
READ_STREAMS = f"""
SELECT e.* FROM unnest(%b::uuid[]) AS u(id)
CROSS JOIN LATERAL (SELECT {COLUMNS} FROM es.events WHERE stream_id = u.id
                    ORDER BY version LIMIT %s) AS e
"""  # noqa: S608
READ_LOG = f"SELECT {COLUMNS} FROM es.events WHERE position > %s ORDER BY position LIMIT %s"  # noqa: S608
READ_FACTS = """
SELECT position, stream_type, stream_id, version, topic, schema_version, state
FROM es.events WHERE position > %s ORDER BY position LIMIT %s
"""
READ_SPAN = """
SELECT position, stream_type, stream_id, version, topic, schema_version, state
FROM es.events WHERE position > %s AND position <= %s AND topic <> ALL(%s) ORDER BY position
"""

# After a lost answer, asked under the lock: the lost transaction held it to its end.
WRITTEN = "SELECT event_id, position FROM es.events WHERE event_id = ANY(%s::uuid[])"

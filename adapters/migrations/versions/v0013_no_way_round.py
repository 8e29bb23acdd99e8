"""Append-only, tried from every side; and gw_backup, who reads everything.

Found by trying as gw_app: an event could be put at a position beyond the head, or later into the
hole behind it, which a follower that has passed would never see; and a posting could be given to
a month that is closed. The writer counts positions; now the tables do, too.

Functions of triggers and constraints look for nothing in a schema that their caller names.
Rows of es.inbox and ingest.reconciliations are kept for ever, so they say so.

gw_owner and administrators are not counted: they restore and load. Nobody runs as them.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None
phase = "before"

# A statement adds the next positions of the log, all of one moment, or nothing. The primary key
# decides between two who saw the same head.
ORDER = """
CREATE FUNCTION es.insist_on_order() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_rows record;
    before record;
BEGIN
    SELECT min(position) AS low, max(position) AS high, count(*) AS many,
           min(recorded_at) AS earliest, max(recorded_at) AS latest INTO new_rows FROM added;
    IF new_rows.many = 0 THEN
        RETURN NULL;
    END IF;
    SELECT position, recorded_at INTO before
    FROM es.events WHERE position < new_rows.low ORDER BY position DESC LIMIT 1;
    IF new_rows.low <> coalesce(before.position, 0) + 1
        OR new_rows.high <> new_rows.low + new_rows.many - 1
        OR new_rows.high <> (SELECT max(position) FROM es.events) THEN
        RAISE EXCEPTION 'the log goes on at its head: position % is refused', new_rows.low
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF new_rows.earliest <> new_rows.latest OR new_rows.earliest < before.recorded_at
        OR new_rows.latest > greatest(clock_timestamp(), before.recorded_at) THEN
        RAISE EXCEPTION 'an event is recorded now: % is refused', new_rows.latest
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER in_order AFTER INSERT ON es.events
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT WHEN (NOT pg_has_role('gw_owner', 'MEMBER'))
    EXECUTE FUNCTION es.insist_on_order();
"""

BALANCED = """
CREATE OR REPLACE FUNCTION ledger.insist_on_balance() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    odd uuid;
    new_rows record;
BEGIN
    SELECT entry_id INTO odd FROM added GROUP BY entry_id, asset HAVING sum(units) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'journal entry % does not sum to zero', odd
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT min(position) AS low, count(*) AS many INTO new_rows FROM added;
    IF new_rows.many > 0 AND NOT pg_has_role('gw_owner', 'MEMBER') AND new_rows.many <>
        (SELECT count(*) FROM ledger.postings WHERE position >= new_rows.low) THEN
        RAISE EXCEPTION 'the books go on at their end: position % is refused', new_rows.low
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
"""

# Parsed when it is made, so that no search_path of a caller reads it as something else, and
# still written into the statement that uses it.
NO_OVERDRAFT = """
CREATE OR REPLACE FUNCTION ledger.no_overdraft(account text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE split_part(account, ':', 1)
    WHEN 'refund_float' THEN 'credit'
    WHEN 'refunds_pending' THEN 'credit'
    WHEN 'customer_refunds' THEN 'credit'
    WHEN 'fee_revenue' THEN 'credit'
    WHEN 'float_owed' THEN 'credit'
    WHEN 'gas_paid' THEN 'credit'
    WHEN 'hot_wallet' THEN 'debit'
    WHEN 'customer_receipts' THEN 'debit'
    WHEN 'fees_receivable' THEN 'debit'
    WHEN 'float_shortfall' THEN 'debit'
    WHEN 'gas_spent' THEN 'debit'
END;
"""

KEPT = """
ALTER FUNCTION es.refuse_change() SET search_path = pg_catalog, pg_temp;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON es.inbox
    FOR EACH STATEMENT EXECUTE FUNCTION es.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ingest.reconciliations
    FOR EACH STATEMENT EXECUTE FUNCTION es.refuse_change();
"""

SIGNER = """
ALTER FUNCTION signer.refuse_change() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION signer.guard_outgoing() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION signer.guard_new_outgoing() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION signer.guard_wallet() SET search_path = pg_catalog, pg_temp;
"""

# Everything that gw_owner has made or will make, read models and their rebuilds included.
BACKUP = """
DO $$
DECLARE
    ours name;
BEGIN
    FOR ours IN SELECT nspname FROM pg_namespace WHERE nspowner = 'gw_owner'::regrole LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO gw_backup', ours);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO gw_backup', ours);
        EXECUTE format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA %I TO gw_backup', ours);
    END LOOP;
END $$;
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO gw_backup;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO gw_backup;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON SEQUENCES TO gw_backup;
"""


def upgrade() -> None:
    for part in (ORDER, BALANCED, NO_OVERDRAFT, KEPT, SIGNER, BACKUP):
        op.execute(part)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only")

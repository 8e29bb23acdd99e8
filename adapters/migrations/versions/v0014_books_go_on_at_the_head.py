"""Postings belong to an event that their own transaction has just added.

Found by trying as gw_app: a posting far beyond the head was let in, and from then on every other
was refused as not at the end; and one at the position of an old event, if no posting came later.

The event must be ours by its xmin, not by its time: recorded_at is the latest event's where the
server's clock stepped back. Nobody writes under a savepoint; whoever did would be refused.

gw_owner and administrators are not counted: they restore and load. Nobody runs as them.
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None
phase = "before"

# Between low and the head lie only events of this transaction: es.insist_on_order lets nobody
# else in before it ends.
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
    SELECT min(position) AS low, max(position) AS high, count(*) AS many INTO new_rows FROM added;
    IF new_rows.many > 0 AND NOT pg_has_role('gw_owner', 'MEMBER') AND (
        new_rows.high > (SELECT coalesce(max(position), 0) FROM es.events)
        OR (SELECT xmin FROM es.events WHERE position = new_rows.low)
            IS DISTINCT FROM pg_current_xact_id()::xid
        OR new_rows.many <>
            (SELECT count(*) FROM ledger.postings WHERE position >= new_rows.low)) THEN
        RAISE EXCEPTION 'the books go on at the head of the log: position % is refused',
            new_rows.low USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
"""


def upgrade() -> None:
    op.execute(BALANCED)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only")

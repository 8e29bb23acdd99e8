"""The books at any position, and no account on the wrong side.

`no_overdraft` named the three accounts of the refund wallet. It names all now that can never
come to stand on their other side. Two are left out on purpose: a reorg can take back money that
was given back already, after which `merchant_payable`, or `suspense` for the inbox, shows on its
other side what was lost.

The indexes: a balance at a position is the last posting before it; a statement reads a merchant's
entries and completed payments of one month. The second is partial, so that other facts do not
pay for it.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
phase = "before"

_STATEMENTS = (
    """
    CREATE OR REPLACE FUNCTION ledger.no_overdraft(account text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
        SELECT CASE split_part(account, ':', 1)
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
        END
    $$
    """,
    # The function has changed behind the constraint: rows written before are checked once more.
    "ALTER TABLE ledger.accounts DROP CONSTRAINT no_overdraft",
    """
    ALTER TABLE ledger.accounts ADD CONSTRAINT no_overdraft CHECK (
        CASE ledger.no_overdraft(account)
            WHEN 'credit' THEN credits >= debits
            WHEN 'debit' THEN debits >= credits
            ELSE true
        END)
    """,
    """
    CREATE INDEX postings_history ON ledger.postings (account, asset, position DESC, leg DESC)
        INCLUDE (units, balance_after)
    """,
    """
    CREATE INDEX events_of_statements ON es.events (merchant_id, position)
        WHERE topic IN ('journal.entry_posted', 'payment.completed')
    """,
    "COMMENT ON COLUMN es.events.recorded_at IS 'Never goes back along the positions.'",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only")

"""A refund that was asked of the signer may be withdrawn until the signer has approved it.

The gateway itself may change no row of signer.outgoing; this function is the one change it may
make: refused, and never back. A thief who calls it can only keep money from leaving.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
phase = "before"

# The row's lock makes it one or the other: an approval that came first has given the nonce, and
# one that comes later finds a refused row.
WITHDRAW = """
CREATE FUNCTION signer.withdraw(which uuid, why text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE signer.outgoing
    SET state = 'refused', refusal = why, decided_at = clock_timestamp()
    WHERE refund_id = which AND state = 'reserved' AND nonce IS NULL
$$;
COMMENT ON FUNCTION signer.withdraw(uuid, text) IS
    'Refuse a refund that has no nonce yet; changes nothing of any other.';
REVOKE ALL ON FUNCTION signer.withdraw(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION signer.withdraw(uuid, text) TO gw_app;
"""


def upgrade() -> None:
    op.execute(WITHDRAW)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only")

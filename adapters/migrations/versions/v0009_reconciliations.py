"""What addresses hold on chain, beside what was seen to arrive there.

A reading is one row a purse, written over; a reconciliation is kept, as a dispute may ask what
was checked, and when. The index by transaction is for people who ask about one.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
phase = "before"

RECONCILIATIONS = """
CREATE TABLE ingest.reconciliations (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    network      text        NOT NULL,
    at           timestamptz NOT NULL,
    block_number bigint      NOT NULL CHECK (block_number >= 0),
    block_hash   text        NOT NULL,
    final        boolean     NOT NULL,
    checked      integer     NOT NULL CHECK (checked >= 0),
    undecided    integer     NOT NULL CHECK (undecided >= 0),
    differing    integer     NOT NULL CHECK (differing >= 0),
    found        integer     NOT NULL CHECK (found >= 0),
    unexplained  integer     NOT NULL CHECK (unexplained >= 0),
    rotated_to   bigint      NOT NULL
);
CREATE INDEX reconciliations_newest ON ingest.reconciliations (network, id DESC);
COMMENT ON TABLE ingest.reconciliations IS 'Balances on chain against transfers seen, each run.';
COMMENT ON COLUMN ingest.reconciliations.undecided IS 'No two providers gave the same balance.';
COMMENT ON COLUMN ingest.reconciliations.differing IS 'More was there than was seen to arrive.';
COMMENT ON COLUMN ingest.reconciliations.found IS 'Transfers that had been missed, fed in since.';
COMMENT ON COLUMN ingest.reconciliations.rotated_to IS 'Position in the watch list; goes down.';
"""

READINGS = """
CREATE TABLE ingest.balance_readings (
    network      text          NOT NULL,
    address      text          NOT NULL,
    asset        text          NOT NULL,
    block_number bigint        NOT NULL CHECK (block_number >= 0),
    block_hash   text          NOT NULL,
    units        numeric(78,0) NOT NULL CHECK (units >= 0),
    at           timestamptz   NOT NULL,
    PRIMARY KEY (network, address, asset)
);
COMMENT ON TABLE ingest.balance_readings IS 'The last balance that the transfers seen explain.';
"""

BY_TRANSACTION = """
CREATE INDEX sightings_by_transaction ON ingest.sightings ((sighting ->> 'tx_hash'));
"""

GRANTS = """
GRANT SELECT, INSERT ON ingest.reconciliations TO gw_app;
GRANT SELECT, INSERT, UPDATE ON ingest.balance_readings TO gw_app;
GRANT SELECT ON ingest.reconciliations, ingest.balance_readings TO gw_readonly;
"""


def upgrade() -> None:
    for part in (RECONCILIATIONS, READINGS, BY_TRANSACTION, GRANTS):
        op.execute(part)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only")

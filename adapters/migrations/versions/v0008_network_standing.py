"""What a chain calls final, and how each network stands.

Both are one row a network, written over: what a person decided about a halted network is a fact
in the log, and this is only what the ingester last saw.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
phase = "before"

FINALITY = """
CREATE TABLE ingest.finality (
    network  text        NOT NULL PRIMARY KEY,
    number   bigint      CHECK (number >= 0),
    hash     text,
    final_at timestamptz,
    told     bigint      CHECK (told >= 0),
    told_at  timestamptz,
    resumed  integer     NOT NULL CHECK (resumed >= 0),
    deep     boolean     NOT NULL,
    CHECK ((number IS NULL) = (hash IS NULL) AND (number IS NULL) = (final_at IS NULL)),
    CHECK ((told IS NULL) = (told_at IS NULL))
);
COMMENT ON TABLE ingest.finality IS 'The newest block of ours that a quorum calls final.';
COMMENT ON COLUMN ingest.finality.told IS 'How far the quorum says the chain is final.';
COMMENT ON COLUMN ingest.finality.resumed IS 'Decisions of a person that have been acted upon.';
COMMENT ON COLUMN ingest.finality.deep IS 'A person has let any reorg be followed.';
"""

STANDINGS = """
CREATE TABLE ingest.standings (
    network  text        NOT NULL PRIMARY KEY,
    at       timestamptz NOT NULL,
    tip      bigint,
    attested bigint,
    single   boolean     NOT NULL,
    trouble  text,
    since    timestamptz,
    detail   text        NOT NULL,
    pending  boolean     NOT NULL,
    CHECK ((trouble IS NULL) = (since IS NULL))
);
COMMENT ON TABLE ingest.standings IS 'What the ingester of each network last said of itself.';
"""

GRANTS = """
GRANT SELECT, INSERT, UPDATE ON ingest.finality, ingest.standings TO gw_app;
GRANT SELECT ON ingest.finality, ingest.standings TO gw_readonly;
"""


def upgrade() -> None:
    for part in (FINALITY, STANDINGS, GRANTS):
        op.execute(part)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only")

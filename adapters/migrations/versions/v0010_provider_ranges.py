"""How wide a range of logs each provider gives, so that a new process need not learn it again."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
phase = "before"

RANGES = """
CREATE TABLE ingest.provider_ranges (
    network    text        NOT NULL,
    provider   text        NOT NULL,
    blocks     integer     NOT NULL CHECK (blocks > 0),
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (network, provider)
);
COMMENT ON TABLE ingest.provider_ranges IS
    'Blocks of logs a provider gave in one answer. A hint: losing it costs a few calls.';
GRANT SELECT, INSERT, UPDATE ON ingest.provider_ranges TO gw_app;
GRANT SELECT ON ingest.provider_ranges TO gw_readonly;
"""


def upgrade() -> None:
    op.execute(RANGES)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only")

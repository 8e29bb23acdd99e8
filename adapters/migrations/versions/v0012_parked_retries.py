"""A parked message can be tried again by a person; its row stays, and tells what came of it.

The first error stays too: it is why the message was parked.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None
phase = "before"

RETRIES = """
ALTER TABLE ingest.parked
    ADD COLUMN retries      integer NOT NULL DEFAULT 0 CHECK (retries >= 0),
    ADD COLUMN retried_at   timestamptz,
    ADD COLUMN retry_reason text,
    ADD COLUMN outcome      text CHECK (outcome IN ('settled', 'already_settled', 'failed')),
    ADD COLUMN retry_error  text,
    ADD CONSTRAINT parked_retried CHECK (
        (retries = 0) = (retried_at IS NULL)
        AND (retries = 0) = (retry_reason IS NULL)
        AND (retries = 0) = (outcome IS NULL)
        AND (retry_error IS NOT NULL) = (outcome IS NOT DISTINCT FROM 'failed')
    );
CREATE INDEX parked_waiting ON ingest.parked (at)
    WHERE outcome IS NULL OR outcome = 'failed';
COMMENT ON COLUMN ingest.parked.error IS 'Why it was parked.';
COMMENT ON COLUMN ingest.parked.outcome IS 'Of the last retry; without one, or failed, it waits.';
"""


def upgrade() -> None:
    op.execute(RETRIES)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only")

"""The vault, and the tables webhook workers work with.

Nothing in `work` is a source of truth: leases, receivers' answers, counters and checkpoints may
be emptied while the workers stand still, at the cost of some repeated work.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
phase = "before"

_STATEMENTS = (
    "CREATE SCHEMA vault",
    """
    CREATE TABLE vault.subjects (
        subject text PRIMARY KEY,
        wrapped_key bytea,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        destroyed_at timestamptz,
        CHECK ((wrapped_key IS NULL) = (destroyed_at IS NOT NULL))
    )
    """,
    """
    CREATE TABLE vault.secrets (
        secret_id uuid PRIMARY KEY,
        sealed bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "GRANT USAGE ON SCHEMA vault TO gw_app",
    "GRANT SELECT, INSERT, UPDATE (wrapped_key, destroyed_at) ON vault.subjects TO gw_app",
    "GRANT SELECT, INSERT ON vault.secrets TO gw_app",
    "CREATE SCHEMA IF NOT EXISTS work",
    """
    CREATE TABLE work.delivery_leases (
        delivery_id uuid PRIMARY KEY,
        endpoint_id uuid NOT NULL,
        lease_until timestamptz NOT NULL,
        owner text NOT NULL,
        released boolean NOT NULL DEFAULT false
    )
    """,
    "CREATE INDEX delivery_leases_until ON work.delivery_leases (lease_until)",
    """
    CREATE TABLE work.delivery_responses (
        delivery_id uuid NOT NULL,
        attempt integer NOT NULL CHECK (attempt > 0),
        excerpt bytea NOT NULL CHECK (octet_length(excerpt) <= 16384),
        at timestamptz NOT NULL,
        PRIMARY KEY (delivery_id, attempt)
    )
    """,
    "CREATE INDEX delivery_responses_at ON work.delivery_responses USING brin (at)",
    """
    CREATE TABLE work.endpoint_failures (
        endpoint_id uuid PRIMARY KEY,
        since timestamptz NOT NULL,
        last_at timestamptz NOT NULL,
        attempts bigint NOT NULL CHECK (attempts > 0)
    )
    """,
    """
    CREATE TABLE work.checkpoints (
        follower text PRIMARY KEY,
        position bigint NOT NULL CHECK (position >= 0),
        moved_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    """
    CREATE TABLE work.parked_events (
        follower text NOT NULL,
        position bigint NOT NULL,
        reason text NOT NULL,
        parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (follower, position)
    )
    """,
    "GRANT USAGE ON SCHEMA work TO gw_app, gw_readonly",
    """
    GRANT SELECT, INSERT, UPDATE, DELETE ON
        work.delivery_leases, work.delivery_responses, work.endpoint_failures,
        work.checkpoints, work.parked_events
    TO gw_app
    """,
    """
    GRANT SELECT ON
        work.delivery_leases, work.endpoint_failures, work.checkpoints, work.parked_events
    TO gw_readonly
    """,
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only")

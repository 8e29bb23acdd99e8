"""What reading the chains costs and how it goes: hourly sums, and each provider's state.

For people and for the bill, not for the books: the only rows of this schema that may be deleted,
after application/figures.FIGURES_KEPT_DAYS.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
phase = "before"

CALLS = """
CREATE TABLE ingest.figures (
    network    text        NOT NULL,
    provider   text        NOT NULL,
    hour       timestamptz NOT NULL,
    method     text        NOT NULL,
    outcome    text        NOT NULL,
    calls      bigint      NOT NULL CHECK (calls > 0),
    micros_sum bigint      NOT NULL CHECK (micros_sum >= 0),
    micros_max bigint      NOT NULL CHECK (micros_max >= 0),
    buckets    bigint[]    NOT NULL,
    first_at   timestamptz NOT NULL,
    last_at    timestamptz NOT NULL,
    PRIMARY KEY (network, hour, provider, method, outcome)
);
COMMENT ON TABLE ingest.figures IS 'Calls of an hour, and how long they took, in microseconds.';
COMMENT ON COLUMN ingest.figures.outcome IS 'answered, or the kind of the failure.';
COMMENT ON COLUMN ingest.figures.buckets IS
    'Calls by latency, at most each of application/figures.LATENCY_MICROS; the last: above them.';
"""

READINGS = """
CREATE TABLE ingest.reading_figures (
    network       text        NOT NULL,
    hour          timestamptz NOT NULL,
    blocks        bigint      NOT NULL,
    proofs        bigint      NOT NULL,
    disagreements bigint      NOT NULL,
    lies          bigint      NOT NULL,
    reorgs        bigint      NOT NULL,
    deepest_reorg bigint      NOT NULL,
    first_at      timestamptz NOT NULL,
    last_at       timestamptz NOT NULL,
    PRIMARY KEY (network, hour)
);
COMMENT ON TABLE ingest.reading_figures IS 'How following a network went in an hour.';
"""

STATES = """
CREATE TABLE ingest.provider_states (
    network     text        NOT NULL,
    provider    text        NOT NULL,
    condition   text        NOT NULL,
    head        bigint,
    answered_at timestamptz,
    failed_at   timestamptz,
    failure     text,
    at          timestamptz NOT NULL,
    PRIMARY KEY (network, provider)
);
COMMENT ON TABLE ingest.provider_states IS 'What the leading ingester last knew of a provider.';
"""

GRANTS = """
GRANT SELECT, INSERT, UPDATE, DELETE ON ingest.figures, ingest.reading_figures TO gw_app;
GRANT SELECT, INSERT, UPDATE ON ingest.provider_states TO gw_app;
GRANT SELECT ON ingest.figures, ingest.reading_figures, ingest.provider_states TO gw_readonly;
"""


def upgrade() -> None:
    for part in (CALLS, READINGS, STATES, GRANTS):
        op.execute(part)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only")

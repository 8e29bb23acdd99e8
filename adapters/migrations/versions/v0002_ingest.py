"""What the chain ingester remembers, and the messages nobody could apply.

Nothing is deleted: a header or sighting that a reorg threw off is marked, because a dispute may
ask about it years later. The cursor row is the only one that decides who may write: every write
names the cursor it was decided upon.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
phase = "before"

CURSORS = """
CREATE SCHEMA ingest;
GRANT USAGE ON SCHEMA ingest TO gw_app, gw_readonly;

CREATE TABLE ingest.cursors (
    network       text        NOT NULL PRIMARY KEY,
    number        bigint      NOT NULL CHECK (number >= 0),
    hash          text        NOT NULL,
    report_number bigint      NOT NULL CHECK (report_number >= 0),
    anchor        bigint      NOT NULL CHECK (anchor >= 0),
    updated_at    timestamptz NOT NULL
);
COMMENT ON TABLE ingest.cursors IS 'The newest block passed, and the last report given a number.';
COMMENT ON COLUMN ingest.cursors.anchor IS 'Scanning began with the block after this one.';
"""

BLOCKS = """
CREATE TABLE ingest.headers (
    network     text        NOT NULL,
    hash        text        NOT NULL,
    number      bigint      NOT NULL,
    parent_hash text        NOT NULL,
    time        timestamptz NOT NULL,
    attested    boolean     NOT NULL,
    providers   text[]      NOT NULL,
    canonical   boolean     NOT NULL,
    seen_at     timestamptz NOT NULL,
    orphaned_at timestamptz,
    PRIMARY KEY (network, hash)
);
CREATE UNIQUE INDEX headers_canonical ON ingest.headers (network, number) WHERE canonical;
CREATE INDEX headers_unattested ON ingest.headers (network, number)
    WHERE canonical AND NOT attested;
COMMENT ON COLUMN ingest.headers.attested IS 'Two providers agreed on the block.';

CREATE TABLE ingest.sightings (
    network      text        NOT NULL,
    block_hash   text        NOT NULL,
    transfer_id  text        NOT NULL,
    block_number bigint      NOT NULL,
    state        text        NOT NULL CHECK (state IN ('observed', 'confirmed', 'orphaned')),
    attested     boolean     NOT NULL,
    sighting     jsonb       NOT NULL,
    seen_at      timestamptz NOT NULL,
    changed_at   timestamptz NOT NULL,
    PRIMARY KEY (network, block_hash, transfer_id)
);
CREATE INDEX sightings_canonical ON ingest.sightings (network, block_number)
    WHERE state <> 'orphaned';
CREATE INDEX sightings_unconfirmed ON ingest.sightings (network, block_number)
    WHERE state = 'observed';
CREATE INDEX sightings_transfer ON ingest.sightings (transfer_id);
COMMENT ON TABLE ingest.sightings IS 'One row a transfer and block: mined again is another row.';
"""

OUTBOX = """
CREATE TABLE ingest.outbox (
    network       text        NOT NULL,
    report_number bigint      NOT NULL CHECK (report_number > 0),
    message_id    text        NOT NULL UNIQUE,
    subject       text        NOT NULL,
    data          bytea       NOT NULL,
    created_at    timestamptz NOT NULL,
    published_at  timestamptz,
    publications  integer     NOT NULL DEFAULT 0,
    settled_at    timestamptz,
    PRIMARY KEY (network, report_number)
);
CREATE INDEX outbox_unpublished ON ingest.outbox (network, report_number)
    WHERE published_at IS NULL;
CREATE INDEX outbox_unsettled ON ingest.outbox (network, report_number)
    WHERE published_at IS NOT NULL AND settled_at IS NULL;
COMMENT ON TABLE ingest.outbox IS 'Every report ever made, in the order it is to be believed.';
COMMENT ON COLUMN ingest.outbox.settled_at IS 'Found in es.inbox or ingest.parked.';
"""

COVERAGE = """
CREATE TABLE ingest.coverage (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    network      text        NOT NULL,
    first        bigint      NOT NULL,
    parent_hash  text        NOT NULL,
    last         bigint      NOT NULL,
    last_hash    text        NOT NULL,
    providers    text[]      NOT NULL,
    attested     boolean     NOT NULL,
    updated_at   timestamptz NOT NULL,
    withdrawn_at timestamptz,
    CHECK (first <= last)
);
CREATE UNIQUE INDEX coverage_first ON ingest.coverage (network, first)
    WHERE withdrawn_at IS NULL;
CREATE UNIQUE INDEX coverage_last ON ingest.coverage (network, last)
    WHERE withdrawn_at IS NULL;
COMMENT ON TABLE ingest.coverage IS 'Blocks scanned, by whom; withdrawn when a reorg took them.';
"""

PARKED = """
CREATE TABLE ingest.parked (
    source     text        NOT NULL,
    message_id text        NOT NULL,
    subject    text        NOT NULL,
    data       bytea       NOT NULL,
    error      text        NOT NULL,
    at         timestamptz NOT NULL,
    PRIMARY KEY (source, message_id)
);
CREATE INDEX parked_at ON ingest.parked (at);
COMMENT ON TABLE ingest.parked IS 'Messages no number of tries would get through.';
"""

GRANTS = """
GRANT SELECT, INSERT, UPDATE ON
    ingest.cursors, ingest.headers, ingest.sightings, ingest.outbox, ingest.coverage,
    ingest.parked TO gw_app;
GRANT SELECT ON
    ingest.cursors, ingest.headers, ingest.sightings, ingest.outbox, ingest.coverage,
    ingest.parked TO gw_readonly;
"""


def upgrade() -> None:
    for part in (CURSORS, BLOCKS, OUTBOX, COVERAGE, PARKED, GRANTS):
        op.execute(part)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only")

"""Each sighting keeps the version of its network's policy, and the rule that this gave it.

A payment split into small ones is judged by what has arrived at one address in all, so what a
sighting brought, and to whom, gets columns of its own: computed from the stored sighting, they
cannot differ from it.

Rows there are already were confirmed by one number of blocks a network. Which, the first report
of each transfer says: version 1 was the network's own number, a higher one an operator's, named
by 1,000,000 plus it.

Without a default on purpose: an ingester of the release before can pass no payment any more, and
stops with an error, before a rule is guessed. It has lost nothing; the new one passes the block.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
phase = "before"

COLUMNS = """
ALTER TABLE ingest.sightings
    ADD COLUMN policy_version bigint CHECK (policy_version > 0),
    ADD COLUMN rule_blocks integer CHECK (rule_blocks > 0),
    ADD COLUMN rule_tag text CHECK (rule_tag IN ('safe', 'finalized')),
    ADD COLUMN recipient text NOT NULL
        GENERATED ALWAYS AS (sighting ->> 'recipient') STORED,
    ADD COLUMN asset text NOT NULL
        GENERATED ALWAYS AS (sighting #>> '{amount,asset}') STORED,
    ADD COLUMN units numeric NOT NULL
        GENERATED ALWAYS AS ((sighting #>> '{amount,units}')::numeric) STORED;
COMMENT ON COLUMN ingest.sightings.policy_version IS
    'Of the policy in force when the transfer was first seen, in whatever block.';
COMMENT ON COLUMN ingest.sightings.rule_blocks IS 'Confirmations asked for; not with a tag.';
COMMENT ON COLUMN ingest.sightings.rule_tag IS 'What the chain must call the block, if anything.';
"""

BACKFILL = """
UPDATE ingest.sightings AS s SET
    policy_version = coalesce(told.policy_version, 1),
    rule_blocks = CASE
        WHEN told.policy_version > 1000000 THEN told.policy_version - 1000000
        WHEN s.network = 'polygon' THEN 64
        ELSE 3
    END
FROM ingest.sightings AS each
LEFT JOIN (
    SELECT DISTINCT ON (network, report #>> '{sighting,transfer_id}')
        network,
        report #>> '{sighting,transfer_id}' AS transfer_id,
        (report ->> 'policy_version')::bigint AS policy_version
    FROM (
        SELECT network, report_number, es.as_json(data) AS report FROM ingest.outbox
    ) AS o
    WHERE report ->> 'kind' = 'observed' AND (report ->> 'policy_version')::bigint > 0
    ORDER BY network, report #>> '{sighting,transfer_id}', report_number
) AS told USING (network, transfer_id)
WHERE (s.network, s.block_hash, s.transfer_id) = (each.network, each.block_hash, each.transfer_id);

ALTER TABLE ingest.sightings
    ALTER COLUMN policy_version SET NOT NULL,
    ALTER COLUMN rule_blocks SET NOT NULL;
"""

INDEXES = """
DROP INDEX ingest.sightings_unconfirmed;
CREATE INDEX sightings_due ON ingest.sightings (network, (block_number + rule_blocks))
    WHERE state = 'observed' AND rule_tag IS NULL;
CREATE INDEX sightings_awaiting ON ingest.sightings (network, rule_tag, block_number)
    WHERE state = 'observed' AND rule_tag IS NOT NULL;
CREATE INDEX sightings_received
    ON ingest.sightings (network, recipient, asset, block_number) INCLUDE (units)
    WHERE state <> 'orphaned';
"""


def upgrade() -> None:
    for part in (COLUMNS, BACKFILL, INDEXES):
        op.execute(part)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only")

"""The event log, what must be written together with it, and the books.

Positions are counted by the writer under one advisory lock, not by a sequence: 1, 2, 3 ... in
commit order, so that a missing number is a missing event and nothing else.

Append-only twice over: gw_app may only insert and select, and a trigger that gw_app neither owns
nor may disable raises for everybody else, the owner included.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
phase = "before"

SCHEMAS = """
CREATE SCHEMA es;
CREATE SCHEMA ledger;
GRANT USAGE ON SCHEMA es, ledger TO gw_app, gw_readonly;
"""

EVENTS = """
CREATE TABLE es.events (
    position       bigint      NOT NULL PRIMARY KEY CHECK (position > 0),
    stream_type    text        NOT NULL,
    stream_id      uuid        NOT NULL,
    version        bigint      NOT NULL CHECK (version >= 0),
    topic          text        NOT NULL,
    schema_version integer     NOT NULL,
    event_id       uuid        NOT NULL UNIQUE,
    merchant_id    uuid,
    mode           text        CHECK (mode IN ('live', 'test')),
    occurred_at    timestamptz NOT NULL,
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    state          bytea       NOT NULL,
    meta           jsonb       NOT NULL,
    UNIQUE (stream_id, version)
);
COMMENT ON TABLE es.events IS 'The log. Appended under the advisory lock only, never changed.';
COMMENT ON COLUMN es.events.position IS 'Commit order, without gaps.';
COMMENT ON COLUMN es.events.topic IS 'The permanent name of the event.';
COMMENT ON COLUMN es.events.state IS 'The event as canonical JSON: the bytes that are hashed.';
GRANT SELECT, INSERT ON es.events TO gw_app;
GRANT SELECT ON es.events TO gw_readonly;
"""

READABLE = """
CREATE FUNCTION es.as_json(state bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN convert_from(state, 'UTF8')::jsonb;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;  -- one unreadable state must not hide the others
END $$;
CREATE VIEW es.readable AS
    SELECT position, stream_type, stream_id, version, topic, schema_version, event_id,
           merchant_id, mode, occurred_at, recorded_at, es.as_json(state) AS data, meta
    FROM es.events;
COMMENT ON VIEW es.readable IS 'es.events with the state as JSON; NULL where it is none.';
GRANT SELECT ON es.readable TO gw_app, gw_readonly;
"""

BESIDE_EVENTS = """
CREATE TABLE es.inbox (
    source     text        NOT NULL,
    message_id text        NOT NULL,
    position   bigint      NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (source, message_id)
);
COMMENT ON TABLE es.inbox IS
    'Messages whose effect is in the log, kept for ever; position 0: no event came of it.';
GRANT SELECT, INSERT ON es.inbox TO gw_app;
GRANT SELECT ON es.inbox TO gw_readonly;

CREATE TABLE es.idempotency (
    merchant_id uuid        NOT NULL,
    mode        text        NOT NULL CHECK (mode IN ('live', 'test')),
    key         text        NOT NULL,
    fingerprint text        NOT NULL,
    status      integer     NOT NULL,
    body        bytea       NOT NULL,
    position    bigint      NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (merchant_id, mode, key)
);
CREATE INDEX idempotency_age ON es.idempotency (created_at);
COMMENT ON TABLE es.idempotency IS 'Answers to POSTs, kept seven days, then purged by a job.';
GRANT SELECT, INSERT, DELETE ON es.idempotency TO gw_app;

CREATE TABLE es.tracking (
    application_name text   NOT NULL PRIMARY KEY,
    notification_id  bigint NOT NULL
);
COMMENT ON TABLE es.tracking IS 'How far followers of the eventsourcing library have come.';
GRANT SELECT, INSERT, UPDATE ON es.tracking TO gw_app;
GRANT SELECT ON es.tracking TO gw_readonly;
"""

LEDGER = """
CREATE FUNCTION ledger.no_overdraft(account text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE split_part(account, ':', 1)
        WHEN 'refund_float' THEN 'credit'
        WHEN 'refunds_pending' THEN 'credit'
        WHEN 'hot_wallet' THEN 'debit'
    END
$$;
COMMENT ON FUNCTION ledger.no_overdraft IS 'The side on which an account may never be short.';

CREATE TABLE ledger.accounts (
    account text          NOT NULL,
    asset   text          NOT NULL,
    debits  numeric(78,0) NOT NULL CHECK (debits >= 0),
    credits numeric(78,0) NOT NULL CHECK (credits >= 0),
    version bigint        NOT NULL CHECK (version > 0),
    PRIMARY KEY (account, asset),
    CONSTRAINT no_overdraft CHECK (
        CASE ledger.no_overdraft(account)
            WHEN 'credit' THEN credits >= debits
            WHEN 'debit' THEN debits >= credits
            ELSE true
        END)
);
COMMENT ON TABLE ledger.accounts IS 'Sums of ledger.postings, kept in the same transaction.';
GRANT SELECT, INSERT, UPDATE ON ledger.accounts TO gw_app;
GRANT SELECT ON ledger.accounts TO gw_readonly;

CREATE TABLE ledger.postings (
    position        bigint        NOT NULL,
    leg             integer       NOT NULL CHECK (leg > 0),
    entry_id        uuid          NOT NULL,
    merchant_id     uuid          NOT NULL,
    account         text          NOT NULL,
    asset           text          NOT NULL,
    units           numeric(78,0) NOT NULL CHECK (units <> 0),
    account_version bigint        NOT NULL,
    balance_after   numeric(78,0) NOT NULL,
    PRIMARY KEY (position, leg),
    UNIQUE (account, asset, account_version)
);
CREATE INDEX postings_entry ON ledger.postings (entry_id);
COMMENT ON TABLE ledger.postings IS 'Legs of journal entries, in base units of the asset.';
COMMENT ON COLUMN ledger.postings.position IS 'Of the journal entry in the log.';
COMMENT ON COLUMN ledger.postings.units IS 'Debits are positive, credits negative.';
COMMENT ON COLUMN ledger.postings.balance_after IS 'Debits less credits, this leg included.';
GRANT SELECT, INSERT ON ledger.postings TO gw_app;
GRANT SELECT ON ledger.postings TO gw_readonly;
"""

# A statement sees all legs it adds, so an entry whose legs came in two statements is refused
# too. Asked once for each statement: as a deferred trigger for each row the same check took 6 to
# 21 % of the appends that post an entry (three rounds, 32 waiting).
BALANCED = """
CREATE FUNCTION ledger.insist_on_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    odd uuid;
BEGIN
    SELECT entry_id INTO odd FROM added GROUP BY entry_id, asset HAVING sum(units) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'journal entry % does not sum to zero', odd
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER balanced AFTER INSERT ON ledger.postings
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.insist_on_balance();
"""

APPEND_ONLY = """
CREATE FUNCTION es.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only: % is refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON es.events
    FOR EACH STATEMENT EXECUTE FUNCTION es.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.postings
    FOR EACH STATEMENT EXECUTE FUNCTION es.refuse_change();
"""


def upgrade() -> None:
    for part in (SCHEMAS, EVENTS, READABLE, BESIDE_EVENTS, LEDGER, BALANCED, APPEND_ONLY):
        op.execute(part)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only")

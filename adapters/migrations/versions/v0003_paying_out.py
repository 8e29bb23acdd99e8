"""Paying out: the tables between refund sender and signer, and the counters of addresses.

The signer is the only one who gives nonces and adds signed bytes; the sender is the only one who
asks. Neither may change what is to be paid once it is asked for, nor bytes once they are signed,
and triggers that neither owns hold that for the owner too.

Signed bytes stand in a table of attempts, one row a signature: a stuck transaction will be
replaced by another attempt at the same nonce, and all of them are kept.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
phase = "before"

SCHEMAS = """
CREATE SCHEMA signer;
CREATE SCHEMA IF NOT EXISTS work;
GRANT USAGE ON SCHEMA signer TO gw_app, gw_signer, gw_readonly;
GRANT USAGE ON SCHEMA work TO gw_app, gw_readonly;
"""

COUNTERS = """
CREATE TABLE work.deposit_counters (
    key_identity bytea  NOT NULL PRIMARY KEY CHECK (octet_length(key_identity) = 32),
    next_index   bigint NOT NULL CHECK (next_index > 0)
);
COMMENT ON TABLE work.deposit_counters IS
    'Addresses given out below each extended public key. Never set back: an address would be used twice.';
CREATE TABLE work.refund_wallet_counter (
    key_identity bytea  NOT NULL PRIMARY KEY CHECK (octet_length(key_identity) = 32),
    next_index   bigint NOT NULL CHECK (next_index > 0)
);
COMMENT ON TABLE work.refund_wallet_counter IS
    'Refund wallets given out below the public key of the signer. Never set back.';
GRANT SELECT, INSERT, UPDATE (next_index)
    ON work.deposit_counters, work.refund_wallet_counter TO gw_app;
GRANT SELECT ON work.deposit_counters, work.refund_wallet_counter TO gw_readonly;
"""

WALLETS = """
CREATE DOMAIN signer.address AS text CHECK (VALUE ~ '^0x[0-9a-f]{40}$');
CREATE DOMAIN signer.tx_hash AS text CHECK (VALUE ~ '^0x[0-9a-f]{64}$');
GRANT USAGE ON TYPE signer.address, signer.tx_hash TO gw_app, gw_signer, gw_readonly;

CREATE TABLE signer.wallets (
    chain_id     bigint         NOT NULL,
    address      signer.address NOT NULL,
    wallet_index bigint         NOT NULL CHECK (wallet_index >= 0),
    next_nonce   bigint         NOT NULL CHECK (next_nonce >= 0),
    locked       text,
    PRIMARY KEY (chain_id, address)
);
COMMENT ON COLUMN signer.wallets.next_nonce IS 'The nonce the next approval gets; only grows.';
COMMENT ON COLUMN signer.wallets.locked IS 'Why nothing is signed; only the owner unlocks.';
GRANT SELECT ON signer.wallets TO gw_app, gw_readonly;
GRANT SELECT, INSERT, UPDATE (next_nonce, locked) ON signer.wallets TO gw_signer;
"""

OUTGOING = """
CREATE TABLE signer.outgoing (
    refund_id    uuid           NOT NULL PRIMARY KEY,
    merchant_id  uuid           NOT NULL,
    network      text           NOT NULL,
    chain_id     bigint         NOT NULL,
    wallet       signer.address NOT NULL,
    wallet_index bigint         NOT NULL CHECK (wallet_index >= 0),
    token        signer.address NOT NULL,
    destination  signer.address NOT NULL,
    units        numeric(78,0)  NOT NULL CHECK (units > 0),
    gas_limit    bigint         NOT NULL CHECK (gas_limit > 0),
    max_fee      numeric(78,0)  NOT NULL CHECK (max_fee >= 0),
    tip          numeric(78,0)  NOT NULL CHECK (tip >= 0 AND tip <= max_fee),
    chain_nonce  bigint         NOT NULL CHECK (chain_nonce >= 0),
    reserved_at  timestamptz    NOT NULL DEFAULT clock_timestamp(),
    state        text           NOT NULL DEFAULT 'reserved'
                 CHECK (state IN ('reserved', 'signed', 'refused')),
    nonce        bigint         CHECK (nonce >= 0),
    micros       numeric(78,0)  CHECK (micros > 0),
    approved_at  timestamptz,
    decided_at   timestamptz,
    refusal      text,
    UNIQUE (chain_id, wallet, nonce),
    CHECK (num_nulls(nonce, micros, approved_at) IN (0, 3)),
    CHECK ((state = 'refused') = (refusal IS NOT NULL)),
    CHECK ((state = 'reserved') = (decided_at IS NULL)),
    CHECK (state <> 'signed' OR nonce IS NOT NULL),
    CHECK (state <> 'refused' OR nonce IS NULL)
);
COMMENT ON TABLE signer.outgoing IS 'One refund, one row, one nonce for ever.';
COMMENT ON COLUMN signer.outgoing.chain_nonce IS
    'Transactions of the wallet on chain when it was reserved: never more than we gave nonces.';
COMMENT ON COLUMN signer.outgoing.micros IS
    'Millionths of a dollar, as the signer counted them against its caps.';
CREATE INDEX outgoing_undecided ON signer.outgoing (reserved_at) WHERE state = 'reserved';
CREATE INDEX outgoing_of_the_day ON signer.outgoing (approved_at) WHERE approved_at IS NOT NULL;
GRANT SELECT, INSERT (refund_id, merchant_id, network, chain_id, wallet, wallet_index, token,
    destination, units, gas_limit, max_fee, tip, chain_nonce, state, decided_at, refusal)
    ON signer.outgoing TO gw_app;
GRANT SELECT, UPDATE (state, nonce, micros, approved_at, decided_at, refusal)
    ON signer.outgoing TO gw_signer;
GRANT SELECT ON signer.outgoing TO gw_readonly;

CREATE TABLE signer.outgoing_attempts (
    refund_id uuid           NOT NULL REFERENCES signer.outgoing,
    attempt   integer        NOT NULL CHECK (attempt > 0),
    max_fee   numeric(78,0)  NOT NULL,
    tip       numeric(78,0)  NOT NULL,
    raw       bytea          NOT NULL CHECK (octet_length(raw) BETWEEN 1 AND 4096),
    tx_hash   signer.tx_hash NOT NULL UNIQUE,
    signed_at timestamptz    NOT NULL,
    PRIMARY KEY (refund_id, attempt)
);
COMMENT ON TABLE signer.outgoing_attempts IS 'Signed bytes. All attempts of a refund share its nonce.';
GRANT SELECT ON signer.outgoing_attempts TO gw_app, gw_readonly;
GRANT SELECT, INSERT ON signer.outgoing_attempts TO gw_signer;
"""

UNCHANGEABLE = """
CREATE FUNCTION signer.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is kept as it is: % is refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE FUNCTION signer.guard_outgoing() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    settled text[] := ARRAY['state', 'nonce', 'micros', 'approved_at', 'decided_at', 'refusal'];
BEGIN
    IF to_jsonb(OLD) - settled IS DISTINCT FROM to_jsonb(NEW) - settled THEN
        RAISE EXCEPTION 'what a refund pays never changes' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF OLD.state <> 'reserved' THEN
        RAISE EXCEPTION 'this refund is decided' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF OLD.nonce IS NOT NULL AND (OLD.nonce, OLD.micros, OLD.approved_at)
        IS DISTINCT FROM (NEW.nonce, NEW.micros, NEW.approved_at) THEN
        RAISE EXCEPTION 'an approval never changes' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE ON signer.outgoing
    FOR EACH ROW EXECUTE FUNCTION signer.guard_outgoing();
CREATE TRIGGER kept BEFORE DELETE OR TRUNCATE ON signer.outgoing
    FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse_change();
CREATE TRIGGER kept BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.outgoing_attempts
    FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse_change();

CREATE FUNCTION signer.guard_new_outgoing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state = 'signed' OR NEW.nonce IS NOT NULL THEN
        RAISE EXCEPTION 'only the signer signs' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_new BEFORE INSERT ON signer.outgoing
    FOR EACH ROW EXECUTE FUNCTION signer.guard_new_outgoing();

CREATE FUNCTION signer.guard_wallet() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.next_nonce < OLD.next_nonce THEN
        RAISE EXCEPTION 'a nonce is given once' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF OLD.locked IS NOT NULL AND NEW.locked IS NULL
        AND NOT pg_has_role(current_user, 'gw_owner', 'MEMBER') THEN
        RAISE EXCEPTION 'only the owner unlocks a wallet' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE ON signer.wallets
    FOR EACH ROW EXECUTE FUNCTION signer.guard_wallet();
"""

# Anybody who serves may stop signing; only the owner may allow it again.
CONTROLS = """
CREATE TABLE signer.controls (
    only_row                boolean       NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
    signing_enabled         boolean       NOT NULL DEFAULT true,
    why                     text,
    changed_at              timestamptz   NOT NULL DEFAULT clock_timestamp(),
    per_transaction_micros  numeric(78,0) CHECK (per_transaction_micros >= 0),
    per_merchant_day_micros numeric(78,0) CHECK (per_merchant_day_micros >= 0),
    per_day_micros          numeric(78,0) CHECK (per_day_micros >= 0)
);
COMMENT ON TABLE signer.controls IS
    'The kill switch, and caps below those of the signer''s own settings; NULL: no tighter cap.';
INSERT INTO signer.controls DEFAULT VALUES;
GRANT SELECT ON signer.controls TO gw_app, gw_signer, gw_readonly;

CREATE FUNCTION signer.stop_signing(reason text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE signer.controls
    SET signing_enabled = false, why = reason, changed_at = clock_timestamp()
$$;
CREATE FUNCTION signer.allow_signing(reason text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    UPDATE signer.controls
    SET signing_enabled = true, why = reason, changed_at = clock_timestamp()
$$;
REVOKE ALL ON FUNCTION signer.stop_signing(text), signer.allow_signing(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION signer.stop_signing(text) TO gw_app, gw_signer;
"""


def upgrade() -> None:
    for part in (SCHEMAS, COUNTERS, WALLETS, OUTGOING, UNCHANGEABLE, CONTROLS):
        op.execute(part)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only")

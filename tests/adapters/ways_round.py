"""Every way round append-only that we could think of, as SQL.

Shapes  a script is tried in one transaction, by one role: statements with ;; between them.
        `EVENT` and `LEGS` make rows a forger would like to add.
"""

from adapters.event_store_sql import LOG_LOCK

EVENT = """
INSERT INTO es.events (position, stream_type, stream_id, version, topic, schema_version, event_id,
                       occurred_at, recorded_at, state, meta)
SELECT {position}, 'forged', gen_random_uuid(), 1, 'forged.made', 1, gen_random_uuid(), now(),
       {recorded_at}, '{{}}', '{{}}'
"""
HEAD = "(SELECT max(position) FROM es.events)"
LATEST = "(SELECT recorded_at FROM es.events ORDER BY position DESC LIMIT 1)"
LEGS = """
INSERT INTO ledger.postings (position, leg, entry_id, merchant_id, account, asset, units,
                             account_version, balance_after)
SELECT {position}, n, '00000000-0000-0000-0000-00000000000f', gen_random_uuid(), 'x:' || n, 'a',
       CASE n WHEN 9 THEN 1 ELSE -1 END, 1, 0 FROM generate_series(9, 10) AS n
"""

# ---------------------------------------------------------------- changing what is there


def changes(table: str, column: str) -> dict[str, str]:
    """Of one table; `column` is any of it."""
    return {
        "update": f"UPDATE {table} SET {column} = {column}",
        "update of nothing": f"UPDATE {table} SET {column} = {column} WHERE false",
        "delete": f"DELETE FROM {table}",
        "truncate": f"TRUNCATE {table}",
        "truncate cascade": f"TRUNCATE {table} RESTART IDENTITY CASCADE",
        "merge update": f"MERGE INTO {table} t USING (VALUES (1)) v ON true "
        f"WHEN MATCHED THEN UPDATE SET {column} = t.{column}",
        "merge delete": f"MERGE INTO {table} t USING (VALUES (1)) v ON true "
        "WHEN MATCHED THEN DELETE",
        "on conflict": f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {table} "
        f"ON CONFLICT ON CONSTRAINT {table.split('.')[1]}_pkey "
        f"DO UPDATE SET {column} = excluded.{column}",
        "delete in a query": f"WITH gone AS (DELETE FROM {table} RETURNING 1) "
        "SELECT count(*) FROM gone",
        "from a function": f"DO $$ BEGIN EXECUTE 'DELETE FROM {table}'; END $$",
        "from a cursor": f"DECLARE c CURSOR FOR SELECT * FROM {table} FOR UPDATE;; "
        f"MOVE NEXT IN c;; DELETE FROM {table} WHERE CURRENT OF c",
        "under a savepoint": f"SAVEPOINT a;; DELETE FROM {table};; RELEASE a",
        "after the constraints": f"SET CONSTRAINTS ALL DEFERRED;; DELETE FROM {table}",
        "only": f"DELETE FROM ONLY {table}",
    }


COLUMNS = {  # every table whose rows are kept as they were written, and a column of it
    "es.events": "state",
    "es.inbox": "position",
    "ledger.postings": "units",
    "ingest.reconciliations": "at",
    "signer.outgoing_attempts": "raw",
}
CHANGES = {
    f"{table}: {name}": script
    for table, column in COLUMNS.items()
    for name, script in changes(table, column).items()
}

# ---------------------------------------------------------------- taking the guard away

GUARDS_AWAY = {
    "disable the trigger": "ALTER TABLE es.events DISABLE TRIGGER append_only",
    "disable all triggers": "ALTER TABLE es.events DISABLE TRIGGER ALL",
    "make it a replica's": "ALTER TABLE es.events ENABLE REPLICA TRIGGER append_only",
    "drop the trigger": "DROP TRIGGER append_only ON es.events",
    "drop the order": "DROP TRIGGER in_order ON es.events",
    "rename the trigger": "ALTER TRIGGER append_only ON es.events RENAME TO other",
    "be a replica": "SET session_replication_role = replica",
    "be one in this transaction": "SET LOCAL session_replication_role = replica",
    "be one by function": "SELECT set_config('session_replication_role', 'replica', true)",
    "be one from now on": "ALTER ROLE CURRENT_USER SET session_replication_role = replica",
    "another function": "CREATE OR REPLACE FUNCTION es.refuse_change() RETURNS trigger "
    "LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "own the function": "ALTER FUNCTION es.refuse_change() OWNER TO CURRENT_USER",
    "drop the function": "DROP FUNCTION es.refuse_change() CASCADE",
    "own the table": "ALTER TABLE es.events OWNER TO CURRENT_USER",
    "drop the table": "DROP TABLE es.events",
    "drop the schema": "DROP SCHEMA es CASCADE",
    "drop what is owned": "DROP OWNED BY gw_owner",
    "give it away": "REASSIGN OWNED BY gw_owner TO CURRENT_USER",
    "rename the table": "ALTER TABLE es.events RENAME TO old",
    "move the table": "ALTER TABLE es.events SET SCHEMA public",
    "drop the key": "ALTER TABLE es.events DROP CONSTRAINT events_pkey",
    "change a type": "ALTER TABLE es.events ALTER COLUMN state TYPE text",
    "a rule": "CREATE RULE quiet AS ON INSERT TO es.events DO INSTEAD NOTHING",
    "a trigger": "CREATE TRIGGER other BEFORE INSERT ON es.events "
    "FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "a policy": "ALTER TABLE es.events ENABLE ROW LEVEL SECURITY",
    "attach a partition": "ALTER TABLE es.events ATTACH PARTITION es.inbox DEFAULT",
    "inherit": "CREATE TABLE public.child () INHERITS (es.events)",
    "a table beside": "CREATE TABLE es.forged ()",
    "a schema": "CREATE SCHEMA forged",
    "a public table": "CREATE TABLE public.forged ()",
    "a public function": "CREATE FUNCTION public.sum(numeric) RETURNS numeric RETURN 0",
    "a view in the way": "CREATE OR REPLACE VIEW es.readable AS SELECT 1",
    "cluster": "CLUSTER es.events USING events_pkey",
    "an event trigger": "CREATE EVENT TRIGGER t ON ddl_command_start "
    "EXECUTE FUNCTION es.refuse_change()",
    "no overdraft any more": "ALTER TABLE ledger.accounts DROP CONSTRAINT no_overdraft",
    "the catalogue": "UPDATE pg_trigger SET tgenabled = 'D'",
    "delete from the catalogue": "DELETE FROM pg_trigger",
    "the checksums": "DELETE FROM migrations.checksums",
    "the migrations": "DELETE FROM migrations.applied",
}

# ---------------------------------------------------------------- being somebody else

SOMEBODY_ELSE = {
    "be the owner": "SET ROLE gw_owner",
    "be the owner here": "SET LOCAL ROLE gw_owner",
    "be the superuser": "SET ROLE postgres",
    "log in as the owner": "SET SESSION AUTHORIZATION gw_owner",
    "log in by function": "SELECT set_config('session_authorization', 'gw_owner', false)",
    "join the owner": "GRANT gw_owner TO CURRENT_USER",
    "join the writers": "GRANT pg_write_all_data TO CURRENT_USER",
    "join the maintainers": "GRANT pg_maintain TO CURRENT_USER",
    "be a superuser": "ALTER ROLE CURRENT_USER SUPERUSER",
    "create roles": "ALTER ROLE CURRENT_USER CREATEROLE",
    "the owner's password": "ALTER ROLE gw_owner PASSWORD 'known'",
    "a setting of the owner": "ALTER ROLE gw_owner SET session_replication_role = replica",
    "a setting of the database": "ALTER DATABASE {database} SET session_replication_role = replica",
    "a setting of the server": "ALTER SYSTEM SET session_preload_libraries = 'forged'",
    "load code": "LOAD 'forged'",
    "run a program": "COPY es.events TO PROGRAM 'true'",
    "read a program": "COPY es.events FROM PROGRAM 'true'",
    "a file of the server": "COPY es.events FROM '/tmp/forged'",
    "write a file": "COPY (SELECT 1) TO '/tmp/forged'",
    "read a file": "SELECT pg_read_file('postgresql.conf')",
    "import a file": "SELECT lo_import('/tmp/forged')",
    "export a file": "SELECT lo_export(1, '/tmp/forged')",
    "a large object": "SELECT lo_create(4711)",
    "a large object with content": "SELECT lo_from_bytea(0, 'x')",
    "a subscription": "CREATE SUBSCRIPTION s CONNECTION 'dbname=x' PUBLICATION p "
    "WITH (connect = false)",
    "a publication": "CREATE PUBLICATION p FOR TABLE es.events",
    "another's session": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE usename = 'postgres'",
    "a default": "ALTER DEFAULT PRIVILEGES FOR ROLE gw_owner GRANT ALL ON TABLES TO PUBLIC",
    "unlock signing": "SELECT signer.allow_signing('forged')",
}

# Answered with a warning, and nothing is different afterwards.
NO_EFFECT = {"a grant": "GRANT UPDATE ON es.events TO CURRENT_USER"}
OUTSIDE_A_TRANSACTION = ("ALTER SYSTEM",)

# ---------------------------------------------------------------- views and sequences

SIDE_DOORS = {
    "insert into the view": "INSERT INTO es.readable (position) VALUES (1)",
    "update the view": "UPDATE es.readable SET topic = 'forged'",
    "delete from the view": "DELETE FROM es.readable",
    "merge into the view": "MERGE INTO es.readable r USING (VALUES (1)) v ON true "
    "WHEN MATCHED THEN DELETE",
    "set the sequence": "SELECT setval('ingest.reconciliations_id_seq', 1)",
    "restart the sequence": "ALTER SEQUENCE ingest.reconciliations_id_seq RESTART",
    "copy a change": "COPY es.readable FROM STDIN",
    "a key to the log": "CREATE TEMP TABLE mine (p bigint REFERENCES es.events)",
    "lock everybody out": "LOCK TABLE es.events IN ACCESS EXCLUSIVE MODE",
    "a temporary stand-in": "CREATE TEMP TABLE events (LIKE es.events)",
}

# ---------------------------------------------------------------- adding to the past

FORGERIES = {
    "a gap": EVENT.format(position=f"{HEAD} + 2", recorded_at="now()"),
    "far ahead": EVENT.format(position="9000000000000000000", recorded_at="now()"),
    "before the first": EVENT.format(position="0", recorded_at="now()"),
    "in its place": EVENT.format(position="1", recorded_at="now()"),
    "by force": EVENT.replace("SELECT", "OVERRIDING SYSTEM VALUE SELECT", 1).format(
        position=f"{HEAD} + 3", recorded_at="now()"
    ),
    "a gap under the lock": f"SELECT pg_advisory_xact_lock({LOG_LOCK[0]}, {LOG_LOCK[1]});; "
    + EVENT.format(position=f"{HEAD} + 2", recorded_at="now()"),
    "a gap of several": EVENT.format(position=f"{HEAD} + n * 2 - 1", recorded_at="now()")
    + " FROM generate_series(1, 2) AS n",
    "in the past": EVENT.format(
        position=f"{HEAD} + 1", recorded_at=f"{LATEST} - interval '1 second'"
    ),
    "in the future": EVENT.format(
        position=f"{HEAD} + 1", recorded_at="now() + interval '1 minute'"
    ),
    "for ever": EVENT.format(position=f"{HEAD} + 1", recorded_at="'infinity'"),
    "with other words": "SET LOCAL search_path = pg_temp, es, public;; "
    + EVENT.format(position=f"{HEAD} + 2", recorded_at="now()"),
    "a closed month": LEGS.format(position=1),
    "beside an entry": LEGS.format(position="(SELECT max(position) FROM ledger.postings)"),
    "the books of an old event": LEGS.format(position=HEAD),
    "the books of the next event": LEGS.replace("x:", "y:").format(position=f"{HEAD} + 1"),
    "the books of no event": LEGS.replace("x:", "z:").format(position="0"),
    "the books of an event to come": LEGS.replace("x:", "w:").format(
        position="9000000000000000000"
    ),
    "one leg": LEGS.format(position=f"{HEAD} + 1").replace("(9, 10)", "(9, 9)"),
}

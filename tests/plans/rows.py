"""A million rows of everything, skewed as a gateway's are, in seconds.

Shapes  `fill` fills empty tables: rows by INSERT ... SELECT generate_series, indexes of read models
        after that, then ANALYZE. States are the JSON of real examples, so that what reads them
        can; they are the same in every row, for plans do not look into them.
        One merchant has 60 % of all rows, another a handful, two thousand share the rest. Most
        sessions are completed and on two networks, a few statuses and networks are rare, one
        payer is an exchange that pays for a third, one reference is used for a tenth.
Units   N rows a table; amounts in millionths.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from application.deciders import PAYMENT
from domain import delivery, refund, transfer
from domain import events as e
from domain.events import Event
from projections.catalogue import PROJECTIONS
from projections.schema import creation, index_statements
from tests.examples import AT, CREATED, EXAMPLES, sighting

N = 1_000_000
BIG, SMALL, MIDDLING = UUID(int=1), UUID(int=2), UUID(int=3 + 7)
EXCHANGE = "0x" + "e0" * 20
EXCHANGE_WALLET = "0x" + "aa" * 20  # of the big merchant, to which unmatched money comes
BEGAN = "timestamptz '2026-01-01 00:00:00+00'"
SECONDS_APART = 30
SESSION_SPACE, REFUND_SPACE, DELIVERY_SPACE, TRANSFER_SPACE = "a", "b", "c", "d"


def id_of(space: str, number: int) -> UUID:
    return UUID(f"{space}0000000-0000-4000-8000-{number:012x}")


def address_of(number: int) -> str:
    return f"0x{number:040x}"


def hash_of(number: int) -> str:
    return f"0x{number:064x}"


def _id(space: str, of: str = "i") -> str:
    return f"('{space}0000000-0000-4000-8000-' || lpad(to_hex({of}), 12, '0'))::uuid"


def _address(of: str = "i") -> str:
    return f"'0x' || lpad(to_hex({of}), 40, '0')"


def _hash(of: str = "i") -> str:
    return f"'0x' || lpad(to_hex({of}), 64, '0')"


# Numbers below a thousand that look like chance and are the same every time.
_DICE = "abs(hashint4(i)) % 1000 AS a, abs(hashint4(i + 77777777)) % 1000 AS b"
_NUMBERS = "public.numbers AS n"
_MERCHANT, _MODE, _NETWORK, _ASSET, _AT = "merchant_id", "mode", "network", "asset", "at"
_UNITS, _PAYER = "units", "payer"
_MADE_MODE = "CASE WHEN b % 50 = 0 THEN 'test' ELSE 'live' END"
_MADE_NETWORK = (
    "CASE WHEN b % 50 = 0 THEN 'base-sepolia' WHEN b < 600 THEN 'polygon' "
    "WHEN b < 900 THEN 'base' WHEN b < 995 THEN 'ethereum' ELSE 'avalanche' END"
)
# What many tables say of a row, worked out once.
_MAKE_NUMBERS = f"""
CREATE UNLOGGED TABLE public.numbers AS
SELECT i, a, b,
    CASE WHEN i % 200000 = 7 THEN '{SMALL}'::uuid WHEN a < 600 THEN '{BIG}'::uuid
         ELSE ('00000000-0000-0000-0000-' || lpad(to_hex(3 + i % 2000), 12, '0'))::uuid
    END AS merchant_id,
    {_MADE_MODE} AS mode, {_MADE_NETWORK} AS network,
    'eip155:' || ({_MADE_NETWORK}) || CASE WHEN (a + b) % 25 = 0 THEN ':usdt' ELSE ':usdc' END
        AS asset,
    {BEGAN} + i * interval '{SECONDS_APART} seconds' AS at,
    CASE WHEN a % 10 < 3 THEN 49900000 WHEN i % 250000 = 9 THEN 9876543210
         ELSE 1000000 + (i::bigint * 7919 % 200000) * 10000 END AS units,
    CASE WHEN b % 3 = 0 THEN '{EXCHANGE}' ELSE {_address("i % 300000")} END AS payer,
    {_address()} AS address, {_hash()} AS hash
FROM (SELECT i, {_DICE} FROM generate_series(1, {N}) AS i OFFSET 0) AS dice
"""
_STATUS = (
    f"CASE WHEN i > {N} - 20000 AND a % 3 = 0 THEN 'pending' WHEN i % 5000 = 0 THEN 'pending' "
    "WHEN i % 9000 = 1 THEN 'confirming' WHEN b % 7 = 0 THEN 'failed' "
    "WHEN a % 60 = 0 THEN 'refunded' WHEN i % 3000 = 2 THEN 'partially_refunded' "
    "ELSE 'completed' END"
)
_REFERENCE = "CASE WHEN a % 10 = 9 THEN NULL WHEN b % 10 = 3 THEN 'till' ELSE 'order-' || i END"
_PAID = "(a + b) % 100 < 85"
_OWN = "a % 20 <> 0"
# Of what is looked up by its key or read along it, a quarter: what grows there is only the log's
# length, and lists have the whole million.
_KEYED = "i % 4 = 3"


def folded(decider: Any, *events: Event, **more: object) -> str:
    state: Any = None
    for event in events:
        state = decider.evolve(state, event)
    changed: str = state.model_copy(update=more).model_dump_json(exclude_defaults=True)
    return changed


def _example(kind: type[Event]) -> Event:
    return next(event for event in EXAMPLES if type(event) is kind)


# Short ones, so that the disk is not what the test waits for.
SESSION = folded(PAYMENT, CREATED)
_REFUND = folded(
    refund, _example(e.RefundRequested), completed_at=AT, failed_at=AT, tx_hash="0x5e"
)
_DELIVERY = folded(delivery, _example(e.DeliveryOpened))
_TRANSFER = folded(
    transfer, e.OnchainTransferObserved(at=CREATED.at, report_number=1, sighting=sighting())
)
_EVENT = e.SessionCancelled(at=AT).encoded().decode()


@dataclass(frozen=True, slots=True)
class Fill:
    table: str
    columns: str
    select: str
    source: str = _NUMBERS
    where: str = "true"

    def statement(self) -> str:
        return (
            f"INSERT INTO {self.table} ({self.columns}) "
            f"SELECT {self.select} FROM {self.source} WHERE {self.where}"
        )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_COMMON = "version, position, updated_position, state"
READ_MODELS = (
    Fill(
        "rm.payments",
        f"session_id, {_COMMON}, merchant_id, mode, status, network, asset, due_units, "
        "merchant_reference, created_at, expires_at, own_address",
        f"{_id('a')}, 2, i, i, {_quoted(SESSION)}, {_MERCHANT}, {_MODE}, {_STATUS}, {_NETWORK}, "
        f"{_ASSET}, {_UNITS}, {_REFERENCE}, {_AT}, {_AT} + interval '7 days', "
        f"CASE WHEN {_OWN} THEN address END",
    ),
    Fill(
        "rm.payment_transfers",
        "session_id, transfer_id, tx_hash",
        f"{_id('a')}, 't:' || i, CASE WHEN i % 900 < 3 THEN {_hash('i / 900')} ELSE hash END",
        where=_PAID,
    ),
    Fill(
        "rm.payment_payers",
        "session_id, payer, merchant_id, mode, created_at, position, status, network, asset, "
        "due_units",
        f"{_id('a')}, {_PAYER}, {_MERCHANT}, {_MODE}, {_AT}, i, {_STATUS}, {_NETWORK}, {_ASSET}, "
        f"{_UNITS}",
        where=_PAID,
    ),
    Fill(
        "rm.payment_openings",
        "network, closing_hour, opened_at",
        f"'polygon', {BEGAN} + i * interval '1 hour', {BEGAN}",
        source="generate_series(1, 8000) AS i",
    ),
    Fill(
        "rm.watch_list",
        "mode, address, purpose, subject_id, merchant_id, position",
        f"{_MODE}, address, 'payment_session', {_id('a')}, {_MERCHANT}, i",
        where=_OWN,
    ),
    Fill(
        "rm.refunds",
        f"refund_id, {_COMMON}, session_id, transfer_id, merchant_id, mode, status, created_at, "
        "completed_at, failed_on_chain_at, final_at",
        f"{_id('b')}, 1, i, i, {_quoted(_REFUND)}, {_id('a')}, "
        f"CASE WHEN a < 10 THEN 't:' || i END, {_MERCHANT}, {_MODE}, "
        "CASE WHEN i % 20000 = 3 THEN 'requested' WHEN a = 5 THEN 'failed' ELSE 'completed' END, "
        f"{_AT}, CASE WHEN a <> 5 AND i % 20000 <> 3 THEN {_AT} END, "
        f"CASE WHEN a = 5 THEN {_AT} END, CASE WHEN i < {N} - 200 THEN {_AT} END",
        where=_KEYED,
    ),
    Fill(
        "rm.deliveries",
        f"delivery_id, {_COMMON}, merchant_id, mode, endpoint_id, status, next_attempt_at, "
        "created_at",
        f"{_id('c')}, 2, i, i, {_quoted(_DELIVERY)}, {_MERCHANT}, {_MODE}, {_MERCHANT}, "
        "CASE WHEN i % 2000 = 5 OR (b = 9 AND a < 600) THEN 'due' WHEN i % 3000 = 6 THEN 'failed' "
        f"ELSE 'delivered' END, CASE WHEN i % 2000 = 5 OR (b = 9 AND a < 600) THEN {_AT} END, "
        f"{_AT}",
    ),
    Fill(
        "rm.delivery_attempts",
        "delivery_id, attempt, at, status_code, latency_ms, error",
        f"{_id('c')}, 1, {_AT}, 200, 40, NULL",
        where=_KEYED,
    ),
    Fill(
        "rm.transfers",
        f"stream_id, {_COMMON}, transfer_id, network, asset, units, tx_hash, sender, recipient, "
        "status, purpose, subject_id, merchant_id, verdict, reason, resolution, waits",
        f"{_id('d')}, 2, i, i, {_quoted(_TRANSFER)}, 't:' || i, {_NETWORK}, {_ASSET}, {_UNITS}, "
        f"hash, {_PAYER}, "
        f"CASE WHEN a % 60 = 1 THEN '{EXCHANGE_WALLET}' ELSE address END, 'confirmed', "
        "CASE WHEN a % 30 = 1 THEN 'unmatched' ELSE 'payment_session' END, "
        f"CASE WHEN a % 30 <> 1 THEN {_id('a')} END, {_MERCHANT}, '', '', "
        "CASE WHEN a % 30 <> 1 THEN 'open' WHEN i % 40 = 2 THEN 'open' "
        "WHEN i % 4000 = 3 THEN 'dismissed' ELSE 'accepted' END, a % 30 = 1 AND i % 40 = 2",
    ),
    Fill(
        "rm.api_keys",
        "key_id, key_hash, merchant_id, mode, scopes, label, last4, created_at, revoked",
        f"{_id('e')}, {_hash()}, {_id('f')}, 'live', 'read', 'till', 'abcd', {BEGAN}, false",
        source="generate_series(1, 200000) AS i",
    ),
    Fill(
        "rm.merchants",
        f"merchant_id, {_COMMON}, display_name",
        f"{_id('f')}, 1, i, i, '{{}}', 'Shop'",
        source="generate_series(1, 2000) AS i",
    ),
    Fill(
        "rm.journal_entries",
        "entry_id, position, at, cause, merchant_id, postings",
        f"{_id('9')}, i, {_AT}, 'payment.completed', {_MERCHANT}, '[]'",
        where=_KEYED,
    ),
    Fill(
        "rm.balances",
        "account, asset, debits, credits",
        "'merchant_payable:' || i, 'eip155:137', 10, 10",
        source="generate_series(1, 20000) AS i",
    ),
)
_ENTRY = _quoted(_example(e.JournalEntryPosted).encoded().decode())
LOG = (
    Fill(
        "es.events",
        "position, stream_type, stream_id, version, topic, schema_version, event_id, merchant_id, "
        "mode, occurred_at, recorded_at, state, meta",
        f"(i + 1) / 4, 'payment_session', {_id('a')}, 1, "
        "CASE WHEN i % 8 = 3 THEN 'journal.entry_posted' ELSE 'payment_session.cancelled' END, "
        f"{e.SessionCancelled.version}, {_id('8')}, {_MERCHANT}, {_MODE}, {_AT}, {_AT}, "
        f"CASE WHEN i % 8 = 3 THEN {_ENTRY}::text::bytea ELSE {_quoted(_EVENT)}::text::bytea END, "
        "'{}'",
        where=_KEYED,
    ),
    Fill(
        "es.inbox",
        "source, message_id, position",
        "'chain.polygon', 'observed:' || i, i",
        where=_KEYED,
    ),
    Fill(
        "es.idempotency",
        "merchant_id, mode, key, fingerprint, status, body, position, created_at",
        f"{_MERCHANT}, {_MODE}, 'key-' || lpad(i::text, 7, '0'), 'f', 201, '{{}}', i, {_AT}",
        where=_KEYED,
    ),
    Fill(
        "ledger.postings",
        "position, leg, entry_id, merchant_id, account, asset, units, account_version, "
        "balance_after",
        f"(i + 1) / 4, 1, {_id('9')}, {_MERCHANT}, 'merchant_payable:' || replace(({_MERCHANT})::text, "
        "'-', ''), 'eip155:137', 5, i, 5",
        where=_KEYED,
    ),
    Fill(
        "ledger.accounts",
        "account, asset, debits, credits, version",
        "'merchant_payable:' || lpad(to_hex(i), 32, '0'), 'eip155:137', 10, 10, 1",
        source="generate_series(1, 20000) AS i",
    ),
    Fill(
        "work.delivery_responses",
        "delivery_id, attempt, excerpt, at",
        f"{_id('c')}, 1, 'ok', {_AT}",
        where="i % 5 = 0",
    ),
)


def fill(admin_dsn: str) -> None:
    """Read models and the log side by side: two cores, two connections."""
    failed: list[BaseException] = []

    def work(fills: Sequence[Fill]) -> None:
        try:
            _fill(admin_dsn, fills)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failed.append(error)

    payments, rest = READ_MODELS[:5], READ_MODELS[5:]
    _unindexed(admin_dsn)
    with psycopg.connect(admin_dsn) as connection:
        connection.execute(_MAKE_NUMBERS.encode())
    threads = [
        threading.Thread(target=work, args=(fills,))
        for fills in ((*payments, *LOG[1:3]), (*rest, LOG[0], *LOG[3:]))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def _unindexed(admin_dsn: str) -> None:
    """The tables of the read models, empty, without what their indexes cost while rows come."""
    with psycopg.connect(admin_dsn) as connection:
        connection.execute("SET ROLE gw_owner")
        for projection in PROJECTIONS:
            schema = sql.Identifier(projection.schema)
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(schema))
            for statement in creation(projection, projection.schema):
                connection.execute(statement)
        for projection in PROJECTIONS:
            for table in projection.tables:
                name = sql.Identifier(projection.schema, table.name)
                connection.execute(sql.SQL("ALTER TABLE {} SET UNLOGGED").format(name))
                view = sql.Identifier("rm", table.name)
                connection.execute(
                    sql.SQL("CREATE OR REPLACE VIEW {} AS SELECT * FROM {}").format(view, name)
                )
                connection.execute(sql.SQL("GRANT SELECT ON {} TO gw_app").format(view))


def _fill(admin_dsn: str, fills: Iterable[Fill]) -> None:
    indexes = {
        table.name: statement_list
        for projection in PROJECTIONS
        for table in projection.tables
        for statement_list in [table.create_indexes(projection.schema)]
    }
    assert sum(map(len, indexes.values())) == sum(
        len(index_statements(each, each.schema)) for each in PROJECTIONS
    )
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        # No triggers: they keep the log append-only, and would look at every row.
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET maintenance_work_mem = '256MB'")
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET max_parallel_maintenance_workers = 0")
        # Rows in their order, as they come about: or the one scan begins where another has been.
        connection.execute("SET synchronize_seqscans = off")
        for each in fills:
            connection.execute(each.statement().encode())
            name = each.table.removeprefix("rm.")
            for statement in indexes.get(name, ()):
                connection.execute(statement)
            # What pages by payer read must lie in an index, as autovacuum sees to.
            kind = "VACUUM ANALYZE" if name == "payment_payers" else "ANALYZE"
            connection.execute(f"{kind} {_base(connection, each.table)}".encode())


def _base(connection: psycopg.Connection, table: str) -> str:
    """The table behind a view."""
    schema, name = table.split(".")
    if schema != "rm":
        return table
    row = connection.execute(
        "SELECT schema FROM rm_admin.checkpoints WHERE live AND schema IN "
        "(SELECT schemaname FROM pg_tables WHERE tablename = %s)",
        (name,),
    ).fetchone()
    assert row is not None
    return f"{row[0]}.{name}"

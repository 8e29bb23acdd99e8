"""Read models of millions of payment sessions, in minutes: the rows of bench/reads.py.

Shapes  one merchant has 60 % of all sessions, one payer in three is the same exchange; every row
        is a folded state with ids, addresses, hashes, a reference and a moment of its own
"""

import threading
from collections.abc import Callable, Iterator
from uuid import UUID

import psycopg
from psycopg import sql

from application.api_keys import new_key
from bench.read_samples import BEGAN, PARTS, SAMPLES, SECONDS_APART, Sample, samples
from projections.payments import Payments

CHUNK_ROWS = 50_000
BIG = UUID(int=1)
EXCHANGE = "0x" + "e0" * 20

_ROWS = """
SELECT n.i, s.*, {began}::timestamptz + n.i * interval '{apart} seconds' AS at,
    ('a0000000-0000-4000-8000-' || lpad(to_hex(n.i), 12, '0'))::uuid AS id,
    '0x' || lpad(to_hex(n.i), 40, '0') AS address, '0x' || lpad(to_hex(n.i), 64, '0') AS hash,
    CASE WHEN abs(hashint8(n.i)) %% 3 = 0 THEN '{exchange}'
         ELSE '0x' || lpad(to_hex(n.i %% 400000 + 16777216), 40, '0') END AS payer,
    CASE WHEN abs(hashint8(n.i + 9)) %% 10 < 6 THEN '{big}'::uuid
         ELSE ('00000000-0000-0000-0000-' || lpad(to_hex(2 + n.i %% 2000), 12, '0'))::uuid
    END AS merchant
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n (i)
JOIN public.samples AS s ON s.number = abs(hashint8(n.i * 31)) %% {samples}
"""
_FILL = """
WITH rows AS MATERIALIZED ({rows}),
transfers AS (
    INSERT INTO {schema}.payment_transfers (session_id, transfer_id, tx_hash)
    SELECT id, '31337:' || hash || ':0', hash FROM rows WHERE paid
),
payers AS (
    INSERT INTO {schema}.payment_payers
        (session_id, payer, merchant_id, mode, created_at, position)
    SELECT id, payer, merchant, 'test', at, i FROM rows WHERE paid
)
INSERT INTO {schema}.payments (session_id, version, position, updated_position, state,
    merchant_id, mode, status, network, asset, due_units, merchant_reference, created_at,
    expires_at, own_address)
SELECT id, 1, i, i,
    replace(replace(replace(replace(replace(replace(replace(state,
        '{p.session_id}', id::text), '{p.merchant_id}', merchant::text),
        '{p.address}', address), '{p.payer}', payer), '{p.tx_hash}', hash),
        '{p.reference}', 'order-' || i),
        '{p.created_at}', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
    merchant, 'test', status, network, asset, units, 'order-' || i, at, at + interval '7 days',
    address
FROM rows
"""


def fill(admin: str, count: int, told: Callable[[int], None]) -> None:
    """Two connections, for two cores; indexes when all rows are there."""
    with psycopg.connect(admin, autocommit=True) as connection:
        _make_samples(connection, samples())
        for table in Payments.tables:
            name = sql.Identifier(Payments().schema, table.name)
            connection.execute(sql.SQL("DROP TABLE {} CASCADE").format(name))
            connection.execute(table.create(Payments().schema))
            # They need not outlive the benchmark, and reading them is the same.
            connection.execute(sql.SQL("ALTER TABLE {} SET UNLOGGED").format(name))
    chunks = iter(range(1, count + 1, CHUNK_ROWS))
    turn = threading.Lock()
    _both(admin, lambda connection: _fill_chunks(connection, chunks, turn, count, told))
    # With names: two connections that let PostgreSQL choose may be given the same one.
    left = iter(
        [
            sql.SQL("CREATE INDEX {} ON {} {}").format(
                sql.Identifier(f"{table.name}_by_{number}"),
                sql.Identifier(Payments().schema, table.name),
                sql.SQL(columns),
            )
            for table in Payments.tables
            for number, columns in enumerate(table.indexes)
        ]
    )
    _both(admin, lambda connection: _index(connection, left, turn, told))
    with psycopg.connect(admin, autocommit=True) as connection:
        for table in Payments.tables:
            _show(connection, table.name)
        connection.execute("VACUUM ANALYZE")


def _fill_chunks(
    connection: psycopg.Connection,
    chunks: Iterator[int],
    turn: threading.Lock,
    count: int,
    told: Callable[[int], None],
) -> None:
    statement = _FILL.format(
        rows=_ROWS.format(
            began=f"'{BEGAN.isoformat()}'",
            apart=SECONDS_APART,
            exchange=EXCHANGE,
            big=BIG,
            samples=SAMPLES,
        ),
        schema=Payments().schema,
        p=PARTS,
    )
    while True:
        with turn:
            first = next(chunks, None)
        if first is None:
            return
        last = min(first + CHUNK_ROWS - 1, count)
        connection.execute(statement.encode(), {"first": first, "last": last})
        told(last - first + 1)


def _index(
    connection: psycopg.Connection,
    left: Iterator[sql.Composed],
    turn: threading.Lock,
    told: Callable[[int], None],
) -> None:
    connection.execute("SET maintenance_work_mem = '512MB'")
    connection.execute("SET max_parallel_maintenance_workers = 0")
    while True:
        with turn:
            each = next(left, None)
        if each is None:
            return
        connection.execute(each)
        told(0)


def _both(admin: str, work: Callable[[psycopg.Connection], None]) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            with psycopg.connect(admin, autocommit=True) as connection:
                work(connection)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def _make_samples(connection: psycopg.Connection, made: list[Sample]) -> None:
    connection.execute(
        "CREATE UNLOGGED TABLE public.samples (number int PRIMARY KEY, state text, status text, "
        "network text, asset text, units numeric, paid boolean)"
    )
    with connection.cursor().copy("COPY public.samples FROM STDIN") as copy:
        for number, each in enumerate(made):
            copy.write_row((number, *each))
    connection.execute("ANALYZE public.samples")


def _show(connection: psycopg.Connection, table: str) -> None:
    source = sql.Identifier(Payments().schema, table)
    view = sql.Identifier("rm", table)
    for statement in ("CREATE VIEW {} AS SELECT * FROM {}", "GRANT SELECT ON {} TO gw_app"):
        connection.execute(sql.SQL(statement).format(view, source))


def give_key(admin: str) -> str:
    key, key_hash, last4 = new_key("test", bytes(range(32)))
    with psycopg.connect(admin) as connection:
        connection.execute(
            "INSERT INTO rm.api_keys (key_id, key_hash, merchant_id, mode, scopes, label, last4, "
            "created_at, revoked) VALUES (%s, %s, %s, 'test', 'read', 'bench', %s, now(), false)",
            (UUID(int=9), key_hash, BIG, last4),
        )
    return key

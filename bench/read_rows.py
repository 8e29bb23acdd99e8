"""Read models of millions of payment sessions, in minutes: the rows of bench/reads.py.

Shapes  one merchant has 60 % of all sessions, one payer in three is the same exchange; every row
        is a folded state with ids, addresses, hashes, a reference and a moment of its own. Each
        session's address is on the watch list.
        Ids, addresses and hashes are those of a session's number, hashed: like production's they
        lie all over their indexes, and what is made together is not found together there.
Units   bytes on the disk: DISK_BYTES_PER_SESSION, as measured
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from uuid import UUID

import psycopg
from psycopg import sql

from application.api_keys import new_key
from bench.read_samples import BEGAN, SAMPLES, SECONDS_APART, Sample, samples
from projections.payments import Payments
from projections.table import Table
from projections.watchlist import WatchList

CHUNK_ROWS = 50_000
CONNECTIONS = 2  # for two cores
DISK_BYTES_PER_SESSION = 3_350
FORM = "payers with status"  # of the rows: what a folder of another form holds is filled anew
BIG = UUID(int=1)
EXCHANGE = "0x" + "e0" * 20
_FILLED: tuple[tuple[str, Table], ...] = tuple(
    (projection.schema, table)
    for projection in (Payments(), WatchList())
    for table in projection.tables
)

Told = Callable[[str, int, int], None]  # what is being done, how far, of how many


def session_id(number: int) -> UUID:
    return UUID(hashlib.md5(f"session {number}".encode(), usedforsecurity=False).hexdigest())


def address(number: int) -> str:
    return "0x" + _digest(f"address {number}")[:40]


def tx_hash(number: int) -> str:
    return "0x" + _digest(f"hash {number}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# The same in SQL.
_ROWS = """
SELECT n.i, s.*, '{began}'::timestamptz + n.i * interval '{apart} seconds' AS at,
    md5('session ' || n.i)::uuid AS id,
    '0x' || left(encode(sha256(('address ' || n.i)::bytea), 'hex'), 40) AS address,
    '0x' || encode(sha256(('hash ' || n.i)::bytea), 'hex') AS hash,
    CASE WHEN abs(hashint8(n.i)) %% 3 = 0 THEN '{exchange}'
         ELSE '0x' || left(encode(sha256(('payer ' || n.i %% 400000)::bytea), 'hex'), 40)
    END AS payer,
    CASE WHEN abs(hashint8(n.i + 9)) %% 10 < 6 THEN '{big}'::uuid
         ELSE md5('merchant ' || n.i %% 2000)::uuid
    END AS merchant
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n (i)
JOIN public.samples AS s ON s.number = abs(hashint8(n.i * 31)) %% {samples}
"""
# The order of format()'s arguments is that of read_samples.PARTS.
_FILL = """
WITH rows AS MATERIALIZED ({rows}),
transfers AS (
    INSERT INTO {schema}.payment_transfers (session_id, transfer_id, tx_hash)
    SELECT id, '31337:' || hash || ':0', hash FROM rows WHERE paid
),
payers AS (
    INSERT INTO {schema}.payment_payers
        (session_id, payer, merchant_id, mode, created_at, position, status, network, asset,
            due_units)
    SELECT id, payer, merchant, 'test', at, i, status, network, asset, units FROM rows WHERE paid
),
watched AS (
    INSERT INTO {watched}.watch_list
        (mode, address, purpose, subject_id, merchant_id, position)
    SELECT 'test', address, 'payment_session', id, merchant, i FROM rows
)
INSERT INTO {schema}.payments (session_id, version, position, updated_position, state,
    merchant_id, mode, status, network, asset, due_units, merchant_reference, created_at,
    expires_at, own_address)
SELECT id, 1, i, i,
    format(state, id, merchant, address, payer, hash, 'order-' || i,
        to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
    merchant, 'test', status, network, asset, units, 'order-' || i, at, at + interval '7 days',
    address
FROM rows
"""


def fill(admin: str, count: int, told: Told) -> None:
    """Rows first, then indexes, then VACUUM ANALYZE."""
    with psycopg.connect(admin, autocommit=True) as connection:
        _make_samples(connection, samples())
        _drop_other_versions(connection)
        for schema, table in _FILLED:
            name = sql.Identifier(schema, table.name)
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(name))
            connection.execute(table.create(schema))
            # They need not outlive a crash, and reading them is the same.
            connection.execute(sql.SQL("ALTER TABLE {} SET UNLOGGED").format(name))
    statement = _statement()
    chunks = [
        (statement, {"first": first, "last": min(first + CHUNK_ROWS - 1, count)})
        for first in range(1, count + 1, CHUNK_ROWS)
    ]
    _share(admin, chunks, lambda done: told("sessions", min(done * CHUNK_ROWS, count), count))
    indexes = list(_indexes())
    _share(admin, indexes, lambda done: told("indexes", done, len(indexes)))
    vacuums = [
        (sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(schema, table.name)), None)
        for schema, table in _FILLED
    ]
    _share(admin, vacuums, lambda done: told("tables vacuumed", done, len(vacuums)))
    with psycopg.connect(admin, autocommit=True) as connection:
        for schema, table in _FILLED:
            _show(connection, schema, table.name)
        connection.execute("ANALYZE")


def _drop_other_versions(connection: psycopg.Connection) -> None:
    """Those that an earlier release has filled here, with their views."""
    for schema in dict.fromkeys(schema for schema, _ in _FILLED):
        name = schema.rpartition("_v")[0]
        others = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s) AND nspname <> %s",
            (f"{name}_v", schema),
        ).fetchall()
        for (other,) in others:
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(other)))


def is_filled(admin: str, count: int) -> bool:
    """Whether the rows of an earlier run are still there: a crash empties unlogged tables."""
    with psycopg.connect(admin) as connection:
        found = connection.execute("SELECT max(position) FROM rm.payments").fetchone()
    return found == (count,)


def size_bytes(admin: str) -> int:
    with psycopg.connect(admin) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row is not None
    return int(row[0])


Work = tuple[sql.Composed | bytes, dict[str, int] | None]


def _statement() -> bytes:
    rows = _ROWS.format(
        began=BEGAN.isoformat(),
        apart=SECONDS_APART,
        exchange=EXCHANGE,
        big=BIG,
        samples=SAMPLES,
    )
    filled = _FILL.format(rows=rows, schema=Payments().schema, watched=WatchList().schema)
    return filled.encode()


def _indexes() -> Iterator[Work]:
    # With names: two connections that let PostgreSQL choose may be given the same one.
    form = sql.SQL("CREATE INDEX {} ON {} {}")
    for schema, table in _FILLED:
        for number, columns in enumerate(table.indexes):
            name = sql.Identifier(f"{table.name}_by_{number}")
            yield form.format(name, sql.Identifier(schema, table.name), sql.SQL(columns)), None


def _share(admin: str, work: Iterable[Work], told: Callable[[int], None]) -> None:
    """All of it, on a few connections; each takes the next statement when it has done one."""
    left = iter(work)
    turn = threading.Lock()
    done = 0
    failed: list[BaseException] = []

    def run() -> None:
        nonlocal done
        try:
            with psycopg.connect(admin, autocommit=True) as connection:
                connection.execute("SET maintenance_work_mem = '512MB'")
                connection.execute("SET max_parallel_maintenance_workers = 0")
                while not failed:
                    with turn:
                        each = next(left, None)
                    if each is None:
                        return
                    connection.execute(*each)
                    with turn:
                        done += 1
                        told(done)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def _make_samples(connection: psycopg.Connection, made: list[Sample]) -> None:
    connection.execute("DROP TABLE IF EXISTS public.samples")
    connection.execute(
        "CREATE UNLOGGED TABLE public.samples (number int PRIMARY KEY, state text, status text, "
        "network text, asset text, units numeric, paid boolean)"
    )
    with connection.cursor().copy("COPY public.samples FROM STDIN") as copy:
        for number, each in enumerate(made):
            copy.write_row((number, *each))
    connection.execute("ANALYZE public.samples")


def _show(connection: psycopg.Connection, schema: str, table: str) -> None:
    source = sql.Identifier(schema, table)
    view = sql.Identifier("rm", table)
    for statement in ("CREATE VIEW {} AS SELECT * FROM {}", "GRANT SELECT ON {} TO gw_app"):
        connection.execute(sql.SQL(statement).format(view, source))


def give_key(admin: str) -> str:
    key, key_hash, last4 = new_key("test", bytes(range(32)))
    with psycopg.connect(admin) as connection:
        connection.execute(
            "INSERT INTO rm.api_keys (key_id, key_hash, merchant_id, mode, scopes, label, last4, "
            "created_at, revoked) VALUES (%s, %s, %s, 'test', 'read', 'bench', %s, now(), false) "
            "ON CONFLICT (key_id) DO UPDATE SET key_hash = excluded.key_hash",
            (UUID(int=9), key_hash, BIG, last4),
        )
    return key

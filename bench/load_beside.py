"""What bench/load.py is measured against: the same rows put into the same tables by other ways.

Shapes  by INSERT  executemany, as one would without a generator; the rows are made already
        by COPY    text that is made already: what the server can take in at most, one connection
        Both go into tables like ours with all of their indexes, a transaction for all of it.
Units   events a second, each with its inbox row and its postings; CPU in seconds
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # the package ships no type hints
import psycopg
from psycopg import sql

BASELINE_EVENTS = 20_000
TABLES = (("es", "events"), ("es", "inbox"), ("ledger", "postings"))


def by_insert(admin: str, events: int = BASELINE_EVENTS) -> float:
    with psycopg.connect(admin) as connection, _tables_like_ours(connection) as schema:
        rows = {}
        for source in TABLES:
            cursor = connection.execute(_first(source), (events,))
            assert cursor.description is not None
            rows[source] = [column.name for column in cursor.description], cursor.fetchall()
        begun = time.perf_counter()
        for (_, table), (columns, values) in rows.items():
            statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                sql.Identifier(schema, table),
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
            )
            connection.cursor().executemany(statement, values)
        connection.commit()
        return len(rows["es", "events"][1]) / (time.perf_counter() - begun)


def by_copy(admin: str, events: int = BASELINE_EVENTS) -> float:
    with psycopg.connect(admin) as connection, _tables_like_ours(connection) as schema:
        texts = {}
        for source in TABLES:
            chosen = sql.SQL("COPY ({}) TO STDOUT").format(_first(source, sql.Literal(events)))
            with connection.cursor().copy(chosen) as copy:
                texts[source] = b"".join(copy)
        begun = time.perf_counter()
        for (_, table), text in texts.items():
            into = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(schema, table))
            with connection.cursor().copy(into) as copy:
                copy.write(text)
        connection.commit()
        return texts["es", "events"].count(b"\n") / (time.perf_counter() - begun)


def _first(source: tuple[str, str], events: sql.Composable | None = None) -> sql.Composed:
    columns = "position, stream_type, stream_id, version, topic, schema_version, event_id, "
    columns += "merchant_id, mode, occurred_at, recorded_at, state, meta::text"
    return sql.SQL("SELECT {} FROM {} WHERE position <= {}").format(
        sql.SQL(columns if source[1] == "events" else "*"),
        sql.Identifier(*source),
        events or sql.Placeholder(),
    )


@contextmanager
def _tables_like_ours(connection: psycopg.Connection) -> Iterator[str]:
    """The schema they are in, which goes with the block."""
    connection.execute("CREATE SCHEMA beside")
    for schema, table in TABLES:
        connection.execute(
            sql.SQL("CREATE TABLE beside.{} (LIKE {} INCLUDING ALL)").format(
                sql.Identifier(table), sql.Identifier(schema, table)
            )
        )
    connection.commit()
    try:
        yield "beside"
    finally:
        connection.rollback()
        connection.execute("DROP SCHEMA beside CASCADE")
        connection.commit()


def server_cpu_seconds(data: Path) -> float:
    """Of all processes of the server of this folder since it began, ended ones included."""
    postmaster = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
    times = postmaster.cpu_times()
    spent = times.user + times.system + times.children_user + times.children_system
    for child in postmaster.children():
        with_child = child.cpu_times()
        spent += with_child.user + with_child.system
    return float(spent)

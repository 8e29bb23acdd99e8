"""Packed columns arrive in PostgreSQL as the values they were, and as psycopg would send them."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import psycopg
import pytest

from projections.packing import COPY_BEGINS, COPY_ENDS, packed, placeholder, register
from projections.table import Table
from tests.conftest import Migrated

pytestmark = pytest.mark.services
AT = datetime(2026, 11, 22, 12, 0, 0, 1, tzinfo=UTC)
COLUMNS: dict[str, list[object]] = {
    "text": ["", "plain", 'a "quoted" \\ text\n', "Bäckerei 面包", "x" * 100_000],
    "numeric": [0, 1, 2**256 - 1, -5, 10_000, 9_999, 100_000_000, -(10**40), 12_0000_0034],
    "uuid": [UUID(int=0), UUID(int=2**128 - 1), UUID(int=7), UUID(int=8), UUID(int=9)],
    "bigint": [0, 2**63 - 1, -(2**63), 7, 8],
    "int": [0, 2**31 - 1, -(2**31), 7, 8],
    "boolean": [True, False, True, True, False],
    "timestamptz": [
        AT,
        datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        AT.astimezone(timezone(timedelta(hours=5, minutes=30))),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, tzinfo=UTC),
    ],
}


def sent(dsn: str, kind: str, column: list[object]) -> list[object]:
    with psycopg.connect(dsn) as connection:
        register(connection.adapters)
        query = f"SELECT v FROM unnest({placeholder(kind)}) WITH ORDINALITY AS u(v, n) ORDER BY n"
        cursor = connection.execute(query.encode(), (packed(kind, column),))
        return [row[0] for row in cursor.fetchall()]


def copied_in(dsn: str, kind: str, column: list[object]) -> list[object]:
    table = Table("t", (("n", "bigint"), ("v", kind)), ("n",))
    rows = list(enumerate(column))
    with psycopg.connect(dsn) as connection:
        connection.execute(f"CREATE TEMPORARY TABLE t (n bigint, v {kind})".encode())
        with connection.cursor() as cursor:
            with cursor.copy(table.copy("pg_temp")) as copy:
                copy.write(COPY_BEGINS + table.copied(rows[:2]))
                copy.write(table.copied(rows[2:]) + COPY_ENDS)
            return [row[0] for row in cursor.execute("SELECT v FROM t ORDER BY n").fetchall()]


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_copied_column_arrives_as_it_was(migrated: Migrated, kind: str) -> None:
    column = COLUMNS[kind]
    nothing: list[object] = [None, None, None]
    for sending in (column, [None, *column, None], column * 40, [*column * 40, None], nothing):
        assert copied_in(migrated.admin_dsn, kind, sending) == sending


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_column_arrives_as_it_was(migrated: Migrated, kind: str) -> None:
    column = COLUMNS[kind]
    assert sent(migrated.app_dsn, kind, column) == column
    with_nulls = [None, *column, None]
    assert sent(migrated.app_dsn, kind, with_nulls) == with_nulls
    assert sent(migrated.app_dsn, kind, column * 40) == column * 40
    assert sent(migrated.app_dsn, kind, [None, None]) == [None, None]


@pytest.mark.parametrize(
    ("kind", "value"),
    [("bigint", 2**63), ("int", 2**31), ("text", "\ud800"), ("text", 5), ("uuid", "no id")],
)
def test_what_a_type_cannot_hold_is_a_data_error_and_so_parks_its_stream(
    kind: str, value: object
) -> None:
    for column in ([value], [None, value]):
        with pytest.raises(psycopg.DataError):
            packed(kind, column)


def test_a_nul_in_a_text_is_refused_by_the_server(migrated: Migrated) -> None:
    with pytest.raises(psycopg.DataError):
        sent(migrated.app_dsn, "text", ["a\x00b"])

"""Connections whose statements are explained, with what they read, before they are run.

Shapes  Explained names one statement: its text, the tables read row by row, the largest sort, the
        rows that scans looked at, and the blocks touched.
        A statement that writes is explained in a transaction that is rolled back.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from psycopg import AsyncConnection, AsyncCursor, sql

from adapters.postgres import Postgres

_EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "
_EXPLAINED = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, slots=True)
class Explained:
    statement: str
    plan: dict[str, Any]

    def nodes(self) -> Iterator[dict[str, Any]]:
        waiting = [self.plan]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(node.get("Plans", ()))

    @property
    def scanned(self) -> set[str]:
        """Tables that were read from one end to the other."""
        return {
            str(node["Relation Name"])
            for node in self.nodes()
            if node["Node Type"] == "Seq Scan" and node["Actual Loops"]
        }

    @property
    def rows(self) -> int:
        """Rows that scans looked at, whether they were wanted or not."""
        found = 0
        for node in self.nodes():
            if "Scan" not in node["Node Type"] or node["Node Type"].startswith(_NOT_OF_TABLES):
                continue
            dropped = node.get("Rows Removed by Filter", 0)
            dropped += node.get("Rows Removed by Index Recheck", 0)
            found += (node["Actual Rows"] + dropped) * node["Actual Loops"]
        return found

    @property
    def gave(self) -> int:
        """Rows it answered with, or wrote."""
        node = self.plan
        if node["Node Type"] == "ModifyTable":
            node = next(each for each in node["Plans"] if each["Parent Relationship"] == "Outer")
        return int(node["Actual Rows"] * node["Actual Loops"])

    @property
    def sorted(self) -> int:
        """Rows that went into the largest sort."""
        inputs = [
            below["Actual Rows"]
            for node in self.nodes()
            if node["Node Type"] == "Sort"
            for below in node["Plans"]
            if below["Parent Relationship"] == "Outer"  # a CTE hangs there, too
        ]
        return max(inputs, default=0)

    @property
    def blocks(self) -> int:
        return int(self.plan["Shared Hit Blocks"] + self.plan["Shared Read Blocks"])


# What scans the rows of others, or none.
_NOT_OF_TABLES = ("CTE Scan", "WorkTable Scan", "Subquery Scan", "Function Scan", "Values Scan")


@dataclass
class Explaining:
    """Connections of `postgres`, every statement of which is explained into `found`."""

    postgres: Postgres
    found: list[Explained] = field(default_factory=list)

    @property
    def max_size(self) -> int:
        return self.postgres.max_size

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        async with self.postgres.connection() as connection:
            with self._listening(connection):
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        async with self.postgres.reading() as connection:
            with self._listening(connection):
                yield connection

    @contextlib.contextmanager
    def _listening(self, connection: AsyncConnection) -> Iterator[None]:
        found, plain = self.found, connection.cursor_factory

        class Cursor(AsyncCursor[Any]):
            async def execute(self, query: Any, params: Any = None, **more: Any) -> Any:
                text = _text(query, connection)
                if text.lstrip(" \n(").startswith(_EXPLAINED) and "pg_advisory" not in text:
                    found.append(Explained(text, await _explain(connection, text, params)))
                return await super().execute(query, params, **more)

        connection.cursor_factory = Cursor
        try:
            yield
        finally:
            connection.cursor_factory = plain


def _text(query: Any, connection: AsyncConnection) -> str:
    if isinstance(query, sql.Composable):
        return query.as_string(connection)
    return query.decode() if isinstance(query, bytes) else str(query)


async def _explain(connection: AsyncConnection, text: str, params: Any) -> dict[str, Any]:
    """With the values it has: as it would be planned for them alone."""
    asking: AsyncCursor[Any] = AsyncCursor(connection)
    begin, end = ("BEGIN", "ROLLBACK")
    if not connection.autocommit:
        begin, end = ("SAVEPOINT explained", "ROLLBACK TO SAVEPOINT explained")
    await asking.execute(begin)
    try:
        await asking.execute((_EXPLAIN + text).encode(), params, prepare=False)
        row = await asking.fetchone()
    finally:
        await asking.execute(end.encode())
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan

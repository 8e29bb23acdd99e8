"""Keyset pages of a view: conditions in, rows out, newest first, never a COUNT.

Shapes  Conditions are SQL with one %s and its argument. A page reads one row more than it
        gives: whether there is a next page costs nothing else.
Errors  CursorMalformed. Text that no row can hold (a NUL) matches nothing, as it should.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString, TypeVar

from psycopg import AsyncConnection, sql

from application.cursors import cursor_of
from application.reads import PAGE_SIZE_MAX, Page
from projections.database import Connections
from projections.table import Row

T = TypeVar("T")


@dataclass(slots=True)
class Where:
    conditions: list[sql.SQL] = field(default_factory=list)
    arguments: list[object] = field(default_factory=list)
    impossible: bool = False

    def add(self, condition: LiteralString, argument: object | None) -> None:
        """Ask for this, unless nothing is asked for."""
        if argument is None:
            return
        self.conditions.append(sql.SQL(condition))
        self.arguments.append(argument)
        if isinstance(argument, str) and "\x00" in argument:
            self.impossible = True

    def is_so(self, condition: LiteralString) -> None:
        """Ask for this, which has no argument."""
        self.conditions.append(sql.SQL(condition))

    def before(self, columns: LiteralString, place: tuple[object, ...]) -> None:
        """Rows whose sort key comes after the last page's last row."""
        marks: LiteralString = ", ".join(["%s"] * len(place))
        self.conditions.append(sql.SQL(f"({columns}) < ({marks})"))
        self.arguments.extend(place)

    def clause(self) -> sql.Composed:
        return sql.SQL(" AND ").join(self.conditions)


async def fetch_page(
    connections: Connections,
    select: LiteralString,
    where: Where,
    order: LiteralString,
    limit: int,
    read: Callable[[Row], tuple[T, tuple[int, ...]]],
) -> Page[T]:
    """`read` makes an item of a row, and gives its place in the order."""
    if where.impossible:
        return Page((), None)
    size = max(1, min(limit, PAGE_SIZE_MAX))
    query = sql.SQL("{} WHERE {} ORDER BY {} LIMIT %s").format(
        sql.SQL(select), where.clause(), sql.SQL(order)
    )
    async with connections.connection() as connection:
        rows = await fetch(connection, query, [*where.arguments, size + 1])
    items = [read(row) for row in rows[:size]]
    cursor = cursor_of(*items[-1][1]) if len(rows) > size else None
    return Page(tuple(item for item, _ in items), cursor)


async def fetch(
    connection: AsyncConnection, query: sql.Composed, arguments: Sequence[object]
) -> list[Any]:
    cursor = await connection.execute(query, arguments)
    return await cursor.fetchall()


def has_nul(text: str) -> bool:
    return "\x00" in text

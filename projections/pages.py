"""Keyset pages of a view: conditions in, rows out, newest first, never a COUNT.

Shapes  A Lane is rows that an index gives in the order of the page. A page merges its lanes and
        reads one row more than it gives: whether there is a next page costs nothing else.
        Conditions that no lane's index answers are `residual`: they are looked at row by row, in
        at most ROWS_WALKED_MAX rows a page, or as many as a lane says. Where that is not enough
        the page is short, perhaps empty, and its cursor goes on from the last row that was looked
        at. So a page costs the same however large the table is, and whatever is asked.
        Conditions are SQL with one %s and its argument.
Errors  CursorMalformed. Text that no row can hold (a NUL) matches nothing, as it should.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, LiteralString, TypeVar

from psycopg import AsyncConnection, sql

from application.cursors import cursor_of
from application.reads import PAGE_SIZE_MAX, Page
from projections.database import Connections
from projections.table import Row

T = TypeVar("T")
ROWS_WALKED_MAX = 1_000  # a page; in the memory of the server this is a few milliseconds
_ALL: Final = "SELECT true AS matches, {columns} FROM ({rows}) AS lanes ORDER BY {order} LIMIT %s"
# Rows are walked as far as either reader of `walked` asks: to the one more than a page that
# matches, or, where there are not so many, to the end of the walk.
_WALK: Final = """
WITH walked AS MATERIALIZED (SELECT * FROM ({rows}) AS lanes ORDER BY {order} LIMIT %s),
found AS MATERIALIZED (
    SELECT {columns} FROM walked WHERE {residual} ORDER BY {order} LIMIT %s
)
SELECT true AS matches, {columns} FROM found
UNION ALL (
    SELECT false, {columns} FROM walked WHERE NOT EXISTS (SELECT FROM found OFFSET %s)
    ORDER BY {order} OFFSET %s LIMIT 1
)
ORDER BY matches DESC, {order}
"""
# A state may have been written by a newer release, which runs beside this one for a while.
NEWER_FIELDS: Final = "ignore"


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

    def also(self) -> "Where":
        """The same, to be added to."""
        return Where([*self.conditions], [*self.arguments], self.impossible)

    def clause(self) -> sql.Composed:
        return sql.SQL(" AND ").join(self.conditions)


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """What a page is made of: `read` makes an item of `columns`, and gives its place."""

    source: LiteralString
    columns: LiteralString
    order: LiteralString
    read: Callable[[Row], tuple[T, tuple[int, ...]]]
    residual: LiteralString = ""  # further columns that residual conditions name
    # SQL around {found}, for what is read once rows are found: only of the page's own.
    around: LiteralString | None = None

    @property
    def selected(self) -> sql.Composed:
        parts = [part for part in (self.columns, self.residual) if part]
        return sql.SQL(", ").join(map(sql.SQL, parts))

    def told(self, found: sql.Composed) -> sql.Composed:
        return found if self.around is None else sql.SQL(self.around).format(found=found)


@dataclass(frozen=True, slots=True)
class Lane:
    """Rows in the order of the page, by one index."""

    where: Where
    source: LiteralString | None = None  # other than the listing's own, with the same columns
    walked_max: int | None = None  # other than ROWS_WALKED_MAX, where each costs more, or less

    def statement(self, listing: Listing[Any]) -> sql.Composed:
        return sql.SQL("SELECT {columns} FROM {source} WHERE {where}").format(
            columns=listing.selected,
            source=sql.SQL(self.source or listing.source),
            where=self.where.clause(),
        )


async def fetch_page(
    connections: Connections,
    listing: Listing[T],
    lanes: Sequence[Lane],
    limit: int,
    residual: Where | None = None,
) -> Page[T]:
    possible = [lane for lane in lanes if not lane.where.impossible]
    if not possible or (residual is not None and residual.impossible):
        return Page((), None)
    size = max(1, min(limit, PAGE_SIZE_MAX))
    if residual is None or not residual.conditions:
        rows, arguments = _merged(listing, possible, size + 1)
        query = sql.SQL(_ALL).format(
            columns=sql.SQL(listing.columns), rows=rows, order=sql.SQL(listing.order)
        )
        async with connections.reading() as connection:
            found = await fetch(connection, listing.told(query), [*arguments, size + 1])
        return _page(listing, [row[1:] for row in found], size)
    return await _walk(connections, listing, possible, size, residual)


async def _walk(
    connections: Connections,
    listing: Listing[T],
    lanes: Sequence[Lane],
    size: int,
    residual: Where,
) -> Page[T]:
    """One statement, so that what was found and where the walk ended are of the same moment."""
    most = min(lane.walked_max or ROWS_WALKED_MAX for lane in lanes)
    rows, arguments = _merged(listing, lanes, most)
    query = sql.SQL(_WALK).format(
        rows=rows,
        columns=sql.SQL(listing.columns),
        order=sql.SQL(listing.order),
        residual=residual.clause(),
    )
    given = [
        *(*arguments, most),
        *(*residual.arguments, size + 1),
        *(size, most - 1),
    ]
    async with connections.reading() as connection:
        found = await fetch(connection, listing.told(query), given)
    matching = [row[1:] for row in found if row[0]]
    if len(matching) > size:
        return _page(listing, matching, size)
    return _walked_page(listing, matching, [row[1:] for row in found if not row[0]])


def _merged(
    listing: Listing[Any], lanes: Sequence[Lane], most: int
) -> tuple[sql.Composed, list[object]]:
    """All lanes as one: PostgreSQL merges what their indexes give, and sorts nothing.

    It does so only where each lane is in order by itself, and has an end.
    """
    form = sql.SQL("({} ORDER BY {} LIMIT %s)")
    order = sql.SQL(listing.order)
    arms = [form.format(lane.statement(listing), order) for lane in lanes]
    arguments = [argument for lane in lanes for argument in (*lane.where.arguments, most)]
    return sql.SQL(" UNION ALL ").join(arms), arguments


def _page(listing: Listing[T], rows: Sequence[Row], size: int) -> Page[T]:
    items = [listing.read(row) for row in rows[:size]]
    cursor = cursor_of(*items[-1][1]) if len(rows) > size else None
    return Page(tuple(item for item, _ in items), cursor)


def _walked_page(listing: Listing[T], rows: Sequence[Row], last: Sequence[Row]) -> Page[T]:
    """All that was found; the next page begins after `last`, the last row looked at."""
    items = [listing.read(row) for row in rows]
    if not last:
        return Page(tuple(item for item, _ in items), None)
    _, end = listing.read(last[0])
    return Page(tuple(item for item, _ in items), cursor_of(*end))


async def fetch(
    connection: AsyncConnection, query: sql.Composed, arguments: Sequence[object]
) -> list[Any]:
    # Planned each time, for this merchant: one who owns half of the rows and one who owns ten
    # need different plans, and a prepared statement has one for all.
    cursor = await connection.execute(query, arguments, prepare=False)
    return await cursor.fetchall()


def has_nul(text: str) -> bool:
    return "\x00" in text

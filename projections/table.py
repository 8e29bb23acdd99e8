"""A read model's table: its columns, its key, and what happens when two rows share a key.

Shapes  Rows are tuples in column order. `upsert` takes one array a column (UNNEST), so a batch
        is one statement. A row that meets another of its key replaces it, unless the table
        `keeps` the first one, or some columns add up.
        Of two rows of one key in one batch the later counts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from psycopg import sql

from projections.packing import Packed, copied, packed, placeholder

Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    columns: tuple[tuple[str, str], ...]  # name, SQL type; `not null` unless in `nullable`
    key: tuple[str, ...]
    nullable: tuple[str, ...] = ()
    adds: tuple[str, ...] = ()
    keeps: bool = False
    least: tuple[str, ...] = ()  # of two rows of one key the smaller value, whichever came first
    indexes: tuple[str, ...] = ()  # what follows CREATE INDEX ON table, in SQL

    def create(self, schema: str) -> sql.Composed:
        columns = [
            sql.SQL("{} {}{}").format(
                sql.Identifier(name),
                sql.SQL(kind),
                sql.SQL("" if name in self.nullable else " NOT NULL"),
            )
            for name, kind in self.columns
        ]
        return sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))").format(
            sql.Identifier(schema, self.name), sql.SQL(", ").join(columns), _list(self.key)
        )

    def create_indexes(self, schema: str) -> list[sql.Composed]:
        where = sql.Identifier(schema, self.name)
        return [sql.SQL("CREATE INDEX ON {} {}").format(where, sql.SQL(i)) for i in self.indexes]

    def upsert(self, schema: str) -> sql.Composed:
        names = [name for name, _ in self.columns]
        arrays = sql.SQL(", ").join(sql.SQL(placeholder(kind)) for _, kind in self.columns)
        return sql.SQL(
            "INSERT INTO {} AS held ({}) SELECT * FROM unnest({}) ON CONFLICT ({}) DO {}"
        ).format(
            sql.Identifier(schema, self.name),
            _list(names),
            arrays,
            _list(self.key),
            self._on_conflict(),
        )

    def copy(self, schema: str) -> sql.Composed:
        """For rows of keys that the table does not hold, as `copied` writes them."""
        return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
            sql.Identifier(schema, self.name), _list([name for name, _ in self.columns])
        )

    def copied(self, rows: Sequence[Row]) -> bytes:
        return copied([kind for _, kind in self.columns], rows)

    def _on_conflict(self) -> sql.Composable:
        if self.keeps:
            return sql.SQL("NOTHING")
        changes = [self._change(name) for name, _ in self.columns if name not in self.key]
        return sql.SQL("UPDATE SET {}").format(sql.SQL(", ").join(changes))

    def _change(self, name: str) -> sql.Composed:
        if name in self.least:
            return sql.SQL("{0} = least(held.{0}, EXCLUDED.{0})").format(sql.Identifier(name))
        form = "{0} = held.{0} + EXCLUDED.{0}" if name in self.adds else "{0} = EXCLUDED.{0}"
        return sql.SQL(form).format(sql.Identifier(name))

    def arguments(self, rows: Sequence[Row]) -> list[Packed]:
        """The arguments of `upsert`, which may not meet one key twice unless it keeps the first."""
        unique = rows if self.keeps else self.distinct(rows)
        columns = zip(*unique, strict=True)
        return [
            packed(kind, column) for (_, kind), column in zip(self.columns, columns, strict=True)
        ]

    def distinct(self, rows: Sequence[Row]) -> Sequence[Row]:
        """One row a key: the one that counts, or the sum of all."""
        for place, (name, _) in enumerate(self.columns):
            if name in self.least:
                rows = sorted(rows, key=itemgetter(place), reverse=True)
        if self.keeps:
            rows = rows[::-1]
        names = [name for name, _ in self.columns]
        key_of = itemgetter(*(names.index(name) for name in self.key))
        if not self.adds:
            return list({key_of(row): row for row in rows}.values())
        sums: dict[object, Row] = {}
        for row in rows:
            key = key_of(row)
            sums[key] = self._sum(sums[key], row) if key in sums else row
        return list(sums.values())

    def _sum(self, one: Row, other: Row) -> Row:
        values: list[Any] = list(other)
        for place, (name, _) in enumerate(self.columns):
            if name in self.adds:
                values[place] += one[place]
        return tuple(values)


def _list(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))

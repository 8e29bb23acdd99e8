"""Tables and lines for a terminal, and for a pipe: nothing is ever cut.

Shapes  On a terminal cells are folded; in a pipe lines are as long as they need to be, so that
        ids can be searched and copied. A Listing is a table whose rows hold short words and
        figures that are never folded, and long words beneath each row, broken between words: it
        fits 80 columns.
        Text of others (a provider's error, a reason, a name) is shown as it is: what is a string
        is never read as markup, here and nowhere else. Styles are given as rich's Text.
"""

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from application.asset_units import AssetUnits
from application.statements import signed_decimal

PIPE_COLUMNS_MAX = 10_000
GAP = 2  # columns between two cells
BENEATH = 4  # how far in a note stands


def console() -> Console:
    width = None if sys.stdout.isatty() else PIPE_COLUMNS_MAX
    return Console(width=width, markup=False, highlight=False)


def plain(cell: RenderableType | None) -> RenderableType | None:
    """A string is what it says, also "[/]"."""
    return Text(cell) if isinstance(cell, str) else cell


class Cells(Table):
    """A table that reads no markup."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*map(plain, cells), **options)


def folding(title: str, *columns: str, left: frozenset[str]) -> Table:
    """A table whose cells are folded, never cut; columns that are not `left` hold figures."""
    table = Cells(title=Text(title, style="bold"), title_justify="left")
    for column in columns:
        justify: Any = "left" if column in left else "right"
        table.add_column(Text(column), justify=justify, overflow="fold")
    return table


class Listing:
    """Rows that are never folded, with notes beneath them."""

    def __init__(self, title: str, *columns: str, left: frozenset[str]) -> None:
        self._title = title
        self._columns = columns
        self._left = left
        self._rows: list[tuple[tuple[Text, ...], tuple[Text, ...]]] = []

    def add_row(self, *cells: str | Text, notes: Sequence[str | Text] = ()) -> None:
        assert len(cells) == len(self._columns), f"{len(cells)} cells"
        self._rows.append((_texts(cells), _texts(notes)))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        heads = tuple(Text(column, style="bold") for column in self._columns)
        lines_ = [heads, *(cells for cells, _ in self._rows)]
        widths = [max(line[place].cell_len for line in lines_) for place in range(len(heads))]
        yield Text(self._title, style="bold")
        yield self._line(heads, widths)
        for cells, notes in self._rows:
            yield self._line(cells, widths)
            for note in notes:
                for line in note.wrap(console, max(options.max_width - BENEATH, 1)):
                    line.rstrip()
                    yield Text.assemble(" " * BENEATH, line)

    def _line(self, cells: Sequence[Text], widths: Sequence[int]) -> Text:
        line = Text()
        for name, cell, width in zip(self._columns, cells, widths, strict=True):
            padding = " " * (width - cell.cell_len)
            parts = (cell, padding) if name in self._left else (padding, cell)
            line = Text.assemble(line, " " * GAP if line.plain else "", *parts)
        line.rstrip()
        line.overflow = "fold"
        return line


def _texts(given: Sequence[str | Text]) -> tuple[Text, ...]:
    return tuple(Text(each) if isinstance(each, str) else each for each in given)


def asset_text(units: AssetUnits, asset: str) -> str:
    """What people call it and where it is; an asset that nobody knows any more by its id."""
    found = units.find(asset)
    return asset if found is None else f"{found.symbol} on {found.network}"


def figure(units: AssetUnits, amount: int, asset: str) -> str:
    """A decimal; base units where the decimals are not known, as the id beside it shows."""
    found = units.find(asset)
    return signed_decimal(amount, 0 if found is None else found.decimals)


def lines(out: Console, *texts: Any) -> None:
    """Whole: the terminal may wrap a line, we never break it."""
    for text in texts:
        out.print(plain(text), soft_wrap=True, highlight=False)

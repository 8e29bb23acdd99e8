"""Tables and lines for a terminal, and for a pipe: nothing is ever cut.

Shapes  On a terminal cells are folded; in a pipe lines are as long as they need to be, so that
        ids can be searched and copied.
"""

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from application.asset_units import AssetUnits
from application.statements import signed_decimal

PIPE_COLUMNS_MAX = 10_000


def console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS_MAX)


def folding(title: str, *columns: str, left: frozenset[str]) -> Table:
    """A table whose cells are folded, never cut; columns that are not `left` hold figures."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", overflow="fold")
    return table


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
        out.print(text, soft_wrap=True, highlight=False)

"""One call of a reader: what it may cost, and whether it finds something.

Units   Bound: blocks of 8 KiB touched, rows looked at by scans, rows that go into a sort; each for
        one statement.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Bound:
    blocks: int
    rows: int
    sorted: int = 101  # a page of a hundred, and the one after it
    counts: bool = False  # it may say count(): of a bounded number of rows
    whole: frozenset[str] = frozenset()  # tables it reads from end to end, on purpose


KEY = Bound(blocks=60, rows=40)
PAGE = Bound(blocks=600, rows=260)
LANES = Bound(blocks=1_500, rows=500)
# Up to ROWS_WALKED_MAX rows, with a look into another index for each.
WALK = Bound(blocks=18_000, rows=8_500)
BATCH = Bound(blocks=3_500, rows=2_200)


@dataclass(frozen=True, slots=True)
class Case:
    of: type
    method: str
    what: str
    call: Callable[[Any], Awaitable[object]]
    bound: Bound
    finds: bool | None = True
    asks: bool = True  # False: the answer is known without a look


def _call(method: str, *given: Any, **named: Any) -> Callable[[Any], Awaitable[object]]:
    return lambda reader: getattr(reader, method)(*given, **named)


def case(
    of: type,
    method: str,
    bound: Bound,
    *given: Any,
    what: str = "",
    finds: bool | None = True,
    asks: bool = True,
    **named: Any,
) -> Case:
    said = what or ", ".join([*map(str, given), *(f"{k}={v}" for k, v in named.items())])
    return Case(of, method, said, _call(method, *given, **named), bound, finds, asks)

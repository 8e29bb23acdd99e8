"""One batch of a story on its way to be a form: its lines, and the values it makes for itself.

Shapes  A line is texts and gaps. Values of a batch are its positions, then what its `ops` give,
        in order, then version and balance of the account that each leg moved.
"""

from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

from bench.load_templates import (
    BatchForm,
    Counters,
    Form,
    Op,
    ShopState,
    Values,
    dashed,
    derived_hex,
)
from bench.load_world import Token


class Gap(NamedTuple):
    """Where a value stands: among those of shop and story, or among those of the batch."""

    of: str  # "value", "batch"
    place: int


Part = str | Gap


class BatchLines:
    def __init__(self, offset: int, number: int, rows: int) -> None:
        self.offset = offset
        self.number = number
        self.rows = rows
        self.ops: list[tuple[str, Any]] = []
        self.moves: list[tuple[str, str, int]] = []
        self.events: list[list[Part]] = []
        self.postings: list[list[Part]] = []
        self.inbox: list[Part] | None = None
        self.entries: dict[str, Gap] = {}
        self._counted: dict[str, Gap] = {}

    def value(self, op: Op) -> Gap:
        assert not self.moves, "legs come last"
        self.ops.append(("op", op))
        return Gap("batch", self.rows + len(self.ops) - 1)

    def entry(self, kind: str, stream: Part, version: Part) -> Gap:
        assert not self.moves, "legs come last"
        self.ops.append(("entry", (kind, stream, version)))
        return Gap("batch", self.rows + len(self.ops) - 1)

    def counted(self, text: str, token: Token) -> Gap:
        if text not in self._counted:
            self._counted[text] = self.value(_counter(token))
        return self._counted[text]

    def move(self) -> tuple[Gap, Gap]:
        """Version and balance of the account that the last leg moved."""
        place = self.rows + len(self.ops) + 2 * (len(self.moves) - 1)
        return Gap("batch", place), Gap("batch", place + 1)

    def form(self, after: int) -> BatchForm:
        def place(part: Part) -> int:
            assert isinstance(part, Gap)
            return part.place + (after if part.of == "batch" else 0)

        def op(kind: str, of: Any) -> Op:
            if kind == "op":
                found: Op = of
                return found
            stream_type, stream, version = of
            if isinstance(version, str):
                return partial(_entry_id, stream_type, place(stream), version)
            return partial(_entry_id_counted, stream_type, place(stream), place(version))

        def form(lines: Sequence[list[Part]]) -> Form:
            parts = [part for line in lines for part in line]
            text = "".join("%s" if isinstance(p, Gap) else p.replace("%", "%%") for p in parts)
            return Form(text, itemgetter(*(place(p) for p in parts if isinstance(p, Gap))))

        return BatchForm(
            offset=self.offset,
            rows=self.rows,
            ops=tuple(op(kind, of) for kind, of in self.ops),
            moves=tuple(self.moves),
            events=form(self.events) if self.events else Form("", lambda _: ()),
            inbox=None if self.inbox is None else form([self.inbox]),
            postings=form(self.postings) if self.postings else None,
        )


def next_version(place: int, values: Values, shop: ShopState, counters: Counters) -> int:
    del values, counters
    version = shop.float_versions[place] = shop.float_versions.get(place, 0) + 1
    return version


def _counter(token: Token) -> Op:
    if token.kind == "nonce":
        return _next_nonce
    (network,) = token.of
    return partial(_next_report, str(network))


def _next_report(network: str, values: Values, shop: ShopState, counters: Counters) -> int:
    del values, shop
    counters[network] = counters.get(network, 0) + 1
    return counters[network]


def _next_nonce(values: Values, shop: ShopState, counters: Counters) -> int:
    del values, counters
    shop.nonces += 1
    return shop.nonces - 1


def _entry_id(
    kind: str, stream: int, version: str, values: Values, shop: ShopState, counters: Counters
) -> str:
    del shop, counters
    return dashed(derived_hex("journal_entry", kind, values[stream], version))


def _entry_id_counted(
    kind: str, stream: int, version: int, values: Values, shop: ShopState, counters: Counters
) -> str:
    del shop, counters
    return dashed(derived_hex("journal_entry", kind, values[stream], str(values[version])))

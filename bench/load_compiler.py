"""A story that was told once, made a form for other tellings.

Shapes  Compiler.template  what was written, with each id, address, hash, moment and counted
                           number replaced by a gap, and by a maker of what goes there
Errors  LookupError for one of those that nothing says how to make anew: the same in two
        tellings, it would be a lie.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from adapters.event_store_books import Leg
from adapters.event_store_read import RawEvent
from application.deciders import REFUND_FLOAT
from bench.load_batches import BatchLines, Gap, Part, next_version
from bench.load_templates import (
    ENDPOINT_HEX,
    MICROSECOND,
    Maker,
    Telling,
    Template,
    Values,
    block_of,
    dashed,
    derived_hex,
    text_of,
)
from bench.load_world import SHARED_VERSION, Token, World, Written, moment_text
from domain.events import DeliveryOpened, JournalEntryPosted
from domain.networks import KNOWN_NETWORKS

_CONSTANT = frozenset(token.address for network in KNOWN_NETWORKS for token in network.tokens)
_TOKEN = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?Z"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|0x[0-9a-f]{64}|0x[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{32}"
    r"|(?<=[0-9]-)[0-9a-f]{16}\b"
    r"|\b7[5-9]0[0-9]{8}\b",
    re.IGNORECASE,
)


# What these are of a block is one of its fields.
_OF_BLOCK = {"block_number": "number", "block_hash": "hash", "block_time": "time"}


class Compiler:
    """One story's texts and what they become."""

    def __init__(self, world: World, shop: Values) -> None:
        self._tokens = world.tokens
        self._begun_at = world.begun_at
        self._shop = {text: place for place, text in enumerate(shop)}
        self._first = len(shop)
        self._makers: list[Maker] = []
        self._known: dict[object, int] = {}
        self._digits = 0
        self._event_ids: dict[str, tuple[RawEvent, int]] = {}
        self._deliveries: dict[str, str] = {}  # id, message id
        self._batch: BatchLines | None = None

    def template(self, written: Sequence[Written]) -> Template:
        for number, each in enumerate(written):
            for row in each.rows:
                for text in (row.event_id.hex, str(row.event_id)):
                    self._event_ids[text] = (row, number)
                if row.topic == DeliveryOpened.name:
                    opened = row.decoded().event
                    assert isinstance(opened, DeliveryOpened)
                    for text in (row.stream_id.hex, str(row.stream_id)):
                        self._deliveries[text] = opened.message_id
        compiled = [self._compiled(number, each) for number, each in enumerate(written)]
        after = self._first + len(self._makers)
        batches = tuple(each.form(after) for each in compiled)
        return Template(tuple(self._makers), self._digits, batches)

    def _compiled(self, number: int, written: Written) -> BatchLines:
        batch = self._batch = BatchLines(self._offset(written.at), number, len(written.rows))
        for place, row in enumerate(written.rows):
            batch.events.append(self._event_row(batch, place, row))
        for place, leg in written.legs:
            batch.postings.append(self._posting_row(batch, place, leg, written.rows[place]))
        if (message := written.batch.inbox) is not None:
            position: Part = Gap("batch", len(written.rows) - 1) if written.rows else "0"
            at = self.parts(moment_text(written.at))
            parts = [message.source, "\t", *self.parts(message.message_id), "\t", position, "\t"]
            batch.inbox = [*parts, *at, "\n"]
        return batch

    # ------------------------------------------------------------ rows

    def _event_row(self, batch: BatchLines, place: int, row: RawEvent) -> list[Part]:
        version: Part = str(row.version)
        state, meta = bytes(row.state).decode(), row.meta
        if row.stream_type == REFUND_FLOAT.stream_type:
            version = batch.value(partial(next_version, self._shop[row.stream_id.hex]))
            self._tokens[str(SHARED_VERSION + row.version)] = Token("shared", (version,))
        if row.topic == JournalEntryPosted.name:
            state = self._journal(batch, row, state)
        columns = (
            [Gap("batch", place)],
            [row.stream_type],
            self.parts(str(row.stream_id)),
            [version],
            [row.topic],
            [str(row.schema_version)],
            self.parts(str(row.event_id)),
            self.parts(str(row.merchant_id)) if row.merchant_id else ["\\N"],
            [row.mode or "\\N"],
            self.parts(moment_text(row.occurred_at)),
            self.parts(moment_text(row.recorded_at)),
            [_escaped(each, 4) for each in self.parts(state)],
            [_escaped(each, 2) for each in self.parts(meta)],
        )
        return _line(columns)

    def _journal(self, batch: BatchLines, row: RawEvent, state: str) -> str:
        """Its id follows from its cause; say so, and mark a version that only the load knows."""
        entry = row.decoded().event
        assert isinstance(entry, JournalEntryPosted)
        _, _, cause = entry.cause.partition(" ")
        kind, _, rest = cause.partition("/")
        stream, _, version = rest.partition("@")
        number: Part = version
        if kind == REFUND_FLOAT.stream_type:
            marked = str(SHARED_VERSION + int(version))
            state = state.replace(f"{stream}@{version}", f"{stream}@{marked}")
            (number,) = self.parts(marked)
        (stream_gap,) = self.parts(stream)
        batch.entries[str(entry.entry_id)] = batch.entry(kind, stream_gap, number)
        return state

    def _posting_row(self, batch: BatchLines, place: int, leg: Leg, row: RawEvent) -> list[Part]:
        kind, _, _ = leg.account.partition(":")
        batch.moves.append((kind, leg.asset, leg.units))
        version, balance = batch.move()
        columns = (
            [Gap("batch", place)],
            [str(leg.leg)],
            self.parts(str(row.stream_id)),
            self.parts(str(leg.merchant_id)),
            self.parts(leg.account),
            [leg.asset],
            [str(leg.units)],
            [version],
            [balance],
        )
        return _line(columns)

    # ------------------------------------------------------------ gaps

    def parts(self, text: str) -> list[Part]:
        """The text with its tokens replaced by gaps."""
        parts: list[Part] = []
        end = 0
        for match in _TOKEN.finditer(text):
            found = match[0]
            if found in _CONSTANT:
                continue
            parts.append(text[end : match.start()])
            parts.extend(self._gaps(found))
            end = match.end()
        parts.append(text[end:])
        return [part for part in parts if part != ""]

    def _gaps(self, text: str) -> Iterator[Part]:
        batch = self._batch
        assert batch is not None
        if text in self._shop:
            yield Gap("value", self._shop[text])
        elif text in batch.entries:
            yield batch.entries[text]
        elif text in self._event_ids:
            yield from self._event_id(text)
        elif (token := self._tokens.get(text)) is not None and token.kind == "shared":
            gap = token.of[0]
            assert isinstance(gap, Gap)
            yield gap
        elif token is not None and token.kind in {"report_number", "nonce"}:
            yield batch.counted(text, token)
        else:
            yield Gap("value", self._value(text, token))

    def _event_id(self, text: str) -> Iterator[Part]:
        row, number = self._event_ids[text]
        place = row.event_id.int >> 64 & 0xFFF
        at = self._offset(row.occurred_at)
        attempt = self._once(("attempt", number), self._randomly(16, _variant))
        if "-" not in text:
            yield Gap("value", self._once(("ms", at), partial(_milliseconds, at)))
            yield f"7{place:03x}"
            yield Gap("value", attempt)
            return
        yield Gap("value", self._once(("ms-", at), partial(_milliseconds_dashed, at)))
        yield f"-7{place:03x}-"
        yield Gap("value", self._once(("attempt-", number), partial(_attempt_dashed, attempt)))

    def _value(self, text: str, token: Token | None) -> int:
        if text in self._deliveries:
            return self._delivery(text)
        if token is None:
            return self._moment(text)
        of: tuple[Any, ...] = token.of
        match token.kind:
            case "id":
                return self._once(text, self._randomly(32, str))
            case "dashed":
                digits = self._once(of[0], self._randomly(32, str))
                return self._once(text, lambda t: dashed(t.values[digits]))
            case "hash":
                return self._once(text, self._randomly(64, "0x".__add__))
            case "address":
                return self._once(text, self._randomly(34, _decimal_address))
            case "deposit_index":
                return self._once(text, _next_deposit)
            case "block_number" | "block_hash" | "block_time":
                wanted = _OF_BLOCK[token.kind]
                return self._once((wanted, of), lambda t: getattr(block_of(of, t), wanted))
            case _:
                return self._derived(text, token.kind, of)

    def _derived(self, text: str, kind: str, of: tuple[Any, ...]) -> int:
        match kind:
            case "transfer_id" | "transfer_dashed":
                return self._transfer(kind, of)
            case "report_digest":
                return self._report_digest(text, of)
            case _:
                raise LookupError(f"nothing says how {text}, {kind} of {of}, is made")

    def _moment(self, text: str) -> int:
        """Any other moment keeps its distance from the story's start."""
        if "T" not in text:
            raise LookupError(f"nothing says how {text} is made")
        at = datetime.fromisoformat(text)
        if at.microsecond == 0:
            raise LookupError(f"{text} looks like a block's time and is none")
        offset = self._offset(at)
        return self._once(("moment", offset), lambda t: text_of(t.start + offset))

    def _transfer(self, kind: str, of: tuple[Any, ...]) -> int:
        chain_id, tx_hash, _ = of
        tx = self._value(tx_hash, self._tokens[tx_hash])

        def make(telling: Telling) -> str:
            return derived_hex("onchain_transfer", f"{chain_id}:{telling.values[tx]}:1")

        made = self._once(("transfer", tx_hash), make)
        if kind == "transfer_dashed":
            return self._once((kind, tx_hash), lambda t: dashed(t.values[made]))
        return made

    def _report_digest(self, text: str, of: tuple[Any, ...]) -> int:
        kind, chain_id, tx_hash, block_hash = of
        tx = self._value(tx_hash, self._tokens[tx_hash])
        block = self._value(block_hash, self._tokens[block_hash])

        def make(telling: Telling) -> str:
            transfer_id = f"{chain_id}:{telling.values[tx]}:1"
            content = f"{kind}\x1f{transfer_id}\x1f{telling.values[block]}"
            return hashlib.sha256(content.encode()).hexdigest()[:16]

        return self._once(text, make)

    def _delivery(self, text: str) -> int:
        message_id = self._deliveries[text]
        pieces = self.parts(message_id)

        def make(telling: Telling) -> str:
            values = telling.values
            message = "".join(p if isinstance(p, str) else values[p.place] for p in pieces)
            return derived_hex("webhook_delivery", message, values[ENDPOINT_HEX])

        made = self._once(("delivery", message_id), make)
        if "-" in text:
            return self._once(text, lambda t: dashed(t.values[made]))
        return made

    # ------------------------------------------------------------ values

    def _once(self, key: object, maker: Maker) -> int:
        """The place of a value, made when it is first needed."""
        place = self._known.get(key)
        if place is None:
            place = self._known[key] = self._first + len(self._makers)
            self._makers.append(maker)
        return place

    def _randomly(self, digits: int, form: Callable[[str], str]) -> Maker:
        first = self._digits
        self._digits += digits
        return lambda telling: form(telling.random[first : first + digits])

    def _offset(self, moment: datetime) -> int:
        return (moment - self._begun_at) // MICROSECOND


class Literal(Compiler):
    """For what is written as it was told, once."""

    def parts(self, text: str) -> list[Part]:
        return [text]


def _variant(digits: str) -> str:
    """The upper half of a UUID's last 64 bits says which kind it is: two bits, 1 and 0."""
    return "89ab"[int(digits[0], 16) & 3] + digits[1:]


def _decimal_address(digits: str) -> str:
    return f"0x{int(digits, 16) % 10**40:040d}"


def _next_deposit(telling: Telling) -> int:
    telling.shop.deposits += 1
    return telling.shop.deposits - 1


def _milliseconds(offset: int, telling: Telling) -> str:
    return f"{(telling.start + offset) // 1_000:012x}"


def _milliseconds_dashed(offset: int, telling: Telling) -> str:
    digits = _milliseconds(offset, telling)
    return f"{digits[:8]}-{digits[8:]}"


def _attempt_dashed(attempt: int, telling: Telling) -> str:
    digits = telling.values[attempt]
    return f"{digits[:4]}-{digits[4:]}"


def _line(columns: Sequence[Sequence[Part]]) -> list[Part]:
    line: list[Part] = []
    for column in columns:
        line.extend(column)
        line.append("\t")
    line[-1] = "\n"
    return line


def _escaped(part: Part, times: int) -> Part:
    """COPY reads two backslashes as one; what reads bytea from it does the same again."""
    return part.replace("\\", "\\" * times) if isinstance(part, str) else part

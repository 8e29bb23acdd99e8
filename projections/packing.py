"""Columns of rows as PostgreSQL's binary arrays, and rows as its COPY reads them, packed in a
few calls for all of a column.

psycopg dumps a list element by element, each by the dumper of its class; for the wide batches of
a rebuild that was a third of all its time. Here the column's SQL type says how.

Shapes  packed    the finished array of a column; psycopg passes it on as it is
        copied    rows in COPY's binary format, between COPY_BEGINS and COPY_ENDS
Units   big-endian, as the wire has them; moments are microseconds since 2000; whole numbers of
        type numeric have digits of base 10,000
Source  PostgreSQL's array_recv and numeric_recv, the receive functions of the element types,
        and "Binary Format" in the page of COPY
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, repeat
from struct import Struct
from typing import Any
from uuid import UUID

from psycopg import DataError
from psycopg.adapt import AdaptersMap, Buffer, Dumper
from psycopg.pq import Format

_HEADER = Struct(
    "!iiIii"
)  # dimensions, whether there are nulls, element type, length, lower bound
_LENGTH = Struct("!i").pack
_INT4 = Struct("!ii").pack
_INT8 = Struct("!iq").pack
_NULL = _LENGTH(-1)
_UUID = _LENGTH(16)
_BOOLEANS = {True: _LENGTH(1) + b"\x01", False: _LENGTH(1) + b"\x00"}
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
REPEATED_ROWS_MIN = 64
REPEATED_VALUES_MAX = 8
_UNFIT = (AttributeError, KeyError, TypeError, ValueError, struct.error)

Encode = Callable[[Sequence[Any]], list[bytes]]


@dataclass(frozen=True, slots=True)
class Packed:
    data: bytes


class PackedDumper(Dumper):
    """Of no type of its own: the statement's cast says what it is."""

    format = Format.BINARY

    def dump(self, obj: Packed) -> Buffer:
        return obj.data


def register(adapters: AdaptersMap) -> None:
    adapters.register_dumper(Packed, PackedDumper)


# Lengths up to here are looked up: most texts are short.
_LENGTHS = tuple(_LENGTH(length) for length in range(2_048))
_MICROS_A_DAY = 86_400_000_000


def _texts(column: Sequence[str]) -> list[bytes]:
    known, lengths_max = _LENGTHS, len(_LENGTHS)
    return [
        (known[len(data)] if len(data) < lengths_max else _LENGTH(len(data))) + data
        for data in [value.encode() for value in column]
    ]


def _uuids(column: Sequence[UUID]) -> list[bytes]:
    return [_UUID + value.int.to_bytes(16) for value in column]


def _moments(column: Sequence[datetime]) -> list[bytes]:
    since = [value - _EPOCH for value in column]
    return [
        _INT8(8, each.days * _MICROS_A_DAY + each.seconds * 1_000_000 + each.microseconds)
        for each in since
    ]


def _numerics(column: Sequence[int]) -> list[bytes]:
    return [_numeric(value) for value in column]


def _numeric(value: int) -> bytes:
    left, digits = abs(value), list[int]()
    while left:
        left, digit = divmod(left, 10_000)
        digits.append(digit)
    count = len(digits)
    digits.reverse()
    negative = 0x4000 if value < 0 else 0
    return struct.pack(
        f"!ihhHH{count}H", 8 + 2 * count, count, max(count - 1, 0), negative, 0, *digits
    )


# By SQL type: the element type's number, and how elements are written.
_TYPES: dict[str, tuple[int, Encode]] = {
    "text": (25, _texts),
    "numeric": (1700, _numerics),
    "uuid": (2950, _uuids),
    "bigint": (20, lambda column: list(map(_INT8, repeat(8), column))),
    "int": (23, lambda column: list(map(_INT4, repeat(4), column))),
    "boolean": (16, lambda column: list(map(_BOOLEANS.__getitem__, column))),
    "timestamptz": (1184, _moments),
}


def placeholder(kind: str) -> str:
    """What stands for a packed column in a statement."""
    return f"%b::{kind}[]"


def packed(kind: str, column: Sequence[object]) -> Packed:
    """Raises psycopg's DataError for what the type cannot hold, as its own dumpers do."""
    number, _ = _TYPES[kind]
    nulls, elements = _elements(kind, column)
    return Packed(_HEADER.pack(1, nulls, number, len(column), 1) + b"".join(elements))


COPY_BEGINS = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
COPY_ENDS = struct.pack("!h", -1)


def copied(kinds: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    """Raises as `packed` does."""
    columns = zip(*rows, strict=True)
    elements = [_elements(kind, column)[1] for kind, column in zip(kinds, columns, strict=True)]
    beginning = repeat(struct.pack("!h", len(kinds)))
    return b"".join(chain.from_iterable(zip(beginning, *elements, strict=False)))


def _elements(kind: str, column: Sequence[Any]) -> tuple[bool, list[bytes]]:
    """Whether there may be nulls among them, and all of them."""
    _, encode = _TYPES[kind]
    try:
        if kind == "text" and len(column) >= REPEATED_ROWS_MIN:
            some = set(column[:REPEATED_ROWS_MIN])
            if len(some) <= REPEATED_VALUES_MAX:  # a status, a network: the same few again
                return True, _repeated(encode, column)
        return False, encode(column)
    except _UNFIT:
        pass  # nulls, probably: looking for them first would cost as much again
    try:
        there = iter(encode([value for value in column if value is not None]))
        return True, [_NULL if value is None else next(there) for value in column]
    except _UNFIT as error:
        raise DataError(f"not of type {kind}: {error}") from error


def _repeated(encode: Encode, column: Sequence[Any]) -> list[bytes]:
    values = set(column) - {None}
    known = dict(zip(values, encode(list(values)), strict=True))
    known[None] = _NULL
    return [known[value] for value in column]

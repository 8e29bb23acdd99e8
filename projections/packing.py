"""Columns of rows as PostgreSQL's binary arrays, packed in a few calls for all of a column.

psycopg dumps a list element by element, each by the dumper of its class; for the wide batches of
a rebuild that was a third of all its time. Here the column's SQL type says how.

Shapes  PACKERS   by SQL type; numeric goes as text, which the statement casts
        Packed    the finished array; psycopg passes it on as it is
Units   big-endian, as the wire has them; moments are microseconds since 2000
Source  PostgreSQL's array_recv, and the receive functions of the element types
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any

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
_MICROSECOND = timedelta(microseconds=1)
REPEATED_ROWS_MIN = 64
REPEATED_VALUES_MAX = 8
_UNFIT = (AttributeError, KeyError, TypeError, ValueError, struct.error)

Encode = Callable[[Any], bytes]


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


def _text(value: str) -> bytes:
    data = value.encode()
    return _LENGTH(len(data)) + data


def _moment(value: datetime) -> bytes:
    return _INT8(8, (value - _EPOCH) // _MICROSECOND)


# By SQL type: the element type's number, and how an element is written.
_TYPES: dict[str, tuple[int, Encode]] = {
    "text": (25, _text),
    "numeric": (25, lambda value: _text(format(value, "d"))),
    "uuid": (2950, lambda value: _UUID + value.int.to_bytes(16)),
    "bigint": (20, lambda value: _INT8(8, value)),
    "int": (23, lambda value: _INT4(4, value)),
    "boolean": (16, _BOOLEANS.__getitem__),
    "timestamptz": (1184, _moment),
}


def placeholder(kind: str) -> str:
    """What stands for a packed column in a statement."""
    return "%b::text[]::numeric[]" if kind == "numeric" else f"%b::{kind}[]"


def packed(kind: str, column: Sequence[object]) -> Packed:
    """Raises psycopg's DataError for what the type cannot hold, as its own dumpers do."""
    number, encode = _TYPES[kind]
    try:
        nulls, elements = False, _elements(kind, encode, column)
    except _UNFIT:
        nulls = True  # probably: looking for them first would cost as much again
        elements = _with_nulls(kind, encode, column)
    return Packed(_HEADER.pack(1, nulls, number, len(column), 1) + b"".join(elements))


def _elements(kind: str, encode: Encode, column: Sequence[Any]) -> list[bytes]:
    if kind == "text" and len(column) >= REPEATED_ROWS_MIN:
        some = set(column[:REPEATED_ROWS_MIN])
        if len(some) <= REPEATED_VALUES_MAX:  # a status, a network: the same few over and over
            known = {value: encode(value) for value in set(column)}
            return [known[value] for value in column]
    return [encode(value) for value in column]


def _with_nulls(kind: str, encode: Encode, column: Sequence[Any]) -> list[bytes]:
    try:
        return [_NULL if value is None else encode(value) for value in column]
    except _UNFIT as error:
        raise DataError(f"not of type {kind}: {error}") from error

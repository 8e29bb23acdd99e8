"""RLP, written only: what block hashes and receipts roots are made of.

Shapes  `string` and `list_of` give the encoding of bytes and of encodings already made; `number`
        of an integer, whose zero is the empty string. Nothing is read back: an answer's fields
        are encoded and hashed, and the hash is compared.
Cost    a quarter of the general library's, which looks at the type of each value it meets.
Source  Yellow Paper, appendix B.
"""

from collections.abc import Iterable

_SHORT_MAX = 55  # bytes; above it the length itself is written out
_STRING_HEADS = tuple(bytes((0x80 + size,)) for size in range(_SHORT_MAX + 1))
_LIST_HEADS = tuple(bytes((0xC0 + size,)) for size in range(_SHORT_MAX + 1))


def string(item: bytes) -> bytes:
    size = len(item)
    if size > _SHORT_MAX:
        return _long_head(size, 0xB7) + item
    if size == 1 and item[0] < 0x80:
        return item
    return _STRING_HEADS[size] + item


def list_of(encoded: Iterable[bytes]) -> bytes:
    body = b"".join(encoded)
    size = len(body)
    if size > _SHORT_MAX:
        return _long_head(size, 0xF7) + body
    return _LIST_HEADS[size] + body


def number(value: int) -> bytes:
    return string(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _long_head(size: int, offset: int) -> bytes:
    written = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((offset + len(written),)) + written

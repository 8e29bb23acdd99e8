"""API keys: how they are written, checked without a database, and remembered.

Shapes  "sk_live_" or "sk_test_", 32 random base62 characters (190 bits), 6 base62 characters of
        CRC32 over everything before them. Only the SHA-256 is stored: at this entropy a slow
        hash adds nothing.
Errors  `parse` answers None for whatever is no key of ours, a typing error included.
Source  the layout with a checksum is the one code hosts use, so secret scanners find a leak.
"""

import hashlib
import zlib

from domain.values import Mode

RANDOM_LENGTH = 32
CHECKSUM_LENGTH = 6
RANDOM_BYTES_MIN = 24
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LETTERS = frozenset(_ALPHABET)
_PREFIXES: dict[Mode, str] = {"live": "sk_live_", "test": "sk_test_"}
KEY_LENGTH = len("sk_live_") + RANDOM_LENGTH + CHECKSUM_LENGTH


def new_key(mode: Mode, random_bytes: bytes) -> tuple[str, str, str]:
    """The key, its hash and its last four characters; the same ones for the same bytes."""
    assert len(random_bytes) >= RANDOM_BYTES_MIN, "too little randomness for a key"
    body = _PREFIXES[mode] + _base62(int.from_bytes(random_bytes), RANDOM_LENGTH)
    key = body + _checksum(body)
    return key, hash_of(key), key[-4:]


def parse(key: str) -> Mode | None:
    """The mode of a well-formed key; says nothing about whether anybody holds it."""
    mode = next((m for m, prefix in _PREFIXES.items() if key.startswith(prefix)), None)
    if mode is None or len(key) != KEY_LENGTH:
        return None
    body, checksum = key[:-CHECKSUM_LENGTH], key[-CHECKSUM_LENGTH:]
    if not _LETTERS.issuperset(key[len(_PREFIXES[mode]) :]):
        return None
    return mode if _checksum(body) == checksum else None


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))

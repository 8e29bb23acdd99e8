"""Places in a keyset page, as opaque text.

Shapes  A place is a tuple of integers, the sort key of the last row of a page; the text is
        URL-safe base64 and promises nothing to the caller but to be accepted back.
Errors  CursorMalformed for anything that was not given out by `cursor_of`.
"""

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta

from domain.errors import CursorMalformed

_PLACE = re.compile(r"[0-9]{1,19}(?:\.[0-9]{1,19})*")
_TEXT_LENGTH_MAX = 128
_INTEGER_MAX = 2**63 - 1  # what a position column holds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def cursor_of(*place: int) -> str:
    return base64.urlsafe_b64encode(".".join(map(str, place)).encode()).decode().rstrip("=")


def place_of(cursor: str, parts: int) -> tuple[int, ...]:
    """The `parts` integers behind a cursor."""
    if len(cursor) > _TEXT_LENGTH_MAX or not cursor.isascii():
        raise _malformed()
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise _malformed() from error
    if not _PLACE.fullmatch(text):
        raise _malformed()
    place = tuple(map(int, text.split(".")))
    if len(place) != parts or max(place) > _INTEGER_MAX:
        raise _malformed()
    return place


def microseconds_of(moment: datetime) -> int:
    """Since 1970, exactly: no float touches it."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(microseconds: int) -> datetime:
    """The moment a cursor names; CursorMalformed where the calendar has no such moment."""
    try:
        return _EPOCH + microseconds * _MICROSECOND
    except OverflowError as error:
        raise _malformed() from error


def _malformed() -> CursorMalformed:
    return CursorMalformed("give the next_cursor of the previous page, unchanged, or none")

"""JSON as callers send it: bounded, strict, without floats.

Shapes  `parse_json` gives dict, list, str, int, bool, None; a number that is no whole number of
        a sane size becomes a Decimal, which no field accepts: nothing is ever rounded.
Units   BODY_BYTES_MAX for a body as it arrives, also without Content-Length.
Errors  Problem: 400 for what is not one JSON document, 413, 415, 408. Each names `body`, or the
        key that stands there twice.
"""

import asyncio
import json
import re
from decimal import Decimal
from email.message import Message
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from api.problems import Problem

BODY_BYTES_MAX = 64 * 1024
BODY_SECONDS_MAX = 10
INTEGER_DIGITS_MAX = 18
DECIMAL_LENGTH_MAX = 100
DEPTH_MAX = 32
_BRACKETS = re.compile(r'[\[\]{}]|"(?:[^"\\]|\\.)*"')


class _RefusedNumber:
    """Stands for a number too long to look at."""


NUMBERS = (int, Decimal, _RefusedNumber)


def parse_json(data: bytes) -> Any:
    try:
        text = data.decode()
        _refuse_deep(text)
        return _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise _malformed("is not valid UTF-8") from error
    except json.JSONDecodeError as error:
        raise _malformed(f"is not valid JSON (character {error.pos})") from error


def _refuse_deep(text: str) -> None:
    """Before parsing: libraries raise the interpreter's own limit to where it would crash."""
    depth = 0
    for token in _BRACKETS.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise _malformed(f"is nested more than {DEPTH_MAX} deep")
        elif token[0] in "]}":
            depth -= 1


def canonical(document: object) -> bytes:
    """The same bytes for the same document, however it was spaced and ordered."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _malformed("stands there twice", field=twice)
    return found


def _whole(text: str) -> object:
    return int(text) if len(text) <= INTEGER_DIGITS_MAX else _RefusedNumber()


def _fraction(text: str) -> object:
    return Decimal(text) if len(text) <= DECIMAL_LENGTH_MAX else _RefusedNumber()


def _constant(name: str) -> NoReturn:
    raise _malformed(f"holds {name}, which is not JSON")


def _malformed(issue: str, *, field: str = "body") -> Problem:
    message = f"{field} {issue}"
    return Problem(400, "request.body_malformed", message, details=((field, issue),))


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_whole,
    parse_float=_fraction,
    parse_constant=_constant,
)


class StrictRequest(Request):
    """A request whose body is read by our rules instead of the framework's."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            self._refuse_media_type()
            self._body = await self._bounded()
        return self._body

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = parse_json(await self.body())
        return self._json

    def _refuse_media_type(self) -> None:
        message = Message()
        message["content-type"] = self.headers.get("content-type", "")
        charset = message.get_content_charset("utf-8")
        encoding = self.headers.get("content-encoding", "identity")
        if message.get_content_type() != "application/json" or charset != "utf-8":
            raise _unsupported("Content-Type", "send application/json, in UTF-8")
        if encoding != "identity":
            raise _unsupported("Content-Encoding", "send the body uncompressed")

    async def _bounded(self) -> bytes:
        announced = self.headers.get("content-length", "0")
        if not announced.isdigit() or int(announced[:20]) > BODY_BYTES_MAX:
            raise _too_large()
        read = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS_MAX):
                async for chunk in self.stream():
                    read += chunk
                    if len(read) > BODY_BYTES_MAX:
                        raise _too_large()
        except (TimeoutError, ClientDisconnect) as error:
            message = f"the body did not arrive within {BODY_SECONDS_MAX} seconds"
            details = (("body", message),)
            raise Problem(408, "request.body_too_slow", message, details=details) from error
        if not read:
            raise _malformed("is empty: send a JSON object")
        return bytes(read)


def _unsupported(field: str, issue: str) -> Problem:
    code = "request.media_type_unsupported"
    return Problem(415, code, f"{field}: {issue}", details=((field, issue),))


def _too_large() -> Problem:
    issue = f"is larger than {BODY_BYTES_MAX} bytes"
    return Problem(413, "request.body_too_large", f"the body {issue}", details=(("body", issue),))

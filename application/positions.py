"""Where in the log the work of one request has come to be written.

Shapes  `noted()` gives a place for the current task; `note(position)` is called by whoever writes,
        however deep. Outside of a `noted()` block a note is lost, and nobody minds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Written:
    """The last position written; None where nothing was."""

    position: int | None = None


_CURRENT: ContextVar[Written | None] = ContextVar("written", default=None)


@contextmanager
def noted() -> Iterator[Written]:
    written = Written()
    token = _CURRENT.set(written)
    try:
        yield written
    finally:
        _CURRENT.reset(token)


def note(position: int) -> None:
    written = _CURRENT.get()
    if written is not None:
        written.position = max(position, written.position or 0)

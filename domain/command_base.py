"""The base of every command."""

from domain.values import Moment, Value


class Command(Value):
    """Something asked or reported; `at` is the moment it is decided."""

    at: Moment

"""The base of every value, and the ids people see.

Shapes  Value is frozen, strict and closed: an unknown field or a wrong type is an error,
        so that a stored fact can never be misread in silence.
        Public ids are "<prefix>_<32 hex digits>", e.g. "ps_6f0c...": the same UUID, readable.
Errors  PublicIdMalformed when text is not an id of the wanted kind.
"""

import re
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID, uuid5

from pydantic import AfterValidator, BaseModel, ConfigDict

from domain.errors import PublicIdMalformed

Mode = Literal["live", "test"]

_NAMESPACE = UUID("5e7e1f0c-7a51-4a86-9d0c-5ab1ec0149a7")
_PUBLIC_ID = re.compile(r"([a-z]{2,4})_([0-9a-f]{32})")
_set = object.__setattr__


class Value(BaseModel):
    """A frozen value: equal by content, safe to share."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    def changed(self, **fields: object) -> Self:
        """The same value but for these fields, which are trusted: mind their types.

        What `model_copy` does, in half the time: evolve lives on it.
        """
        assert fields.keys() <= self.__dict__.keys(), f"{type(self).__name__} has no such field"
        copy = type(self).__new__(type(self))
        _set(copy, "__dict__", {**self.__dict__, **fields})
        _set(copy, "__pydantic_fields_set__", self.__pydantic_fields_set__)
        _set(copy, "__pydantic_extra__", None)
        _set(copy, "__pydantic_private__", None)
        return copy


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a moment needs a time zone")
    return moment


Moment = Annotated[datetime, AfterValidator(_aware)]


def derived_id(kind: str, *parts: str) -> UUID:
    """The one id that follows from what the world calls a thing, the same on every machine."""
    return uuid5(_NAMESPACE, "\x1f".join((kind, *parts)))


def public_id(prefix: str, identity: UUID) -> str:
    return f"{prefix}_{identity.hex}"


def parse_public_id(prefix: str, text: str) -> UUID:
    found = _PUBLIC_ID.fullmatch(text)
    if found is None or found[1] != prefix:
        raise PublicIdMalformed(f"expected an id of the form {prefix}_ and 32 hex digits")
    return UUID(hex=found[2])

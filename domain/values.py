"""The base of every value, and the ids people see.

Shapes  Value is frozen, strict and closed: an unknown field or a wrong type is an error,
        so that a stored fact can never be misread in silence.
        Public ids are "<prefix>_<32 hex digits>", e.g. "ps_6f0c...": the same UUID, readable.
Errors  PublicIdMalformed when text is not an id of the wanted kind.
"""

import re
from typing import Literal, Self, TypeVar
from uuid import UUID, uuid5

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.errors import PublicIdMalformed

Mode = Literal["live", "test"]

_NAMESPACE = UUID("5e7e1f0c-7a51-4a86-9d0c-5ab1ec0149a7")
_PUBLIC_ID = re.compile(r"([a-z]{2,4})_([0-9a-f]{32})")
_set = object.__setattr__
V = TypeVar("V", bound=BaseModel)
Shape = tuple[frozenset[str], dict[str, object]]
# What a class's constructor asks for, and its fields as they are when they are not given, in
# order: shared, as a value is never changed.
_SHAPES: dict[type[BaseModel], Shape] = {}


class Value(BaseModel):
    """A frozen value: equal by content, safe to share."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    @classmethod
    def trusted(cls, **fields: object) -> Self:
        """A value of fields that were checked in other values: mind their types.

        What the constructor does, in a fifth of the time: a log is folded by it.
        """
        shape = _SHAPES.get(cls)
        if shape is None:
            shape = _SHAPES[cls] = _shape_of(cls)
        required, all_fields = shape
        made = {**all_fields, **fields}
        assert required <= fields.keys(), f"{cls.__name__} lacks a field"
        assert len(made) == len(all_fields), f"{cls.__name__} has no such field"
        return _made(cls, made, set(fields))

    def changed(self, **fields: object) -> Self:
        """The same value but for these fields, which are trusted: mind their types.

        What `model_copy` does, in half the time: evolve lives on it.
        """
        assert fields.keys() <= self.__dict__.keys(), f"{type(self).__name__} has no such field"
        return _made(type(self), {**self.__dict__, **fields}, self.__pydantic_fields_set__)


Moment = AwareDatetime  # a moment without a time zone is an error


def _shape_of(kind: type[BaseModel]) -> Shape:
    fields = kind.model_fields
    required = frozenset(name for name, field in fields.items() if field.is_required())
    return required, {name: field.default for name, field in fields.items()}


def _made(kind: type[V], fields: dict[str, object], given: set[str]) -> V:
    made = kind.__new__(kind)
    _set(made, "__dict__", fields)
    _set(made, "__pydantic_fields_set__", given)
    _set(made, "__pydantic_extra__", None)
    _set(made, "__pydantic_private__", None)
    return made


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

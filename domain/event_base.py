"""What every stored fact has: a permanent name, a version, its bytes; and shapes facts share.

Shapes  Event subclasses register themselves by `name`; `decode` lifts an old shape through
        upcasters.py and validates. Who did it and why travel in the envelope
        (application/ports.py), not here; `at` is when it became true.
Errors  EventUnknown when a stored name or version is not ours: the log is newer than we are.
"""

from collections.abc import Callable
from typing import ClassVar, Self

import pydantic_core

from domain.money import Amount
from domain.networks import Address
from domain.upcasters import UPCASTERS
from domain.values import Moment, Value

EVENTS: dict[str, type["Event"]] = {}
# How each shape is read that is today's: looked up once for each event of a log.
_READERS: dict[tuple[str, int], Callable[[bytes], "Event"]] = {}


class EventUnknown(Exception):  # noqa: N818 - named like the refusals it stands beside
    """A stored event this code cannot read: deploy the version that wrote it."""


class Event(Value):
    name: ClassVar[str]
    version: ClassVar[int] = 1

    at: Moment

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        assert cls.name not in EVENTS, f"two events are named {cls.name}"
        EVENTS[cls.name] = cls
        _READERS[cls.name, cls.version] = cls.__pydantic_validator__.validate_json

    def encoded(self) -> bytes:
        """The stored bytes: JSON, fields in declared order, the same for equal events."""
        return self.model_dump_json().encode()


def decode(name: str, version: int, data: bytes) -> Event:
    """The event that stored bytes mean today."""
    read = _READERS.get((name, version))
    if read is not None:
        return read(data)
    kind = EVENTS.get(name)
    if kind is None or version > kind.version:
        raise EventUnknown(f"{name} version {version} is unknown here")
    shape = pydantic_core.from_json(data)
    for step in range(version, kind.version):
        shape = UPCASTERS[name, step](shape)
    return kind.model_validate_json(pydantic_core.to_json(shape))


class Sealed(Value):
    """Personal text encrypted with its subject's key; unreadable once the key is destroyed."""

    subject: str
    ciphertext: str


class Sighting(Value):
    """A token movement in one canonical block, as the ingester proved it.

    `log_index` counts within the receipt, so the transfer keeps its name when the same
    transaction is mined again elsewhere.
    """

    transfer_id: str  # "{chain_id}:{tx_hash}:{log_index}"
    network: str
    amount: Amount
    token: Address
    sender: Address
    recipient: Address
    tx_hash: str
    log_index: int
    block_number: int
    block_hash: str
    block_time: Moment
    attested: bool
    providers: tuple[str, ...]

    def same_place(self, other: Self) -> bool:
        return self.block_hash == other.block_hash


class Posting(Value):
    """One debited account, one credited account, one amount."""

    debit: str
    credit: str
    amount: Amount

"""Facts about a whole network: that it stands still, and that a person let it go on.

Shapes  Who let it go on is in the envelope, as for every fact.
Units   block numbers; a hash is "0x" and lower-case hex.
"""

from typing import Literal

from domain.event_base import Event

HaltCause = Literal["finality_violated", "reorg_too_deep", "operator"]


class NetworkHalted(Event):
    """Nothing of this network is confirmed, and no reorg of it followed, until a person decides.

    The block names where the chain contradicts what we hold for certain, if it does.
    """

    name = "network.halted"

    network: str
    cause: HaltCause
    detail: str
    block_number: int | None = None
    our_hash: str | None = None
    their_hash: str | None = None


class NetworkResumed(Event):
    """A person has looked: whatever the chain says now is followed, as deep as it goes."""

    name = "network.resumed"

    network: str
    reason: str

"""What merchants set and decide, and how payers say who they are: steps.py has the rules of all.

Units   cents of a US dollar; basis points.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

Signer = Literal[
    "payer",  # the wallet itself, under this session's words
    "stranger",  # another wallet, in its name
    "session_before",  # the wallet itself, under the words of the session opened before
]
Whose = Literal[
    "own",  # the newest transaction that was made to pay this session
    "other",  # the newest one that was made to pay another
    "nobodys",  # a hash that no transaction has
]
Decision = Literal["accept", "assign", "dismiss", "refund"]
Destination = Literal["payer", "other", "zero", "token", "own", "deposit"]
PayBy = Literal["deposit_address", "merchant_wallet"]


@dataclass(frozen=True, slots=True)
class SetTolerance:
    """How much of new sessions may be missing; too much of it is refused."""

    kind: ClassVar[str] = "set_tolerance"
    merchant: int
    cents: int
    basis_points: int
    lost: bool = False


@dataclass(frozen=True, slots=True)
class SetReceivingAddress:
    """One of the wallets a merchant has: there are WALLETS of them (setting.py)."""

    kind: ClassVar[str] = "set_receiving_address"
    merchant: int
    wallet: int
    lost: bool = False


@dataclass(frozen=True, slots=True)
class ProvePayer:
    """With `customer` it is the checkout page that asks, not the merchant's client."""

    kind: ClassVar[str] = "prove_payer"
    session: int
    payer: int
    signer: Signer = "payer"
    customer: bool = False
    lost: bool = False


@dataclass(frozen=True, slots=True)
class AnnounceTransaction:
    kind: ClassVar[str] = "announce_transaction"
    session: int
    whose: Whose
    customer: bool = False
    lost: bool = False
    salt: int = 0


@dataclass(frozen=True, slots=True)
class DecideTransfer:
    """`copies` clients decide at the same moment.

    The newest transfer has the ordinal 0, among those that wait where `waiting` is set. The
    session is for an assignment, `to` for a refund. `meddling`: another merchant asks.
    """

    kind: ClassVar[str] = "decide_transfer"
    transfer: int
    decision: Decision
    session: int = 0
    to: Destination = "payer"
    waiting: bool = True
    meddling: bool = False
    copies: int = 1
    keyed: bool = True
    lost: bool = False
    salt: int = 0


@dataclass(frozen=True, slots=True)
class ChangePolicy:
    """The ingesters of a network are stopped and start again under other terms (setting.py)."""

    kind: ClassVar[str] = "change_policy"
    network: int
    policy: int

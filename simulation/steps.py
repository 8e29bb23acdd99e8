"""What may happen in a simulated history, as values that can be kept, cut short and repeated.

Shapes  A History is a seed and a tuple of steps; story.py makes one from a seed. A step is frozen
        and says all it needs: where the world has to choose (which transactions a reorg drops,
        which bytes a provider bends) it draws from a generator of the step's own `salt`, so that
        taking out one step changes nothing about the others.
        Things are named by ordinal: `session=7` is the 7th session there is, counted from 0 in
        the order in which clients asked for them and modulo how many there are. The same for
        merchants, endpoints, deliveries, requests, networks and providers. A step with nothing
        to act on does nothing.
        JSON: {"seed": 1, "steps": [{"kind": "pay", "session": 0, ...}]}; decode(encode(h)) == h.
Units   `cents` are hundredths of a US dollar; *_seconds are virtual seconds; blocks are blocks.
Time    Only Mine, MineAt and Wait let virtual time pass on purpose; requests and faults happen
        at once, with the workers running on beside them. A chain makes no block by itself.
Errors  HistoryMalformed for JSON that is no history.
"""

import dataclasses
import json
import types
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from simulation.steps_faults import (
    BusFault,
    BusTrouble,
    Crash,
    Manner,
    NodeFault,
    NodeTrouble,
    Point,
    Process,
    ProviderFault,
    ProviderTrouble,
    ReceiverFault,
    Skew,
    StopSigning,
    StoreFault,
    StoreTrouble,
)
from simulation.steps_merchants import (
    AnnounceTransaction,
    ChangePolicy,
    DecideTransfer,
    Decision,
    Destination,
    PayBy,
    ProvePayer,
    SetReceivingAddress,
    SetTolerance,
    Signer,
    Whose,
)

__all__ = [
    "KINDS",
    "AnnounceTransaction",
    "AskRefund",
    "Asset",
    "BusFault",
    "BusTrouble",
    "CancelSession",
    "ChangePolicy",
    "Crash",
    "CreateEndpoint",
    "DecideTransfer",
    "Decision",
    "DeleteEndpoint",
    "Destination",
    "Edge",
    "Fate",
    "History",
    "HistoryMalformed",
    "Manner",
    "Mine",
    "MineAt",
    "NodeFault",
    "NodeTrouble",
    "OpenSession",
    "Part",
    "Pay",
    "PayBy",
    "PayStranger",
    "Point",
    "Process",
    "ProvePayer",
    "ProviderFault",
    "ProviderTrouble",
    "ReceiverFault",
    "Reorg",
    "Repeat",
    "ReplayDelivery",
    "Restore",
    "SetReceivingAddress",
    "SetTolerance",
    "Share",
    "Signer",
    "Skew",
    "Step",
    "StopSigning",
    "StoreFault",
    "StoreTrouble",
    "StrangeShape",
    "TopUp",
    "Wait",
    "Whose",
    "decode",
    "encode",
]

Share = Literal[
    "exact",  # the amount due
    "short",  # a part of it
    "almost",  # a few base units, cents or percent less than is due
    "rest",  # what is still missing, as the chain stands now; the amount due if nothing is
    "over",  # more than is due
    "dust",  # one base unit
    "odd",  # due, plus a number of base units that makes fee rounding matter
]
Asset = Literal[
    "right",  # the token the session asks for
    "other",  # another accepted token of that network
    "bridged",  # a token that is known and not accepted
    "fake",  # a contract nobody knows, with the right event
]
Edge = Literal["expiry", "grace"]
Fate = Literal[
    "keep",  # its transactions wait again and are mined in the new branch, in some order
    "delay",  # as keep, but they are mined only later, by a Mine of its own
    "drop",  # they are gone for ever
    "replace",  # each is replaced by another one of the same sender, to somebody else or smaller
    "mixed",  # some of each
    "revert",  # the same transactions are mined again, and some of them fail this time
]
Part = Literal["all", "half", "third", "cent", "unit", "too_much"]
StrangeShape = Literal["stranger", "four_topics", "short_data", "dirty", "no_value", "to_itself"]


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A merchant's client opens a session; with `lost` it never hears the answer."""

    kind: ClassVar[str] = "open_session"
    merchant: int
    network: int
    token: int
    cents: int
    window_seconds: int
    keyed: bool = True
    lost: bool = False
    salt: int = 0
    pay_by: PayBy = "deposit_address"


@dataclass(frozen=True, slots=True)
class CancelSession:
    kind: ClassVar[str] = "cancel_session"
    session: int
    lost: bool = False


@dataclass(frozen=True, slots=True)
class AskRefund:
    """`copies` clients ask at the same moment, each with a key of its own."""

    kind: ClassVar[str] = "ask_refund"
    session: int
    part: Part
    to: Destination
    copies: int = 1
    lost: bool = False
    salt: int = 0


@dataclass(frozen=True, slots=True)
class Repeat:
    """A client sends an earlier POST again: same key, same body unless `altered`."""

    kind: ClassVar[str] = "repeat"
    request: int
    altered: bool = False
    copies: int = 1
    lost: bool = False


@dataclass(frozen=True, slots=True)
class CreateEndpoint:
    """`types` is a bit set over the message types in the guide's order; 0 asks for all."""

    kind: ClassVar[str] = "create_endpoint"
    merchant: int
    types: int = 0
    lost: bool = False


@dataclass(frozen=True, slots=True)
class DeleteEndpoint:
    kind: ClassVar[str] = "delete_endpoint"
    endpoint: int


@dataclass(frozen=True, slots=True)
class ReplayDelivery:
    kind: ClassVar[str] = "replay_delivery"
    delivery: int
    lost: bool = False


@dataclass(frozen=True, slots=True)
class TopUp:
    """The merchant sends tokens to its refund wallet; mined with the next block."""

    kind: ClassVar[str] = "top_up"
    merchant: int
    network: int
    token: int
    cents: int


@dataclass(frozen=True, slots=True)
class Pay:
    """A payer's transaction waits to be mined: one token transfer, or several (`pieces`).

    With `beside` the same transaction also pays the session of that ordinal.
    `elsewhere` sends it on another network than the session's. `failed`: it will revert.
    """

    kind: ClassVar[str] = "pay"
    session: int
    share: Share
    payer: int
    asset: Asset = "right"
    pieces: int = 1
    beside: int | None = None
    elsewhere: bool = False
    failed: bool = False
    salt: int = 0


@dataclass(frozen=True, slots=True)
class PayStranger:
    """A transfer to an address that nobody was given, or a log that only looks like one."""

    kind: ClassVar[str] = "pay_stranger"
    network: int
    shape: StrangeShape
    session: int = 0
    salt: int = 0


@dataclass(frozen=True, slots=True)
class Mine:
    """So many blocks, each a block time after the one before; time passes along."""

    kind: ClassVar[str] = "mine"
    network: int
    blocks: int


@dataclass(frozen=True, slots=True)
class MineAt:
    """Time passes to that edge of a session, plus the offset; then a block of that very second.

    Nothing if the chain's newest block is of that moment or later already.
    """

    kind: ClassVar[str] = "mine_at"
    session: int
    edge: Edge
    offset_seconds: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Time passes; the workers work. What is long may be jumped over, as by a suspended machine."""

    kind: ClassVar[str] = "wait"
    seconds: int


@dataclass(frozen=True, slots=True)
class Reorg:
    """The newest `depth` blocks leave the chain, and `regrow` others take their place.

    With `at_confirmation` the depth is the network's confirmations plus `depth` less one
    (depth 0 is allowed then): the reorg is aimed at what was confirmed a moment ago.
    """

    kind: ClassVar[str] = "reorg"
    network: int
    depth: int
    fate: Fate
    regrow: int
    at_confirmation: bool = False
    salt: int = 0


@dataclass(frozen=True, slots=True)
class Restore:
    """The branch that was left by the last reorg of a network is taken again, one block longer."""

    kind: ClassVar[str] = "restore"
    network: int


Step = (
    OpenSession
    | CancelSession
    | AskRefund
    | Repeat
    | CreateEndpoint
    | DeleteEndpoint
    | ReplayDelivery
    | TopUp
    | Pay
    | PayStranger
    | Mine
    | MineAt
    | Wait
    | Reorg
    | Restore
    | ProviderFault
    | NodeFault
    | BusFault
    | StoreFault
    | ReceiverFault
    | Crash
    | Skew
    | StopSigning
    | SetTolerance
    | SetReceivingAddress
    | ProvePayer
    | AnnounceTransaction
    | DecideTransfer
    | ChangePolicy
)
KINDS: dict[str, type[Step]] = {step.kind: step for step in get_args(Step)}


@dataclass(frozen=True, slots=True)
class History:
    seed: int
    steps: tuple[Step, ...]


# ---------------------------------------------------------------- JSON


class HistoryMalformed(Exception):  # noqa: N818 - named for what is wrong with it
    """This JSON is no history, or one of another version of the simulator."""


def encode(history: History) -> str:
    """Readable and stable: one step a line."""
    steps = ({"kind": step.kind, **dataclasses.asdict(step)} for step in history.steps)
    lines = ",\n".join("    " + json.dumps(step) for step in steps)
    body = f"[\n{lines}\n  ]" if lines else "[]"
    return f'{{\n  "seed": {history.seed},\n  "steps": {body}\n}}\n'


def decode(text: str) -> History:
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise HistoryMalformed(str(error)) from error
    if not isinstance(raw, dict) or not isinstance(raw.get("seed"), int):
        raise HistoryMalformed("a history has a seed and steps")
    steps = raw.get("steps")
    if not isinstance(steps, list):
        raise HistoryMalformed("a history has a seed and steps")
    return History(raw["seed"], tuple(_step(each) for each in steps))


def _step(raw: object) -> Step:
    if not isinstance(raw, dict):
        raise HistoryMalformed(f"{raw!r} is no step")
    fields = {key: value for key, value in raw.items() if key != "kind"}
    made = KINDS.get(str(raw.get("kind")))
    if made is None:
        raise HistoryMalformed(f"there is no step of kind {raw.get('kind')!r}")
    hints = get_type_hints(made)
    for name, value in fields.items():
        if name not in hints or not _fits(value, hints[name]):
            raise HistoryMalformed(f"{made.kind}: {name} cannot be {value!r}")
    try:
        return made(**fields)
    except TypeError as error:
        raise HistoryMalformed(f"{made.kind}: {error}") from error


def _fits(value: object, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is types.UnionType:
        return any(_fits(value, each) for each in get_args(hint))
    if hint is int:
        return type(value) is int
    return isinstance(value, hint)

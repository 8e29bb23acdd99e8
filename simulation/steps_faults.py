"""What may go wrong, as steps of a history: steps.py has the others and the rules of all.

Units   virtual seconds; blocks; calls.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

Process = Literal[
    "api",
    "ingest",
    "settlement",
    "dispatcher",
    "webhooks",
    "refunds",
    "signer",
    "expiry",
    "projections",
]
Point = Literal[
    "await",  # at the n-th callback of that process after the step
    "before_append",  # before, or right after, the n-th write of that kind
    "after_append",
    "before_publish",
    "after_publish",
    "before_ack",
    "after_ack",
    "before_ingest_write",
    "after_ingest_write",
    "before_outgoing",
    "after_outgoing",
    "before_broadcast",
    "after_broadcast",
    "before_post",
    "after_post",
]
ProviderTrouble = Literal[
    "down",
    "slow",
    "lag",  # `amount` blocks behind
    "empty",  # answers without any logs
    "duplicates",  # each log entry twice
    "range_refused",  # at most `amount` blocks of logs in an answer
    "forged_logs",  # log entries nobody emitted
    "forged_receipts",  # receipts with changed or added transfers
    "forged_headers",  # headers whose fields were changed
    "fork",  # a whole branch of its own that looks right, with other transfers in it
    "flapping",  # each call fails or works at random
    "tags_refused",  # serves neither safe nor finalized
    "tags_lag",  # calls blocks so `amount` blocks later than it might
    "tags_lie",  # calls its newest block safe and finalized
]
NodeTrouble = Literal["down", "slow", "lag", "lost_answer", "high_fees", "drops_mempool"]
BusTrouble = Literal[
    "outage",
    "lost_deliveries",  # pulled, never arrived: comes again after the ack wait
    "lost_acks",  # the ack never arrived: comes again although it was dealt with
    "repeats",
    "reorders",
    "delays",
    "lost_publish_answer",  # stored, but the publisher is told that it failed
    "lost_hints",
    "wiped",  # the stream and its consumers are gone, at once
]
StoreTrouble = Literal["outage", "lost_answer", "busy", "conflicts", "ingest_outage"]
Manner = Literal["fine", "slow", "error", "lost_answer", "gone", "hanging", "asks_to_wait"]


@dataclass(frozen=True, slots=True)
class ProviderFault:
    kind: ClassVar[str] = "provider_fault"
    network: int
    provider: int
    trouble: ProviderTrouble
    seconds: int
    amount: int = 1
    salt: int = 0


@dataclass(frozen=True, slots=True)
class NodeFault:
    """Trouble of the node through which refunds are sent and receipts are read."""

    kind: ClassVar[str] = "node_fault"
    network: int
    trouble: NodeTrouble
    seconds: int
    amount: int = 1
    salt: int = 0


@dataclass(frozen=True, slots=True)
class BusFault:
    kind: ClassVar[str] = "bus_fault"
    trouble: BusTrouble
    seconds: int
    salt: int = 0


@dataclass(frozen=True, slots=True)
class StoreFault:
    """For `seconds`, or for the next `count` writes where that makes more sense."""

    kind: ClassVar[str] = "store_fault"
    trouble: StoreTrouble
    seconds: int
    count: int = 1
    salt: int = 0


@dataclass(frozen=True, slots=True)
class ReceiverFault:
    """How an endpoint's receiver treats the next `posts` posts."""

    kind: ClassVar[str] = "receiver_fault"
    endpoint: int
    manner: Manner
    posts: int


@dataclass(frozen=True, slots=True)
class Crash:
    """kill -9 at the n-th such point from now on, and a new process so many seconds later.

    `network` chooses among processes there is one of per network.
    """

    kind: ClassVar[str] = "crash"
    process: Process
    network: int = 0
    point: Point = "await"
    after: int = 1
    down_seconds: int = 1


@dataclass(frozen=True, slots=True)
class Skew:
    """From now on this process believes that it is so many seconds later."""

    kind: ClassVar[str] = "skew"
    process: Process
    seconds: int
    network: int = 0


@dataclass(frozen=True, slots=True)
class StopSigning:
    """The signer's kill switch is thrown for a while."""

    kind: ClassVar[str] = "stop_signing"
    seconds: int

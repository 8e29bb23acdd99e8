"""How a network stands: what it calls final, and whether anything is wrong with reading it.

Shapes  Finality is what the ingester keeps of the chain's own word: the newest block of ours that
        a quorum calls final, and how far it says its chain is final, whatever we have read.
        A Standing is what the ingester last said about itself; `at` is when. Once that is older
        than STANDING_STALE_SECONDS nobody reads the chain, which is trouble too.
        Trouble is pending where payments are seen or confirmed later because of it; what only
        an operator need know of is not.
Units   block numbers; moments by the Clock port; seconds.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

STANDING_SECONDS = 10.0  # the ingester says so at least as often
STANDING_STALE_SECONDS = 60.0
PENDING_SHOWN_SECONDS = 30.0  # shorter than this no customer need hear of it

Trouble = Literal[
    "halted",  # stopped until a person decides
    "disagreement",  # the providers contradict each other
    "too_few",  # fewer providers answer than a quorum needs
    "unprovable",  # nobody gives receipts that the block's header proves
    "outage",  # something of our own is away
    "head_stalled",  # no new block that a quorum vouches for
    "finality_stalled",  # the chain calls no further block final
    "unattended",  # no ingester runs
]
TROUBLE_WORDS: dict[Trouble, str] = {
    "halted": "halted until an operator decides",
    "disagreement": "the providers disagree",
    "too_few": "too few providers answer",
    "unprovable": "no provider proves its receipts",
    "outage": "a service of the gateway is away",
    "head_stalled": "no new block that a quorum vouches for",
    "finality_stalled": "the chain calls no further block final",
    "unattended": "no ingester runs",
}


@dataclass(frozen=True, slots=True)
class FinalBlock:
    number: int
    hash: str


@dataclass(frozen=True, slots=True)
class Finality:
    """`deep`: a person let a reorg be followed however deep, and none has been since."""

    block: FinalBlock | None = None  # one of ours, final by quorum
    block_at: datetime | None = None  # when we learned so
    told: int | None = None  # how far a quorum says the chain is final
    told_at: datetime | None = None  # since when it has said just that
    resumed: int = 0  # how many of a person's decisions have been acted upon
    deep: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """`attested` is the newest block passed that two providers vouch for, None with one."""

    network: str
    at: datetime
    tip: int | None = None  # the height the providers tell
    attested: int | None = None
    single: bool = False  # one provider is configured: its word is all there is
    trouble: Trouble | None = None
    since: datetime | None = None  # the trouble
    detail: str = ""
    pending: bool = False  # the trouble makes payments later

    def seen_at(self, now: datetime) -> "Standing":
        """The same, unless whoever said so has fallen silent since."""
        if now - self.at <= timedelta(seconds=STANDING_STALE_SECONDS):
            return self
        if self.trouble == "halted":
            return self
        return Standing(
            self.network,
            self.at,
            self.tip,
            self.attested,
            self.single,
            "unattended",
            self.since if self.pending and self.since is not None else self.at,
            f"the ingester has said nothing since {self.at:%H:%M:%S} UTC",
            pending=True,
        )

    def shown(self, now: datetime) -> bool:
        """Whether it has kept payments waiting for so long that people should hear of it."""
        standing = self.seen_at(now)
        if not standing.pending or standing.since is None:
            return False
        return now - standing.since >= timedelta(seconds=PENDING_SHOWN_SECONDS)


class Standings(Protocol):
    """What has been kept of it."""

    async def standing(self, network: str) -> Standing | None:
        """What the ingester last said; None before its first word."""
        ...

    async def finality(self, network: str) -> Finality: ...


class StandingStore(Standings, Protocol):
    """The leading ingester's side; part of application.ingest.IngestStore."""

    async def keep_finality(self, network: str, finality: Finality) -> None: ...

    async def keep_standing(self, standing: Standing) -> None: ...

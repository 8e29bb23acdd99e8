"""Says how the network stands: to the log when that changes, to the store for everybody else.

Shapes  Several troubles may be on at once; each is logged when it begins and when it ends, and
        the gravest is the standing. What a step met counts once it has lasted
        TROUBLE_SECONDS_MIN, so that a lagging provider is no news.
        Pending are all troubles that make payments later. A finality stall is one only where
        some rule asks for a tag: payments that count blocks go on.
        The store is written when the standing changes, and every STANDING_SECONDS besides.
Units   seconds by the Clock port; block numbers.
Errors  none: an outage of the store is tried again later, and so is what is our own fault here,
        which is logged: nobody's payment waits for what is said of the network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args

import structlog

from application.ports import Clock, Unavailable
from application.standing import STANDING_SECONDS, Standing, StandingStore, Trouble
from chain_ingest.finality import FINAL_SECONDS
from chain_ingest.halting import Halting
from chain_ingest.providers import Disagreement, NoQuorum, Unprovable
from domain.networks import Network

log = structlog.get_logger(__name__)

TROUBLE_SECONDS_MIN = 5.0
HEAD_STALL_BLOCKS = 20
HEAD_STALL_SECONDS_MIN = 60.0
STALL_FACTOR = 3
_GRAVEST_FIRST: tuple[Trouble, ...] = get_args(Trouble)
_OF_A_STEP: frozenset[Trouble] = frozenset({"disagreement", "too_few", "unprovable", "outage"})
_EVENTS: Mapping[Trouble, tuple[str, str]] = {
    "head_stalled": ("head_stalled", "head_goes_on"),
    "finality_stalled": ("finality_stalled", "finality_goes_on"),
}


def trouble_of(outage: Unavailable) -> Trouble:
    if isinstance(outage, Disagreement):
        return "disagreement"
    if isinstance(outage, Unprovable):
        return "unprovable"
    return "too_few" if isinstance(outage, NoQuorum) else "outage"


@dataclass(slots=True)
class _Met:
    since: datetime
    detail: str
    said: bool = False


class StandingKeeper:
    def __init__(
        self,
        network: Network,
        store: StandingStore,
        halting: Halting,
        clock: Clock,
        *,
        single: bool,
    ) -> None:
        self._network = network
        self._store = store
        self._halting = halting
        self._clock = clock
        self._single = single
        self.tip: int | None = None
        self.slack_seconds = 0.0  # while nobody waits, the head may stand still so much longer
        self._slack_before = 0.0
        self._attested: int | None = None
        self._moved_at = self._began_at = clock.now()
        self._met: dict[Trouble, _Met] = {}
        self._written: Standing | None = None
        self._not_read = True
        self._failed = False

    def forget(self) -> None:
        """A new lease: what happened before it is nobody's stall."""
        self._moved_at = self._began_at = self._clock.now()
        self._not_read = True

    def passed(self, number: int, *, attested: bool) -> None:
        if attested and not self._single:
            self._attested = number
        if attested or self._single or self._network.policy.allow_unattested:
            self._moved_at = self._clock.now()

    async def tell(self, outage: Unavailable | None, *, tags_count: bool) -> None:
        """After each step, with what it met; `tags_count`: some rule waits for a tag."""
        now = self._clock.now()
        try:
            if self._not_read:
                await self._recall(now)
            self._note(now, self._troubles(now, outage))
            standing = self._standing(now, tags_count=tags_count)
            if self._is_news(standing):
                await self._store.keep_standing(standing)
                self._written = standing
        except Unavailable:
            return  # said again with the next step
        except Exception:
            if not self._failed:
                log.exception("standing_not_told", network=self._network.name)
            self._failed = True
            return
        self._failed = False

    async def _recall(self, now: datetime) -> None:
        """A trouble that was on before this lease has lasted since then."""
        before = await self._store.standing(self._network.name)
        self._not_read = False
        if before is None or before.trouble is None or before.since is None:
            return
        if before.since <= now:
            self._met.setdefault(before.trouble, _Met(before.since, before.detail))

    def _troubles(self, now: datetime, outage: Unavailable | None) -> dict[Trouble, str]:
        halt = self._halting.halt
        if halt is not None:
            return {"halted": halt.detail}
        found: dict[Trouble, str] = {}
        if outage is not None:
            found[trouble_of(outage)] = outage.reason
        if self.slack_seconds < self._slack_before:
            self._moved_at = now  # it stood still because nobody looked
        self._slack_before = self.slack_seconds
        still = (now - self._moved_at).total_seconds()
        patience = max(HEAD_STALL_BLOCKS * self._network.block_seconds, HEAD_STALL_SECONDS_MIN)
        if still >= patience + self.slack_seconds:
            found["head_stalled"] = f"no block was added since {self._moved_at:%H:%M:%S} UTC"
        stalled = self._finality_stalled(now)
        if stalled is not None:
            found["finality_stalled"] = stalled
        return found

    def _finality_stalled(self, now: datetime) -> str | None:
        known = self._halting.finality
        # What stood still while nobody asked is no stall: the first answer decides.
        heard = known.told_at is not None and self._halting.heard
        since = known.told_at if heard and known.told_at is not None else self._began_at
        # It cannot be seen to move more often than it is asked for.
        norm = max(float(self._network.finality_seconds), FINAL_SECONDS)
        if (now - since).total_seconds() < STALL_FACTOR * norm + self.slack_seconds:
            return None
        if known.told is None:
            return "no quorum tells of any final block"
        return f"final is still block {known.told}, as at {since:%H:%M:%S} UTC"

    # ------------------------------------------------------------ what is said of it

    def _note(self, now: datetime, troubles: Mapping[Trouble, str]) -> None:
        for trouble, detail in troubles.items():
            met = self._met.setdefault(trouble, _Met(now, detail))
            met.detail = detail
            if not met.said and self._counts(trouble, met, now):
                met.said = True
                event = _EVENTS.get(trouble, ("network_pending", ""))[0]
                if trouble != "halted":  # said by halting.py
                    self._say(log.error, event, trouble, detail)
        for trouble in [each for each in self._met if each not in troubles]:
            if self._met.pop(trouble).said:
                event = _EVENTS.get(trouble, ("", "network_follows"))[1]
                self._say(log.info, event, trouble, "it is over")

    def _say(self, say: object, event: str, trouble: Trouble, detail: str) -> None:
        assert callable(say)
        say(event, network=self._network.name, trouble=trouble, reason=detail)

    @staticmethod
    def _counts(trouble: Trouble, met: _Met, now: datetime) -> bool:
        lasted = (now - met.since).total_seconds()
        return trouble not in _OF_A_STEP or lasted >= TROUBLE_SECONDS_MIN

    def _standing(self, now: datetime, *, tags_count: bool) -> Standing:
        for trouble in _GRAVEST_FIRST:
            met = self._met.get(trouble)
            if met is not None and self._counts(trouble, met, now):
                pending = trouble != "finality_stalled" or tags_count
                return Standing(
                    self._network.name,
                    now,
                    self.tip,
                    self._attested,
                    self._single,
                    trouble,
                    met.since,
                    met.detail,
                    pending,
                )
        return Standing(self._network.name, now, self.tip, self._attested, self._single)

    def _is_news(self, standing: Standing) -> bool:
        old = self._written
        if old is None or (old.trouble, old.pending) != (standing.trouble, standing.pending):
            return True
        return standing.at - old.at >= timedelta(seconds=STANDING_SECONDS)

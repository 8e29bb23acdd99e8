"""How one provider is doing, whether to ask it now, and whom to ask first.

Shapes  Failures in a row lengthen the pause before the next question, so an outage costs little
        and its end is noticed within PAUSE_SECONDS_MAX. Questions that were on their way when one
        failed are the same failure: else a moment's outage would be one in a row. The pauses are spread by provider and
        failure, so that the processes of a network do not come back all at once.
        Who says "too often" is not down: it is left alone for as long as it asks, and only
        after LIMITED_SECONDS_UNTIL_DOWN without an answer need nobody wait for it any more.
        A provider that does not have a block yet has failed at nothing. One caught lying is
        left alone for QUARANTINE_SECONDS; one that serves another chain or token is asked who
        it is again after REFUSED_SECONDS, and nothing else before it says so rightly.
        `down` means: nobody need wait for this one.
        Latency and troubles are moving averages: the newest answer counts AVERAGE_SHARE.
Units   seconds by the Clock port; a head is a block number.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from zlib import crc32

import structlog

from application.chain_source import FailureKind, ProviderFailed, kind_of
from application.ports import Clock, Unavailable

log = structlog.get_logger(__name__)

PAUSE_SECONDS_FIRST = 0.25
PAUSE_SECONDS_MAX = 15.0
LIMITED_SECONDS_FIRST = 1.0
LIMITED_SECONDS_MAX = 60.0  # longer is not waited, whatever a Retry-After says
LIMITED_SECONDS_UNTIL_DOWN = 60.0
FAILURES_UNTIL_DOWN = 3
QUARANTINE_SECONDS = 60.0
REFUSED_SECONDS = 300.0
AVERAGE_SHARE = 0.2
SWIFT_SECONDS = 0.1  # below it nobody is preferred for being quicker
_DOUBLINGS_MAX = 10
# Not the provider's fault, and no reason to leave it alone.
_NO_FAILURE: frozenset[FailureKind] = frozenset({"beyond_head", "over_budget", "range_refused"})

Standing = Literal["unknown", "serving", "limited", "failing", "down", "quarantined", "refused"]


@dataclass(frozen=True, slots=True)
class ProviderState:
    """What is known of a provider, for those who want to see it."""

    name: str
    standing: Standing
    head: int | None  # the newest block it has told of
    latency_seconds: float
    failures: Mapping[FailureKind, int]
    lies: int


class Health:
    def __init__(self, name: str, clock: Clock) -> None:
        self.admitted = False
        self.head: int | None = None
        self._name = name
        self._clock = clock
        self._failures = 0  # in a row
        self._failed_at: datetime | None = None  # the newest that counted
        self._kinds: Counter[FailureKind] = Counter()
        self._lies = 0
        self._latency_seconds = 0.0
        self._trouble = 0.0  # share of questions that failed, lately
        self._limits = 0  # in a row
        self._limited_since: datetime | None = None
        self._quarantined = False
        self._refused_until: datetime | None = None
        self._not_before: datetime | None = None

    @property
    def may_be_asked(self) -> bool:
        if self._refused_still:
            return False
        return self._not_before is None or self._clock.now() >= self._not_before

    @property
    def down(self) -> bool:
        """Silent several times in a row, limited for long, or in quarantine for a lie."""
        if self._refused or self._failures >= FAILURES_UNTIL_DOWN or self._long_limited:
            return True
        return self._quarantined and not self.may_be_asked

    @property
    def rank(self) -> tuple[int, int]:
        """Lower is better; coarse, so that small differences do not send all to one provider."""
        slow, steps = self._latency_seconds, 0
        while slow > SWIFT_SECONDS:
            slow, steps = slow / 2, steps + 1
        return min(self._failures + self._limits, 1), round(self._trouble * 4) + steps

    @property
    def state(self) -> ProviderState:
        return ProviderState(
            name=self._name,
            standing=self._standing,
            head=self.head,
            latency_seconds=self._latency_seconds,
            failures=dict(self._kinds),
            lies=self._lies,
        )

    def answered(self, seconds: float = 0.0) -> None:
        if self._failures >= FAILURES_UNTIL_DOWN or self._long_limited:
            log.info("provider_is_back", provider=self._name)
        self._failures = self._limits = 0
        self._limited_since = None
        self._average(seconds, trouble=0.0)
        if not self._quarantined or self.may_be_asked:
            self._quarantined = False
            self._not_before = None

    def failed(self, outage: Unavailable, seconds: float = 0.0) -> None:
        kind = kind_of(outage)
        self._kinds[kind] += 1
        if kind in _NO_FAILURE:
            return
        self._average(seconds, trouble=1.0)
        if kind == "rate_limited":
            self._limited(outage)
            return
        now = self._clock.now()
        if self._failed_at is not None and now - timedelta(seconds=seconds) <= self._failed_at:
            return  # asked before that one failed
        self._failed_at = now
        self._failures += 1
        if self._failures == FAILURES_UNTIL_DOWN:
            log.warning("provider_is_down", provider=self._name, reason=outage.reason)
        self._pause(self._backed_off(PAUSE_SECONDS_FIRST, self._failures, PAUSE_SECONDS_MAX))

    def lied(self, lie: str) -> None:
        log.error("provider_lied", provider=self._name, lie=lie)
        self._lies += 1
        self._quarantined = True
        self._pause(QUARANTINE_SECONDS)

    def refuse(self, reason: str) -> None:
        """It serves something else than we need: asked again later whether it still does."""
        if not self._refused:
            log.error("provider_refused", provider=self._name, reason=reason)
        self.admitted = False
        self._refused_until = self._clock.now() + timedelta(seconds=REFUSED_SECONDS)

    def admit(self) -> bool:
        """It serves what we need, unless it has just said otherwise to another question."""
        if self._refused_still:
            return False
        if self._refused:
            log.info("provider_is_back", provider=self._name)
        self._refused_until = None
        self.admitted = True
        return True

    # ------------------------------------------------------------ within

    @property
    def _refused(self) -> bool:
        return self._refused_until is not None

    @property
    def _refused_still(self) -> bool:
        return self._refused_until is not None and self._clock.now() < self._refused_until

    @property
    def _long_limited(self) -> bool:
        since = self._limited_since
        if since is None:
            return False
        return (self._clock.now() - since).total_seconds() >= LIMITED_SECONDS_UNTIL_DOWN

    @property
    def _standing(self) -> Standing:
        if self._refused:
            return "refused"
        if self._quarantined and not self.may_be_asked:
            return "quarantined"
        if self.down:
            return "down"
        if self._limits:
            return "limited"
        if self._failures:
            return "failing"
        return "serving" if self.admitted else "unknown"

    def _limited(self, outage: Unavailable) -> None:
        self._limits += 1
        if self._limited_since is None:
            self._limited_since = self._clock.now()
            log.warning("provider_limits_us", provider=self._name, reason=outage.reason)
        asked = outage.retry_after_seconds if isinstance(outage, ProviderFailed) else None
        if asked is None:
            asked = self._backed_off(LIMITED_SECONDS_FIRST, self._limits, LIMITED_SECONDS_MAX)
        self._pause(min(asked, LIMITED_SECONDS_MAX))

    def _backed_off(self, first_seconds: float, times: int, seconds_max: float) -> float:
        """Doubled each time, up to a bound, less a share that name and number decide."""
        doubled = min(first_seconds * 2 ** min(times - 1, _DOUBLINGS_MAX), seconds_max)
        spread = crc32(f"{self._name}:{times}".encode()) / 2**32
        return float(doubled * (1 - spread / 2))

    def _average(self, seconds: float, *, trouble: float) -> None:
        self._latency_seconds += AVERAGE_SHARE * (max(seconds, 0.0) - self._latency_seconds)
        self._trouble += AVERAGE_SHARE * (trouble - self._trouble)

    def _pause(self, seconds: float) -> None:
        until = self._clock.now() + timedelta(seconds=seconds)
        if self._not_before is None or until > self._not_before:
            self._not_before = until

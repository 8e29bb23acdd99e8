"""How one provider is doing, and whether to ask it now.

Shapes  Failures in a row lengthen the pause before the next question, so an outage costs little
        and its end is noticed within PAUSE_SECONDS_MAX. A provider caught lying is left alone
        for QUARANTINE_SECONDS. `down` means: nobody need wait for this one.
Units   seconds by the Clock port.
"""

from datetime import datetime, timedelta

import structlog

from application.ports import Clock, Unavailable

log = structlog.get_logger(__name__)

PAUSE_SECONDS_FIRST = 0.25
PAUSE_SECONDS_MAX = 15.0
FAILURES_UNTIL_DOWN = 3
QUARANTINE_SECONDS = 60.0
_DOUBLINGS_MAX = 10


class Health:
    def __init__(self, name: str, clock: Clock) -> None:
        self.admitted = False
        self._name = name
        self._clock = clock
        self._failures = 0
        self._quarantined = False
        self._refused = False
        self._not_before: datetime | None = None

    @property
    def may_be_asked(self) -> bool:
        if self._refused:
            return False
        return self._not_before is None or self._clock.now() >= self._not_before

    @property
    def down(self) -> bool:
        """Silent several times in a row, or caught lying and still in quarantine."""
        if self._refused or self._failures >= FAILURES_UNTIL_DOWN:
            return True
        return self._quarantined and not self.may_be_asked

    def answered(self) -> None:
        if self._failures >= FAILURES_UNTIL_DOWN:
            log.info("provider_is_back", provider=self._name)
        self._failures = 0
        if not self._quarantined or self.may_be_asked:
            self._quarantined = False
            self._not_before = None

    def failed(self, outage: Unavailable) -> None:
        self._failures += 1
        if self._failures == FAILURES_UNTIL_DOWN:
            log.warning("provider_is_down", provider=self._name, reason=outage.reason)
        doublings = min(self._failures - 1, _DOUBLINGS_MAX)
        self._pause(min(PAUSE_SECONDS_FIRST * 2**doublings, PAUSE_SECONDS_MAX))

    def lied(self, lie: str) -> None:
        log.error("provider_lied", provider=self._name, lie=lie)
        self._quarantined = True
        self._pause(QUARANTINE_SECONDS)

    def refuse(self, reason: str) -> None:
        """It serves something else than we need: not asked again in this process."""
        log.error("provider_refused", provider=self._name, reason=reason)
        self._refused = True

    def _pause(self, seconds: float) -> None:
        until = self._clock.now() + timedelta(seconds=seconds)
        if self._not_before is None or until > self._not_before:
            self._not_before = until

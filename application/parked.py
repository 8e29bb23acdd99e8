"""Parked reports handed to settlement once more, after a person has mended what was wrong.

Shapes  A retry is the same call that the first delivery made: the report's message id goes into
        the inbox with its effect, so a second retry, or a redelivery meanwhile, adds nothing.
        What fails again stays parked, with the new error beside the first one.
        Of two reports about one transfer the newer counts, whichever is applied first: so they
        may be retried in any order. `retry_all` takes the oldest first.
Errors  ParkedUnknown, ReasonMissing; an outage passes through, and nothing is written down.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from application.chain_messages import SOURCE, ChainReport, decode_report
from application.outside import ParkedMessage, ParkedMessages, RetryOutcome
from application.ports import Clock, Unavailable
from domain.errors import ReasonMissing

RETRIED_MAX = 1_000  # at a time; the others stay for the next


class ParkedUnknown(Exception):  # noqa: N818 - named for what is wrong
    """Nothing of this id is parked."""


class Applies(Protocol):
    """The part of settlement that is needed here."""

    async def apply(self, report: ChainReport) -> bool: ...


class ParkedReports:
    def __init__(self, parked: ParkedMessages, settlement: Applies, clock: Clock) -> None:
        self._parked = parked
        self._settlement = settlement
        self._clock = clock

    async def find(self, message_id: str) -> ParkedMessage:
        message = await self._parked.find(SOURCE, message_id)
        if message is None:
            raise ParkedUnknown(f"no report {message_id!r} is parked")
        return message

    async def retry(self, message_id: str, reason: str) -> ParkedMessage:
        """The message as it stands afterwards; one that is settled is left as it is."""
        message = await self.find(message_id)
        _insist_on(reason)
        return message if message.settled else await self._retry(message, reason)

    async def retry_all(self, reason: str) -> AsyncIterator[ParkedMessage]:
        """All that wait, one after the other; each as it stands afterwards."""
        _insist_on(reason)
        waiting = await self._parked.list(RETRIED_MAX)
        for message in reversed(waiting):
            if message.source == SOURCE:
                yield await self._retry(message, reason)

    async def _retry(self, message: ParkedMessage, reason: str) -> ParkedMessage:
        outcome: RetryOutcome = "failed"
        error: str | None = None
        try:
            report = decode_report(message.subject, message.data)
            first = await self._settlement.apply(report)
            outcome = "settled" if first else "already_settled"
        except Unavailable:
            raise
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is kept as the outcome
            error = f"{type(failure).__name__}: {failure}"
        at = self._clock.now()
        await self._parked.retried(message, outcome, at=at, reason=reason, error=error)
        return await self.find(message.message_id)


def _insist_on(reason: str) -> None:
    if not reason.strip():
        raise ReasonMissing("say why, in a few words: it is kept with the message")

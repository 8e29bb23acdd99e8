"""How often strangers can make us ask a chain: costly questions, bounded before they are asked.

Shapes  QuestionLimits.question(subject) is entered around one question; a subject is the hash of
        the words of one payment session. It counts as failed unless its answer was yes, so an
        outage and a cancelled request count too: they have cost as much.
Units   questions at once, over all and of one subject; failures in FAILURES_WINDOW_SECONDS.
        What is remembered is of this process and bounded: the subject whose last failure is
        longest ago is forgotten first.
Errors  ports.Unavailable while all places are taken; ports.AskedTooOften with the seconds.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from application.ports import AskedTooOften, Clock, Unavailable

SERVICE = "rpc"
QUESTIONS_MAX = 16  # at once, over all subjects
FAILURES_MAX = 6  # of one subject within the window
FAILURES_WINDOW_SECONDS = 3_600
SUBJECTS_MAX = 10_000  # remembered
ASKING_RETRY_SECONDS = 5
_WINDOW = timedelta(seconds=FAILURES_WINDOW_SECONDS)


@dataclass(slots=True)
class Question:
    answer: bool = False


class QuestionLimits:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asking: set[bytes] = set()
        # When each subject's questions failed, oldest first; the subjects by their newest.
        self._failures: OrderedDict[bytes, deque[datetime]] = OrderedDict()

    @contextmanager
    def question(self, subject: bytes) -> Iterator[Question]:
        """Set `answer` inside, when the answer was yes."""
        self._refuse(subject)
        self._asking.add(subject)
        question = Question()
        try:
            yield question
        finally:
            self._asking.remove(subject)
            if not question.answer:
                self._failed(subject)

    def _refuse(self, subject: bytes) -> None:
        if subject in self._asking:
            raise AskedTooOften(
                SERVICE,
                "a contract wallet is being asked about this payment already",
                retry_after_seconds=ASKING_RETRY_SECONDS,
            )
        failures = self._failures.get(subject)
        if failures is not None and len(failures) == FAILURES_MAX:
            seconds = (failures[0] + _WINDOW - self._clock.now()).total_seconds()
            if seconds > 0:
                raise AskedTooOften(
                    SERVICE,
                    f"{FAILURES_MAX} signatures of this payment were checked on chain and did "
                    "not fit",
                    retry_after_seconds=ceil(seconds),
                )
        if len(self._asking) >= QUESTIONS_MAX:
            raise Unavailable(SERVICE, "too many contract wallets are being asked")

    def _failed(self, subject: bytes) -> None:
        failures = self._failures.setdefault(subject, deque(maxlen=FAILURES_MAX))
        failures.append(self._clock.now())  # the oldest of too many falls out
        self._failures.move_to_end(subject)
        if len(self._failures) > SUBJECTS_MAX:
            self._failures.popitem(last=False)

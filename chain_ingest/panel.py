"""The providers of one network, each asked when it is well, and heard one by one or together.

Shapes  Asking notes how it went (chain_ingest/health.py). `first` and `logs` turn to the
        healthiest first; `all` asks everybody in service, in the order of the configuration.
        Logs come from as many providers as wanted, the next one for each that stays silent; when
        two tell of different logs, one of them has lost some, and one more is heard.
Units   seconds by the Clock port.
Errors  Misconfigured ends the start of a process; later it takes the provider out of service, for
        one that says something else tomorrow must not end what follows by the others. Silence is
        no error here: it is a missing answer. Nor does anything else that comes of an answer end
        the process: whose bug it is, theirs or ours, it is logged and is no answer.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TypeVar

import structlog

from application.chain_source import (
    ChainSource,
    Header,
    LogEntry,
    ProviderFailed,
    RangeLogs,
    RangeRefused,
)
from application.ports import Clock, Unavailable
from chain_ingest.admission import Misconfigured, admit
from chain_ingest.health import Health, ProviderState
from chain_ingest.tally import Tally
from domain.networks import Network

log = structlog.get_logger(__name__)

T = TypeVar("T")
PROVIDERS_MAX = 3
PUZZLES_MAX = 32  # kinds of errors that are logged with the whole traceback


@dataclass(frozen=True)
class Heard:
    """What each provider told, by its name."""

    told: Mapping[str, RangeLogs]

    @property
    def providers(self) -> tuple[str, ...]:
        return tuple(self.told)

    @property
    def entries(self) -> tuple[LogEntry, ...]:
        """Logs of which some provider told."""
        return tuple(dict.fromkeys(each for logs in self.told.values() for each in logs.entries))

    @cached_property
    def alone(self) -> Mapping[str, Mapping[LogEntry, str]]:
        """By block hash: the logs of which one provider alone told, and who that was."""
        who: dict[LogEntry, str | None] = {}
        for name, logs in self.told.items():
            for entry in set(logs.entries):
                who[entry] = None if entry in who else name
        blocks: defaultdict[str, dict[LogEntry, str]] = defaultdict(dict)
        for entry, name_or_none in who.items():
            if name_or_none is not None:
                blocks[entry.block_hash][entry] = name_or_none
        return blocks


class Panel:
    def __init__(
        self, network: Network, sources: Sequence[ChainSource], clock: Clock, tally: Tally
    ) -> None:
        assert 1 <= len(sources) <= PROVIDERS_MAX, "one to three providers a network"
        names = [source.name for source in sources]
        assert len(set(names)) == len(names), "each provider has a name of its own"
        self._network = network
        self._sources = tuple(sources)
        self._clock = clock
        self._tally = tally
        self._health = {source.name: Health(source.name, clock) for source in sources}
        self._checked = False
        self._puzzles: set[tuple[str, type[Exception]]] = set()

    @property
    def states(self) -> Mapping[str, ProviderState]:
        return {name: health.state for name, health in self._health.items()}

    @property
    def single(self) -> bool:
        return len(self._sources) == 1

    async def check(self) -> None:
        """Everybody who answers must be what the configuration says.

        Raises Misconfigured the first time; with a later lease, who differs is refused.
        """
        sources = self._in_service()
        outcomes = await asyncio.gather(
            *(self._admit(source) for source in sources), return_exceptions=True
        )
        for source, outcome in zip(sources, outcomes, strict=True):
            if isinstance(outcome, Misconfigured) and self._checked:
                self._health[source.name].refuse(str(outcome))
            elif isinstance(outcome, Misconfigured) or not isinstance(outcome, Exception | bool):
                raise outcome
            elif isinstance(outcome, Exception):
                self._puzzled(source, outcome)
        self._checked = True

    def lied(self, name: str, lie: str) -> None:
        self._health[name].lied(lie)
        self._tally.lied(name)

    def others_are_down(self, answered: int) -> bool:
        """Whether nobody else is there to be waited for."""
        down = sum(health.down for health in self._health.values())
        return answered + down >= len(self._sources)

    def saw_head(self, source: ChainSource, header: Header) -> None:
        self._health[source.name].head = header.number

    def have_reached(self, number: int, names: Collection[str]) -> list[ChainSource]:
        """Those of these in service whose own head was last seen there, the healthiest first."""
        return [
            source
            for source in self.healthiest()
            if source.name in names and (self._health[source.name].head or 0) >= number
        ]

    def healthiest(self) -> list[ChainSource]:
        """Everybody in service, the best first; equals keep the order of the configuration."""
        return sorted(self._in_service(), key=lambda source: self._health[source.name].rank)

    # ------------------------------------------------------------ asking

    async def all(
        self,
        question: Callable[[ChainSource], Awaitable[T]],
        *,
        names: Collection[str] | None = None,
        blame: bool = True,
    ) -> list[tuple[ChainSource, T]]:
        """Everybody in service at once, or those named; the silent are left out, and noted."""
        sources = [
            source for source in self._in_service() if names is None or source.name in names
        ]
        answers = await asyncio.gather(
            *(self.ask(source, question, blame=blame) for source in sources)
        )
        return [
            (source, answer[0])
            for source, answer in zip(sources, answers, strict=True)
            if answer is not None
        ]

    async def first(self, question: Callable[[ChainSource], Awaitable[T | None]]) -> T | None:
        """One provider after the other, until one gives what holds."""
        for source in self.healthiest():
            answer = await self.ask(source, question)
            if answer is not None and answer[0] is not None:
                return answer[0]
        return None

    async def logs(
        self,
        sources: Sequence[ChainSource],
        read: Callable[[ChainSource], Awaitable[RangeLogs | None]],
        wanted: int,
        what: str,
    ) -> Heard:
        """The union of so many answers; `read` notes by itself how each question went."""
        waiting = list(sources)
        told: dict[str, RangeLogs] = {}
        while waiting and (len(told) < wanted or (len(told) == wanted and _differ(told))):
            missing = max(wanted - len(told), 1)
            batch, waiting = waiting[:missing], waiting[missing:]
            answers = await asyncio.gather(*(read(source) for source in batch))
            for source, answer in zip(batch, answers, strict=True):
                if answer is not None:
                    told[source.name] = answer
        if _differ(told):
            self._tally.disagreed()
            counts = {name: answer.count for name, answer in told.items()}
            log.warning("logs_differ", network=self._network.name, what=what, counts=counts)
        return Heard(told)

    async def ask(
        self,
        source: ChainSource,
        question: Callable[[ChainSource], Awaitable[T]],
        *,
        blame: bool = True,
    ) -> tuple[T] | None:
        """The answer in a tuple, so that an answer of None is not taken for silence."""
        health = self._health[source.name]
        begun = self._clock.now()
        try:
            if not await self._admit(source):
                return None
            answer = await question(source)
        except RangeRefused:
            raise
        except Unavailable as outage:
            if blame:
                health.failed(outage, self._seconds_since(begun))
            return None
        except Misconfigured as wrong:
            health.refuse(str(wrong))  # it was silent at start-up; the others go on
            return None
        except Exception as bug:  # noqa: BLE001 - one provider's answer never ends the process
            self._puzzled(source, bug, self._seconds_since(begun))
            return None
        health.answered(self._seconds_since(begun))
        return (answer,)

    # ------------------------------------------------------------ within

    def _in_service(self) -> list[ChainSource]:
        return [source for source in self._sources if self._health[source.name].may_be_asked]

    async def _admit(self, source: ChainSource) -> bool:
        """Whether the source serves our chain and tokens; asked once, before anything else."""
        health = self._health[source.name]
        if health.admitted:
            return True
        try:
            await admit(source, self._network)
        except Unavailable as outage:
            health.failed(outage)
            return False
        return health.admit()

    def _puzzled(self, source: ChainSource, bug: Exception, seconds: float = 0.0) -> None:
        """An answer that nobody foresaw: blamed on who gave it, and told in full once a kind."""
        puzzle = (source.name, type(bug))
        if puzzle not in self._puzzles and len(self._puzzles) < PUZZLES_MAX:
            self._puzzles.add(puzzle)
            log.error("answer_not_understood", provider=source.name, exc_info=bug)
        reason = f"{source.name}: an answer nobody foresaw: {type(bug).__name__}"
        self._health[source.name].failed(ProviderFailed(reason, "wrong_shape"), seconds)

    def _seconds_since(self, begun: datetime) -> float:
        return (self._clock.now() - begun).total_seconds()


def _differ(told: Mapping[str, RangeLogs]) -> bool:
    return len({(answer.count, answer.digest) for answer in told.values()}) > 1

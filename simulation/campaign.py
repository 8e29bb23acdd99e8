"""Many histories, over several processes of this machine, with bounded work under way.

Shapes  A campaign runs the stories of `histories` seeds in a row. Histories go to worker processes
        in small chunks; results are taken in the order of the seeds, so that the trace hash of a
        campaign is the same however many processes there were.
        It stops early when FAILING_MAX histories have failed: more would tell nothing more; and on
        Ctrl-C, with what was found until then.
Units   seconds of the wall clock, which measure the campaign and decide nothing.
Errors  a history that the simulation itself cannot finish is a violation: `simulation_broke`, or
        `stuck` when it has not come to an end after HISTORY_SECONDS_MAX.
"""

import gc
import hashlib
import multiprocessing
import signal
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from simulation.evidence import Violation
from simulation.oracle import judge
from simulation.steps import History
from simulation.story import story
from simulation.world import run_history

STEPS_MAX_DEFAULT = 100
PROCESSES_DEFAULT = 2
CHUNK_HISTORIES = 4
CHUNKS_WAITING_MAX = 3  # of each process
CHUNKS_OF_A_PROCESS_MAX = 250  # then a fresh one takes its place
FAILING_MAX = 25
HISTORY_SECONDS_MAX = 300.0  # of the wall clock; a usual one takes half a second
ERROR_LENGTH_MAX = 400
YOUNG_OBJECTS = 200_000  # before the cycle collector looks: a history makes few cycles


class Endless(KeyboardInterrupt):
    """A history that runs on and on. Tasks let only interrupts of this kind through."""


@dataclass(frozen=True, slots=True)
class Examined:
    """One history, run and judged."""

    seed: int
    steps: int
    faults: dict[str, int]
    violations: tuple[Violation, ...]
    trace_hash: str


@dataclass(slots=True)
class Totals:
    histories: int = 0
    steps: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    failing: list[Examined] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False  # by Ctrl-C
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add(self, one: Examined) -> None:
        self.histories += 1
        self.steps += one.steps
        self.faults.update(one.faults)
        self._digest.update(f"{one.seed} {one.trace_hash}\n".encode())
        if one.violations:
            self.failing.append(one)

    @property
    def trace_hash(self) -> str:
        return self._digest.hexdigest()

    @property
    def violations(self) -> int:
        return sum(len(one.violations) for one in self.failing)


@dataclass(frozen=True, slots=True)
class Campaign:
    seed: int
    histories: int
    steps_max: int = STEPS_MAX_DEFAULT
    processes: int = PROCESSES_DEFAULT
    failing_max: int = FAILING_MAX

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.histories)


def examine(history: History) -> Examined:
    """Run a history and judge what it left behind."""
    try:
        with _bounded(HISTORY_SECONDS_MAX):
            performed = run_history(history)
            violations = judge(performed.evidence)
    except Endless as endless:
        return _unfinished(history, "stuck", endless)
    except Exception as error:  # noqa: BLE001 - whatever it is, the seed must be named
        return _unfinished(history, "simulation_broke", error)
    return Examined(
        history.seed, performed.steps, performed.faults, violations, performed.trace_hash
    )


def _unfinished(history: History, invariant: str, error: BaseException) -> Examined:
    where = "".join(traceback.format_exception(error)[-2:]).strip()
    violation = Violation(invariant, where[-ERROR_LENGTH_MAX:])
    return Examined(history.seed, len(history.steps), {}, (violation,), "")


@contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    """Also a loop that never comes back to the event loop ends here."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals come to the main thread only
        return

    def ring(*_: object) -> None:
        raise Endless(f"no end after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(campaign: Campaign, on_progress: Callable[[Totals], None] | None = None) -> Totals:
    totals = Totals()
    began = time.perf_counter()
    results = _here(campaign) if _few(campaign) else _elsewhere(campaign)
    try:
        for one in results:
            totals.add(one)
            totals.seconds = time.perf_counter() - began
            if on_progress is not None:
                on_progress(totals)
            if len(totals.failing) >= campaign.failing_max:
                break
    except KeyboardInterrupt:
        totals.interrupted = True
    return totals


def _few(campaign: Campaign) -> bool:
    return campaign.processes == 1 or campaign.histories <= CHUNK_HISTORIES


def _here(campaign: Campaign) -> Iterator[Examined]:
    for seed in campaign.seeds:
        yield examine(story(seed, campaign.steps_max))


def _elsewhere(campaign: Campaign) -> Iterator[Examined]:
    executor = ProcessPoolExecutor(
        campaign.processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin_work,
        max_tasks_per_child=CHUNKS_OF_A_PROCESS_MAX,
    )
    waiting: deque[Future[list[Examined]]] = deque()
    chunks = _chunks(campaign.seeds)
    try:
        for chunk in chunks:
            waiting.append(executor.submit(_examined, chunk, campaign.steps_max))
            if len(waiting) >= campaign.processes * CHUNKS_WAITING_MAX:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def _chunks(seeds: range) -> Iterable[tuple[int, ...]]:
    for first in range(0, len(seeds), CHUNK_HISTORIES):
        yield tuple(seeds[first : first + CHUNK_HISTORIES])


def _begin_work() -> None:
    """In a worker process: Ctrl-C is for the one that asked, and modules are for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 50, 100)


def _examined(seeds: tuple[int, ...], steps_max: int) -> list[Examined]:
    return [examine(story(seed, steps_max)) for seed in seeds]

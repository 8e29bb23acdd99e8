"""Cuts a failing history down to a short one that breaks the same invariant.

Shapes  Delta debugging: leave out halves, quarters, ... single steps, for as long as the first
        violation's invariant still fails; then make what is left simpler (no lost answers, no
        copies, fewer blocks). Steps carry their own salts, so leaving one out changes nothing
        about the others.
Bounds  at most `runs_max` histories are run; the shortest found so far is the answer.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterator

from simulation.evidence import Violation
from simulation.steps import History, Step

RUNS_MAX = 400
FIELDS_TRIED = ("lost", "copies", "salt", "pieces", "beside", "altered", "down_seconds", "blocks")

Judge = Callable[[History], Collection[Violation]]


@dataclasses.dataclass(frozen=True, slots=True)
class Shrunk:
    history: History
    violations: tuple[Violation, ...]
    runs: int


class _Budget:
    def __init__(self, judge: Judge, invariant: str, runs_max: int) -> None:
        self._judge = judge
        self._invariant = invariant
        self._left = runs_max
        self.runs = 0
        self.best: tuple[Violation, ...] = ()

    @property
    def spent(self) -> bool:
        return self._left <= 0

    def fails(self, history: History) -> bool:
        """Whether the same invariant still fails; False, without a look, when runs are spent."""
        if self.spent:
            return False
        self._left -= 1
        self.runs += 1
        found = tuple(self._judge(history))
        same = any(violation.invariant == self._invariant for violation in found)
        if same:
            self.best = found
        return same


def shrink(
    history: History,
    violations: Collection[Violation],
    judge: Judge,
    *,
    runs_max: int = RUNS_MAX,
) -> Shrunk:
    """The shortest history found in which the first of the violations' invariant fails too."""
    first = tuple(violations)
    assert first, "a history without violations has nothing to shrink to"
    budget = _Budget(judge, first[0].invariant, runs_max)
    steps = _fewer(history.seed, history.steps, budget)
    steps = _simpler(history.seed, steps, budget)
    return Shrunk(History(history.seed, steps), budget.best or first, budget.runs)


def _fewer(seed: int, steps: tuple[Step, ...], budget: _Budget) -> tuple[Step, ...]:
    size = max(1, len(steps) // 2)
    while steps and not budget.spent:
        before = len(steps)
        at = len(steps)
        while at > 0:  # from the end: what came after the failure goes first
            shorter = steps[: max(0, at - size)] + steps[at:]
            if budget.fails(History(seed, shorter)):
                steps = shorter
            at -= size
        if size == 1 and len(steps) == before:
            break
        size = max(1, size // 2)
    return steps


def _simpler(seed: int, steps: tuple[Step, ...], budget: _Budget) -> tuple[Step, ...]:
    for place in range(len(steps)):
        for simpler in _variants(steps[place]):
            changed = (*steps[:place], simpler(steps[place]), *steps[place + 1 :])
            if changed != steps and budget.fails(History(seed, changed)):
                steps = changed
    return steps


def _variants(step: Step) -> Iterator[Callable[[Step], Step]]:
    """One change each: a field back to its default, or to one."""
    for field in dataclasses.fields(step):
        if field.name not in FIELDS_TRIED:
            continue
        plain = 1 if field.default is dataclasses.MISSING else field.default
        name = field.name

        def change(now: Step, name: str = name, plain: object = plain) -> Step:
            return dataclasses.replace(now, **{name: plain})  # type: ignore[arg-type] # its own

        yield change

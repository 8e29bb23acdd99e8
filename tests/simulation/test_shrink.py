"""A failing history becomes a short one that breaks the same invariant, within its bound."""

from simulation.evidence import Violation
from simulation.shrink import shrink
from simulation.steps import AskRefund, Crash, History, Mine, Pay, Reorg, Step, Wait
from simulation.story import story


def violations(*invariants: str) -> tuple[Violation, ...]:
    return tuple(Violation(name, "") for name in invariants)


def needs(*kinds: str) -> "Judge":
    return Judge(kinds)


class Judge:
    """Fails when steps of these kinds come in this order, whatever is between them."""

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self.kinds = kinds
        self.runs = 0

    def __call__(self, history: History) -> tuple[Violation, ...]:
        self.runs += 1
        wanted = iter(self.kinds)
        missing = next(wanted, None)
        for step in history.steps:
            if step.kind == missing:
                missing = next(wanted, None)
        return () if missing else violations("double_credit")


def test_only_the_steps_that_matter_are_left() -> None:
    judge = needs("pay", "reorg", "crash")
    history = next(one for one in (story(seed, 100) for seed in range(50)) if judge(one))
    shrunk = shrink(history, judge(history), judge)
    assert [step.kind for step in shrunk.history.steps] == ["pay", "reorg", "crash"]
    assert shrunk.history.seed == history.seed
    assert shrunk.violations == violations("double_credit")


def test_no_more_runs_than_allowed() -> None:
    judge = needs("pay", "reorg")
    history = next(one for one in (story(seed, 100) for seed in range(50)) if judge(one))
    found, judge.runs = judge(history), 0
    shrunk = shrink(history, found, judge, runs_max=7)
    assert judge.runs == shrunk.runs <= 7
    assert judge(shrunk.history)


def test_another_invariant_does_not_count() -> None:
    """Without the crash something fails too, but not what was found."""

    def judge(history: History) -> tuple[Violation, ...]:
        kinds = [step.kind for step in history.steps]
        return violations("lost_money" if "crash" in kinds else "wrong_colour")

    steps: tuple[Step, ...] = (Wait(1), Crash("settlement"), Wait(2), Wait(3))
    shrunk = shrink(History(1, steps), violations("lost_money"), judge)
    assert [step.kind for step in shrunk.history.steps] == ["crash"]


def test_a_failure_of_nothing_at_all_shrinks_to_nothing() -> None:
    shrunk = shrink(History(1, (Wait(1), Wait(2))), violations("x"), lambda _: violations("x"))
    assert shrunk.history.steps == ()


def test_a_failure_that_comes_only_once_is_kept_whole() -> None:
    history = story(4, 30)
    shrunk = shrink(history, violations("flaky"), lambda _: ())
    assert shrunk.history == history
    assert shrunk.violations == violations("flaky")


def test_what_is_left_is_made_simpler() -> None:
    pay = Pay(0, "exact", 1, pieces=3, beside=2, salt=99)
    refund = AskRefund(0, "all", "payer", copies=3, lost=True, salt=7)
    history = History(1, (pay, Mine(0, 8), refund))

    def judge(history: History) -> tuple[Violation, ...]:
        copies = [step.copies for step in history.steps if isinstance(step, AskRefund)]
        blocks = [step.blocks for step in history.steps if isinstance(step, Mine)]
        paid = any(isinstance(step, Pay) for step in history.steps)
        race = paid and bool(copies) and copies[0] > 1 and bool(blocks)
        return violations("race") if race else ()

    shrunk = shrink(history, judge(history), judge)
    simple = AskRefund(0, "all", "payer", copies=3)
    assert shrunk.history.steps == (Pay(0, "exact", 1), Mine(0, 1), simple)


def test_order_is_kept() -> None:
    judge = needs("reorg", "pay")
    reorg = Reorg(0, 2, "keep", 1)
    steps: tuple[Step, ...] = (Pay(0, "exact", 0), reorg, Wait(1), Pay(1, "exact", 0), Wait(2))
    shrunk = shrink(History(1, steps), violations("double_credit"), judge)
    assert [step.kind for step in shrunk.history.steps] == ["reorg", "pay"]

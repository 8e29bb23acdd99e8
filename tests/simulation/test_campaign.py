"""Many histories: the same result whatever the number of processes, and an early end."""

import pytest

from simulation import campaign as c
from simulation.evidence import Evidence, Violation
from simulation.loop import new_loop
from simulation.steps import History

STEPS = 12


def test_two_processes_give_what_one_gives() -> None:
    alone = c.run(c.Campaign(seed=1, histories=6, steps_max=STEPS, processes=1))
    shared = c.run(c.Campaign(seed=1, histories=6, steps_max=STEPS, processes=2))
    assert alone.trace_hash == shared.trace_hash
    assert (alone.histories, alone.steps) == (shared.histories, shared.steps)
    assert alone.faults == shared.faults


def test_the_trace_hash_names_every_history_and_its_seed() -> None:
    def hash_of(seed: int, histories: int) -> str:
        wanted = c.Campaign(seed=seed, histories=histories, steps_max=STEPS, processes=1)
        return c.run(wanted).trace_hash

    assert len({hash_of(1, 1), hash_of(1, 2), hash_of(2, 1)}) == 3


def test_progress_is_told_after_every_history() -> None:
    told: list[int] = []
    wanted = c.Campaign(seed=5, histories=3, steps_max=STEPS, processes=1)
    c.run(wanted, lambda totals: told.append(totals.histories))
    assert told == [1, 2, 3]


def test_ctrl_c_keeps_what_was_found() -> None:
    def step(totals: c.Totals) -> None:
        if totals.histories == 2:
            raise KeyboardInterrupt

    totals = c.run(c.Campaign(seed=5, histories=9, steps_max=STEPS, processes=1), step)
    assert totals.interrupted
    assert totals.histories == 2


def _judge(evidence: Evidence) -> tuple[Violation, ...]:
    return (Violation("invented", "for this test"),) if evidence.seed % 2 else ()


def test_a_campaign_ends_when_enough_have_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "judge", _judge)
    wanted = c.Campaign(seed=1, histories=50, steps_max=3, processes=1, failing_max=2)
    totals = c.run(wanted)
    assert [one.seed for one in totals.failing] == [1, 3]
    assert totals.histories == 3


def test_a_simulation_that_breaks_is_a_violation_with_its_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(history: History) -> None:
        raise RuntimeError(f"cannot play {history.seed}")

    monkeypatch.setattr(c, "run_history", broken)
    examined = c.examine(History(9, ()))
    assert examined.seed == 9
    assert [each.invariant for each in examined.violations] == ["simulation_broke"]
    assert "cannot play 9" in examined.violations[0].detail


def test_a_history_without_end_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    async def restless() -> None:
        while True:
            pass

    def endless(_: History) -> None:
        loop = new_loop()
        loop.spawn(None, restless())
        loop.run_ready()

    monkeypatch.setattr(c, "run_history", endless)
    monkeypatch.setattr(c, "HISTORY_SECONDS_MAX", 0.1)
    examined = c.examine(History(9, ()))
    assert [each.invariant for each in examined.violations] == ["stuck"]

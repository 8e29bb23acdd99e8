"""The whole gateway on twins: a reorg after a refund's completion, whatever becomes of its bytes."""

import pytest

from simulation import steps as s
from simulation.evidence import Evidence
from simulation.oracle import judge
from simulation.world import run_history

POLYGON, ENOUGH = 1, 8  # blocks that bury anything there
BURY = s.Mine(POLYGON, ENOUGH)
PAID_BACK: tuple[s.Step, ...] = (
    s.CreateEndpoint(merchant=0),
    s.OpenSession(merchant=0, network=POLYGON, token=0, cents=1_000, window_seconds=600),
    s.TopUp(merchant=0, network=POLYGON, token=0, cents=100_000),
    s.Pay(session=0, share="exact", payer=1),
    BURY,
    s.Wait(5),
    s.AskRefund(session=0, part="half", to="payer"),
    s.Wait(5),
    BURY,
    s.Wait(20),
)
LATER: tuple[s.Step, ...] = (s.Wait(600), BURY, s.Wait(60), BURY)


def after_a_reorg(fate: s.Fate, depth: int) -> Evidence:
    reorg = s.Reorg(POLYGON, depth=depth, fate=fate, regrow=depth + 1, salt=1)
    return run_history(s.History(1, (*PAID_BACK, reorg, *LATER))).evidence


def completed(evidence: Evidence) -> list[str]:
    ends = ("refund.completed", "refund.reversed", "refund.failed")
    return [row.name for row in evidence.log if row.name in ends]


@pytest.mark.parametrize(
    ("fate", "depth", "facts"),
    [
        ("drop", ENOUGH - 1, ["refund.completed"]),
        ("keep", ENOUGH + 1, ["refund.completed"]),
        ("drop", ENOUGH + 1, ["refund.completed", "refund.reversed", "refund.completed"]),
        ("delay", ENOUGH + 1, ["refund.completed", "refund.reversed", "refund.completed"]),
    ],
)
def test_it_is_undone_only_where_its_transaction_is_gone_and_is_paid_in_the_end(
    fate: s.Fate, depth: int, facts: list[str]
) -> None:
    evidence = after_a_reorg(fate, depth)
    assert completed(evidence) == facts
    assert evidence.deaths == ()
    assert judge(evidence) == ()

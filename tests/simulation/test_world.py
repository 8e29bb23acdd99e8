"""One history at a time: the real workers on twins, with everything that may go wrong."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from simulation import steps as s
from simulation.evidence import Evidence
from simulation.faults import Trace
from simulation.oracle import judge
from simulation.story import story
from simulation.world import Performed, run_history

ROOT = Path(__file__).resolve().parents[2]
POLYGON, ENOUGH = 1, 8  # blocks that bury anything there
OPEN = s.OpenSession(merchant=0, network=POLYGON, token=0, cents=1_000, window_seconds=600)
PAY = s.Pay(session=0, share="exact", payer=1)
BURY = s.Mine(POLYGON, ENOUGH)
FUND = s.TopUp(merchant=0, network=POLYGON, token=0, cents=100_000)
REFUND = s.AskRefund(session=0, part="half", to="payer")
HAPPY: tuple[s.Step, ...] = (
    s.CreateEndpoint(merchant=0),
    OPEN,
    FUND,
    PAY,
    BURY,
    s.Wait(5),
    REFUND,
    s.Wait(5),
    BURY,
)


def performed(*steps: s.Step, seed: int = 1) -> Performed:
    return run_history(s.History(seed, steps))


def names(evidence: Evidence) -> list[str]:
    return [row.name for row in evidence.log]


def test_a_session_is_paid_completed_announced_and_refunded() -> None:
    evidence = performed(*HAPPY).evidence
    assert evidence.settled
    said = names(evidence)
    for fact in ("payment.completed", "refund.completed", "payment.refunded"):
        assert said.count(fact) == 1, fact
    assert [request.outcome for request in evidence.requests] == ["ok", "ok", "ok"]
    assert {post.answered for post in evidence.posts} == {200}
    assert len(evidence.posts) == said.count("delivery.succeeded") > 3
    assert evidence.deaths == ()
    assert judge(evidence) == ()


def test_virtual_days_pass_in_no_time_and_the_window_closes() -> None:
    evidence = performed(OPEN, s.Wait(3 * 86_400), s.Mine(POLYGON, 1), s.Wait(60)).evidence
    assert "payment_session.expired" in names(evidence)
    assert judge(evidence) == ()


def test_evidence_is_plain_data() -> None:
    plain = (str, int, bool, type(None))

    def check(value: object) -> None:
        if isinstance(value, dict):
            for key, held in value.items():
                assert isinstance(key, str)
                check(held)
        elif isinstance(value, list | tuple):
            for held in value:
                check(held)
        else:
            assert isinstance(value, plain), repr(value)

    check(dataclasses.asdict(performed(*HAPPY).evidence))


# ---------------------------------------------------------------- crashes

POINTS: Sequence[tuple[s.Process, s.Point]] = (
    ("settlement", "before_append"),
    ("settlement", "after_append"),
    ("settlement", "before_ack"),
    ("settlement", "after_ack"),
    ("ingest", "before_ingest_write"),
    ("ingest", "after_ingest_write"),
    ("ingest", "before_publish"),
    ("ingest", "after_publish"),
    ("refunds", "before_outgoing"),
    ("refunds", "after_outgoing"),
    ("refunds", "before_broadcast"),
    ("refunds", "after_broadcast"),
    ("signer", "before_outgoing"),
    ("signer", "after_outgoing"),
    ("webhooks", "before_post"),
    ("webhooks", "after_post"),
    ("dispatcher", "after_append"),
    ("projections", "before_append"),
    ("projections", "after_append"),
    ("api", "await"),
    ("settlement", "await"),
)


@pytest.mark.parametrize(("process", "point"), POINTS)
def test_a_death_at_any_point_is_survived(process: s.Process, point: s.Point) -> None:
    crash = s.Crash(process=process, network=POLYGON, point=point, down_seconds=3)
    steps = (HAPPY[0], OPEN, crash, *HAPPY[2:6], crash, *HAPPY[6:], s.Wait(120))
    result = performed(*steps)
    assert result.faults[f"crash.{point}"] >= 1, "it was to die there"
    assert result.evidence.settled
    assert judge(result.evidence) == ()
    if process != "api":
        assert names(result.evidence).count("payment.refunded") == 1


def test_a_client_whose_api_died_does_not_know_and_may_ask_again() -> None:
    crash = s.Crash(process="api", point="after_append", down_seconds=1)
    result = performed(crash, OPEN, s.Wait(2), s.Repeat(request=0))
    first, again = result.evidence.requests
    assert (first.outcome, again.outcome) == ("unknown", "ok")
    assert names(result.evidence).count("payment_session.created") == 1
    assert judge(result.evidence) == ()


def test_every_worker_lives_again_after_its_death() -> None:
    processes: tuple[s.Process, ...] = (
        "ingest",
        "settlement",
        "dispatcher",
        "webhooks",
        "refunds",
        "signer",
        "expiry",
        "projections",
    )
    crashes = tuple(s.Crash(process=each, network=POLYGON) for each in processes)
    result = performed(*crashes, s.Wait(10), *HAPPY)
    assert result.faults["crash.await"] == len(processes)
    assert names(result.evidence).count("payment.refunded") == 1


def test_the_ingester_that_stands_by_takes_over_and_gives_way_again() -> None:
    down = s.Crash(process="ingest", network=POLYGON, down_seconds=100_000)
    trace = Trace()
    trace.lines = []
    steps = (OPEN, down, PAY, s.Mine(POLYGON, 2), down, s.Wait(5), BURY)
    result = run_history(s.History(1, steps), trace=trace)
    assert result.faults["crash.await"] == 2
    lives = [line.split()[1] for line in trace.lines if line.startswith("life ")]
    assert lives[-2:] == ["ingest.polygon", "standby.polygon"], "each was killed when it led"
    assert names(result.evidence).count("payment.completed") == 1
    assert judge(result.evidence) == ()


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("trouble", ["outage", "lost_answer", "busy", "conflicts"])
def test_a_store_in_trouble_loses_nothing(trouble: s.StoreTrouble) -> None:
    fault = s.StoreFault(trouble=trouble, seconds=20, count=4)
    result = performed(*HAPPY[:4], fault, *HAPPY[4:], s.Wait(60))
    assert result.faults[f"store.{trouble}"] >= 1
    assert "payment.completed" in names(result.evidence)
    assert judge(result.evidence) == ()


@pytest.mark.parametrize(
    "trouble",
    [
        "outage",
        "lost_deliveries",
        "lost_acks",
        "repeats",
        "reorders",
        "delays",
        "lost_publish_answer",
        "lost_hints",
        "wiped",
    ],
)
def test_a_bus_in_trouble_loses_nothing(trouble: s.BusTrouble) -> None:
    fault = s.BusFault(trouble=trouble, seconds=40)
    twice = (PAY, dataclasses.replace(PAY, payer=2, pieces=3))
    result = performed(*HAPPY[:3], *twice, s.Mine(POLYGON, 1), fault, BURY, s.Wait(90))
    assert result.faults[f"bus.{trouble}"] >= 1
    assert "payment.completed" in names(result.evidence)
    assert judge(result.evidence) == ()


@pytest.mark.parametrize(
    "trouble",
    [
        "down",
        "slow",
        "lag",
        "empty",
        "duplicates",
        "forged_logs",
        "forged_receipts",
        "forged_headers",
        "fork",
        "flapping",
    ],
)
def test_one_provider_in_trouble_changes_nothing(trouble: s.ProviderTrouble) -> None:
    fault = s.ProviderFault(
        network=POLYGON, provider=0, trouble=trouble, seconds=60, amount=3, salt=5
    )
    result = performed(OPEN, fault, PAY, BURY, s.Wait(90))
    assert result.faults[f"provider.{trouble}"] >= 1
    assert names(result.evidence).count("payment.completed") == 1
    assert judge(result.evidence) == ()


@pytest.mark.parametrize("manner", ["slow", "error", "lost_answer", "hanging", "asks_to_wait"])
def test_a_receiver_in_trouble_hears_of_everything_in_the_end(manner: s.Manner) -> None:
    fault = s.ReceiverFault(endpoint=0, manner=manner, posts=2)
    result = performed(HAPPY[0], fault, OPEN, PAY, BURY, s.Wait(900))
    assert result.faults[f"receiver.{manner}"] == 2
    assert judge(result.evidence) == ()


@pytest.mark.parametrize("fate", ["keep", "delay", "drop", "replace", "mixed", "revert"])
def test_a_reorg_after_completion_leaves_what_the_chain_says(fate: s.Fate) -> None:
    reorg = s.Reorg(network=POLYGON, depth=1, fate=fate, regrow=3, at_confirmation=True, salt=3)
    result = performed(OPEN, PAY, BURY, reorg, s.Wait(30), BURY)
    assert result.faults["chain.reorg"] == 1
    assert judge(result.evidence) == ()


def test_a_wrong_clock_loses_no_payment() -> None:
    skews = (
        s.Skew(process="api", seconds=-600),
        s.Skew(process="ingest", seconds=600, network=POLYGON),
        s.Skew(process="settlement", seconds=-300, network=POLYGON),
    )
    result = performed(*skews, *HAPPY)
    assert result.faults["clock.skew"] == 3
    assert names(result.evidence).count("payment.refunded") == 1


def test_a_step_with_nothing_to_act_on_does_nothing() -> None:
    result = performed(
        s.CancelSession(session=3),
        REFUND,
        s.Repeat(request=2),
        s.DeleteEndpoint(endpoint=0),
        s.ReplayDelivery(delivery=0),
        PAY,
        s.MineAt(session=1, edge="expiry", offset_seconds=0),
        s.Restore(network=0),
        s.ReceiverFault(endpoint=0, manner="error", posts=1),
    )
    assert result.evidence.requests == ()
    assert judge(result.evidence) == ()


# ---------------------------------------------------------------- the same again


def test_the_same_seed_gives_the_same_trace_line_by_line() -> None:
    history = story(7, 40)
    first, again = Trace(), Trace()
    first.lines, again.lines = [], []
    assert (
        run_history(history, trace=first).trace_hash
        == run_history(history, trace=again).trace_hash
    )
    assert first.lines == again.lines
    assert len(first.lines) > 100


def test_another_step_gives_another_trace() -> None:
    hashes = {performed(*HAPPY[:count]).trace_hash for count in range(len(HAPPY) + 1)}
    assert len(hashes) == len(HAPPY) + 1


def test_the_trace_does_not_depend_on_how_strings_are_hashed() -> None:
    code = (
        "from simulation.story import story\n"
        "from simulation.world import run_history\n"
        "print([run_history(story(seed, 60)).trace_hash for seed in (3, 4)])\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(said) == 1

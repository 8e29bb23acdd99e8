"""Whom to ask, whom to leave alone, and for how long."""

import pytest

from adapters.memory.clock import FakeClock
from application.chain_source import FailureKind, ProviderFailed
from application.ports import Unavailable
from chain_ingest.health import (
    FAILURES_UNTIL_DOWN,
    LIMITED_SECONDS_MAX,
    LIMITED_SECONDS_UNTIL_DOWN,
    PAUSE_SECONDS_FIRST,
    PAUSE_SECONDS_MAX,
    REFUSED_SECONDS,
    Health,
)
from tests.chain_ingest.world import START


def failing(kind: FailureKind, seconds: float | None = None) -> ProviderFailed:
    return ProviderFailed("scripted", kind, retry_after_seconds=seconds)


class Watched:
    def __init__(self, name: str = "p0") -> None:
        self.clock = FakeClock(START)
        self.health = Health(name, self.clock)
        self.health.admitted = True

    def seconds_until_asked(self) -> float:
        waited = 0.0
        while not self.health.may_be_asked:
            self.clock.advance(0.05)
            waited += 0.05
            assert waited < 1_000
        return waited


@pytest.mark.parametrize("kind", ["timeout", "connection", "http_status", "truncated", "refused"])
def test_an_outage_in_a_row_is_down_and_its_end_is_noticed_within_half_a_minute(
    kind: FailureKind,
) -> None:
    watched = Watched()
    pauses = []
    for _ in range(30):
        watched.health.failed(failing(kind))
        pauses.append(watched.seconds_until_asked())
    state = watched.health.state
    assert state.standing == "down"
    assert pauses[0] <= PAUSE_SECONDS_FIRST + 0.05
    assert pauses[3] > pauses[0]
    assert max(pauses) <= PAUSE_SECONDS_MAX < 30
    watched.health.answered(0.1)
    state = watched.health.state
    assert (state.standing, state.failures) == ("serving", {kind: 30})


def test_questions_that_fail_together_are_one_failure_in_a_row() -> None:
    watched = Watched()
    for _ in range(4 * FAILURES_UNTIL_DOWN):
        watched.health.failed(failing("timeout"), 0.0)
    watched.clock.advance(PAUSE_SECONDS_FIRST)
    watched.health.failed(failing("timeout"), 2.0)  # begun before the first had failed
    assert not watched.health.down
    assert watched.health.state.failures == {"timeout": 4 * FAILURES_UNTIL_DOWN + 1}
    for _ in range(FAILURES_UNTIL_DOWN - 1):
        watched.clock.advance(PAUSE_SECONDS_MAX)
        watched.health.failed(failing("timeout"), 0.1)
    assert watched.health.state.standing == "down"


def test_two_providers_do_not_come_back_at_the_same_moments() -> None:
    one, other = Watched("p0"), Watched("p1")
    pauses: list[list[float]] = [[], []]
    for _ in range(8):
        for watched, waits in zip((one, other), pauses, strict=True):
            watched.health.failed(failing("timeout"))
            waits.append(watched.seconds_until_asked())
    assert pauses[0] != pauses[1]
    again = Watched("p0")
    for wait in pauses[0]:
        again.health.failed(failing("timeout"))
        assert again.seconds_until_asked() == wait, "the same provider, the same pauses"


def test_who_says_too_often_is_left_alone_as_long_as_it_asks_and_is_not_down() -> None:
    watched = Watched()
    for _ in range(FAILURES_UNTIL_DOWN + 1):
        watched.health.failed(failing("rate_limited", 7.0))
        assert not watched.health.may_be_asked
        assert not watched.health.down
        assert watched.health.state.standing == "limited"
        assert watched.seconds_until_asked() == pytest.approx(7.0, abs=0.1)
    watched.health.answered()
    assert watched.health.state.standing == "serving"


def test_a_wait_of_a_day_is_not_waited_out() -> None:
    watched = Watched()
    watched.health.failed(failing("rate_limited", 86_400.0))
    assert watched.seconds_until_asked() <= LIMITED_SECONDS_MAX + 0.1


def test_without_a_time_to_wait_each_refusal_waits_longer() -> None:
    watched = Watched()
    pauses = []
    for _ in range(4):
        watched.health.failed(failing("rate_limited"))
        pauses.append(watched.seconds_until_asked())
    assert pauses == sorted(pauses)
    assert pauses[0] > 0


def test_limited_for_a_minute_without_an_answer_need_not_be_waited_for() -> None:
    watched = Watched()
    watched.health.failed(failing("rate_limited", 5.0))
    watched.clock.advance(LIMITED_SECONDS_UNTIL_DOWN)
    watched.health.failed(failing("rate_limited", 5.0))
    assert watched.health.down
    watched.clock.advance(5.0)
    watched.health.answered()
    assert not watched.health.down


@pytest.mark.parametrize("kind", ["beyond_head", "over_budget", "range_refused"])
def test_who_does_not_have_a_block_or_was_not_even_asked_has_failed_at_nothing(
    kind: FailureKind,
) -> None:
    watched = Watched()
    for _ in range(10):
        watched.health.failed(failing(kind))
    assert watched.health.may_be_asked
    assert not watched.health.down
    assert watched.health.rank == Watched().health.rank
    assert watched.health.state.failures == {kind: 10}


def test_a_failure_nobody_explains_counts_too() -> None:
    watched = Watched()
    watched.health.failed(Unavailable("rpc", "gone"))
    assert not watched.health.may_be_asked
    assert watched.health.state.failures == {"failed": 1}


def test_the_quick_and_the_sound_come_first_and_near_equals_are_equal() -> None:
    def told(seconds: float, failures: int = 0) -> tuple[int, int]:
        watched = Watched()
        for _ in range(20):
            for _ in range(failures):
                watched.health.failed(failing("timeout"), 2.0)
            watched.health.answered(seconds)
        return watched.health.rank

    assert told(0.02) == told(0.09)
    assert told(0.02) < told(0.5) < told(2.0)
    assert told(0.02) < told(0.02, failures=1) < told(0.02, failures=3)


def test_one_that_is_failing_now_comes_after_all_that_answer() -> None:
    failing_now, slow = Watched(), Watched()
    failing_now.health.failed(failing("timeout"))
    for _ in range(20):
        slow.health.answered(9.0)
    assert slow.health.rank < failing_now.health.rank


def test_who_was_refused_is_asked_again_who_it_is_after_a_while() -> None:
    watched = Watched()
    watched.health.refuse("another chain")
    assert watched.health.down
    assert not watched.health.admit(), "it has just said otherwise"
    assert watched.seconds_until_asked() == pytest.approx(REFUSED_SECONDS, abs=0.1)
    assert watched.health.state.standing == "refused"
    assert watched.health.down, "nobody waits for it until it says so rightly"
    watched.health.refuse("another chain, still")
    assert watched.seconds_until_asked() == pytest.approx(REFUSED_SECONDS, abs=0.1)
    assert watched.health.admit()
    assert (watched.health.state.standing, watched.health.down) == ("serving", False)

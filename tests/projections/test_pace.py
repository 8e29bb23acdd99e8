"""How many facts are taken in at once, by how the steps before went."""

import psycopg
import pytest
from psycopg import errors
from structlog.testing import capture_logs

from application.ports import StoreUnavailable
from projections.pace import WHOLE_STEPS, Pace, cause_of

LIMIT = 15.0


def failed(pace: Pace, error: Exception, seconds: float, size: int = 1_000) -> bool:
    return pace.failed(error, seconds, LIMIT, size=size, position=7) is not None


@pytest.mark.parametrize(
    ("error", "seconds", "too_long"),
    [
        (errors.TransactionTimeout(), 15.0, True),
        (errors.QueryCanceled(), 5.0, True),
        (TimeoutError(), 30.0, True),
        (errors.AdminShutdown(), 14.0, True),
        (psycopg.OperationalError("lost"), 14.0, True),
        (psycopg.InterfaceError("lost"), 14.0, True),
        (errors.AdminShutdown(), 1.0, False),
        (psycopg.OperationalError("lost"), 1.0, False),
        (errors.LockNotAvailable(), 2.0, False),
        (StoreUnavailable("nobody there"), 14.0, False),
    ],
)
def test_only_a_step_ended_for_its_length_halves_the_batch(
    error: Exception, seconds: float, *, too_long: bool
) -> None:
    pace = Pace()
    assert failed(pace, error, seconds) is too_long
    assert pace.events == (500 if too_long else 1_000)


def test_the_cause_is_what_the_server_said_and_not_what_became_of_it() -> None:
    outage = StoreUnavailable("the connection failed")
    outage.__cause__ = errors.QueryCanceled()
    assert cause_of(outage) == "QueryCanceled"
    assert failed(Pace(), outage, 5.0)


def test_a_connection_lost_at_the_limit_is_put_down_to_it() -> None:
    slow = Pace().failed(psycopg.OperationalError("lost"), 14.9, LIMIT, size=9, position=7)
    assert slow is not None
    assert slow.reason == "TransactionTimeout"


def test_half_of_what_was_tried_is_tried_next_not_half_of_what_was_allowed() -> None:
    pace = Pace()
    failed(pace, TimeoutError(), 30.0, size=90)
    assert pace.events == 45


def test_full_batches_with_room_to_spare_double_it_up_to_the_maximum() -> None:
    pace = Pace(100)
    for _ in range(9):
        failed(pace, TimeoutError(), 30.0)
    assert pace.events == 1
    pace.succeeded(1, LIMIT * 0.6, LIMIT)  # twice as much would not fit
    pace.succeeded(0, 0.1, LIMIT)
    assert pace.events == 1
    found = []
    for _ in range(9):
        pace.succeeded(pace.events, 0.1, LIMIT)
        found.append(pace.events)
    assert found == [2, 4, 8, 16, 32, 64, 100, 100, 100]


def test_each_size_is_said_once_on_the_way_down_however_often_it_is_found() -> None:
    pace = Pace(100)
    with capture_logs() as logs:
        for _ in range(5):
            failed(pace, errors.TransactionTimeout(), 15.0)
            failed(pace, errors.TransactionTimeout(), 15.0)
            for _ in range(10):
                pace.succeeded(pace.events, 0.1, LIMIT)
            assert pace.events == 100
        for _ in range(WHOLE_STEPS):
            pace.succeeded(3, 0.1, LIMIT)
        failed(pace, errors.TransactionTimeout(), 15.0)
    said = [(each["event"].removeprefix("projections_batch_"), each["events"]) for each in logs]
    assert said == [("reduced", 50), ("reduced", 25), ("whole_again", 100), ("reduced", 50)]
    assert logs[0]["reason"] == "TransactionTimeout"

"""A session's own address: what came before its time and after it is not the session's."""

from datetime import timedelta

import pytest

from application.deciders import PAYMENT
from domain import commands as c
from domain.matching import (
    BIRTH_SLACK_SECONDS,
    CLOCK_SLACK_SECONDS,
    Candidates,
    attribute,
    concerns,
)
from tests.domain.test_matching import (
    AT_ADDRESS,
    BIRTH_SLACK,
    BOOK,
    GRACE_END,
    JUST,
    SESSION,
)
from tests.examples import CREATED, MERCHANT_ID, SEEN, SESSION_ID, sighting


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (timedelta(0), "deposit_address"),
        (BIRTH_SLACK, "deposit_address"),
        (BIRTH_SLACK + JUST, "before_session"),
        (timedelta(days=90), "before_session"),
    ],
)
def test_an_address_that_was_used_before_credits_only_what_came_since(
    before: timedelta, said: str
) -> None:
    seen = sighting(block_time=SESSION.created_at - before)
    whose = attribute(seen, AT_ADDRESS, Candidates(deposit=SESSION), BOOK, safe=True)
    assert whose.verdict == said
    assert whose.merchant_id == MERCHANT_ID, "the inbox is the merchant's: nothing is lost"


def test_clocks_may_be_ten_minutes_wrong_and_an_honest_payment_is_credited() -> None:
    assert BIRTH_SLACK_SECONDS >= 10 * 60 + CLOCK_SLACK_SECONDS


def test_who_used_the_address_before_is_nobody_of_whom_the_payer_is_told() -> None:
    at = SESSION.created_at - BIRTH_SLACK
    assert concerns(sighting(block_time=at), SESSION)
    assert not concerns(sighting(block_time=at - JUST), SESSION)


def test_the_last_moment_of_the_grace_period_still_counts() -> None:
    late = sighting(block_time=GRACE_END - JUST)
    whose = attribute(late, AT_ADDRESS, Candidates(deposit=SESSION), BOOK, safe=True)
    assert whose.verdict == "deposit_address"


def test_an_expired_session_is_credited_within_its_grace() -> None:
    expire = c.ExpireSession(at=CREATED.expires_at)
    expired = PAYMENT.evolve(SESSION, PAYMENT.decide(expire, SESSION)[0])
    whose = attribute(SEEN, AT_ADDRESS, Candidates(deposit=expired), BOOK, safe=True)
    assert whose.subject_id == SESSION_ID

"""Whose transfer it is, and the reason that is written beside the answer."""

from datetime import timedelta

import pytest

from application.deciders import PAYMENT
from domain import commands as c
from domain.events import Sighting
from domain.matching import AddressOwner, attribute
from tests.examples import (
    CREATED,
    LATER,
    MERCHANT_ID,
    OTHER_ASSET,
    SEEN,
    SESSION_ID,
    sighting,
    usd,
)
from tests.given import given

OPEN = given(PAYMENT, CREATED)
OWNER = AddressOwner(purpose="payment_session", subject_id=SESSION_ID, merchant_id=MERCHANT_ID)


def test_the_right_token_to_a_deposit_address_pays_its_session() -> None:
    whose = attribute(SEEN, OWNER, OPEN.state)
    assert (whose.purpose, whose.subject_id) == ("payment_session", SESSION_ID)


def test_money_to_the_refund_wallet_is_the_merchants_float() -> None:
    owner = AddressOwner(purpose="refund_float", subject_id=MERCHANT_ID, merchant_id=MERCHANT_ID)
    assert attribute(SEEN, owner, None).purpose == "refund_float"


GRACE_END = CREATED.expires_at + timedelta(seconds=CREATED.grace_seconds)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (sighting(usd("10.00", OTHER_ASSET)), "another token"),
        (sighting(block_time=GRACE_END), "grace"),
        (SEEN.model_copy(update={"network": "polygon"}), "sent on polygon"),
    ],
)
def test_a_surprise_goes_to_the_inbox_with_its_reason(seen: Sighting, reason: str) -> None:
    whose = attribute(seen, OWNER, OPEN.state)
    assert whose.purpose == "unmatched"
    assert reason in whose.reason
    assert whose.merchant_id == MERCHANT_ID


def test_the_last_second_of_the_grace_period_still_counts() -> None:
    late = sighting(block_time=GRACE_END - timedelta(seconds=1))
    assert attribute(late, OWNER, OPEN.state).purpose == "payment_session"


def test_money_for_a_cancelled_session_and_for_nobody_is_kept_in_the_inbox() -> None:
    cancelled = OPEN.when(c.CancelSession(at=LATER)).then("payment_session.cancelled")
    assert "cancelled" in attribute(SEEN, OWNER, cancelled.state).reason
    assert attribute(SEEN, None, None).merchant_id is None
    assert "not known" in attribute(SEEN, OWNER, None).reason

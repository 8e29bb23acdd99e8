"""A fact on the wrong stream, or before the first one, is our bug: it stops, with its name."""

from typing import Any

import pytest

from application.deciders import (
    CLAIM,
    DELIVERY,
    MERCHANT,
    PAYMENT,
    POLICY,
    REFUND,
    REFUND_FLOAT,
    TRANSFER,
    Decider,
)
from domain.errors import Refusal
from domain.events import Event
from tests.examples import CREATED, EXAMPLES

BY_NAME: dict[str, Event] = {event.name: event for event in EXAMPLES}
FIRST = (
    (PAYMENT, "payment_session.created", "a payment session", "the session was created"),
    (REFUND, "refund.requested", "a refund", "the refund was requested"),
    (TRANSFER, "onchain_transfer.observed", "a transfer", "the transfer was observed"),
    (MERCHANT, "merchant.registered", "a merchant", "the merchant was registered"),
    (DELIVERY, "delivery.opened", "a delivery", "the delivery was opened"),
)
WITHOUT_A_FIRST = (
    (REFUND_FLOAT, "a refund float"),
    (CLAIM, "a claim"),
    (POLICY, "a policy"),
)


@pytest.mark.parametrize(("decider", "first", "whose", "birth"), FIRST)
def test_a_fact_of_another_stream_or_before_the_first_stops_us(
    decider: Decider[Any, Any], first: str, whose: str, birth: str
) -> None:
    stray = BY_NAME["network.reorg_detected"]
    with pytest.raises(AssertionError) as caught:
        decider.evolve(None, stray)
    assert str(caught.value) == f"network.reorg_detected before {birth}"
    begun = decider.evolve(None, BY_NAME[first])
    with pytest.raises(AssertionError) as caught:
        decider.evolve(begun, stray)
    assert str(caught.value) == f"network.reorg_detected is no event of {whose}"


@pytest.mark.parametrize(("decider", "whose"), WITHOUT_A_FIRST)
def test_a_fact_of_another_stream_stops_us(decider: Decider[Any, Any], whose: str) -> None:
    with pytest.raises(AssertionError) as caught:
        decider.evolve(None, CREATED)
    assert str(caught.value) == f"payment_session.created is no event of {whose}"


def test_every_refusal_has_a_code_of_its_own() -> None:
    kinds = Refusal.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert all(kind.code.count(".") == 1 for kind in kinds)

"""Values made without checking are those the constructor makes."""

from datetime import datetime

import pytest
from pydantic import ValidationError

from domain import payment
from domain.delivery import WebhookDelivery
from domain.events import EVENTS, DeliveryOpened, Event, SessionCancelled, SessionCreated
from domain.money import Amount
from domain.payment import PaymentSession
from domain.values import Value
from tests.examples import CREATED, EXAMPLES


def stored(value: Value) -> str:
    return value.model_dump_json()


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.name)
def test_a_trusted_value_is_the_checked_one(event: Event) -> None:
    checked = EVENTS[event.name](**dict(event))
    trusted = EVENTS[event.name].trusted(**dict(event))
    assert trusted == checked
    assert stored(trusted) == stored(checked)
    assert trusted.model_fields_set == checked.model_fields_set
    assert trusted.changed(at=event.at) == checked


def test_a_state_folded_from_a_fact_reads_back_from_its_json() -> None:
    session = payment.evolve(None, CREATED)
    assert PaymentSession.model_validate_json(stored(session)) == session
    fields = dict(CREATED)
    assert session == PaymentSession(created_at=fields.pop("at"), **fields)
    assert stored(session) == stored(PaymentSession(**dict(session)))


def test_fields_left_out_are_as_the_class_says_whatever_the_order() -> None:
    (opened,) = [each for each in EXAMPLES if isinstance(each, DeliveryOpened)]
    fields = {**dict(opened), "created_at": opened.at, "next_attempt_at": opened.at}
    del fields["at"]
    backwards = dict(reversed(fields.items()))
    assert stored(WebhookDelivery.trusted(**backwards)) == stored(WebhookDelivery(**fields))


def test_too_many_fields_or_too_few_are_a_bug() -> None:
    with pytest.raises(AssertionError, match="Amount lacks a field"):
        Amount.trusted(units=1)
    with pytest.raises(AssertionError, match="Amount has no such field"):
        Amount.trusted(units=1, asset="a", coin="b")


def test_a_moment_needs_a_time_zone() -> None:
    with pytest.raises(ValidationError):
        SessionCancelled(at=datetime(2026, 11, 22, 12, 0))  # noqa: DTZ001 - that is the point
    with pytest.raises(ValidationError):
        SessionCreated.model_validate_json(CREATED.encoded().replace(b"Z", b""))

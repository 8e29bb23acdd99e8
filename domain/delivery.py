"""A webhook delivery: one message for one endpoint, attempted at most four times a round.

Shapes  DeliveryOpened carries the body's text; every attempt sends these bytes. An attempt's
        number runs on over replays; `round_attempts` counts those of the current round.
Units   delays in seconds after the previous attempt: at once, +10, +60, +600.
Errors  DeliveryUnknown.
"""

from datetime import timedelta
from typing import Literal, assert_never
from uuid import UUID

from domain import commands as c
from domain import events as e
from domain.errors import DeliveryUnknown
from domain.values import Mode, Moment, Value

RETRY_DELAYS_SECONDS = (10, 60, 600)
ATTEMPTS_MAX = 1 + len(RETRY_DELAYS_SECONDS)
RETRY_AFTER_STRETCH_MAX = 2  # a receiver's Retry-After may at most double a delay


DeliveryStatus = Literal["due", "delivered", "failed"]


class WebhookDelivery(Value):
    delivery_id: UUID
    merchant_id: UUID
    mode: Mode
    endpoint_id: UUID
    message_id: str
    message_type: str
    body: str
    created_at: Moment
    status: DeliveryStatus = "due"
    attempts: int = 0
    round_attempts: int = 0
    next_attempt_at: Moment | None = None


def decide(command: c.DeliveryCommand, delivery: WebhookDelivery | None) -> tuple[e.Event, ...]:
    if isinstance(command, c.OpenDelivery):
        return () if delivery is not None else (e.DeliveryOpened(**dict(command)),)
    if delivery is None:
        raise DeliveryUnknown("there is no such webhook delivery")
    match command:
        case c.RecordAttempt():
            return _attempted(command, delivery)
        case c.ReplayDelivery():
            return () if delivery.status == "due" else (e.DeliveryReplayed(at=command.at),)
        case _:
            assert_never(command)


def _attempted(command: c.RecordAttempt, delivery: WebhookDelivery) -> tuple[e.Event, ...]:
    if delivery.status != "due":
        return ()
    number = delivery.attempts + 1
    if command.error is None:
        assert command.status_code is not None
        return (
            e.DeliverySucceeded(
                at=command.at,
                attempt=number,
                status_code=command.status_code,
                latency_ms=command.latency_ms,
            ),
        )
    again_at = _next_attempt_at(command, delivery.round_attempts + 1)
    failed = e.DeliveryAttemptFailed(
        at=command.at,
        attempt=number,
        status_code=command.status_code,
        latency_ms=command.latency_ms,
        error=command.error,
        next_attempt_at=again_at,
    )
    return (failed,) if again_at else (failed, e.DeliveryFailed(at=command.at, attempts=number))


def _next_attempt_at(command: c.RecordAttempt, made: int) -> Moment | None:
    if made >= ATTEMPTS_MAX or command.status_code == 410:
        return None
    delay = RETRY_DELAYS_SECONDS[made - 1]
    asked = min(command.retry_after_seconds or 0, delay * RETRY_AFTER_STRETCH_MAX)
    return command.at + timedelta(seconds=max(delay, asked))


def evolve(delivery: WebhookDelivery | None, event: e.Event) -> WebhookDelivery:
    if isinstance(event, e.DeliveryOpened):
        fields = {**event.__dict__}
        opened_at = fields.pop("at")
        return WebhookDelivery.trusted(created_at=opened_at, next_attempt_at=opened_at, **fields)
    assert delivery is not None, f"{event.name} before the delivery was opened"
    match event:
        case e.DeliverySucceeded():
            return delivery.changed(
                status="delivered",
                attempts=event.attempt,
                round_attempts=delivery.round_attempts + 1,
                next_attempt_at=None,
            )
        case e.DeliveryAttemptFailed():
            return delivery.changed(
                attempts=event.attempt,
                round_attempts=delivery.round_attempts + 1,
                next_attempt_at=event.next_attempt_at,
            )
        case e.DeliveryFailed():
            return delivery.changed(status="failed")
        case e.DeliveryReplayed():
            return delivery.changed(status="due", round_attempts=0, next_attempt_at=event.at)
        case _:
            raise AssertionError(f"{event.name} is no event of a delivery")

"""Webhook deliveries: what is due and when, and what became of every attempt.

Shapes  deliveries         a row a delivery; the workers' queue claims the due ones from it
        delivery_attempts  a row an attempt, numbered on over replays
Units   latency in milliseconds.
"""

from collections.abc import Iterable
from typing import Any

from application.ports import Fact
from domain import delivery
from domain import events as e
from domain.delivery import WebhookDelivery
from projections.projection import StreamProjection, state_table
from projections.table import Row, Table

DELIVERIES = state_table(
    "deliveries",
    "delivery_id",
    (
        ("merchant_id", "uuid"),
        ("mode", "text"),
        ("endpoint_id", "uuid"),
        ("status", "text"),
        ("next_attempt_at", "timestamptz"),
        ("created_at", "timestamptz"),
    ),
    nullable=("next_attempt_at",),
    indexes=(
        "(endpoint_id, next_attempt_at) WHERE status = 'due'",
        # Without a status the three of them are merged.
        "(merchant_id, mode, status, position DESC)",
        "(endpoint_id, status, position DESC)",
    ),
)
ATTEMPTS = Table(
    "delivery_attempts",
    (
        ("delivery_id", "uuid"),
        ("attempt", "int"),
        ("at", "timestamptz"),
        ("status_code", "int"),
        ("latency_ms", "int"),
        ("error", "text"),
    ),
    ("delivery_id", "attempt"),
    nullable=("status_code", "error"),
    keeps=True,
)


class Deliveries(StreamProjection[WebhookDelivery]):
    name, version = "deliveries", 2  # 2 changed indexes
    cost = 15
    state_type = WebhookDelivery
    states = DELIVERIES
    tables = (DELIVERIES, ATTEMPTS)
    handles = frozenset(
        {
            e.DeliveryOpened,
            e.DeliverySucceeded,
            e.DeliveryAttemptFailed,
            e.DeliveryFailed,
            e.DeliveryReplayed,
        }
    )

    def evolve(self, state: WebhookDelivery | None, recorded: Fact[Any]) -> WebhookDelivery:
        return delivery.evolve(state, recorded.event)

    def columns(self, state: WebhookDelivery) -> Row:
        return (
            state.merchant_id,
            state.mode,
            state.endpoint_id,
            state.status,
            state.next_attempt_at,
            state.created_at,
        )

    def beside(self, state: WebhookDelivery, recorded: Fact[Any]) -> Iterable[tuple[str, Row]]:
        del state  # the fact says it all
        event = recorded.event
        if not isinstance(event, e.DeliverySucceeded | e.DeliveryAttemptFailed):
            return ()
        error = event.error if isinstance(event, e.DeliveryAttemptFailed) else None
        place = (recorded.stream_id, event.attempt, event.at)
        return ((ATTEMPTS.name, (*place, event.status_code, event.latency_ms, error)),)

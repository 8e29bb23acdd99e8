"""What callers read about webhooks: endpoints, deliveries, attempts."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from api.views import DELIVERY, ENDPOINT, View, When
from application.reads import AttemptRow
from domain.delivery import WebhookDelivery
from domain.merchant import Endpoint
from domain.values import public_id

EXCERPT_LENGTH_MAX = 16 * 1024


class EndpointView(View):
    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    url: str
    event_types: tuple[str, ...] = Field(description="Empty: all.")
    enabled: bool
    livemode: bool


class NewEndpointView(EndpointView):
    secret: str = Field(description="Signs the messages. Shown by the creation only.")


class AttemptView(View):
    attempt: int
    at: When
    status_code: int | None
    latency_ms: int
    error: str | None
    response_excerpt: str


class DeliveryView(View):
    id: str
    object: Literal["webhook_delivery"] = "webhook_delivery"
    webhook_endpoint_id: str
    event_id: str
    event_type: str
    status: Literal["due", "delivered", "failed"]
    attempts: int
    next_attempt_at: When | None
    created_at: When
    livemode: bool


class DeliveryDetailView(DeliveryView):
    body: str = Field(description="The bytes of every attempt.")
    attempt_log: tuple[AttemptView, ...]


def endpoint_view(endpoint: Endpoint) -> EndpointView:
    return EndpointView(**_endpoint_fields(endpoint))


def new_endpoint_view(endpoint: Endpoint, secret: str) -> NewEndpointView:
    return NewEndpointView(**_endpoint_fields(endpoint), secret=secret)


def _endpoint_fields(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": public_id(ENDPOINT, endpoint.endpoint_id),
        "url": endpoint.url,
        "event_types": endpoint.event_types,
        "enabled": endpoint.enabled,
        "livemode": endpoint.mode == "live",
    }


def delivery_view(delivery: WebhookDelivery) -> DeliveryView:
    return DeliveryView(**_delivery_fields(delivery))


def delivery_detail(
    delivery: WebhookDelivery, attempts: Sequence[AttemptRow]
) -> DeliveryDetailView:
    return DeliveryDetailView(
        **_delivery_fields(delivery),
        body=delivery.body,
        attempt_log=tuple(_attempt(attempt) for attempt in attempts),
    )


def _delivery_fields(delivery: WebhookDelivery) -> dict[str, Any]:
    return {
        "id": public_id(DELIVERY, delivery.delivery_id),
        "webhook_endpoint_id": public_id(ENDPOINT, delivery.endpoint_id),
        "event_id": delivery.message_id,
        "event_type": delivery.message_type,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "next_attempt_at": delivery.next_attempt_at,
        "created_at": delivery.created_at,
        "livemode": delivery.mode == "live",
    }


def _attempt(attempt: AttemptRow) -> AttemptView:
    excerpt = attempt.response_excerpt.decode("utf-8", "replace")[:EXCERPT_LENGTH_MAX]
    return AttemptView(
        attempt=attempt.attempt,
        at=attempt.at,
        status_code=attempt.status_code,
        latency_ms=attempt.latency_ms,
        error=attempt.error,
        response_excerpt=excerpt,
    )

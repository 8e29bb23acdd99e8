"""What callers read about the history of a session: every fact, and why it came to be."""

from typing import Any, Literal
from uuid import UUID

from api.views import REFUND, SESSION, View, When
from application.ports import Recorded
from domain.events import Event
from domain.values import public_id


class FactView(View):
    """One fact of a history, and why it came to be."""

    position: int
    version: int
    name: str
    at: When
    recorded_at: When
    actor: str
    policy_version: int | None
    request_id: str | None
    data: dict[str, Any]


class HistoryView(View):
    object: Literal["list"] = "list"
    data: tuple[FactView, ...]
    has_more: bool


def fact_view(recorded: Recorded[Event]) -> FactView:
    # Ciphertext of personal data tells nobody anything, and outlives its key in no log.
    data = recorded.event.model_dump(mode="json", exclude={"customer_email", "at"})
    context = recorded.context
    return FactView(
        position=recorded.position,
        version=recorded.version,
        name=recorded.event.name,
        at=recorded.event.at,
        recorded_at=recorded.recorded_at,
        actor=context.actor,
        policy_version=context.policy_version or data.get("policy_version"),
        request_id=context.correlation_id,
        data=_readable(data),
    )


def _readable(data: dict[str, Any]) -> dict[str, Any]:
    """Ids as everywhere else in the API."""
    prefixes = {"session_id": SESSION, "refund_id": REFUND}
    return {
        key: public_id(prefixes[key], UUID(value)) if key in prefixes else value
        for key, value in data.items()
    }

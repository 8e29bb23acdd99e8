"""What callers read: the JSON of each resource.

Shapes  built from decided or folded state, never from stored JSON. Ids are public ids, amounts
        decimal strings of the token with base units beside them where a wallet needs those,
        addresses in EIP-55 form, moments RFC 3339 in UTC with "Z".
Units   `amount` is dollars and the token's amount at once: 1 USD = 1 USDC = 1 USDT.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Generic, Literal, Self, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from application.instructions import (
    Confirmations,
    WriteAddress,
    confirmations_of,
    instructions_for,
)
from application.messages import moment_text
from application.ports import Recorded
from application.reads import AttemptRow
from domain.delivery import WebhookDelivery
from domain.events import Event
from domain.merchant import Endpoint
from domain.money import Amount, decimal_of
from domain.networks import NetworkBook
from domain.payment import Exceptional, PaymentSession, SessionTransfer, Status
from domain.refund import Refund
from domain.values import public_id

SESSION, REFUND, ENDPOINT, DELIVERY = "ps", "rf", "we", "wd"
EXCERPT_LENGTH_MAX = 16 * 1024
ADDRESSES_REMEMBERED_MAX = 4_096

When = Annotated[datetime, PlainSerializer(moment_text, return_type=str, when_used="json")]
V = TypeVar("V", bound=BaseModel)


class View(BaseModel):
    # Built by us from values already checked; the strictness is in the types.
    model_config = ConfigDict(frozen=True, extra="forbid", revalidate_instances="never")

    def encoded(self) -> bytes:
        return self.model_dump_json().encode()


class ListView(View, Generic[V]):
    object: Literal["list"] = "list"
    data: tuple[V, ...]
    next_cursor: str | None = None
    has_more: bool = False


class PaymentView(View):
    """How to pay: everything a wallet needs, also as an EIP-681 URI."""

    network: str
    chain_id: int
    token: str
    token_contract: str
    address: str
    amount_units: str
    amount: str
    uri: str


class ConfirmationsView(View):
    seen: int
    required: int

    @classmethod
    def of(cls, confirmations: Confirmations | None) -> Self | None:
        if confirmations is None:
            return None
        return cls(seen=confirmations.seen, required=confirmations.required)


class TransferView(View):
    id: str
    tx_hash: str
    amount: str
    payer: str
    block_number: int
    late: bool
    status: Literal["observed", "confirmed", "retracted", "reversed"]


class SessionView(View):
    id: str
    object: Literal["payment_session"] = "payment_session"
    status: Status
    exceptions: tuple[Exceptional, ...]
    amount: str
    currency: Literal["USD"] = "USD"
    network: str
    token: str
    payment: PaymentView
    checkout_url: str
    confirmations: ConfirmationsView | None
    transfers: tuple[TransferView, ...]
    amount_received: str = Field(description="Seen on chain; not all of it need be safe yet.")
    amount_confirmed: str
    amount_refunded: str
    amount_refundable: str
    fee: str | None
    created_at: When
    expires_at: When
    completed_at: When | None
    description: str | None
    merchant_reference: str | None
    metadata: dict[str, str]
    success_url: str | None
    cancel_url: str | None
    livemode: bool


class RefundView(View):
    id: str
    object: Literal["refund"] = "refund"
    payment_session_id: str
    status: Literal["requested", "signed", "broadcast", "completed", "failed"]
    amount: str
    amount_units: str
    currency: Literal["USD"] = "USD"
    network: str
    token: str
    to_address: str
    from_address: str
    reason: str | None
    tx_hash: str | None
    failure: str | None
    created_at: When
    livemode: bool


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


class Views:
    """Makes views; knows what they need beside the state itself."""

    def __init__(self, networks: NetworkBook, write: WriteAddress, public_base_url: str) -> None:
        self._networks = networks
        # A checksum costs a hash; the same contracts and payers come again and again.
        self._write = lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)(write)
        self._base = public_base_url

    def session(self, session: PaymentSession, head: int | None = None) -> SessionView:
        units = session.outstanding.units or session.due.units
        pay = instructions_for(session, self._networks, self._write, units=units)
        session_id = public_id(SESSION, session.session_id)
        return SessionView(
            id=session_id,
            status=session.status,
            exceptions=session.exceptions,
            amount=pay.amount,
            network=pay.network.name,
            token=pay.token.symbol,
            payment=PaymentView(
                network=pay.network.name,
                chain_id=pay.network.chain_id,
                token=pay.token.symbol,
                token_contract=pay.contract,
                address=pay.address,
                amount_units=str(pay.units),
                amount=pay.amount,
                uri=pay.uri,
            ),
            checkout_url=f"{self._base}/c/{session_id}",
            confirmations=ConfirmationsView.of(confirmations_of(session, pay.network, head)),
            transfers=tuple(self._transfer(one) for one in session.transfers.values()),
            amount_received=self._text(session.seen),
            amount_confirmed=self._text(session.confirmed),
            amount_refunded=self._text(session.refunded),
            amount_refundable=self._text(session.refundable),
            fee=self._text(session.fee) if session.fee else None,
            created_at=session.created_at,
            expires_at=session.expires_at,
            completed_at=session.completed_at,
            description=session.description,
            merchant_reference=session.merchant_reference,
            metadata=session.metadata,
            success_url=session.success_url,
            cancel_url=session.cancel_url,
            livemode=session.mode == "live",
        )

    def refund(self, refund: Refund) -> RefundView:
        network, token = self._networks.of_asset(refund.amount.asset)
        return RefundView(
            id=public_id(REFUND, refund.refund_id),
            payment_session_id=public_id(SESSION, refund.session_id),
            status=refund.status,
            amount=self._text(refund.amount),
            amount_units=str(refund.amount.units),
            network=network.name,
            token=token.symbol,
            to_address=self._write(refund.destination),
            from_address=self._write(refund.wallet),
            reason=refund.reason,
            tx_hash=refund.tx_hash,
            failure=refund.failure,
            created_at=refund.created_at,
            livemode=refund.mode == "live",
        )

    def _transfer(self, transfer: SessionTransfer) -> TransferView:
        return TransferView(
            id=transfer.transfer_id,
            tx_hash=transfer.tx_hash,
            amount=self._text(transfer.amount),
            payer=self._write(transfer.payer),
            block_number=transfer.block_number,
            late=transfer.late,
            status=transfer.status,
        )

    def _text(self, amount: Amount) -> str:
        _, token = self._networks.of_asset(amount.asset)
        return decimal_of(amount.units, token.decimals)


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

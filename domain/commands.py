"""Requests and reports: what the aggregates decide about.

Shapes  One class a command, all with `at`, the moment it is decided. Requests come from people
        and may be refused; reports (Observe, Retract, Confirm ...) come from the chain and
        are recorded or already known.
"""

from uuid import UUID

from pydantic import Field

from domain.events import Sealed, Sighting
from domain.money import Amount
from domain.networks import Address
from domain.values import Mode, Moment, Value


class Command(Value):
    at: Moment


# ---------------------------------------------------------------- payment session


class CreateSession(Command):
    session_id: UUID
    merchant_id: UUID
    mode: Mode
    network: str
    due: Amount
    deposit_address: Address
    deposit_index: int
    expires_at: Moment
    grace_seconds: int
    description: str | None = None
    merchant_reference: str | None = None
    success_url: str | None = None
    cancel_url: str | None = None
    customer_email: Sealed | None = None
    metadata: dict[str, str] = Field(default_factory=dict)


class CancelSession(Command):
    pass


class ExpireSession(Command):
    pass


class ObserveTransfer(Command):
    sighting: Sighting


class RetractTransfer(Command):
    transfer_id: str
    block_hash: str


class ConfirmTransfer(Command):
    transfer_id: str
    block_hash: str
    confirmations: int
    policy_version: int


class ReserveRefund(Command):
    refund_id: UUID
    amount: Amount


class ReleaseRefund(Command):
    refund_id: UUID
    reason: str


class SettleRefund(Command):
    refund_id: UUID
    tx_hash: str


SessionCommand = (
    CreateSession
    | CancelSession
    | ExpireSession
    | ObserveTransfer
    | RetractTransfer
    | ConfirmTransfer
    | ReserveRefund
    | ReleaseRefund
    | SettleRefund
)

# ---------------------------------------------------------------- transfer on chain


class Attribution(Value):
    """Whose a transfer is, and why; domain/matching.py decides it."""

    purpose: str  # "payment_session", "refund_float" or "unmatched"
    subject_id: UUID | None
    merchant_id: UUID | None
    reason: str


class ReportObserved(Command):
    report_number: int
    sighting: Sighting
    attribution: Attribution


class ReportConfirmed(Command):
    report_number: int
    sighting: Sighting
    attribution: Attribution
    confirmations: int
    policy_version: int


class ReportRetracted(Command):
    report_number: int
    sighting: Sighting
    attribution: Attribution


TransferCommand = ReportObserved | ReportConfirmed | ReportRetracted

# ---------------------------------------------------------------- refund


class RequestRefund(Command):
    refund_id: UUID
    session_id: UUID
    merchant_id: UUID
    mode: Mode
    network: str
    amount: Amount
    destination: Address
    wallet: Address
    wallet_index: int
    reason: str | None = None


class RecordSigned(Command):
    tx_hash: str
    nonce: int


class RecordBroadcast(Command):
    tx_hash: str


class RecordRefundMined(Command):
    """Our own receipt, at policy depth, with status 1 and the transfer in it."""

    tx_hash: str
    block_number: int
    block_hash: str
    confirmations: int


class FailRefund(Command):
    reason: str


RefundCommand = RequestRefund | RecordSigned | RecordBroadcast | RecordRefundMined | FailRefund

# ---------------------------------------------------------------- refund float


class TopUpFloat(Command):
    transfer_id: str
    amount: Amount


class ReverseTopUp(Command):
    transfer_id: str


class ReserveFloat(Command):
    refund_id: UUID
    amount: Amount


class ReleaseFloat(Command):
    refund_id: UUID


class SpendFloat(Command):
    refund_id: UUID


FloatCommand = TopUpFloat | ReverseTopUp | ReserveFloat | ReleaseFloat | SpendFloat

# ---------------------------------------------------------------- merchant


class RegisterMerchant(Command):
    merchant_id: UUID
    display_name: str


class ConfigureWallet(Command):
    mode: Mode
    extended_public_key: str


class AssignRefundWallet(Command):
    mode: Mode
    index: int
    address: Address


class CreateApiKey(Command):
    key_id: UUID
    mode: Mode
    key_hash: str
    last4: str
    scopes: tuple[str, ...]
    label: str


class RevokeApiKey(Command):
    key_id: UUID


class CreateEndpoint(Command):
    endpoint_id: UUID
    mode: Mode
    url: str
    event_types: tuple[str, ...]
    secret_id: UUID


class DeleteEndpoint(Command):
    endpoint_id: UUID


class DisableEndpoint(Command):
    endpoint_id: UUID
    reason: str


MerchantCommand = (
    RegisterMerchant
    | ConfigureWallet
    | AssignRefundWallet
    | CreateApiKey
    | RevokeApiKey
    | CreateEndpoint
    | DeleteEndpoint
    | DisableEndpoint
)

# ---------------------------------------------------------------- webhook delivery


class OpenDelivery(Command):
    delivery_id: UUID
    merchant_id: UUID
    mode: Mode
    endpoint_id: UUID
    message_id: str
    message_type: str
    body: str


class RecordAttempt(Command):
    """One HTTP POST and its answer; `status_code` is None when there was no answer."""

    status_code: int | None
    latency_ms: int
    error: str | None
    retry_after_seconds: int | None = None


class ReplayDelivery(Command):
    pass


DeliveryCommand = OpenDelivery | RecordAttempt | ReplayDelivery

"""Requests about refund floats, merchants and webhook deliveries."""

from uuid import UUID

from domain.command_base import Command
from domain.money import Amount
from domain.networks import Address
from domain.values import Mode

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


class ReverseSpending(Command):
    """A reorg took out the refund's transaction; the refund's stream says so in the same write."""

    refund_id: UUID
    amount: Amount


FloatCommand = (
    TopUpFloat | ReverseTopUp | ReserveFloat | ReleaseFloat | SpendFloat | ReverseSpending
)

# ---------------------------------------------------------------- merchant


class RegisterMerchant(Command):
    merchant_id: UUID
    display_name: str


class ConfigureWallet(Command):
    mode: Mode
    extended_public_key: str


class SetReceivingAddress(Command):
    mode: Mode
    address: Address


class SetTolerance(Command):
    mode: Mode
    absolute_micros: int
    basis_points: int


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
    | SetReceivingAddress
    | SetTolerance
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

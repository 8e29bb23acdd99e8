"""Requests and reports: what the aggregates decide about.

Shapes  One class a command, all with `at`, the moment it is decided. Requests come from people
        and may be refused; reports (Observe, Retract, Confirm ...) come from the chain and
        are recorded or already known.
"""

from typing import Literal
from uuid import UUID

from pydantic import Field

from domain.command_base import Command
from domain.commands_merchant import (
    AssignRefundWallet,
    ConfigureWallet,
    CreateApiKey,
    CreateEndpoint,
    DeleteEndpoint,
    DeliveryCommand,
    DisableEndpoint,
    FloatCommand,
    MerchantCommand,
    OpenDelivery,
    RecordAttempt,
    RegisterMerchant,
    ReleaseFloat,
    ReplayDelivery,
    ReserveFloat,
    ReverseSpending,
    ReverseTopUp,
    RevokeApiKey,
    SetReceivingAddress,
    SetTolerance,
    SpendFloat,
    TopUpFloat,
)
from domain.events import HaltCause, PayBy, Sealed, Sighting, SignatureScheme
from domain.money import Amount
from domain.networks import Address, ConfirmationPolicy
from domain.values import Mode, Moment, Value

__all__ = [
    "AcceptTransfer",
    "AnnounceTransaction",
    "AssignRefundWallet",
    "AssignTransfer",
    "Attribution",
    "CancelSession",
    "ClaimCommand",
    "Command",
    "ConfigureWallet",
    "ConfirmTransfer",
    "CreateApiKey",
    "CreateEndpoint",
    "CreateSession",
    "DeleteEndpoint",
    "DeliveryCommand",
    "DisableEndpoint",
    "DismissTransfer",
    "ExpireSession",
    "FailRefund",
    "FloatCommand",
    "HaltCommand",
    "HaltNetwork",
    "InboxCommand",
    "MakeClaim",
    "MerchantCommand",
    "NoteTransfer",
    "ObserveTransfer",
    "OpenDelivery",
    "ProvePayer",
    "ReconsiderTransfer",
    "RecordAttempt",
    "RecordBroadcast",
    "RecordRefundFinal",
    "RecordRefundLost",
    "RecordRefundMined",
    "RecordSigned",
    "RefundCommand",
    "RegisterMerchant",
    "ReleaseFloat",
    "ReleaseRefund",
    "ReleaseTransferRefund",
    "ReplayDelivery",
    "ReportConfirmed",
    "ReportObserved",
    "ReportRetracted",
    "RequestRefund",
    "ReserveFloat",
    "ReserveRefund",
    "ReserveTransferRefund",
    "ResumeNetwork",
    "RetractTransfer",
    "ReverseSpending",
    "ReverseTopUp",
    "RevokeApiKey",
    "SessionCommand",
    "SetConfirmationPolicy",
    "SetReceivingAddress",
    "SetTolerance",
    "SettleRefund",
    "SettleTransferRefund",
    "SpendFloat",
    "TopUpFloat",
    "TransferCommand",
    "TransferReportCommand",
    "UnsettleRefund",
    "UnsettleTransferRefund",
]

# ---------------------------------------------------------------- payment session


class CreateSession(Command):
    session_id: UUID
    merchant_id: UUID
    mode: Mode
    network: str
    due: Amount
    pay_by: PayBy
    tolerance: Amount
    deposit_address: Address
    deposit_index: int | None
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
    rule: str


class ProvePayer(Command):
    """The signature has been checked."""

    payer: Address
    scheme: SignatureScheme


class AnnounceTransaction(Command):
    tx_hash: str


class ReserveRefund(Command):
    refund_id: UUID
    amount: Amount


class ReleaseRefund(Command):
    refund_id: UUID
    reason: str


class SettleRefund(Command):
    refund_id: UUID
    tx_hash: str


class UnsettleRefund(Command):
    """A reorg took out the refund's transaction."""

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
    | UnsettleRefund
    | ProvePayer
    | AnnounceTransaction
)

# ---------------------------------------------------------------- transfer on chain


class Attribution(Value):
    """Whose a transfer is, and why; domain/matching.py decides it."""

    purpose: Literal["payment_session", "refund_float", "unmatched"]
    subject_id: UUID | None
    merchant_id: UUID | None
    verdict: str  # for machines
    reason: str  # for people


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
    rule: str


class ReportRetracted(Command):
    report_number: int
    sighting: Sighting
    attribution: Attribution


class AssignTransfer(Command):
    """Out of the inbox, to a session: by a late claim or by a person."""

    session_id: UUID
    verdict: str
    reason: str


class ReconsiderTransfer(Command):
    """It was looked at again, in vain; what is in the way may be another thing now."""

    attribution: Attribution


class AcceptTransfer(Command):
    reason: str


class DismissTransfer(Command):
    reason: str


class ReserveTransferRefund(Command):
    refund_id: UUID
    reason: str


class ReleaseTransferRefund(Command):
    refund_id: UUID
    reason: str


class SettleTransferRefund(Command):
    refund_id: UUID
    tx_hash: str


class UnsettleTransferRefund(Command):
    refund_id: UUID
    tx_hash: str


TransferReportCommand = ReportObserved | ReportConfirmed | ReportRetracted
InboxCommand = (
    AssignTransfer
    | ReconsiderTransfer
    | AcceptTransfer
    | DismissTransfer
    | ReserveTransferRefund
    | ReleaseTransferRefund
    | SettleTransferRefund
    | UnsettleTransferRefund
)
TransferCommand = TransferReportCommand | InboxCommand

# ---------------------------------------------------------------- claims, policies


class MakeClaim(Command):
    session_id: UUID
    credits_until: Moment


class NoteTransfer(Command):
    transfer_id: str
    report_number: int


ClaimCommand = MakeClaim | NoteTransfer


class SetConfirmationPolicy(Command):
    network: str
    policy: ConfirmationPolicy


class HaltNetwork(Command):
    network: str
    cause: HaltCause
    detail: str
    block_number: int | None = None
    our_hash: str | None = None
    their_hash: str | None = None


class ResumeNetwork(Command):
    network: str
    reason: str


HaltCommand = HaltNetwork | ResumeNetwork


# ---------------------------------------------------------------- refund


class RequestRefund(Command):
    """Of a session's payment or of a transfer in the inbox: one of the two is named."""

    refund_id: UUID
    session_id: UUID | None
    transfer_id: str | None
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
    gas: Amount | None = None


class FailRefund(Command):
    reason: str
    gas: Amount | None = None


class RecordRefundLost(Command):
    """The block of our receipt is not on the chain any more, and neither is our transaction."""

    tx_hash: str


class RecordRefundFinal(Command):
    """A block that the chain does not give up any more holds our transaction, and it pays."""

    tx_hash: str
    block_number: int
    block_hash: str


RefundCommand = (
    RequestRefund
    | RecordSigned
    | RecordBroadcast
    | RecordRefundMined
    | FailRefund
    | RecordRefundLost
    | RecordRefundFinal
)

"""Facts of payment sessions, transfers on chain and reorgs. Names are permanent."""

from typing import Literal
from uuid import UUID

from domain.event_base import Event, Sealed, Sighting
from domain.money import Amount
from domain.networks import Address
from domain.values import Mode, Moment


class SessionCreated(Event):
    name = "payment_session.created"

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
    metadata: dict[str, str] = {}


class SessionCancelled(Event):
    name = "payment_session.cancelled"


class SessionExpired(Event):
    """The window closed before enough had arrived; what comes later is late."""

    name = "payment_session.expired"


class TransferObserved(Event):
    """A transfer to the deposit address is in a canonical block.

    Seen, not yet safe: until it is confirmed a reorg may still retract it.
    """

    name = "transfer.observed"

    transfer_id: str
    amount: Amount
    payer: Address
    tx_hash: str
    block_number: int
    block_hash: str
    block_time: Moment
    late: bool


class PaymentCovered(Event):
    """Enough for the amount due is in canonical blocks; not all of it is safe yet."""

    name = "payment.covered"

    seen: Amount


class TransferRetracted(Event):
    """A reorg removed the block of an observed transfer."""

    name = "transfer.retracted"

    transfer_id: str
    block_hash: str


class TransferConfirmed(Event):
    name = "transfer.confirmed"

    transfer_id: str
    amount: Amount
    confirmations: int
    policy_version: int


class PaymentCompleted(Event):
    """The confirmed total first reached the amount due."""

    name = "payment.completed"

    amount: Amount
    fee: Amount


class TransferReversed(Event):
    """A confirmed transfer was lost to a reorg deeper than the policy allowed for."""

    name = "transfer.reversed"

    transfer_id: str
    amount: Amount


class PaymentReduced(Event):
    """Part of a completed payment was reversed; it is still covered, and its fee is less."""

    name = "payment.reduced"

    amount: Amount
    fee: Amount
    fee_returned: Amount


class PaymentReversed(Event):
    """A completed payment no longer reaches the amount due; the fee is given back."""

    name = "payment.reversed"

    amount: Amount
    fee: Amount


class PaymentRefundReserved(Event):
    """Part of what arrived is set aside for a refund, so that no second refund takes it."""

    name = "payment.refund_reserved"

    refund_id: UUID
    amount: Amount


class PaymentRefundReleased(Event):
    """The refund will not be paid; its part of the money is free again."""

    name = "payment.refund_released"

    refund_id: UUID
    amount: Amount
    reason: str


class PaymentRefunded(Event):
    """A refund is confirmed on chain."""

    name = "payment.refunded"

    refund_id: UUID
    amount: Amount
    refunded_total: Amount
    tx_hash: str


class OnchainTransferObserved(Event):
    name = "onchain_transfer.observed"

    report_number: int
    sighting: Sighting


class OnchainTransferAssigned(Event):
    """Whose it is, once and for ever: a payment session's or a refund float's."""

    name = "onchain_transfer.assigned"

    transfer_id: str
    purpose: Literal["payment_session", "refund_float"]
    subject_id: UUID
    merchant_id: UUID
    reason: str


class OnchainTransferUnmatched(Event):
    """Nobody's yet: it waits in the inbox, with the reason."""

    name = "onchain_transfer.unmatched"

    transfer_id: str
    merchant_id: UUID | None
    reason: str


class OnchainTransferConfirmed(Event):
    name = "onchain_transfer.confirmed"

    report_number: int
    transfer_id: str
    block_hash: str
    confirmations: int
    policy_version: int


class OnchainTransferRetracted(Event):
    name = "onchain_transfer.retracted"

    report_number: int
    transfer_id: str
    block_hash: str


class OnchainTransferReversed(Event):
    name = "onchain_transfer.reversed"

    report_number: int
    transfer_id: str
    block_hash: str


class ReorgDetected(Event):
    """Blocks left the canonical chain; each orphaned transfer is reported on its own too."""

    name = "network.reorg_detected"

    network: str
    fork_number: int  # the last block both branches share
    from_hash: str  # the head that was left
    to_hash: str  # the head that was taken
    depth: int
    orphaned: tuple[str, ...]  # transfer ids

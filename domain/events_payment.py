"""Facts of payment sessions, transfers on chain and reorgs. Names are permanent."""

from typing import Literal
from uuid import UUID

from domain.event_base import Event, Sealed, Sighting
from domain.money import Amount
from domain.networks import Address, ConfirmationPolicy
from domain.values import Mode, Moment

PayBy = Literal["deposit_address", "merchant_wallet"]
SignatureScheme = Literal["eip191", "eip712", "eip1271"]


class SessionCreated(Event):
    """`deposit_address` is the session's own, or the merchant's wallet that many share."""

    name = "payment_session.created"
    version = 2  # 2 added pay_by and tolerance; see upcasters.py

    session_id: UUID
    merchant_id: UUID
    mode: Mode
    network: str
    due: Amount
    pay_by: PayBy
    tolerance: Amount  # so much may be missing, and the payment is complete all the same
    deposit_address: Address
    deposit_index: int | None
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


class PayerProven(Event):
    """A wallet's owner has signed for this session: what it sends to the merchant is for it."""

    name = "payment_session.payer_proven"

    payer: Address
    scheme: SignatureScheme


class TransactionAnnounced(Event):
    """Somebody says that this transaction pays the session; believed if nobody else says so."""

    name = "payment_session.transaction_announced"

    tx_hash: str


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
    version = 2  # 2 added rule

    transfer_id: str
    amount: Amount
    confirmations: int
    policy_version: int
    rule: str  # what the policy asked for: "3 confirmations", "a finalized block"


class PaymentCompleted(Event):
    """The confirmed total first reached the amount due, less what may be missing."""

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


class PaymentRefundReversed(Event):
    """A reorg took out the transaction of a refund: its money is set aside again."""

    name = "payment.refund_reversed"

    refund_id: UUID
    amount: Amount
    refunded_total: Amount
    tx_hash: str


class OnchainTransferObserved(Event):
    name = "onchain_transfer.observed"

    report_number: int
    sighting: Sighting


class OnchainTransferAssigned(Event):
    """Whose it is, once and for ever: a payment session's or a refund float's.

    At its first sighting, or later, from the inbox: by a late claim or by a person.
    """

    name = "onchain_transfer.assigned"
    version = 2  # 2 added verdict

    transfer_id: str
    purpose: Literal["payment_session", "refund_float"]
    subject_id: UUID
    merchant_id: UUID
    verdict: str  # one of domain/matching.py's, or "assigned_by_person"
    reason: str


class OnchainTransferUnmatched(Event):
    """Nobody's yet: it waits in the inbox, with the reason."""

    name = "onchain_transfer.unmatched"
    version = 2  # 2 added verdict

    transfer_id: str
    merchant_id: UUID | None
    verdict: str
    reason: str


class OnchainTransferAccepted(Event):
    """The merchant keeps it, for no session."""

    name = "onchain_transfer.accepted"

    transfer_id: str
    reason: str


class OnchainTransferDismissed(Event):
    """No customer's money: the merchant's own, or a joke. It leaves the books."""

    name = "onchain_transfer.dismissed"

    transfer_id: str
    reason: str


class OnchainTransferRefundReserved(Event):
    """It goes back, as one refund; until that ends nobody can do anything else with it."""

    name = "onchain_transfer.refund_reserved"

    transfer_id: str
    refund_id: UUID
    amount: Amount
    reason: str


class OnchainTransferRefundReleased(Event):
    """The refund will not be paid: the transfer waits in the inbox again."""

    name = "onchain_transfer.refund_released"

    transfer_id: str
    refund_id: UUID
    reason: str


class OnchainTransferRefunded(Event):
    """The refund of a transfer of the inbox is confirmed on chain."""

    name = "onchain_transfer.refunded"

    transfer_id: str
    refund_id: UUID
    amount: Amount
    tx_hash: str


class OnchainTransferRefundReversed(Event):
    """A reorg took out the refund's transaction: it is under way again."""

    name = "onchain_transfer.refund_reversed"

    transfer_id: str
    refund_id: UUID
    amount: Amount
    tx_hash: str


class OnchainTransferConfirmed(Event):
    name = "onchain_transfer.confirmed"
    version = 2  # 2 added rule

    report_number: int
    transfer_id: str
    block_hash: str
    confirmations: int
    policy_version: int
    rule: str


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


class PaymentClaimMade(Event):
    """A session awaits money by this evidence: from a proven payer, or in an announced one."""

    name = "payment_claim.made"

    session_id: UUID
    credits_until: Moment


class PaymentClaimTransferSeen(Event):
    """A transfer fits this evidence and belongs to nobody yet: a later claim looks at it.

    Said again by each report after which it might have been credited and was not.
    """

    name = "payment_claim.transfer_seen"

    transfer_id: str
    report_number: int


class ConfirmationPolicySet(Event):
    """From here on new sightings of a network are confirmed under this policy."""

    name = "network.confirmation_policy_set"

    network: str
    policy: ConfirmationPolicy

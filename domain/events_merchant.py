"""Facts of refunds, refund floats, the books, merchants and deliveries. Names are permanent."""

from uuid import UUID

from domain.event_base import Event, Posting
from domain.money import Amount
from domain.networks import Address
from domain.values import Mode, Moment


class RefundRequested(Event):
    """Of a session's payment, or of a transfer in the inbox: one of the two is named."""

    name = "refund.requested"
    version = 2  # 2 added transfer_id, and session_id may be None

    refund_id: UUID
    session_id: UUID | None
    transfer_id: str | None
    merchant_id: UUID
    mode: Mode
    network: str
    amount: Amount
    destination: Address
    wallet: Address  # the merchant's refund wallet that pays
    wallet_index: int
    reason: str | None = None


class RefundSigned(Event):
    """The bytes are stored; from here on only these may pay this refund."""

    name = "refund.signed"

    tx_hash: str
    nonce: int


class RefundBroadcast(Event):
    name = "refund.broadcast"

    tx_hash: str


class RefundCompleted(Event):
    name = "refund.completed"
    version = 2  # 2 added gas

    tx_hash: str
    block_number: int
    block_hash: str
    confirmations: int
    gas: Amount | None  # what the transaction cost, in the network's own coin


class RefundFailed(Event):
    """It will never be paid: the money is released. A transaction that failed costs gas too."""

    name = "refund.failed"
    version = 2  # 2 added gas

    reason: str
    gas: Amount | None


class RefundReversed(Event):
    """A reorg took out the transaction of a completed refund: it is under way again."""

    name = "refund.reversed"

    tx_hash: str
    block_number: int
    block_hash: str  # where it was, and is no more
    gas: Amount | None


class RefundFinalized(Event):
    """The block that pays a completed refund is final: no reorg takes it out, nobody looks again.

    The block is named, as it need not be the one it completed by.
    """

    name = "refund.finalized"

    tx_hash: str
    block_number: int
    block_hash: str


class FloatToppedUp(Event):
    """The merchant's money is in its refund wallet. `owed` of it fills an earlier gap."""

    name = "refund_float.topped_up"

    transfer_id: str
    amount: Amount
    owed: Amount


class FloatTopUpReversed(Event):
    """A reorg took a top-up back. `missing` of it was spent or set aside already: a gap."""

    name = "refund_float.top_up_reversed"

    transfer_id: str
    amount: Amount
    missing: Amount


class FloatReserved(Event):
    name = "refund_float.reserved"

    refund_id: UUID
    amount: Amount


class FloatReleased(Event):
    """A refund will not be paid. `owed` of its money fills a gap instead of being free."""

    name = "refund_float.released"

    refund_id: UUID
    amount: Amount
    owed: Amount


class FloatSpent(Event):
    name = "refund_float.spent"

    refund_id: UUID
    amount: Amount


class FloatSpendingReversed(Event):
    """A reorg took out a refund's transaction: its money is in the wallet, and set aside."""

    name = "refund_float.spending_reversed"

    refund_id: UUID
    amount: Amount


class JournalEntryPosted(Event):
    """What one fact does to the books. Written once, on a stream named after its cause."""

    name = "journal.entry_posted"

    entry_id: UUID
    cause: str  # "payment.completed payment_session/6f0c...@5"
    merchant_id: UUID
    postings: tuple[Posting, ...]


class MerchantRegistered(Event):
    name = "merchant.registered"

    merchant_id: UUID
    display_name: str


class WalletConfigured(Event):
    """Deposit addresses come from this extended public key; the gateway holds no private one."""

    name = "merchant.wallet_configured"

    mode: Mode
    extended_public_key: str


class ReceivingAddressSet(Event):
    """The merchant's one wallet, for sessions that are paid to it instead of to an address."""

    name = "merchant.receiving_address_set"

    mode: Mode
    address: Address


class ToleranceSet(Event):
    """How much of a new session's amount may be missing: the larger of the two."""

    name = "merchant.tolerance_set"

    mode: Mode
    absolute_micros: int  # millionths of a dollar
    basis_points: int  # hundredths of a percent of the amount due


class RefundWalletAssigned(Event):
    """The address the merchant tops up, and that pays its refunds."""

    name = "merchant.refund_wallet_assigned"

    mode: Mode
    index: int
    address: Address


class ApiKeyCreated(Event):
    name = "merchant.api_key_created"

    key_id: UUID
    mode: Mode
    key_hash: str  # SHA-256, hex
    last4: str
    scopes: tuple[str, ...]
    label: str


class ApiKeyRevoked(Event):
    name = "merchant.api_key_revoked"

    key_id: UUID


class WebhookEndpointCreated(Event):
    name = "merchant.webhook_endpoint_created"

    endpoint_id: UUID
    mode: Mode
    url: str
    event_types: tuple[str, ...]  # empty: all
    secret_id: UUID


class WebhookEndpointDeleted(Event):
    name = "merchant.webhook_endpoint_deleted"

    endpoint_id: UUID


class WebhookEndpointDisabled(Event):
    name = "merchant.webhook_endpoint_disabled"

    endpoint_id: UUID
    reason: str


class DeliveryOpened(Event):
    """One message for one endpoint. The body's bytes stay the same on every attempt."""

    name = "delivery.opened"

    delivery_id: UUID
    merchant_id: UUID
    mode: Mode
    endpoint_id: UUID
    message_id: str  # "evt_..."
    message_type: str
    body: str


class DeliverySucceeded(Event):
    name = "delivery.succeeded"

    attempt: int
    status_code: int
    latency_ms: int


class DeliveryAttemptFailed(Event):
    name = "delivery.attempt_failed"

    attempt: int
    status_code: int | None
    latency_ms: int
    error: str
    next_attempt_at: Moment | None


class DeliveryFailed(Event):
    """The last attempt failed; it stays visible and can be replayed."""

    name = "delivery.failed"

    attempts: int


class DeliveryReplayed(Event):
    """Somebody asked for another round of attempts."""

    name = "delivery.replayed"

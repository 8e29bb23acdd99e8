"""One realistic example of every event and of the values tests need most."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain import events as e
from domain.events import Event, Posting, Sealed, Sighting
from domain.money import Amount
from domain.networks import (
    AmountTier,
    ConfirmationPolicy,
    ConfirmationRule,
    NetworkBook,
    Token,
    local_network,
)

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = AT + timedelta(minutes=5)
MERCHANT_ID = UUID(int=0xA1)
SESSION_ID = UUID(int=0xB2)
REFUND_ID = UUID(int=0xC3)
ENDPOINT_ID = UUID(int=0xD4)
DELIVERY_ID = UUID(int=0xE5)
KEY_ID = UUID(int=0xF6)
SECRET_ID = UUID(int=0x17)
TOKEN = "0x" + "aa" * 20
OTHER_TOKEN = "0x" + "ab" * 20
DEPOSIT = "0x" + "dd" * 20
WALLET = "0x" + "ee" * 20
PAYER = "0x" + "ff" * 20
RECEIVING = "0x" + "cc" * 20
XPUB = "xpub-of-the-merchant"

LOCAL = local_network(
    chain_id=31337,
    tokens=(
        Token(symbol="USDC", address=TOKEN, decimals=6),
        Token(symbol="USDT", address=OTHER_TOKEN, decimals=6),
    ),
    blocks=3,
)
BOOK = NetworkBook(networks=(LOCAL,))
ASSET = LOCAL.asset(LOCAL.tokens[0])
GAS = Amount(units=1_260_000_000_000_000, asset=LOCAL.coin_asset)  # 0.00126 ETH
OTHER_ASSET = LOCAL.asset(LOCAL.tokens[1])


def usd(text: str, asset: str = ASSET) -> Amount:
    whole, _, cents = text.partition(".")
    return Amount(units=int(whole) * 10**6 + int(cents.ljust(6, "0") or "0"), asset=asset)


def block_hash(number: int, branch: str = "a") -> str:
    return "0x" + (branch * 2 + f"{number:062x}")[-64:]


def sighting(
    units: Amount | None = None,
    *,
    tx: str = "11",
    log_index: int = 0,
    number: int = 100,
    branch: str = "a",
    sender: str = PAYER,
    recipient: str = DEPOSIT,
    block_time: datetime = LATER,
) -> Sighting:
    tx_hash = "0x" + tx * 32
    return Sighting(
        transfer_id=f"31337:{tx_hash}:{log_index}",
        network="local",
        amount=units or usd("10.00"),
        token=TOKEN,
        sender=sender,
        recipient=recipient,
        tx_hash=tx_hash,
        log_index=log_index,
        block_number=number,
        block_hash=block_hash(number, branch),
        block_time=block_time,
        attested=True,
        providers=("one", "two"),
    )


SEEN = sighting()
CREATED = e.SessionCreated(
    at=AT,
    session_id=SESSION_ID,
    merchant_id=MERCHANT_ID,
    mode="test",
    network="local",
    due=usd("10.00"),
    pay_by="deposit_address",
    tolerance=usd("0.00"),
    deposit_address=DEPOSIT,
    deposit_index=7,
    expires_at=AT + timedelta(hours=1),
    grace_seconds=24 * 3600,
    description="Two coffees",
    merchant_reference="order-1",
    success_url="https://shop.example/thanks",
    cancel_url="https://shop.example/cart",
    customer_email=Sealed(subject="payment_session:b2", ciphertext="c2VhbGVk"),
    metadata={"table": "4"},
)
OBSERVED = e.TransferObserved(
    at=LATER,
    transfer_id=SEEN.transfer_id,
    amount=SEEN.amount,
    payer=PAYER,
    tx_hash=SEEN.tx_hash,
    block_number=SEEN.block_number,
    block_hash=SEEN.block_hash,
    block_time=SEEN.block_time,
    late=False,
)

EXAMPLES: tuple[Event, ...] = (
    CREATED,
    e.SessionCancelled(at=LATER),
    e.SessionExpired(at=LATER),
    e.PayerProven(at=LATER, payer=PAYER, scheme="eip191"),
    e.TransactionAnnounced(at=LATER, tx_hash=SEEN.tx_hash),
    OBSERVED,
    e.PaymentCovered(at=LATER, seen=usd("10.00")),
    e.TransferRetracted(at=LATER, transfer_id=SEEN.transfer_id, block_hash=SEEN.block_hash),
    e.TransferConfirmed(
        at=LATER,
        transfer_id=SEEN.transfer_id,
        amount=SEEN.amount,
        confirmations=3,
        policy_version=1,
        rule="3 confirmations",
    ),
    e.PaymentCompleted(at=LATER, amount=usd("10.00"), fee=usd("0.05")),
    e.TransferReversed(at=LATER, transfer_id=SEEN.transfer_id, amount=SEEN.amount),
    e.PaymentReduced(at=LATER, amount=usd("11.00"), fee=usd("0.055"), fee_returned=usd("0.02")),
    e.PaymentReversed(at=LATER, amount=usd("0"), fee=usd("0.05")),
    e.PaymentRefundReserved(at=LATER, refund_id=REFUND_ID, amount=usd("4.00")),
    e.PaymentRefundReleased(
        at=LATER, refund_id=REFUND_ID, amount=usd("4.00"), reason="recipient is frozen"
    ),
    e.PaymentRefunded(
        at=LATER,
        refund_id=REFUND_ID,
        amount=usd("4.00"),
        refunded_total=usd("4.00"),
        tx_hash="0x" + "22" * 32,
    ),
    e.PaymentRefundReversed(
        at=LATER,
        refund_id=REFUND_ID,
        amount=usd("4.00"),
        refunded_total=usd("0.00"),
        tx_hash="0x" + "22" * 32,
    ),
    e.OnchainTransferObserved(at=LATER, report_number=1, sighting=SEEN),
    e.OnchainTransferAssigned(
        at=LATER,
        transfer_id=SEEN.transfer_id,
        purpose="payment_session",
        subject_id=SESSION_ID,
        merchant_id=MERCHANT_ID,
        verdict="deposit_address",
        reason="sent to the session's own deposit address",
    ),
    e.OnchainTransferUnmatched(
        at=LATER,
        transfer_id=SEEN.transfer_id,
        merchant_id=None,
        verdict="unknown_address",
        reason="nobody has been given this address",
    ),
    e.OnchainTransferAccepted(
        at=LATER, transfer_id=SEEN.transfer_id, reason="the customer paid a second time: a tip"
    ),
    e.OnchainTransferDismissed(
        at=LATER, transfer_id=SEEN.transfer_id, reason="our own money, moved between wallets"
    ),
    e.OnchainTransferRefundReserved(
        at=LATER,
        transfer_id=SEEN.transfer_id,
        refund_id=REFUND_ID,
        amount=SEEN.amount,
        reason="paid twice",
    ),
    e.OnchainTransferRefundReleased(
        at=LATER,
        transfer_id=SEEN.transfer_id,
        refund_id=REFUND_ID,
        reason="recipient is frozen",
    ),
    e.OnchainTransferRefunded(
        at=LATER,
        transfer_id=SEEN.transfer_id,
        refund_id=REFUND_ID,
        amount=SEEN.amount,
        tx_hash="0x" + "22" * 32,
    ),
    e.OnchainTransferRefundReversed(
        at=LATER,
        transfer_id=SEEN.transfer_id,
        refund_id=REFUND_ID,
        amount=SEEN.amount,
        tx_hash="0x" + "22" * 32,
    ),
    e.PaymentClaimMade(at=LATER, session_id=SESSION_ID, credits_until=AT + timedelta(hours=25)),
    e.PaymentClaimTransferSeen(at=LATER, transfer_id=SEEN.transfer_id, report_number=1),
    e.ConfirmationPolicySet(
        at=AT,
        network="local",
        policy=ConfirmationPolicy(
            version=2,
            blocks=3,
            tiers=(AmountTier(from_usd=1000, rule=ConfirmationRule(tag="finalized")),),
        ),
    ),
    e.NetworkHalted(
        at=AT,
        network="local",
        cause="finality_violated",
        detail="block 7 is another one than the block 7 that was final",
        block_number=7,
        our_hash="0x" + "07" * 32,
        their_hash="0x" + "70" * 32,
    ),
    e.NetworkResumed(at=LATER, network="local", reason="two providers had a faulty release"),
    e.OnchainTransferConfirmed(
        at=LATER,
        report_number=2,
        transfer_id=SEEN.transfer_id,
        block_hash=SEEN.block_hash,
        confirmations=3,
        policy_version=1,
        rule="3 confirmations",
    ),
    e.OnchainTransferRetracted(
        at=LATER, report_number=2, transfer_id=SEEN.transfer_id, block_hash=SEEN.block_hash
    ),
    e.OnchainTransferReversed(
        at=LATER, report_number=3, transfer_id=SEEN.transfer_id, block_hash=SEEN.block_hash
    ),
    e.ReorgDetected(
        at=LATER,
        network="local",
        fork_number=99,
        from_hash=block_hash(101),
        to_hash=block_hash(101, "b"),
        depth=2,
        orphaned=(SEEN.transfer_id,),
    ),
    e.RefundRequested(
        at=LATER,
        refund_id=REFUND_ID,
        session_id=SESSION_ID,
        transfer_id=None,
        merchant_id=MERCHANT_ID,
        mode="test",
        network="local",
        amount=usd("4.00"),
        destination=PAYER,
        wallet=WALLET,
        wallet_index=1,
        reason="one coffee came cold",
    ),
    e.RefundSigned(at=LATER, tx_hash="0x" + "22" * 32, nonce=5),
    e.RefundBroadcast(at=LATER, tx_hash="0x" + "22" * 32),
    e.RefundCompleted(
        at=LATER,
        tx_hash="0x" + "22" * 32,
        block_number=110,
        block_hash=block_hash(110),
        confirmations=3,
        gas=GAS,
    ),
    e.RefundReversed(
        at=LATER,
        tx_hash="0x" + "22" * 32,
        block_number=110,
        block_hash=block_hash(110),
        gas=GAS,
    ),
    e.RefundFinalized(
        at=LATER, tx_hash="0x" + "22" * 32, block_number=110, block_hash=block_hash(110)
    ),
    e.RefundFailed(at=LATER, reason="recipient is frozen", gas=None),
    e.FloatToppedUp(at=AT, transfer_id="31337:0x33:0", amount=usd("50.00"), owed=usd("0")),
    e.FloatTopUpReversed(
        at=AT, transfer_id="31337:0x33:0", amount=usd("50.00"), missing=usd("4.00")
    ),
    e.FloatReserved(at=LATER, refund_id=REFUND_ID, amount=usd("4.00")),
    e.FloatReleased(at=LATER, refund_id=REFUND_ID, amount=usd("4.00"), owed=usd("0")),
    e.FloatSpent(at=LATER, refund_id=REFUND_ID, amount=usd("4.00")),
    e.FloatSpendingReversed(at=LATER, refund_id=REFUND_ID, amount=usd("4.00")),
    e.JournalEntryPosted(
        at=LATER,
        entry_id=UUID(int=0x28),
        cause="payment.completed payment_session/b2@5",
        merchant_id=MERCHANT_ID,
        postings=(
            Posting(debit="fees_receivable:a1", credit="fee_revenue:a1", amount=usd("0.05")),
        ),
    ),
    e.MerchantRegistered(at=AT, merchant_id=MERCHANT_ID, display_name="Corner Café"),
    e.WalletConfigured(at=AT, mode="test", extended_public_key=XPUB),
    e.ReceivingAddressSet(at=AT, mode="test", address=RECEIVING),
    e.ToleranceSet(at=AT, mode="test", absolute_micros=50_000, basis_points=100),
    e.RefundWalletAssigned(at=AT, mode="test", index=1, address=WALLET),
    e.ApiKeyCreated(
        at=AT,
        key_id=KEY_ID,
        mode="test",
        key_hash="ab" * 32,
        last4="x7Qz",
        scopes=("read", "write"),
        label="till",
    ),
    e.ApiKeyRevoked(at=LATER, key_id=KEY_ID),
    e.WebhookEndpointCreated(
        at=AT,
        endpoint_id=ENDPOINT_ID,
        mode="test",
        url="https://shop.example/hooks",
        event_types=(),
        secret_id=SECRET_ID,
    ),
    e.WebhookEndpointDeleted(at=LATER, endpoint_id=ENDPOINT_ID),
    e.WebhookEndpointDisabled(at=LATER, endpoint_id=ENDPOINT_ID, reason="answered 410"),
    e.DeliveryOpened(
        at=LATER,
        delivery_id=DELIVERY_ID,
        merchant_id=MERCHANT_ID,
        mode="test",
        endpoint_id=ENDPOINT_ID,
        message_id="evt_" + "0" * 32,
        message_type="payment.completed",
        body='{"id":"evt_00000000000000000000000000000000"}',
    ),
    e.DeliverySucceeded(at=LATER, attempt=1, status_code=204, latency_ms=12),
    e.DeliveryAttemptFailed(
        at=LATER,
        attempt=1,
        status_code=500,
        latency_ms=40,
        error="the receiver answered 500",
        next_attempt_at=LATER + timedelta(seconds=10),
    ),
    e.DeliveryFailed(at=LATER, attempts=4),
    e.DeliveryReplayed(at=LATER),
    e.ProjectionRebuildStarted(at=AT, projection="payments", tables="rm_payments_v2_r1"),
    e.ProjectionSwitched(
        at=LATER,
        projection="payments",
        tables="rm_payments_v2_r1",
        replaced="rm_payments_v2",
        position=1_000,
        differing=("payments",),
        reason="the live rows had a wrong status",
    ),
    e.ProjectionSwitchedBack(
        at=LATER,
        projection="payments",
        tables="rm_payments_v2",
        replaced="rm_payments_v2_r1",
        position=1_002,
        reason="lists are slower",
    ),
    e.ProjectionStreamParked(
        at=LATER,
        projection="payments",
        stream_type="payment_session",
        stream_id=SESSION_ID,
        position=1_001,
        reason="its state grows without end",
    ),
    e.ProjectionStreamRetried(
        at=LATER,
        projection="payments",
        stream_type="payment_session",
        stream_id=SESSION_ID,
        settled=True,
        reason="mended in the release of today",
    ),
    e.ProjectionDropped(
        at=LATER,
        projection="payments",
        tables="rm_payments_v2_r1",
        reason="a day without complaint",
    ),
)

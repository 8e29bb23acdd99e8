"""The books: chart of accounts, and which fact posts which entry.

Shapes  Account names are "<kind>:<merchant hex>[:<network>]". A posting debits one account and
        credits another, so an entry sums to zero by its form; the database checks it again.
        customer_receipts   debit   what customers paid to the merchant's own addresses (memo)
        merchant_payable    credit  the same money, owed to nobody else than the merchant (memo)
        suspense            credit  arrived, confirmed and not yet decided about: the inbox
        customer_refunds    credit  of these receipts, given back to customers (memo)
        fees_receivable     debit   0.5 % of completed payments, owed by the merchant
        fee_revenue         credit  the gateway's income
        hot_wallet          debit   tokens in the merchant's refund wallet
        refund_float        credit  of these, free for refunds; never below zero
        refunds_pending     credit  of these, set aside for refunds under way; never below zero
        float_shortfall     debit   taken back by a reorg after it was spent or set aside (memo)
        float_owed          credit  the same, until a top-up or a released refund fills it (memo)
        gas_spent           debit   what refunds cost in the network's own coin
        gas_paid            credit  the same coin, gone from the merchant's refund wallet (memo)
        What customer_receipts holds less what merchants moved is on their addresses: that is
        why a refund, paid by the hot wallet, has an account of its own.
Units   base units; one asset per posting.
"""

from uuid import UUID

from domain import events as e
from domain.money import Amount
from domain.transfer import OnchainTransfer

# Accounts that never come to stand on their other side; the database holds the same lists.
# merchant_payable and suspense are in neither: a reorg can take back what was given back before.
NO_OVERDRAFT_CREDIT = (
    "refund_float",
    "refunds_pending",
    "customer_refunds",
    "fee_revenue",
    "float_owed",
    "gas_paid",
)
NO_OVERDRAFT_DEBIT = (
    "hot_wallet",
    "customer_receipts",
    "fees_receivable",
    "float_shortfall",
    "gas_spent",
)


def account(kind: str, merchant_id: UUID) -> str:
    return f"{kind}:{merchant_id.hex}"


def _move(debit: str, credit: str, merchant_id: UUID, amount: Amount) -> tuple[e.Posting, ...]:
    if amount.units == 0:
        return ()
    posting = e.Posting(
        debit=account(debit, merchant_id), credit=account(credit, merchant_id), amount=amount
    )
    return (posting,)


def postings_for(event: e.Event, merchant_id: UUID) -> tuple[e.Posting, ...]:
    """What a fact of a session or a float does to the books; nothing for most facts."""
    match event:
        case e.TransferConfirmed():
            return _move("customer_receipts", "merchant_payable", merchant_id, event.amount)
        case e.TransferReversed():
            return _move("merchant_payable", "customer_receipts", merchant_id, event.amount)
        case e.PaymentCompleted():
            return _move("fees_receivable", "fee_revenue", merchant_id, event.fee)
        case e.PaymentReduced():
            return _move("fee_revenue", "fees_receivable", merchant_id, event.fee_returned)
        case e.PaymentReversed():
            return _move("fee_revenue", "fees_receivable", merchant_id, event.fee)
        case e.PaymentRefunded():
            return _move("merchant_payable", "customer_refunds", merchant_id, event.amount)
        case e.PaymentRefundReversed():
            return _move("customer_refunds", "merchant_payable", merchant_id, event.amount)
        case e.RefundCompleted() | e.RefundFailed() if event.gas is not None:
            return _move("gas_spent", "gas_paid", merchant_id, event.gas)
        case e.RefundReversed() if event.gas is not None:
            return _move("gas_paid", "gas_spent", merchant_id, event.gas)
        case e.FloatSpendingReversed():
            return _move("hot_wallet", "refunds_pending", merchant_id, event.amount)
        case e.FloatToppedUp():
            free = event.amount - event.owed
            return (
                *_move("hot_wallet", "refund_float", merchant_id, free),
                *_move("float_owed", "float_shortfall", merchant_id, event.owed),
            )
        case e.FloatTopUpReversed():
            there = event.amount - event.missing
            return (
                *_move("refund_float", "hot_wallet", merchant_id, there),
                *_move("float_shortfall", "float_owed", merchant_id, event.missing),
            )
        case e.FloatReserved():
            return _move("refund_float", "refunds_pending", merchant_id, event.amount)
        case e.FloatReleased():
            free = event.amount - event.owed
            return (
                *_move("refunds_pending", "refund_float", merchant_id, free),
                *_move("refunds_pending", "hot_wallet", merchant_id, event.owed),
                *_move("float_owed", "float_shortfall", merchant_id, event.owed),
            )
        case e.FloatSpent():
            return _move("refunds_pending", "hot_wallet", merchant_id, event.amount)
        case _:
            return ()


def postings_for_transfer(event: e.Event, transfer: OnchainTransfer) -> tuple[e.Posting, ...]:
    """Money in the inbox is booked too, as soon as it is safe and its merchant is known.

    `transfer` is the state after the event. What is assigned to a session leaves suspense, and
    the session's own facts book it anew.
    """
    if transfer.merchant_id is None:
        return ()
    merchant_id, amount = transfer.merchant_id, transfer.sighting.amount
    match event:
        case e.OnchainTransferConfirmed() if transfer.purpose == "unmatched":
            account_ = _inbox_account(transfer)
            return _move("customer_receipts", account_, merchant_id, amount) if account_ else ()
        case e.OnchainTransferReversed() if transfer.purpose == "unmatched":
            account_ = _inbox_account(transfer)
            return _move(account_, "customer_receipts", merchant_id, amount) if account_ else ()
        case e.OnchainTransferAssigned() | e.OnchainTransferDismissed():
            if transfer.status != "confirmed":
                return ()
            return _move("suspense", "customer_receipts", merchant_id, amount)
        case e.OnchainTransferAccepted() if transfer.status == "confirmed":
            return _move("suspense", "merchant_payable", merchant_id, amount)
        case e.OnchainTransferRefunded():
            return _move("suspense", "customer_refunds", merchant_id, amount)
        case e.OnchainTransferRefundReversed():
            return _move("customer_refunds", "suspense", merchant_id, amount)
        case _:
            return ()


def _inbox_account(transfer: OnchainTransfer) -> str | None:
    """Where the money of an unmatched transfer is booked, by what was decided about it."""
    if transfer.resolution == "dismissed":
        return None
    return "merchant_payable" if transfer.resolution == "accepted" else "suspense"

"""Payment sessions as merchants look for them, and their transfers by hash and by payer.

Shapes  payments           a row a session: its folded state, and what lists filter by
        payment_transfers  a row a transfer ever seen for a session, retracted ones included
Units   due_units in base units of the asset.
"""

from collections.abc import Iterable
from typing import Any

from application.ports import Fact
from domain import events as e
from domain import payment
from domain.payment import PaymentSession
from projections.projection import StreamProjection, state_table
from projections.table import Row, Table

_NEWEST_FIRST = "created_at DESC, position DESC"

PAYMENTS = state_table(
    "payments",
    "session_id",
    (
        ("merchant_id", "uuid"),
        ("mode", "text"),
        ("status", "text"),
        ("network", "text"),
        ("asset", "text"),
        ("due_units", "numeric"),
        ("merchant_reference", "text"),
        ("created_at", "timestamptz"),
        ("expires_at", "timestamptz"),
    ),
    nullable=("merchant_reference",),
    indexes=(
        f"(merchant_id, mode, {_NEWEST_FIRST})",
        f"(merchant_id, mode, status, {_NEWEST_FIRST})",
        f"(merchant_id, mode, network, {_NEWEST_FIRST})",
        (
            f"(merchant_id, mode, merchant_reference, {_NEWEST_FIRST})"
            " WHERE merchant_reference IS NOT NULL"
        ),
        "(expires_at) WHERE status = 'pending'",
    ),
)
PAYMENT_TRANSFERS = Table(
    "payment_transfers",
    (("session_id", "uuid"), ("transfer_id", "text"), ("tx_hash", "text"), ("payer", "text")),
    ("session_id", "transfer_id"),
    keeps=True,  # a transfer mined again keeps its hash, its payer and so its row
    indexes=("(tx_hash)", "(payer)"),
)


class Payments(StreamProjection[PaymentSession]):
    name, version = "payments", 2
    state_type = PaymentSession
    states = PAYMENTS
    tables = (PAYMENTS, PAYMENT_TRANSFERS)
    handles = frozenset(
        {
            e.SessionCreated,
            e.SessionCancelled,
            e.SessionExpired,
            e.TransferObserved,
            e.PaymentCovered,
            e.TransferRetracted,
            e.TransferConfirmed,
            e.PaymentCompleted,
            e.TransferReversed,
            e.PaymentReduced,
            e.PaymentReversed,
            e.PaymentRefundReserved,
            e.PaymentRefundReleased,
            e.PaymentRefunded,
            e.PaymentRefundReversed,
            e.PayerProven,
            e.TransactionAnnounced,
        }
    )

    def evolve(self, state: PaymentSession | None, recorded: Fact[Any]) -> PaymentSession:
        return payment.evolve(state, recorded.event)

    def columns(self, state: PaymentSession) -> Row:
        return (
            state.merchant_id,
            state.mode,
            state.status,
            state.network,
            state.due.asset,
            state.due.units,
            state.merchant_reference,
            state.created_at,
            state.expires_at,
        )

    def beside(self, state: PaymentSession, recorded: Fact[Any]) -> Iterable[tuple[str, Row]]:
        del state  # the fact says it all
        event = recorded.event
        if isinstance(event, e.TransferObserved):
            row = (recorded.stream.id, event.transfer_id, event.tx_hash, event.payer)
            yield PAYMENT_TRANSFERS.name, row

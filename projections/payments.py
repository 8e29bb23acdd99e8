"""Payment sessions as merchants look for them, and their transfers by hash and by payer.

Shapes  payments           a row a session: its folded state, and what lists filter by
        payment_transfers  a row a transfer ever seen for a session, retracted ones included
        payment_payers     a row a wallet that ever paid for a session, with what pages by payer
                           are filtered by
        payment_openings   a row a network and hour: when the first session was opened whose
                           window closes within that hour
Indexes each carries pages in their order, or workers' queues in theirs. The one by network, asset
        and status serves every choice among the three: what is not asked for is merged from the
        few values there are (payment_reads.py), so that no pair of filters needs its own.
Units   due_units in base units of the asset.
"""

from collections.abc import Iterable
from typing import Any

from application.ports import Fact
from domain import events as e
from domain import payment
from domain.payment import PaymentSession
from projections.projection import Batch, Folded, Held, Known, StreamProjection, state_table
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
        ("own_address", "text"),
    ),
    nullable=("merchant_reference", "own_address"),
    indexes=(
        f"(merchant_id, mode, {_NEWEST_FIRST})",
        f"(merchant_id, mode, network, asset, status, {_NEWEST_FIRST})",
        f"(merchant_id, mode, due_units, {_NEWEST_FIRST})",
        (
            f"(merchant_id, mode, merchant_reference, {_NEWEST_FIRST})"
            " WHERE merchant_reference IS NOT NULL"
        ),
        "(network, expires_at, position) WHERE status = 'pending'",
        ("(network, expires_at, position) WHERE status = 'pending' AND own_address IS NOT NULL"),
    ),
)
PAYMENT_TRANSFERS = Table(
    "payment_transfers",
    (("session_id", "uuid"), ("transfer_id", "text"), ("tx_hash", "text")),
    ("session_id", "transfer_id"),
    keeps=True,  # a transfer mined again keeps its hash and so its row
    indexes=("(tx_hash)",),
)
PAYMENT_PAYERS = Table(
    "payment_payers",
    (
        ("session_id", "uuid"),
        ("payer", "text"),
        ("merchant_id", "uuid"),
        ("mode", "text"),
        ("created_at", "timestamptz"),
        ("position", "bigint"),
        ("status", "text"),
        ("network", "text"),
        ("asset", "text"),
        ("due_units", "numeric"),
    ),
    ("session_id", "payer"),
    indexes=(
        (
            f"(merchant_id, mode, payer, {_NEWEST_FIRST})"
            " INCLUDE (session_id, status, network, asset, due_units)"
        ),
    ),
)
PAYMENT_OPENINGS = Table(
    "payment_openings",
    (("network", "text"), ("closing_hour", "timestamptz"), ("opened_at", "timestamptz")),
    ("network", "closing_hour"),
    least=("opened_at",),
)


class Payments(StreamProjection[PaymentSession]):
    # 2 added proven payers and announcements; 3 what filters and the reconcile look for; 4 what
    # a payer's sessions are filtered by
    name, version = "payments", 4
    cost = 46
    state_type = PaymentSession
    states = PAYMENTS
    tables = (PAYMENTS, PAYMENT_TRANSFERS, PAYMENT_PAYERS, PAYMENT_OPENINGS)
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
            state.deposit_address if state.pay_by == "deposit_address" else None,
        )

    def gather(self, batch: Batch, known: Known) -> Folded:
        folded = super().gather(batch, known)
        for number, held in folded.held.items():
            if held.state.transfers:
                before = known.get(number)
                rows = folded.rows if held.stored else folded.fresh
                rows[PAYMENT_PAYERS.name] += _payer_rows(held, before.state if before else None)
        return folded

    def beside(self, state: PaymentSession, recorded: Fact[Any]) -> Iterable[tuple[str, Row]]:
        del state
        event = recorded.event
        if isinstance(event, e.TransferObserved):
            row = (recorded.stream_id, event.transfer_id, event.tx_hash)
            return ((PAYMENT_TRANSFERS.name, row),)
        if isinstance(event, e.SessionCreated):
            hour = event.expires_at.replace(minute=0, second=0, microsecond=0)
            return ((PAYMENT_OPENINGS.name, (event.network, hour, event.at)),)
        return ()


def _payer_rows(held: Held[PaymentSession], before: PaymentSession | None) -> Iterable[Row]:
    """Of each wallet that ever paid, but for those whose rows are so already."""
    state = held.state
    payers = state.all_payers()
    if before is not None and before.status == state.status:
        payers -= before.all_payers()
    place = (state.merchant_id, state.mode, state.created_at, held.position)
    filtered = (state.status, state.network, state.due.asset, state.due.units)
    for payer in payers:
        yield (held.stream_id, payer, *place, *filtered)

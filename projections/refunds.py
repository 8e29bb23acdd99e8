"""Refunds, each with its folded state, and which of them are still to be finished."""

from typing import Any

from application.ports import Fact
from domain import events as e
from domain import refund
from domain.refund import Refund
from projections.projection import StreamProjection, state_table
from projections.table import Row

REFUNDS = state_table(
    "refunds",
    "refund_id",
    (
        ("session_id", "uuid"),
        ("transfer_id", "text"),
        ("merchant_id", "uuid"),
        ("mode", "text"),
        ("status", "text"),
        ("created_at", "timestamptz"),
        ("completed_at", "timestamptz"),
        ("failed_on_chain_at", "timestamptz"),
        ("final_at", "timestamptz"),
    ),
    nullable=("session_id", "transfer_id", "completed_at", "failed_on_chain_at", "final_at"),
    indexes=(
        "(merchant_id, mode, position DESC)",
        "(session_id, position DESC) WHERE session_id IS NOT NULL",
        "(transfer_id, position DESC) WHERE transfer_id IS NOT NULL",
        "(position) WHERE status NOT IN ('completed', 'failed')",
        "(completed_at DESC, position DESC) WHERE completed_at IS NOT NULL AND final_at IS NULL",
        "(failed_on_chain_at DESC, position DESC) WHERE failed_on_chain_at IS NOT NULL",
    ),
)


class Refunds(StreamProjection[Refund]):
    # 2 added transfer_id, gas and the block it completed by; 3 added when it failed; 4 added
    # since when it is final
    name, version = "refunds", 4
    state_type = Refund
    states = REFUNDS
    tables = (REFUNDS,)
    handles = frozenset(
        {
            e.RefundRequested,
            e.RefundSigned,
            e.RefundBroadcast,
            e.RefundCompleted,
            e.RefundReversed,
            e.RefundFinalized,
            e.RefundFailed,
        }
    )

    def evolve(self, state: Refund | None, recorded: Fact[Any]) -> Refund:
        return refund.evolve(state, recorded.event)

    def columns(self, state: Refund) -> Row:
        return (
            state.session_id,
            state.transfer_id,
            state.merchant_id,
            state.mode,
            state.status,
            state.created_at,
            state.completed_at,
            state.failed_on_chain_at,
            state.final_at,
        )

"""Every transfer the chain showed us, whose it is; and the inbox of those that are nobody's yet.

Shapes  transfers  a row a transfer with its folded state; those that wait are the inbox, and
                   `resolution` says what was decided about the others that were nobody's
Units   base units of the asset.
"""

from typing import Any

from application.ports import Fact
from domain import events as e
from domain import transfer
from domain.transfer import OnchainTransfer
from projections.projection import StreamProjection, state_table
from projections.table import Row

TRANSFERS = state_table(
    "transfers",
    "stream_id",
    (
        ("transfer_id", "text"),
        ("network", "text"),
        ("asset", "text"),
        ("units", "numeric"),
        ("tx_hash", "text"),
        ("sender", "text"),
        ("recipient", "text"),
        ("status", "text"),
        ("purpose", "text"),
        ("subject_id", "uuid"),
        ("merchant_id", "uuid"),
        ("verdict", "text"),
        ("reason", "text"),
        ("resolution", "text"),
        ("waits", "boolean"),
    ),
    nullable=("purpose", "subject_id", "merchant_id"),
    indexes=(
        # A mode is some networks: pages merge those of theirs.
        "(merchant_id, network, position DESC)",
        "(merchant_id, network, position DESC) WHERE waits",
        "(merchant_id, network, resolution, position DESC) WHERE purpose = 'unmatched'",
        "(merchant_id, sender, position DESC)",
        "(tx_hash)",
        "(position DESC) WHERE waits",
        "(recipient, position DESC) WHERE purpose = 'unmatched'",
        "(recipient, sender, position DESC) WHERE purpose = 'unmatched'",
        "(recipient, position) WHERE purpose = 'payment_session'",
    ),
)


class Inbox(StreamProjection[OnchainTransfer]):
    name, version = "inbox", 3  # 3 changed indexes
    cost = 21
    state_type = OnchainTransfer
    states = TRANSFERS
    tables = (TRANSFERS,)
    handles = frozenset(
        {
            e.OnchainTransferObserved,
            e.OnchainTransferAssigned,
            e.OnchainTransferUnmatched,
            e.OnchainTransferConfirmed,
            e.OnchainTransferRetracted,
            e.OnchainTransferReversed,
            e.OnchainTransferAccepted,
            e.OnchainTransferDismissed,
            e.OnchainTransferRefundReserved,
            e.OnchainTransferRefundReleased,
            e.OnchainTransferRefunded,
            e.OnchainTransferRefundReversed,
        }
    )

    def evolve(self, state: OnchainTransfer | None, recorded: Fact[Any]) -> OnchainTransfer:
        return transfer.evolve(state, recorded.event)

    def columns(self, state: OnchainTransfer) -> Row:
        sighting = state.sighting
        return (
            sighting.transfer_id,
            sighting.network,
            sighting.amount.asset,
            sighting.amount.units,
            sighting.tx_hash,
            sighting.sender,
            sighting.recipient,
            state.status,
            state.purpose,
            state.subject_id,
            state.merchant_id,
            state.verdict,
            state.reason,
            state.resolution,
            state.waits,
        )

"""Addresses we gave out, and to whom: what the follower watches and settlement looks up.

Shapes  watch_list  a row an address and mode, never removed: money that comes years later must
                    still be seen, and then goes to the inbox.
        Rows name the mode, not the network. An address is the same on every network of its
        mode, so a payment on the wrong one is seen too, and a network configured later is
        watched at once without a rebuild. The first owner of an address keeps it.
        A merchant's own wallet is watched from when it is set, before any session asks for
        payments to it, and belongs to the merchant and not to one of these sessions.
"""

from application.reads import WATCH_LIST_MODEL
from domain import events as e
from projections.projection import Batch, Folded, Known, Projection
from projections.table import Table

WATCH_LIST = Table(
    "watch_list",
    (
        ("mode", "text"),
        ("address", "text"),
        ("purpose", "text"),
        ("subject_id", "uuid"),
        ("merchant_id", "uuid"),
        ("position", "bigint"),
    ),
    ("mode", "address"),
    keeps=True,
    indexes=("(mode, position)",),
)


class WatchList(Projection):
    name, version = WATCH_LIST_MODEL, 2
    cost = 5
    handles = frozenset({e.SessionCreated, e.ReceivingAddressSet, e.RefundWalletAssigned})
    tables = (WATCH_LIST,)

    def gather(self, batch: Batch, known: Known) -> Folded:
        del known
        folded = Folded()
        rows = folded.rows[WATCH_LIST.name]
        for recorded in batch:
            match recorded.event:
                case e.SessionCreated(pay_by="deposit_address") as event:
                    owner = (event.session_id, event.merchant_id)
                    place = (event.mode, event.deposit_address, "payment_session")
                    rows.append((*place, *owner, recorded.position))
                case e.ReceivingAddressSet() as event:
                    owner = (recorded.stream.id, recorded.stream.id)
                    place = (event.mode, event.address, "merchant_wallet")
                    rows.append((*place, *owner, recorded.position))
                case e.RefundWalletAssigned() as event:
                    owner = (recorded.stream.id, recorded.stream.id)
                    place = (event.mode, event.address, "refund_float")
                    rows.append((*place, *owner, recorded.position))
                case _:
                    pass
        return folded

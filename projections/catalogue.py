"""Every projection there is."""

from projections.deliveries import Deliveries
from projections.inbox import Inbox
from projections.journal import Journal
from projections.merchants import Merchants
from projections.payments import Payments
from projections.projection import Projection
from projections.refunds import Refunds
from projections.watchlist import WatchList

PROJECTIONS: tuple[Projection, ...] = (
    Payments(),
    WatchList(),
    Journal(),
    Refunds(),
    Deliveries(),
    Merchants(),
    Inbox(),
)

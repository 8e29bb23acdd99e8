"""From an id in a URL to what the checkout shows.

Shapes  a page reads the view; a session the view does not have yet is folded from the log, for
        a customer may arrive faster than the projection.
Errors  None for an id that is none of ours. An outage passes through as ports.Unavailable.
"""

from collections import OrderedDict
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from application.deciders import MERCHANT, PAYMENT
from application.instructions import awaits_blocks
from application.ports import Stream
from application.reads import is_read_late
from domain.errors import PublicIdMalformed
from domain.payment import PaymentSession
from domain.values import parse_public_id
from web.arrivals import ARRIVALS_MAX
from web.checkout import Checkout, checkout_of
from web.services import WebServices

NAME_TRUST_SECONDS = 60
NAMES_REMEMBERED_MAX = 10_000


class Loader:
    def __init__(self, services: WebServices) -> None:
        self._services = services
        self._names: OrderedDict[UUID, tuple[datetime, str]] = OrderedDict()

    async def load(self, text: str) -> Checkout | None:
        try:
            session_id = parse_public_id("ps", text)
        except PublicIdMalformed:
            return None
        found = await self._session(session_id)
        if found is None:
            return None
        session, version = found
        services = self._services
        head = await services.heads.head(session.network) if awaits_blocks(session) else None
        merchant = await self._merchant(session.merchant_id)
        strays = await services.inbox_reads.concerning(session, ARRIVALS_MAX)
        now = services.clock.now()
        checkout = checkout_of(
            session,
            version=version,
            merchant=merchant,
            strays=tuple(row.transfer for row in strays),
            head=head,
            now=now,
            networks=services.networks,
            write=services.write_address,
        )
        if not checkout.awaits_network:
            return checkout
        late = await is_read_late(services.heads, session.network, now)
        return replace(checkout, network_pending=late)

    async def _session(self, session_id: UUID) -> tuple[PaymentSession, int] | None:
        row = await self._services.session_reads.find(session_id)
        if row is not None:
            return row.session, row.version
        state: PaymentSession | None = None
        version = 0
        stream = Stream(PAYMENT.stream_type, session_id)
        for recorded in await self._services.handler.store.read_stream(stream):
            state = PAYMENT.evolve(state, recorded.event)
            version = recorded.version
        return None if state is None else (state, version)

    async def _merchant(self, merchant_id: UUID) -> str:
        now = self._services.clock.now()
        known = self._names.get(merchant_id)
        if known is not None and now < known[0]:
            return known[1]
        merchant = await self._services.handler.load(MERCHANT, merchant_id)
        name = merchant.display_name if merchant else "Merchant"
        self._names[merchant_id] = (now + timedelta(seconds=NAME_TRUST_SECONDS), name)
        if len(self._names) > NAMES_REMEMBERED_MAX:
            self._names.popitem(last=False)
        return name

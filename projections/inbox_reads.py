"""Transfers as merchants look for them: what waits, what was decided, what concerns a session.

Errors  CursorMalformed; ports.StoreUnavailable.
"""

from collections.abc import Sequence

from application.cursors import place_of
from application.reads import Page, TransferQuery, TransferRow
from domain.matching import concerns
from domain.networks import NetworkBook
from domain.payment import PaymentSession
from domain.transfer import OnchainTransfer
from domain.values import Mode
from projections.database import Connections
from projections.pages import Where, fetch_page
from projections.table import Row

_SELECT = "SELECT state, version, updated_position, position FROM rm.transfers"
_ORDER = "position DESC"


class InboxReads:
    def __init__(self, connections: Connections, networks: NetworkBook) -> None:
        self._connections = connections
        self._networks = tuple(networks.known())

    async def page(self, query: TransferQuery) -> Page[TransferRow]:
        where = Where()
        where.add("merchant_id = %s", query.merchant_id)
        where.add("network = ANY(%s)", self._of_mode(query.mode))
        if query.resolution is not None:
            where.add("purpose = %s", "unmatched")
            where.add("resolution = %s", query.resolution)
        elif not query.everything:
            where.add("waits AND purpose = %s", "unmatched")
        where.add("network = %s", query.network)
        where.add("asset = ANY(%s)", None if query.assets is None else list(query.assets))
        where.add("tx_hash = %s", query.tx_hash)
        where.add("sender = %s", query.sender)
        if query.cursor is not None:
            where.before("position", place_of(query.cursor, 1))
        return await fetch_page(
            self._connections, _SELECT, where, _ORDER, query.limit, _transfer_row
        )

    async def concerning(self, session: PaymentSession, limit: int) -> Sequence[TransferRow]:
        where = Where()
        where.add("recipient = %s", session.deposit_address)
        where.add("purpose = %s", "unmatched")
        where.add("merchant_id = %s", session.merchant_id)
        where.add("network = ANY(%s)", self._of_mode(session.mode))
        where.add("status = ANY(%s)", ["observed", "confirmed"])
        if session.pay_by == "merchant_wallet":
            evidence = [*session.proven_payers, *session.announced]
            if not evidence:
                return ()
            where.add("ARRAY[sender, tx_hash] && %s::text[]", evidence)
        page = await fetch_page(self._connections, _SELECT, where, _ORDER, limit, _transfer_row)
        return [row for row in page.items if concerns(row.transfer.sighting, session)]

    async def newest(self, limit: int) -> Sequence[TransferRow]:
        where = Where()
        where.add("waits AND purpose = %s", "unmatched")
        page = await fetch_page(self._connections, _SELECT, where, _ORDER, limit, _transfer_row)
        return page.items

    def _of_mode(self, mode: Mode) -> list[str]:
        return [each.name for each in self._networks if each.mode == mode]


def _transfer_row(row: Row) -> tuple[TransferRow, tuple[int, ...]]:
    text, version, updated_position, position = row
    assert isinstance(text, str)
    assert isinstance(version, int)
    assert isinstance(updated_position, int)
    assert isinstance(position, int)
    transfer = OnchainTransfer.model_validate_json(text)
    return TransferRow(transfer, version, updated_position), (position,)

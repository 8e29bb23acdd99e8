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
from projections.pages import NEWER_FIELDS, Lane, Listing, Where, fetch_page
from projections.table import Row


class InboxReads:
    def __init__(self, connections: Connections, networks: NetworkBook) -> None:
        self._connections = connections
        self._networks = tuple(networks.known())

    async def page(self, query: TransferQuery) -> Page[TransferRow]:
        lanes = self._lanes(query)
        residual = Where()
        residual.add("merchant_id = %s", query.merchant_id)
        residual.add("network = ANY(%s)", self._of_mode(query.mode))
        _shown(residual, query)
        residual.add("network = %s", query.network)
        residual.add("asset = ANY(%s)", None if query.assets is None else list(query.assets))
        residual.add("tx_hash = %s", query.tx_hash)
        residual.add("sender = %s", query.sender)
        narrow = (query.assets, query.tx_hash, query.sender)
        looked_at = residual if any(each is not None for each in narrow) else None
        return await fetch_page(self._connections, _LISTING, lanes, query.limit, looked_at)

    def _lanes(self, query: TransferQuery) -> list[Lane]:
        if query.tx_hash is not None:
            where = _after(query.cursor)
            where.add("tx_hash = %s", query.tx_hash)
            return [Lane(where)]
        if query.sender is not None:
            where = _after(query.cursor)
            where.add("merchant_id = %s", query.merchant_id)
            where.add("sender = %s", query.sender)
            return [Lane(where)]
        lanes = []
        for network in self._of_mode(query.mode):
            if query.network in {None, network}:
                where = _after(query.cursor)
                where.add("merchant_id = %s", query.merchant_id)
                where.add("network = %s", network)
                _shown(where, query)
                lanes.append(Lane(where))
        return lanes

    async def concerning(self, session: PaymentSession, limit: int) -> Sequence[TransferRow]:
        at_address = Where()
        at_address.add("recipient = %s", session.deposit_address)
        at_address.add("purpose = %s", "unmatched")
        lanes = [Lane(at_address)]
        if session.pay_by == "merchant_wallet":
            lanes = _with_evidence(session, at_address)
        residual = Where()
        residual.add("merchant_id = %s", session.merchant_id)
        residual.add("network = ANY(%s)", self._of_mode(session.mode))
        residual.add("status = ANY(%s)", ["observed", "confirmed"])
        page = await fetch_page(self._connections, _LISTING, lanes, limit, residual)
        return [row for row in page.items if concerns(row.transfer.sighting, session)]

    async def newest(self, limit: int) -> Sequence[TransferRow]:
        where = Where()
        where.is_so("waits")
        page = await fetch_page(self._connections, _LISTING, [Lane(where)], limit)
        return page.items

    def _of_mode(self, mode: Mode) -> list[str]:
        return [each.name for each in self._networks if each.mode == mode]


def _after(cursor: str | None) -> Where:
    where = Where()
    if cursor is not None:
        where.before("position", place_of(cursor, 1))
    return where


def _shown(where: Where, query: TransferQuery) -> None:
    if query.resolution is not None:
        where.add("purpose = %s", "unmatched")
        where.add("resolution = %s", query.resolution)
    elif not query.everything:
        where.is_so("waits")


def _with_evidence(session: PaymentSession, at_address: Where) -> list[Lane]:
    """What proven payers sent there, and the announced transactions of others."""
    lanes = []
    for payer in session.proven_payers:
        where = at_address.also()
        where.add("sender = %s", payer)
        lanes.append(Lane(where))
    for tx_hash in session.announced:
        where = at_address.also()
        where.add("tx_hash = %s", tx_hash)
        where.add("sender <> ALL(%s)", list(session.proven_payers))
        lanes.append(Lane(where))
    return lanes


def _transfer_row(row: Row) -> tuple[TransferRow, tuple[int, ...]]:
    text, version, updated_position, position = row
    assert isinstance(text, str)
    assert isinstance(version, int)
    assert isinstance(updated_position, int)
    assert isinstance(position, int)
    transfer = OnchainTransfer.model_validate_json(text, extra=NEWER_FIELDS)
    return TransferRow(transfer, version, updated_position), (position,)


_LISTING = Listing(
    "rm.transfers",
    "state, version, updated_position, position",
    "position DESC",
    _transfer_row,
    residual="merchant_id, network, asset, tx_hash, sender, purpose, resolution, waits, status",
)

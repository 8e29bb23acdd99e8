"""Transfers that are nobody's yet, with the reason.

Errors  CursorMalformed; ports.StoreUnavailable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from application.cursors import place_of
from application.reads import Page
from domain.networks import NetworkBook
from domain.transfer import OnchainTransfer
from domain.values import Mode
from projections.database import Connections
from projections.pages import Where, fetch_page
from projections.table import Row

_SELECT = "SELECT state, version, updated_position, position FROM rm.transfers"


@dataclass(frozen=True, slots=True)
class TransferRow:
    transfer: OnchainTransfer
    version: int
    position: int


class InboxReads:
    def __init__(self, connections: Connections, networks: NetworkBook) -> None:
        self._connections = connections
        self._networks = networks.networks

    async def page(
        self, merchant_id: UUID, mode: Mode, *, limit: int = 20, cursor: str | None = None
    ) -> Page[TransferRow]:
        where = Where()
        where.add("purpose = %s", "unmatched")
        where.add("merchant_id = %s", merchant_id)
        where.add("network = ANY(%s)", [each.name for each in self._networks if each.mode == mode])
        if cursor is not None:
            where.before("position", place_of(cursor, 1))
        return await fetch_page(
            self._connections, _SELECT, where, "position DESC", limit, _transfer_row
        )

    async def newest(self, limit: int) -> Sequence[TransferRow]:
        """Every merchant's, and nobody's: for the operator."""
        where = Where()
        where.add("purpose = %s", "unmatched")
        page = await fetch_page(
            self._connections, _SELECT, where, "position DESC", limit, _transfer_row
        )
        return page.items


def _transfer_row(row: Row) -> tuple[TransferRow, tuple[int, ...]]:
    text, version, updated_position, position = row
    assert isinstance(text, str)
    assert isinstance(version, int)
    assert isinstance(updated_position, int)
    assert isinstance(position, int)
    transfer = OnchainTransfer.model_validate_json(text)
    return TransferRow(transfer, version, updated_position), (position,)

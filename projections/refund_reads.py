"""Refunds by id, as pages, those still to be finished, not yet final, or failed lately.

Errors  CursorMalformed; ports.StoreUnavailable.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from application.cursors import microseconds_of, moment_of, place_of
from application.reads import Page, RefundRow
from domain.refund import Refund
from domain.values import Mode
from projections.database import Connections
from projections.pages import NEWER_FIELDS, Lane, Listing, Where, fetch_page
from projections.table import Row

_COLUMNS = "state, version, updated_position, position"
_SELECT = "SELECT state, version, updated_position, position FROM rm.refunds"


class RefundReads:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def find(self, refund_id: UUID) -> RefundRow | None:
        async with self._connections.reading() as connection:
            cursor = await connection.execute(f"{_SELECT} WHERE refund_id = %s", (refund_id,))
            row = await cursor.fetchone()
        return None if row is None else _refund_row(row)[0]

    async def page(
        self,
        merchant_id: UUID,
        mode: Mode,
        *,
        session_id: UUID | None = None,
        transfer_id: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[RefundRow]:
        where, residual = Where(), Where()
        narrow = session_id is not None or transfer_id is not None
        # One session or transfer has few refunds, which need no index by merchant as well.
        whose = residual if narrow else where
        whose.add("merchant_id = %s", merchant_id)
        whose.add("mode = %s", mode)
        where.add("session_id = %s", session_id)
        (where if session_id is None else residual).add("transfer_id = %s", transfer_id)
        if cursor is not None:
            where.before("position", place_of(cursor, 1))
        return await fetch_page(self._connections, _OF_MERCHANT, [Lane(where)], limit, residual)

    async def unfinished(self, limit: int) -> Sequence[UUID]:
        async with self._connections.reading() as connection:
            cursor = await connection.execute(
                "SELECT refund_id FROM rm.refunds WHERE status NOT IN ('completed', 'failed') "
                "ORDER BY position LIMIT %s",
                (limit,),
            )
            return [row[0] for row in await cursor.fetchall()]

    async def not_final(self, limit: int, *, cursor: str | None = None) -> Page[RefundRow]:
        where = Where()
        where.is_so("completed_at IS NOT NULL AND final_at IS NULL")
        if cursor is not None:
            where.before("completed_at, position", _moment_and_position(cursor))
        return await fetch_page(self._connections, _NOT_FINAL, [Lane(where)], limit)

    async def failed_on_chain_since(
        self, moment: datetime, limit: int, *, cursor: str | None = None
    ) -> Page[RefundRow]:
        where = Where()
        where.add("failed_on_chain_at >= %s", moment)
        if cursor is not None:
            where.before("failed_on_chain_at, position", _moment_and_position(cursor))
        return await fetch_page(self._connections, _FAILED, [Lane(where)], limit)


def _moment_and_position(cursor: str) -> tuple[datetime, int]:
    microseconds, position = place_of(cursor, 2)
    return moment_of(microseconds), position


def _refund_row(row: Row) -> tuple[RefundRow, tuple[int, ...]]:
    text, version, updated_position, position = row
    assert isinstance(text, str)
    assert isinstance(version, int)
    assert isinstance(updated_position, int)
    assert isinstance(position, int)
    return RefundRow(
        Refund.model_validate_json(text, extra=NEWER_FIELDS), version, updated_position
    ), (position,)


def _completed_row(row: Row) -> tuple[RefundRow, tuple[int, ...]]:
    found, place = _refund_row(row[:4])
    assert found.refund.completed_at is not None
    return found, (microseconds_of(found.refund.completed_at), *place)


def _failed_row(row: Row) -> tuple[RefundRow, tuple[int, ...]]:
    found, place = _refund_row(row[:4])
    assert found.refund.failed_on_chain_at is not None
    return found, (microseconds_of(found.refund.failed_on_chain_at), *place)


_OF_MERCHANT = Listing(
    "rm.refunds",
    _COLUMNS,
    "position DESC",
    _refund_row,
    residual="merchant_id, mode, transfer_id",
)
# Their order must be selected too.
_NOT_FINAL = Listing(
    "rm.refunds", f"{_COLUMNS}, completed_at", "completed_at DESC, position DESC", _completed_row
)
_FAILED = Listing(
    "rm.refunds",
    f"{_COLUMNS}, failed_on_chain_at",
    "failed_on_chain_at DESC, position DESC",
    _failed_row,
)

"""Payment sessions by id, as filtered pages, and those whose window has closed.

Errors  CursorMalformed; ports.StoreUnavailable.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from application.cursors import microseconds_of, moment_of, place_of
from application.reads import Page, SessionQuery, SessionRow
from domain.payment import PaymentSession
from projections.database import Connections
from projections.pages import Where, fetch_page
from projections.table import Row

_SELECT = "SELECT state, version, updated_position, created_at, position FROM rm.payments"
_ORDER = "created_at DESC, position DESC"


class PaymentReads:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def find(self, session_id: UUID) -> SessionRow | None:
        async with self._connections.connection() as connection:
            cursor = await connection.execute(f"{_SELECT} WHERE session_id = %s", (session_id,))
            row = await cursor.fetchone()
        return None if row is None else _session_row(row)[0]

    async def page(self, query: SessionQuery) -> Page[SessionRow]:
        where = Where()
        where.add("merchant_id = %s", query.merchant_id)
        where.add("mode = %s", query.mode)
        where.add("status = %s", query.status)
        where.add("network = %s", query.network)
        where.add("merchant_reference = %s", query.merchant_reference)
        where.add("created_at >= %s", query.created_from)
        where.add("created_at < %s", query.created_to)
        where.add(
            "session_id IN (SELECT session_id FROM rm.payment_transfers WHERE tx_hash = %s)",
            query.tx_hash,
        )
        if query.cursor is not None:
            created, position = place_of(query.cursor, 2)
            where.before("created_at, position", (moment_of(created), position))
        return await fetch_page(
            self._connections, _SELECT, where, _ORDER, query.limit, _session_row
        )

    async def due_to_expire(
        self, now: datetime, limit: int, *, network: str | None = None
    ) -> Sequence[UUID]:
        async with self._connections.connection() as connection:
            cursor = await connection.execute(
                "SELECT session_id FROM rm.payments WHERE status = 'pending' "
                "AND expires_at <= %s AND network = coalesce(%s, network) "
                "ORDER BY expires_at LIMIT %s",
                (now, network, limit),
            )
            return [row[0] for row in await cursor.fetchall()]

    async def expects(self, network: str) -> bool:
        async with self._connections.connection() as connection:
            cursor = await connection.execute(
                "SELECT FROM rm.payments WHERE status = 'pending' AND network = %s LIMIT 1",
                (network,),
            )
            return await cursor.fetchone() is not None

    async def opened_since(self, network: str, not_expired_at: datetime) -> datetime | None:
        """Asked once in the life of a network's ingester: it may read the whole table."""
        async with self._connections.connection() as connection:
            cursor = await connection.execute(
                "SELECT min(created_at) FROM rm.payments WHERE network = %s AND expires_at > %s",
                (network, not_expired_at),
            )
            row = await cursor.fetchone()
            return None if row is None else row[0]


def _session_row(row: Row) -> tuple[SessionRow, tuple[int, ...]]:
    text, version, updated_position, created_at, position = row
    assert isinstance(text, str)
    assert isinstance(version, int)
    assert isinstance(updated_position, int)
    assert isinstance(created_at, datetime)
    assert isinstance(position, int)
    session = PaymentSession.model_validate_json(text)
    item = SessionRow(session, version, updated_position)
    return item, (microseconds_of(created_at), position)

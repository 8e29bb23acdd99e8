"""Webhook deliveries and their attempts, with what the receivers answered.

Shapes  An answer is no fact of the log: the worker keeps it in work.delivery_responses.
Errors  CursorMalformed; ports.StoreUnavailable.
"""

from collections.abc import Sequence
from typing import get_args
from uuid import UUID

from application.cursors import place_of
from application.reads import AttemptRow, DeliveryRow, Page
from domain.delivery import DeliveryStatus, WebhookDelivery
from domain.values import Mode
from projections.database import Connections
from projections.pages import NEWER_FIELDS, Lane, Listing, Where, fetch_page
from projections.table import Row

_COLUMNS = "state, updated_position, position"
_SELECT = "SELECT state, updated_position, position FROM rm.deliveries"
# In the order of its index: else one with most of all rows is looked for from the table's end.
_OWNER = """
SELECT merchant_id, mode FROM rm.deliveries WHERE endpoint_id = %s
ORDER BY endpoint_id, status, position DESC LIMIT 1
"""
STATUSES: tuple[str, ...] = get_args(DeliveryStatus)


class DeliveryReads:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def find(self, delivery_id: UUID) -> DeliveryRow | None:
        async with self._connections.reading() as connection:
            cursor = await connection.execute(f"{_SELECT} WHERE delivery_id = %s", (delivery_id,))
            row = await cursor.fetchone()
        return None if row is None else _delivery_row(row)[0]

    async def page(
        self,
        merchant_id: UUID,
        mode: Mode,
        *,
        endpoint_id: UUID | None = None,
        status: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[DeliveryRow]:
        place = None if cursor is None else place_of(cursor, 1)
        if endpoint_id is not None and not await self._has(merchant_id, mode, endpoint_id):
            return Page((), None)
        lanes = []
        for each in STATUSES if status is None else (status,):
            where = Where()
            if endpoint_id is None:
                where.add("merchant_id = %s", merchant_id)
                where.add("mode = %s", mode)
            where.add("endpoint_id = %s", endpoint_id)
            where.add("status = %s", each)
            if place is not None:
                where.before("position", place)
            lanes.append(Lane(where))
        return await fetch_page(self._connections, _LISTING, lanes, limit)

    async def _has(self, merchant_id: UUID, mode: Mode, endpoint_id: UUID) -> bool:
        """All deliveries of an endpoint are of one merchant and mode: any of them tells."""
        async with self._connections.reading() as connection:
            cursor = await connection.execute(_OWNER, (endpoint_id,))
            return await cursor.fetchone() == (merchant_id, mode)

    async def attempts(self, delivery_id: UUID) -> Sequence[AttemptRow]:
        """In order, the first one first."""
        async with self._connections.reading() as connection:
            cursor = await connection.execute(
                "SELECT made.attempt, made.at, made.status_code, made.latency_ms, made.error, "
                "coalesce(answer.excerpt, '') FROM rm.delivery_attempts AS made "
                "LEFT JOIN work.delivery_responses AS answer USING (delivery_id, attempt) "
                "WHERE made.delivery_id = %s ORDER BY made.attempt",
                (delivery_id,),
            )
            return [AttemptRow(*row) for row in await cursor.fetchall()]


def _delivery_row(row: Row) -> tuple[DeliveryRow, tuple[int, ...]]:
    text, updated_position, position = row
    assert isinstance(text, str)
    assert isinstance(updated_position, int)
    assert isinstance(position, int)
    return DeliveryRow(
        WebhookDelivery.model_validate_json(text, extra=NEWER_FIELDS), updated_position
    ), (position,)


_LISTING = Listing("rm.deliveries", _COLUMNS, "position DESC", _delivery_row)

"""What was done to the read models by hand, kept in the log: one stream a projection.

Shapes  An operation is done in the database first and told afterwards; told twice, it is one fact,
        by its id. Nothing is decided: the fact tells of tables that have changed already.
Errors  those of the event store.
"""

import contextlib
from uuid import UUID

from application.handling import Handler, UnitOfWork
from application.ports import AlreadyProcessed, Context, InboxMessage, Stream
from domain.events import Event
from domain.values import derived_id

STREAM_TYPE = "projection"
SOURCE = "projections"


def upkeep_stream(projection: str) -> Stream:
    return Stream(STREAM_TYPE, derived_id(STREAM_TYPE, projection))


class Upkeep:
    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def tell(self, operation_id: UUID, projection: str, event: Event, actor: str) -> None:
        """Append the fact, unless it is there."""
        stream = upkeep_stream(projection)

        async def work(unit: UnitOfWork) -> None:
            known = await self._handler.store.read_stream(stream)
            unit.record(stream, event, after_version=len(known))

        once = InboxMessage(SOURCE, operation_id.hex)
        with contextlib.suppress(AlreadyProcessed):
            await self._handler.execute(Context(actor=actor), work, inbox=once)

"""What became of a group whose COMMIT was never answered.

The transaction held the log's lock until its end, whatever that was. Whoever gets the lock
afterwards looks at a log in which the group either is or will never be.

Units   seconds; a server that restarts after a crash needs a few.
Errors  StoreUnavailable when nobody answers in time.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from uuid import UUID

from psycopg import AsyncConnection

from adapters import event_store_sql as statements
from adapters.event_store_draft import Draft
from adapters.postgres import Postgres
from application.ports import KeyAlreadyUsed, StoredResponse, StoreUnavailable

RESCUE_SECONDS_MAX = 5.0
PAUSE_SECONDS = 0.2


async def look_up(
    postgres: Postgres, drafts: Sequence[Draft], *, seconds_max: float = RESCUE_SECONDS_MAX
) -> list[int | Exception]:
    """Each draft's outcome: its position, or StoreUnavailable because it was not written."""
    try:
        async with asyncio.timeout(seconds_max):
            while True:
                with contextlib.suppress(StoreUnavailable):
                    async with postgres.connection() as connection:
                        await connection.execute(statements.LOCK)
                        return await _outcomes(connection, drafts)
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        raise StoreUnavailable("nobody could say whether it was written") from None


async def _outcomes(connection: AsyncConnection, drafts: Sequence[Draft]) -> list[int | Exception]:
    last_ids = [each.rows[-1].event_id for each in drafts if each.rows]
    cursor = await connection.execute(statements.WRITTEN, (last_ids,))
    written: dict[UUID, int] = dict(await cursor.fetchall())
    lost = StoreUnavailable("the connection was lost before the commit")
    return [
        written.get(each.rows[-1].event_id, lost)
        if each.rows
        else await _outcome_without_events(connection, each, lost)
        for each in drafts
    ]


async def _outcome_without_events(
    connection: AsyncConnection, draft: Draft, lost: StoreUnavailable
) -> int | Exception:
    """A message marked, or an answer kept: whoever did it, it is done, unless it differs."""
    message, key = draft.batch.inbox, draft.batch.idempotency
    if key is not None:
        cursor = await connection.execute(
            statements.STORED_RESPONSE, (key.merchant_id, key.mode, key.key)
        )
        row = await cursor.fetchone()
        if row is None:
            return lost
        stored = StoredResponse(row[0], bytes(row[1]), row[2])
        same = (stored.fingerprint, stored.body) == (key.fingerprint, key.body)
        return 0 if same else KeyAlreadyUsed(stored)
    if message is not None:
        cursor = await connection.execute(
            statements.SEEN, ([message.source], [message.message_id])
        )
        return lost if await cursor.fetchone() is None else 0
    return 0  # it only asked whether its streams stood still

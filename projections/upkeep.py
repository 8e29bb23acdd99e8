"""The session that works on read models by hand, and what it did, until the log has been told.

Shapes  `working` holds one advisory lock a projection on one connection: whoever rebuilds,
        switches or drops has it, so a second one is refused, and one that died is forgotten as
        soon as the server notices.
        `note` keeps an operation in the transaction that does it; `tell` appends what was noted
        to the log, each once, also what a process that was killed had left.
Errors  BeingRebuilt  somebody else works on this projection: who, and since when
"""

import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import psycopg
from psycopg import AsyncConnection

from application.upkeep import Upkeep
from domain.events import Event, decode
from projections.database import Connections

WORK_LOCKS = 0x7264_6277  # "rdbw": the first key of the lock of whoever works on a projection
IDLE_IN_TRANSACTION_MS = 60_000  # a large batch is folded in one, perhaps on a busy machine
# The server looks whether we still live, also while it builds an index for us.
SESSION = (
    "SET statement_timeout = 0",
    "SET idle_session_timeout = 0",  # it holds the locks, also while others work for us
    f"SET idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION_MS}",
    "SET client_connection_check_interval = '1s'",
    "SET synchronous_commit = off",
    "SET maintenance_work_mem = '256MB'",
)


class BeingRebuilt(Exception):  # noqa: N818 - named for what is the case
    """Another process works on this projection now."""

    def __init__(self, name: str, by: str | None, since: datetime | None) -> None:
        who = "" if by is None else f" by {by}"
        when = "" if since is None else f", since {since:%Y-%m-%d %H:%M:%S} UTC"
        super().__init__(
            f"{name} is being worked on{who}{when}: wait until that command ends, or end it"
        )
        self.name, self.by, self.since = name, by, since


@asynccontextmanager
async def working(owner: Connections, names: Sequence[str]) -> AsyncIterator[AsyncConnection]:
    """A connection in no transaction that holds the locks of these projections."""
    async with owner.connection() as connection:
        try:
            for statement in SESSION:
                await connection.execute(statement)
            for name in names:
                await _take(connection, name)
            await connection.commit()
            yield connection
        finally:
            await _let_go(connection)


async def _take(connection: AsyncConnection, name: str) -> None:
    key = lock_key(name)
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (WORK_LOCKS, key))
    if await cursor.fetchone() == (True,):
        return
    cursor = await connection.execute(
        "SELECT worked_by, worked_since AT TIME ZONE 'UTC' FROM rm_admin.rebuilds "
        "WHERE name = %s AND state IN ('building', 'ready', 'failed') "
        "ORDER BY worked_since DESC LIMIT 1",
        (name,),
    )
    row = await cursor.fetchone()
    raise BeingRebuilt(name, *(row or (None, None)))


def lock_key(text: str) -> int:
    return zlib.crc32(text.encode()) & 0x7FFF_FFFF


async def _let_go(connection: AsyncConnection) -> None:
    """Give the connection back as it came."""
    try:
        await connection.rollback()
        await connection.execute("SELECT pg_advisory_unlock_all()")
        await connection.execute("RESET ALL")
        await connection.commit()
    except psycopg.Error:
        await connection.close()


async def note(connection: AsyncConnection, projection: str, event: Event, actor: str) -> None:
    await connection.execute(
        "INSERT INTO rm_admin.operations (projection, event, event_version, data, actor) "
        "VALUES (%s, %s, %s, %s, %s)",
        (projection, event.name, event.version, event.encoded(), actor),
    )


async def tell(connections: Connections, upkeep: Upkeep) -> int:
    """Append what was noted; how many operations that were."""
    async with connections.connection() as connection:
        cursor = await connection.execute(
            "SELECT operation_id, projection, event, event_version, data, actor "
            "FROM rm_admin.operations WHERE NOT told ORDER BY number"
        )
        noted = await cursor.fetchall()
    for operation_id, projection, name, version, data, actor in noted:
        await upkeep.tell(operation_id, projection, decode(name, version, bytes(data)), actor)
        async with connections.connection() as connection:
            await connection.execute(
                "UPDATE rm_admin.operations SET told = true WHERE operation_id = %s",
                (operation_id,),
            )
    return len(noted)

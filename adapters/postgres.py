"""Connections to PostgreSQL: one bounded pool a process, which outlives the server's outages.

Shapes  `connection()` lends a connection that is in no transaction yet. It commits when the
        block ends and rolls back when the block raises, as psycopg does.
        `reading()` lends one for single statements, each by itself: one round trip, not three.
Units   libpq counts whole seconds to connect, PostgreSQL counts its own time-outs in ms.
Errors  StoreUnavailable for whatever the server or the way to it does: refused, lost, timed
        out, read-only after a failover. A refused statement stays psycopg's own error.
Source  why no ping at each checkout: a server that went down has told us so on the socket, and
        looking at the socket costs microseconds where a round trip costs a query.
"""

import logging
import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import psycopg
import structlog
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from application.ports import StoreUnavailable

STATEMENT_TIMEOUT_MS = 5_000
LOCK_TIMEOUT_MS = 2_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 5_000
CONNECT_TIMEOUT_SECONDS = 2
POOL_WAIT_SECONDS = 2.0
# The pool gives up a failing connection after this and tries anew when somebody asks, so that
# it finds a returned server at once instead of after a back-off that has grown to minutes.
RECONNECT_SECONDS = 1.0
UNACKNOWLEDGED_TIMEOUT_MS = 5_000
# Both ends ask: the server too must notice a client that vanished, for it holds its locks.
KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS, KEEPALIVES_MAX = 10, 2, 3
LAST_WORDS_MAX = 4
POOL_SIZE_MIN = 1
POOL_SIZE_MAX = 10

OUTAGES = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
    PoolTimeout,
    PoolClosed,
)

log = structlog.get_logger(__name__)
# The pool warns at every attempt of an outage; we say once that it began and once that it ended.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def session_conninfo(dsn: str, name: str) -> str:
    """The DSN with our time-outs, so that a call fails in seconds when the server is gone."""
    given = conninfo_to_dict(dsn)
    ours = (
        f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS} "
        f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS} "
        f"-c tcp_keepalives_idle={KEEPALIVE_IDLE_SECONDS} "
        f"-c tcp_keepalives_interval={KEEPALIVE_INTERVAL_SECONDS} "
        f"-c tcp_keepalives_count={KEEPALIVES_MAX}"
    )
    return make_conninfo(
        dsn,
        application_name=name,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        options=f"{given.get('options') or ''} {ours}".strip(),
        keepalives_idle=KEEPALIVE_IDLE_SECONDS,
        keepalives_interval=KEEPALIVE_INTERVAL_SECONDS,
        keepalives_count=KEEPALIVES_MAX,
        tcp_user_timeout=UNACKNOWLEDGED_TIMEOUT_MS,
    )


def acting_as(dsn: str, role: str) -> str:
    """The DSN of that role, or of who may become it and then does; its options stay."""
    given = conninfo_to_dict(dsn).get("options") or ""
    return make_conninfo(dsn, options=f"{given} -c role={role}".strip())


def is_stale(connection: psycopg.AsyncConnection) -> bool:
    """Whether the server has hung up on an idle connection; looks at the socket, sends nothing.

    A server that ends says a last word before it closes: one read finds only the word, the next
    one the end, so what was said is not enough to call the connection alive.
    """
    if connection.closed:
        return True
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    for _ in range(LAST_WORDS_MAX):
        if not waiting.poll(0):
            return False
        try:
            connection.pgconn.consume_input()
        except psycopg.OperationalError:
            return True
        if connection.pgconn.status != pq.ConnStatus.OK:
            return True
    return True


def reason_of(error: Exception) -> str:
    """One line without the DSN: libpq repeats host and user, which is for us, not for callers."""
    if isinstance(error, PoolTimeout | PoolClosed):
        return "no connection could be had in time"
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        return type(error).__name__
    return "the connection failed"


class Postgres:
    """The pool of one process, with the time-outs everybody shares."""

    def __init__(self, dsn: str, *, name: str, max_size: int = POOL_SIZE_MAX) -> None:
        self._answers = True
        self._name = name
        self.max_size = max_size
        self.pool: AsyncConnectionPool[psycopg.AsyncConnection] = AsyncConnectionPool(
            session_conninfo(dsn, name),
            name=name,
            min_size=POOL_SIZE_MIN,
            max_size=max_size,
            timeout=POOL_WAIT_SECONDS,
            reconnect_timeout=RECONNECT_SECONDS,
            open=False,
        )

    async def open(self) -> None:
        """Start filling the pool. Does not wait: a process may start before its database."""
        await self.pool.open(wait=False)

    async def close(self) -> None:
        await self.pool.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection]:
        try:
            connection = await self.take()
            try:
                async with connection:
                    self._say(answers=True)
                    yield connection
                    if connection.closed:
                        # psycopg leaves a closed connection without a word; a block whose
                        # work was never committed must not look finished.
                        raise psycopg.OperationalError("lost before the commit")
            finally:
                await self.give_back(connection)
        except OUTAGES as error:
            self._say(answers=not _is_loss(error))
            raise StoreUnavailable(reason_of(error)) from error

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[psycopg.AsyncConnection]:
        async with self.connection() as connection:
            await connection.set_autocommit(True)
            try:
                yield connection
            finally:
                if not connection.closed:
                    await connection.set_autocommit(False)

    async def take(self) -> psycopg.AsyncConnection:
        """A live connection, to be given back. Raises one of OUTAGES."""
        for _ in range(self.max_size):
            connection = await self.pool.getconn()
            if not is_stale(connection):
                return connection
            await connection.close()
            await self.give_back(connection)
        return await self.pool.getconn()

    async def give_back(self, connection: psycopg.AsyncConnection) -> None:
        await self.pool.putconn(connection)

    def _say(self, *, answers: bool) -> None:
        """Log the first failure of an outage and the first success after it, nothing between."""
        if answers is self._answers:
            return
        self._answers = answers
        if answers:
            log.info("postgresql_answers_again", pool=self._name)
        else:
            log.warning("postgresql_unavailable", pool=self._name)


def _is_loss(error: Exception) -> bool:
    """A time-out of one statement is no outage of the server."""
    return not (isinstance(error, psycopg.Error) and error.sqlstate is not None) or isinstance(
        error, psycopg.errors.AdminShutdown | psycopg.errors.CannotConnectNow
    )

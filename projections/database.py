"""What projections need of a database: connections, from whoever keeps the pool.

Errors  ports.StoreUnavailable when the database is away, raised by the lender.
"""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from psycopg import AsyncConnection


class Connections(Protocol):
    def connection(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Lend a connection in no transaction; commit at the end, roll back on an error."""
        ...

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Lend one for single statements, each by itself: no BEGIN and COMMIT around them."""
        ...

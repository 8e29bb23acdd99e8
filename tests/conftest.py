"""Real servers for tests, each started once a session and only when a test asks for it.

postgres_url  the superuser's URL of the shared PostgreSQL (not durable: fsync is off)
database      the URL of a database of the test's own, empty; `databases` makes more of them
migrated      a database of the test's own with every table, and the DSN of each role
nats_url      the shared NATS with JetStream; a test names streams of its own
anvil         the shared chain, a block a transaction; `fresh_anvil` is the test's own
server_folder a folder in which servers may be started, gone after the test
embedded      the folder behind the shared ones, for tests that stop and start servers: they
              leave them running as they found them
"""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from adapters import migrate
from gateway.embedded import Embedded
from gateway.embedded_anvil import Anvil, ChainOptions


def _make_folder() -> Path:
    """Not pytest's own: that one is closed to `nobody`, as whom root runs PostgreSQL."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-test-"))
    folder.chmod(0o711)
    return folder


class Databases:
    """Makes and drops databases on the shared server; a template is another one's name."""

    def __init__(self, superuser_url: str) -> None:
        self._superuser_url = superuser_url
        self._numbers = itertools.count(1)

    async def create(self, template: str = "template0") -> str:
        """Copy a template and return the new database's URL."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        # Copying files beats replaying them through the log when fsync is off.
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        await self._execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        return urlsplit(self._superuser_url)._replace(path=f"/{name}").geturl()

    async def drop(self, url: str) -> None:
        name = urlsplit(url).path.removeprefix("/")
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        await self._execute(statement.format(sql.Identifier(name)))

    async def _execute(self, statement: sql.Composed) -> None:
        connection = await psycopg.AsyncConnection.connect(self._superuser_url, autocommit=True)
        async with connection:
            await connection.execute(statement)


@pytest.fixture
def server_folder() -> Iterator[Path]:
    folder = _make_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def embedded() -> AsyncIterator[Embedded]:
    folder = _make_folder()
    servers = Embedded(folder, chain=None, postgres=False, nats=False, durable=False)
    await servers.start()
    yield servers
    await servers.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def postgres_url(embedded: Embedded) -> str:
    await embedded.postgres.start()
    return embedded.postgres.url


@pytest.fixture(scope="session")
async def databases(postgres_url: str) -> Databases:
    return Databases(postgres_url)


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[str]:
    url = await databases.create()
    yield url
    await databases.drop(url)


@pytest.fixture(scope="session")
async def nats_url(embedded: Embedded) -> str:
    await embedded.nats.start()
    return embedded.nats.url


@pytest.fixture(scope="session")
async def anvil(embedded: Embedded) -> AsyncIterator[Anvil]:
    chain = Anvil(embedded.folder / "shared-anvil", ChainOptions(persistent=False))
    await chain.start()
    yield chain
    await chain.stop()


@pytest.fixture
async def fresh_anvil(server_folder: Path) -> AsyncIterator[Anvil]:
    chain = Anvil(server_folder / "anvil", ChainOptions(persistent=False))
    await chain.start()
    yield chain
    await chain.stop()


class Migrated(NamedTuple):
    """A database of the test's own with every table, as each role sees it."""

    admin_dsn: str
    owner_dsn: str
    app_dsn: str
    signer_dsn: str
    readonly_dsn: str
    backup_dsn: str


@pytest.fixture(scope="session")
async def migrated_template(databases: Databases) -> AsyncIterator[str]:
    """Migrated once a session; tests get copies."""
    url = await databases.create()
    await asyncio.to_thread(migrate.create_roles, url)
    await asyncio.to_thread(migrate.migrate, migrate.role_dsn(url, migrate.OWNER))
    yield urlsplit(url).path.removeprefix("/")
    await databases.drop(url)


@pytest.fixture
async def migrated(databases: Databases, migrated_template: str) -> AsyncIterator[Migrated]:
    url = await databases.create(migrated_template)
    # A copy takes over the tables with their grants, but not who may build in the database.
    grant = sql.SQL("GRANT CREATE ON DATABASE {} TO {}")
    name = urlsplit(url).path.removeprefix("/")
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(grant.format(sql.Identifier(name), sql.Identifier(migrate.OWNER)))
    yield Migrated(url, *(migrate.role_dsn(url, role) for role in migrate.ROLES))
    await databases.drop(url)

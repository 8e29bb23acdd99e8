"""The local servers of one folder: PostgreSQL, NATS with JetStream, an EVM chain.

Shapes  `async with Embedded(Path("var")) as endpoints:` starts all three side by side and ends
        them; each is also an attribute with start, stop, kill and restart of its own.
Files   FOLDER/postgres, nats, anvil: the data. log/: one log a server. servers.json: the ports,
        kept so that a restart finds the same URLs. secret: the password of PostgreSQL and NATS.
        .lock: held while an Embedded runs, freed by the kernel even after kill -9.
Crash   kill -9 of the gateway ends its servers in an orderly way by itself (Linux); whatever
        still serves the folder is ended by the next start, found by its arguments.
Errors  EmbeddedError, with what to do next.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from gateway.embedded_anvil import Anvil, ChainOptions
from gateway.embedded_nats import Nats
from gateway.embedded_postgres import Postgres
from gateway.embedded_server import EmbeddedError, LocalServer

__all__ = ["ChainOptions", "Embedded", "EmbeddedError", "Endpoints"]

PORT_HIGHEST = 65_535
AUTOMATIC_CHAIN = ChainOptions()
OnStep = Callable[[str, float], None]


class Endpoints(NamedTuple):
    """Where to connect. PostgreSQL's URL is the superuser's, with its password."""

    database_url: str
    nats_url: str
    rpc_url: str


class Embedded:
    """Local servers with their data under one folder, which nobody else may use meanwhile."""

    def __init__(
        self,
        folder: Path,
        *,
        chain: ChainOptions | None = AUTOMATIC_CHAIN,
        postgres: bool = True,
        nats: bool = True,
        durable: bool = True,
    ) -> None:
        self.folder = folder.absolute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EmbeddedError(
                f"{self.folder} cannot be a folder for data ({error.strerror}): name another one"
            ) from error
        self._lock: int | None = None
        ports = _remembered_ports(self.folder)
        password = _password(self.folder)

        def place(name: str) -> tuple[Path, Path]:
            return self.folder / name, self.folder / "log" / f"{name}.log"

        home, log = place("postgres")
        self.postgres = Postgres(
            home, password=password, durable=durable, port=ports.get("postgres"), log=log
        )
        home, log = place("nats")
        self.nats = Nats(home, password=password, port=ports.get("nats"), log=log)
        home, log = place("anvil")
        self.anvil = Anvil(home, chain, port=ports.get("anvil"), log=log)
        wanted = {"postgres": postgres, "nats": nats, "anvil": chain is not None}
        self._wanted = [server for name, server in self._servers() if wanted[name]]

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(self.postgres.url, self.nats.url, self.anvil.url)

    async def start(self, on_step: OnStep | None = None) -> Endpoints:
        """Start what was asked for; `on_step(name, seconds)` as each server answers."""
        self._take_lock()
        try:
            async with asyncio.TaskGroup() as group:
                for server in self._wanted:
                    group.create_task(_start_one(server, on_step))
            self._remember_ports()
        except BaseExceptionGroup as failures:
            await asyncio.shield(self.stop())
            # A group of failures reads badly in a terminal; the first is what went wrong.
            raise failures.exceptions[0] from None
        except BaseException:
            await asyncio.shield(self.stop())
            raise
        return self.endpoints

    async def stop(self) -> None:
        """End every server, the chain first and the database last; then free the folder.

        Without the folder's lock nothing here is ours: another gateway's servers are left alone.
        """
        if self._lock is None:
            return
        for server in (self.anvil, self.nats, self.postgres):
            await server.stop()
        os.close(self._lock)
        self._lock = None

    async def __aenter__(self) -> Endpoints:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.shield(self.stop())

    def _servers(self) -> list[tuple[str, LocalServer]]:
        return [("postgres", self.postgres), ("nats", self.nats), ("anvil", self.anvil)]

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        path = self.folder / ".lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            message = (
                f"{self.folder} is in use by another gateway (process {holder or 'unknown'}). "
                "Stop that one, or use another folder."
            )
            raise EmbeddedError(message) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
        self._lock = descriptor

    def _remember_ports(self) -> None:
        path = self.folder / "servers.json"
        ports = {name: {"port": server.port} for name, server in self._servers()}
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(ports, indent=1) + "\n", encoding="utf-8")
        fresh.replace(path)


async def _start_one(server: LocalServer, on_step: OnStep | None) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await server.start()
    if on_step is not None:
        on_step(server.name, loop.time() - begun)


def _remembered_ports(folder: Path) -> dict[str, int]:
    """What the last run used; nothing if the file is missing or was cut short."""
    ports: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError, KeyError):
        content = json.loads((folder / "servers.json").read_text(encoding="utf-8"))
        for name, server in content.items():
            port = int(server["port"])
            if 0 < port <= PORT_HIGHEST:
                ports[name] = port
    return ports


def _password(folder: Path) -> str:
    """One secret a folder, readable by its owner only, made at the first use."""
    path = folder / "secret"
    with contextlib.suppress(FileNotFoundError):
        if password := path.read_text(encoding="ascii").strip():
            return password
    fresh = path.with_name(f"secret.{os.getpid()}")
    fresh.touch(mode=0o600)
    fresh.write_text(secrets.token_hex(24), encoding="ascii")
    # A link fails where a rename would replace: the first of two instances decides.
    with contextlib.suppress(FileExistsError):
        os.link(fresh, path)
    fresh.unlink()
    return path.read_text(encoding="ascii").strip()

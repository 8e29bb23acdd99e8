"""A TCP proxy that can fall silent: connections stay open, and nothing passes any more.

So a client looks whose machine lost its power, or whose way to the server was cut by a firewall:
no FIN, no RST, no error. Connections made after `silence` pass as if nothing had been.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

BUFFER_BYTES = 65_536


class SilentProxy:
    def __init__(self, dsn: str) -> None:
        self._parts = urlsplit(dsn)
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._generation = 0

    @property
    def dsn(self) -> str:
        credentials = self._parts.netloc.rpartition("@")[0]
        return self._parts._replace(netloc=f"{credentials}@127.0.0.1:{self._port}").geturl()

    def silence(self) -> None:
        self._generation += 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator["SilentProxy"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.gather(*self._pumps, return_exceptions=True)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(
            self._parts.hostname, self._parts.port
        )
        self._writers |= {writer, up_writer}
        for source, target in ((reader, up_writer), (up_reader, writer)):
            pump = asyncio.create_task(self._pump(source, target, self._generation))
            self._pumps.add(pump)

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, generation: int
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(BUFFER_BYTES):
                if generation == self._generation:
                    target.write(data)
                    await target.drain()
        if generation == self._generation:
            target.transport.abort()

"""A TCP proxy in front of PostgreSQL that loses the connection at the worst moment.

`cut` says when a COMMIT passes: "answer" forwards it and loses what the server says to it;
"question" never forwards it. Each cut happens once; later connections pass untouched.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import urlsplit

BUFFER_BYTES = 65_536
Cut = Literal["answer", "question"]


class CuttingProxy:
    def __init__(self, dsn: str) -> None:
        self._parts = urlsplit(dsn)
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.cut: Cut | None = None
        self.cuts = 0

    @property
    def dsn(self) -> str:
        credentials = self._parts.netloc.rpartition("@")[0]
        return self._parts._replace(netloc=f"{credentials}@127.0.0.1:{self._port}").geturl()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["CuttingProxy"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        yield self
        server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks)
        await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        up_reader, up_writer = await asyncio.open_connection(
            self._parts.hostname, self._parts.port
        )
        self._writers |= {writer, up_writer}
        answers = asyncio.create_task(_pump(up_reader, writer))
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(BUFFER_BYTES):
                if self.cut is not None and b"COMMIT" in data:
                    await self._cut(data, answers, up_reader, up_writer)
                    break
                up_writer.write(data)
                await up_writer.drain()
        await _end(answers)
        for each in (writer, up_writer):
            each.transport.abort()
            with contextlib.suppress(ConnectionError):
                await each.wait_closed()

    async def _cut(
        self,
        data: bytes,
        answers: "asyncio.Task[None]",
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        cut, self.cut = self.cut, None
        self.cuts += 1
        await _end(answers)
        if cut == "answer":
            up_writer.write(data)
            await up_writer.drain()
            # Its answer ends here, read so that the server has really committed.
            await up_reader.read(BUFFER_BYTES)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(BUFFER_BYTES):
            writer.write(data)
            await writer.drain()


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

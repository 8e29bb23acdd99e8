"""Looks up host names on threads of its own, so that a dead name server holds up nobody else.

asyncio's default threads are few (six on two cores) and shared with the whole process; looking
a name up can hang for half a minute and cannot be called off. Threads here are as many as may
hang at once; the time-out of the attempt, not of the look-up, bounds the wait.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult

THREADS_MAX = 64


class NameLookup(AbstractResolver):
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="name-lookup")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises OSError for a name that has no address."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, _addresses, host, port, socket.AddressFamily(family)
        )
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, protocol, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _addresses(
    host: str, port: int, family: socket.AddressFamily
) -> list[tuple[socket.AddressFamily, int, str]]:
    answers = socket.getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [(kind, protocol, str(address[0])) for kind, _, protocol, _, address in answers]

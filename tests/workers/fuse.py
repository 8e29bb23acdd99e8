"""A worker that dies at a chosen call of its ports.

Crash   ends a worker as kill -9 would: nothing of it catches that, and the next round is done
        by new workers that remember nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


class Crash(BaseException):
    """The process is gone."""


@dataclass
class Fuse:
    """Counts calls of ports, and blows at one of them: before it is made, or after."""

    blows_at: int = 0  # 0: never
    after: bool = False
    calls: int = 0
    names: list[str] = field(default_factory=list)

    def around(self, port: T) -> T:
        return _Fused(port, self)  # type: ignore[return-value] # answers to the same names

    async def call(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        self.calls += 1
        self.names.append(name)
        blows = self.calls == self.blows_at
        if blows and not self.after:
            raise Crash
        answer = await work()
        if blows:
            raise Crash
        return answer


class _Fused:
    def __init__(self, port: Any, fuse: Fuse) -> None:
        self._port = port
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def fused(*arguments: Any, **named: Any) -> Any:
            return await self._fuse.call(name, lambda: found(*arguments, **named))

        return fused


NEVER = Fuse()

"""Time and randomness of the machine: the only place that asks for either."""

import asyncio
import secrets
from datetime import UTC, datetime
from uuid import UUID

from adapters.waiting import one_is_set
from application.ports import Waker


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - this is the Clock port

    async def sleep(self, seconds: float, *wakers: Waker) -> None:
        if wakers:
            await one_is_set(wakers, seconds)
        else:
            await asyncio.sleep(seconds)


class SystemIds:
    def new(self) -> UUID:
        return UUID(bytes=secrets.token_bytes(16))

    def secret(self, size_bytes: int) -> bytes:
        return secrets.token_bytes(size_bytes)

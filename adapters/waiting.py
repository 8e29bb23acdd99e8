"""Waiting for the first of several."""

import asyncio
from collections.abc import Sequence

from application.ports import Waker


async def one_is_set(wakers: Sequence[Waker], timeout_seconds: float | None = None) -> None:
    """Until one of them is set, or until so many real seconds are over."""
    if any(waker.is_set() for waker in wakers):
        await asyncio.sleep(0)
        return
    waits = [asyncio.ensure_future(waker.wait()) for waker in wakers]
    try:
        await asyncio.wait(waits, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

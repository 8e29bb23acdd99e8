"""Waiting that ends at once when the process is to stop."""

import asyncio

from application.ports import Clock


async def pause(clock: Clock, seconds: float, *wakers: asyncio.Event) -> None:
    """So many seconds by the clock, or until one of the events is set."""
    waits = [asyncio.ensure_future(clock.sleep(seconds))]
    waits += [asyncio.ensure_future(_set(event)) for event in wakers]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def _set(event: asyncio.Event) -> None:
    await event.wait()

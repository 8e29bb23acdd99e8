"""What the ingester needs of the rest of the gateway: settings, open sessions, their projections.

Shapes  each watched address is that of an open session in the event log, so that the watch list
        comes from the projection as it does in earnest.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from uuid import UUID

from application.ports import Batch, Context, Stream, StreamAppend
from chaos.driver import CHAIN_ID
from chaos.stage import NETWORK_NAME, Stage
from domain.events import SessionCreated
from domain.money import Amount
from gateway import bootstrap, settings
from gateway.local_chain import LOCAL_TOKENS, USDC

MERCHANT = UUID(int=0xC0)
CONTEXT = Context(actor="chaos", merchant_id=MERCHANT, mode="test")
OPEN_FOR = timedelta(days=365)
OPENED_AT_ONCE = 64
CLIENT = "ingester"  # by which the providers count its calls


def environment(stage: Stage, confirmations: int) -> Mapping[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
        "DATABASE_URL": stage.dsn,
        "NATS_URL": stage.servers.nats.url,
        "NETWORKS": NETWORK_NAME,
        "RPC_URLS_LOCAL": ",".join(f"{url}/{CLIENT}" for url in stage.urls),
        "LOCAL_TOKENS": LOCAL_TOKENS,
        "CONFIRMATIONS_LOCAL": str(confirmations),
        "START_BLOCK_LOCAL": "1",
    }


@contextlib.asynccontextmanager
async def projected(stage: Stage) -> AsyncIterator[None]:
    """Sessions are open, and the projector runs as in its own process."""
    stop = asyncio.Event()
    loaded = settings.load(environment(stage, confirmations=1))
    async with bootstrap.core(loaded, "chaos-project") as core:
        for start in range(0, len(stage.watched), OPENED_AT_ONCE):
            some = stage.watched[start : start + OPENED_AT_ONCE]
            await asyncio.gather(*(_open(core, address) for address in some))
        projecting = asyncio.create_task(bootstrap.projector(core).run(stop))
        try:
            yield
        finally:
            stop.set()
            await projecting


async def _open(core: bootstrap.Core, address: str) -> None:
    session_id, at = core.ids.new(), core.clock.now()
    asset = f"eip155:{CHAIN_ID}/erc20:{USDC}"
    opened = SessionCreated(
        at=at,
        session_id=session_id,
        merchant_id=MERCHANT,
        mode="test",
        network=NETWORK_NAME,
        due=Amount(units=10**12, asset=asset),
        pay_by="deposit_address",
        tolerance=Amount(units=0, asset=asset),
        deposit_address=address,
        deposit_index=0,
        expires_at=at + OPEN_FOR,
        grace_seconds=86_400,
    )
    stream = Stream("payment_session", session_id)
    await core.store.append(Batch((StreamAppend(stream, 0, (opened,)),), CONTEXT))

"""A whole gateway, its processes included, for tests that pay, break and look."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.clock import SystemClock
from adapters.webhook_receiver import Received, WebhookReceiver
from gateway import bootstrap, sample_merchant, settings
from gateway.embedded import ChainOptions
from gateway.http import ApiClient, ApiFailed
from gateway.local import LocalGateway
from gateway.local_chain import USDC, LocalChain
from gateway.sample_merchant import SampleMerchant
from gateway.supervisor import ProcessStatus
from gateway.up import wait_ready

SECONDS_MAX = 45.0
POLL_SECONDS = 0.05
CUSTOMER = 3
_KEYS = itertools.count(1)


@dataclass
class Running:
    gateway: LocalGateway
    api: ApiClient
    chain: LocalChain
    receiver: WebhookReceiver
    merchant: SampleMerchant
    statuses: dict[str, ProcessStatus]

    def restarts(self) -> int:
        return sum(status.restarts for status in self.statuses.values())

    async def open(self, amount: str = "10.00") -> dict[str, Any]:
        body = {"amount": amount, "currency": "USD"}
        key = f"key-{next(_KEYS)}"
        session: dict[str, Any] = await self.api.post("/v1/payment-sessions", body, key=key)
        return session

    async def read(self, session: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = await self.api.get(f"/v1/payment-sessions/{session['id']}")
        return found

    async def pay(self, session: dict[str, Any], *, token: str = USDC) -> str:
        units = int(session["payment"]["amount_units"])
        customer = (await self.chain.accounts())[CUSTOMER]
        await self.chain.mint(token, customer, units)
        return await self.chain.transfer(token, customer, session["payment"]["address"], units)

    async def until(
        self, session: dict[str, Any], wanted: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}

        async def holds() -> bool:
            try:
                found.update(await self.read(session))
            except ApiFailed:  # 503 while the database comes back
                return False
            return wanted(found)

        await eventually(holds)
        return found

    async def complete(self, session: dict[str, Any]) -> dict[str, Any]:
        """Mine until the payment is safe, and wait for the gateway to say so."""
        await self.chain.mine(3)
        return await self.until(session, lambda s: s["status"] == "completed")

    async def webhook(self, kind: str, session: dict[str, Any]) -> Received:
        def wanted(received: Received) -> bool:
            about = received.message["data"]["payment_session_id"] == session["id"]
            return received.type == kind and about

        return await self.receiver.wait_for(wanted, timeout_seconds=SECONDS_MAX)

    async def facts(self, session: dict[str, Any]) -> list[str]:
        history = await self.api.get(f"/v1/payment-sessions/{session['id']}/events")
        return [event["name"] for event in history["data"]]


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while not await holds():
            await asyncio.sleep(POLL_SECONDS)


@contextlib.asynccontextmanager
async def run_gateway(folder: Path) -> AsyncIterator[Running]:
    gateway = LocalGateway(folder, chain=ChainOptions())
    statuses: dict[str, ProcessStatus] = {}
    stop = asyncio.Event()
    await gateway.prepare()
    running = asyncio.create_task(
        gateway.run(stop, lambda status: statuses.update({status.name: status}))
    )
    try:
        async with bootstrap.core(settings.load(gateway.environment), "test") as core:
            merchant = await sample_merchant.ensure(core, gateway.folder)
        base = gateway.environment["PUBLIC_BASE_URL"]
        async with (
            LocalChain(gateway.environment["RPC_URLS_LOCAL"]) as chain,
            ApiClient(base, merchant.api_key) as api,
            WebhookReceiver(SystemClock()) as receiver,
        ):
            await sample_merchant.fund_refund_wallet(chain, merchant)
            await wait_ready(gateway, merchant.api_key, stop)
            endpoint = await api.post("/v1/webhook-endpoints", {"url": receiver.url})
            receiver.trust(endpoint["secret"])
            yield Running(gateway, api, chain, receiver, merchant, statuses)
    finally:
        stop.set()
        await running
        await gateway.stop()

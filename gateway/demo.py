"""The demo: one real payment, one real refund, one reorg, each claim checked as it is made.

Shapes  a fresh gateway in its own folder, its processes, a webhook receiver and a customer's
        wallet; every step prints what was seen and how long it took. The exit status is 0 only
        if every claim held. With as_json, the narration goes to stderr and the last line of
        stdout is {payment_status, refund_status, webhooks_delivered, trial_balance, events,
        seconds}.
"""

import asyncio
import contextlib
import shutil
import sys
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from adapters.clock import SystemClock
from adapters.webhook_receiver import WebhookReceiver
from application.deciders import PAYMENT
from application.ports import Stream
from domain.values import parse_public_id
from gateway import bootstrap, sample_merchant, settings
from gateway.bootstrap import Core
from gateway.demo_story import Broken, Story
from gateway.embedded import ChainOptions
from gateway.failures import GatewayError
from gateway.http import ApiClient
from gateway.local import CONFIRMATIONS, LocalGateway
from gateway.local_chain import USDC, LocalChain
from gateway.operate import totals_table
from gateway.sample_merchant import SampleMerchant
from gateway.scenes import Scenes
from gateway.supervisor import stop_on_signals
from gateway.timeline import timeline
from gateway.up import wait_ready

FLOAT_SECONDS_MAX = 30.0
STOPPED_BY_PERSON = 130


async def run(folder: Path, *, as_json: bool) -> int:
    """Play the demo in a new folder; the exit status."""
    console = Console(stderr=as_json)
    _clear(folder)
    story = Story(console)
    gateway = LocalGateway(folder, chain=ChainOptions(persistent=False))
    with stop_on_signals() as stop:
        try:
            found = await _with_signals(_play(gateway, story, stop), stop)
        except Broken as broken:
            story.failed(broken, gateway.folder / "log")
            return 1
        except asyncio.CancelledError:
            console.print("Stopped.")
            return STOPPED_BY_PERSON
        finally:
            stop.set()
            await asyncio.shield(gateway.stop())
    story.summary()
    if as_json:
        sys.stdout.write(orjson.dumps({**found, "seconds": story.seconds}).decode() + "\n")
    return 0


async def _with_signals(play: Any, stop: asyncio.Event) -> dict[str, Any]:
    """Play to the end, or until a person has had enough."""
    playing = asyncio.ensure_future(play)
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({playing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not playing.done():
        playing.cancel()
    found: dict[str, Any] = await playing
    return found


def _clear(folder: Path) -> None:
    """The demo's own folder, from the last time; never a folder that something else made."""
    if folder.exists() and any(folder.iterdir()) and not (folder / "servers.json").exists():
        raise GatewayError(f"{folder} is not empty and is no demo's folder: name another one")
    for name in ("postgres", "nats", "anvil"):
        place = folder / name
        shutil.rmtree(place.resolve(), ignore_errors=True)
        place.unlink(missing_ok=True) if place.is_symlink() else None
    for file in ("environment.json", "merchant.json", "keystore.json"):
        (folder / file).unlink(missing_ok=True)


async def _play(gateway: LocalGateway, story: Story, stop: asyncio.Event) -> dict[str, Any]:
    async with story.step("Local servers: PostgreSQL, NATS, an EVM chain") as step:
        await gateway.prepare(lambda name, seconds: step.note(f"{name} {seconds:.1f} s"))
    ending = asyncio.Event()
    running = asyncio.create_task(gateway.run(ending))
    try:
        async with (
            bootstrap.core(settings.load(gateway.environment), "demo") as core,
            LocalChain(gateway.environment["RPC_URLS_LOCAL"]) as chain,
            WebhookReceiver(SystemClock()) as receiver,
        ):
            merchant = await _merchant(gateway, story, core, stop)
            base = gateway.environment["PUBLIC_BASE_URL"]
            async with ApiClient(base, merchant.api_key) as api:
                scenes = Scenes(story, api, chain, receiver, merchant)
                await _ready_to_refund(story, core, chain, merchant)
                await scenes.webhook_endpoint()
                payment = await scenes.payment()
                refund = await scenes.refund(payment)
                second = await scenes.reorg()
                await _timelines(story, core, payment["id"], second["id"])
                return {
                    # The second one: the first is partially refunded by now.
                    "payment_status": await scenes.final_status(second),
                    "refund_status": refund["status"],
                    "webhooks_delivered": await scenes.all_webhooks(),
                    "trial_balance": await _books(story, core),
                    "events": await core.store.head(),
                }
    finally:
        ending.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(running)


async def _merchant(
    gateway: LocalGateway, story: Story, core: Core, stop: asyncio.Event
) -> SampleMerchant:
    async with story.step("A merchant with a wallet of its own, and a test API key") as step:
        merchant = await sample_merchant.ensure(core, gateway.folder)
        step.note(
            f"deposit addresses derive from its public key; the first is {merchant.first_address}"
        )
        step.note("the gateway holds no key that can spend from them")
    async with story.step("The gateway: seven processes, one supervisor"):
        await wait_ready(gateway, merchant.api_key, stop)
    return merchant


async def _ready_to_refund(
    story: Story, core: Core, chain: LocalChain, merchant: SampleMerchant
) -> None:
    async with story.step(
        "The merchant tops up its refund wallet with 50.00 USDC, on chain"
    ) as step:
        await sample_merchant.fund_refund_wallet(chain, merchant)
        await chain.mine(CONFIRMATIONS)
        async with asyncio.timeout(FLOAT_SECONDS_MAX):
            while not await _float_booked(core):
                await asyncio.sleep(0.05)
        held = await chain.balance(USDC, merchant.refund_wallet)
        step.check("the books say what the chain says", held == sample_merchant.FLOAT_UNITS)


async def _float_booked(core: Core) -> bool:
    for line in await bootstrap.books(core).balances():
        if line.account.startswith("refund_float:"):
            return line.credits - line.debits == sample_merchant.FLOAT_UNITS
    return False


async def _timelines(story: Story, core: Core, *sessions: str) -> None:
    for session in sessions:
        stream = Stream(PAYMENT.stream_type, parse_public_id("ps", session))
        facts = await core.store.read_stream(stream)
        story.show(timeline(f"Every fact of {session}", facts, core.networks))


async def _books(story: Story, core: Core) -> dict[str, str]:
    async with story.step("The books: every posting has a debit and a credit") as step:
        await bootstrap.progress(core).wait_for(await core.store.head(), timeout_seconds=10)
        totals = await bootstrap.books(core).trial_balance()
        step.check("something was booked", any(line.debits for line in totals))
        for line in totals:
            symbol, _ = core.networks.unit_of(line.asset)
            step.check(f"the trial balance of {symbol} is zero", line.difference == 0)
    story.show(totals_table(core.networks, totals))
    return {line.asset: str(line.difference) for line in totals}

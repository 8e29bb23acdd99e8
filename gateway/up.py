"""`gateway up`: the whole gateway on this machine until Ctrl-C; and its small companions.

Shapes  prints the URLs, a test API key and a curl line; then only what changes.
"""

import asyncio
import contextlib
import uuid
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from adapters.chain_heads import PostgresChainHeads
from domain.money import units_of
from gateway import bootstrap, sample_merchant, settings
from gateway.embedded import ChainOptions
from gateway.embedded_anvil import Anvil
from gateway.embedded_server import LocalServer, port_is_free
from gateway.failures import GatewayError
from gateway.http import ApiClient
from gateway.local import LocalGateway
from gateway.local_chain import USDC, USDT, LocalChain
from gateway.local_files import read_environment, read_merchant
from gateway.network_files import LOCAL
from gateway.sample_merchant import SampleMerchant
from gateway.supervisor import ProcessStatus, stop_on_signals

CHAIN_BLOCK_SECONDS = 2
USUAL_PORT = 8000
READY_SECONDS_MAX = 60.0
READY_POLL_SECONDS = 0.1
SERVER_CHECK_SECONDS = 1.0
CUSTOMER = 2  # of the node's accounts
_TOKENS = {"USDC": USDC, "USDT": USDT}


async def run(folder: Path, port: int | None, block_seconds: int) -> None:
    console = Console()
    chain = ChainOptions(block_seconds=block_seconds)
    port = _port(folder, port)
    gateway = LocalGateway(folder, api_port=port, chain=chain)
    with stop_on_signals() as stop:
        try:
            with console.status("Starting PostgreSQL, NATS and a local chain …"):
                await gateway.prepare()
            await _run_prepared(gateway, stop, console)
        finally:
            await asyncio.shield(gateway.stop())
    console.print("Stopped. Everything is kept in", str(gateway.folder))


def _port(folder: Path, wanted: int | None) -> int | None:
    """Where the API will listen: as asked, as last time, where people expect it, anywhere."""
    known = read_environment(folder).get("API_PORT")
    port = wanted or (int(known) if known else None)
    if port is None:
        return USUAL_PORT if port_is_free(USUAL_PORT) else None
    if port_is_free(port):
        return port
    if wanted is None:
        return None
    raise GatewayError(f"port {port} is taken: name another one, or leave --port out")


async def _run_prepared(gateway: LocalGateway, stop: asyncio.Event, console: Console) -> None:
    names: dict[str, ProcessStatus] = {}

    def changed(status: ProcessStatus) -> None:
        before = names.get(status.name)
        names[status.name] = status
        ended = status.state == "waiting" and before is not None and before.state != "waiting"
        if ended and not stop.is_set():
            console.print(
                f"[yellow]{status.name} ended ({status.last_exit}); "
                f"starting it again in {status.retry_seconds:.1f} s[/]"
            )

    async with asyncio.TaskGroup() as group:
        group.create_task(gateway.run(stop, changed))
        watch = group.create_task(keep_servers(gateway, stop, console))
        try:
            with console.status("Starting the gateway's processes …"):
                merchant = await _welcome_merchant(gateway)
                await wait_ready(gateway, merchant.api_key, stop)
            if not stop.is_set():
                _welcome(console, gateway, merchant)
            await stop.wait()
            console.print("Stopping: each process finishes what it holds …")
        finally:
            stop.set()
            await watch


async def keep_servers(gateway: LocalGateway, stop: asyncio.Event, console: Console) -> None:
    """Start a local server again that has died on its own."""
    servers: tuple[LocalServer, ...] = (
        gateway.embedded.postgres,
        gateway.embedded.nats,
        gateway.embedded.anvil,
    )
    while not stop.is_set():
        for server in servers:
            if not server.running and not stop.is_set():
                console.print(f"[yellow]{server.name} has ended; starting it again[/]")
                await server.start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), SERVER_CHECK_SECONDS)


async def _welcome_merchant(gateway: LocalGateway) -> SampleMerchant:
    async with bootstrap.core(settings.load(gateway.environment), "setup") as core:
        merchant = await sample_merchant.ensure(core, gateway.folder)
    async with LocalChain(gateway.environment["RPC_URLS_LOCAL"]) as chain:
        await sample_merchant.fund_refund_wallet(chain, merchant)
    return merchant


async def wait_ready(gateway: LocalGateway, api_key: str, stop: asyncio.Event) -> None:
    """Until the API and what it needs answer, and the chain is read: no session opens before it.

    Raises GatewayError when that takes too long.
    """
    base = gateway.environment["PUBLIC_BASE_URL"]
    deadline = asyncio.get_running_loop().time() + READY_SECONDS_MAX
    async with ApiClient(base, api_key) as client:
        while not stop.is_set() and not await client.ready():
            if asyncio.get_running_loop().time() > deadline:
                raise GatewayError(
                    f"the API was not ready after {READY_SECONDS_MAX:.0f} s: "
                    f"look at {gateway.folder / 'log' / 'api.log'}"
                )
            await asyncio.sleep(READY_POLL_SECONDS)
    async with bootstrap.core(settings.load(gateway.environment), "setup") as core:
        heads = PostgresChainHeads(core.postgres)
        while not stop.is_set() and await heads.head(LOCAL) is None:
            if asyncio.get_running_loop().time() > deadline:
                raise GatewayError(
                    f"the chain was not read after {READY_SECONDS_MAX:.0f} s: "
                    f"look at {gateway.folder / 'log' / 'ingest.log'}"
                )
            await asyncio.sleep(READY_POLL_SECONDS)


def _welcome(console: Console, gateway: LocalGateway, merchant: SampleMerchant) -> None:
    base = gateway.environment["PUBLIC_BASE_URL"]
    table = Table.grid(padding=(0, 2))
    table.add_row("API", base)
    table.add_row("reference", f"{base}/docs")
    table.add_row("test API key", f"[bold]{merchant.api_key}[/]")
    table.add_row("local chain", gateway.environment["RPC_URLS_LOCAL"])
    table.add_row("logs", str(gateway.folder / "log"))
    console.print(Panel(table, title="The gateway is up", title_align="left", expand=False))
    console.print("Open a payment session:\n")
    console.print(curl_line(base, merchant.api_key), soft_wrap=True, highlight=False)
    console.print("\nThen open its checkout_url, and pay it as a customer would:\n")
    console.print(f"  .venv/bin/gateway pay ps_… --folder {gateway.folder}", soft_wrap=True)
    console.print("\nCtrl-C stops everything; nothing is lost.")


def curl_line(base: str, api_key: str) -> str:
    return (
        f"  curl -s {base}/v1/payment-sessions \\\n"
        f"    -H 'Authorization: Bearer {api_key}' -H 'Idempotency-Key: {uuid.uuid4().hex[:8]}' \\\n"  # noqa: TID251 - an example for a person
        "    -H 'Content-Type: application/json' \\\n"
        '    -d \'{"amount": "10.00", "currency": "USD"}\''
    )


# ---------------------------------------------------------------- companions


async def pay(folder: Path, session: str, amount: str | None) -> None:
    """A customer's transfer on the local chain."""
    environment, merchant = read_environment(folder), read_merchant(folder)
    if not environment or not merchant:
        raise GatewayError(f"no gateway has run in {folder}: start one with `gateway up`")
    session_id = session.rstrip("/").rpartition("/")[2]
    async with (
        ApiClient(environment["PUBLIC_BASE_URL"], merchant["api_key"]) as client,
        LocalChain(environment["RPC_URLS_LOCAL"]) as chain,
    ):
        found = await client.get(f"/v1/payment-sessions/{session_id}")
        to_pay = found["payment"]
        units = int(to_pay["amount_units"]) if amount is None else units_of(amount, 6)
        token = _TOKENS[found["token"]]
        customer = (await chain.accounts())[CUSTOMER]
        await chain.mint(token, customer, units)
        tx_hash = await chain.transfer(token, customer, to_pay["address"], units)
    print(f"paid {units} base units of {found['token']} in {tx_hash}")
    print(f"watch it: {found['checkout_url']}")


async def run_chain(folder: Path, host: str, port: int) -> None:
    """The local chain alone, with its test tokens."""
    options = ChainOptions(block_seconds=CHAIN_BLOCK_SECONDS)
    folder.mkdir(parents=True, exist_ok=True)
    anvil = Anvil(folder.absolute(), options, port=port, host=host)
    with stop_on_signals() as stop:
        await anvil.start()
        try:
            async with LocalChain(anvil.url) as chain:
                await chain.deploy_tokens()
            print(f"chain {options.chain_id} at http://{host}:{port}")
            print(f"USDC {USDC}\nUSDT {USDT}")
            await stop.wait()
        finally:
            await asyncio.shield(anvil.stop())

"""The whole gateway under attack and through outages; no process may need a restart."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from chain_ingest import halting
from gateway import bootstrap, settings
from gateway.http import ApiFailed
from gateway.local_chain import USDC
from tests.gateway.running import CUSTOMER, Running, eventually, run_gateway


@pytest.fixture(scope="module")
def module_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="gateway-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
async def running(module_folder: Path) -> AsyncIterator[Running]:
    async with run_gateway(module_folder) as found:
        yield found


@pytest.fixture(autouse=True)
def no_process_restarts(running: Running) -> Any:
    before = running.restarts()
    yield
    assert running.restarts() == before, running.statuses


async def test_a_payment_completes_and_its_webhook_verifies(running: Running) -> None:
    session = await running.open()
    tx_hash = await running.pay(session)
    done = await running.complete(session)
    assert (done["amount_confirmed"], done["exceptions"]) == ("10.00", [])
    told = await running.webhook("payment.completed", session)
    assert told.message["data"]["tx_hash"] == tx_hash
    assert not running.receiver.refused


async def test_the_networks_are_shown_stopped_and_let_go_on(
    running: Running, module_folder: Path
) -> None:
    async def gateway(*arguments: str) -> str:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "networks", *arguments),
            *("--folder", str(module_folder)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await child.communicate()
        return said.decode()

    async def shown(field: str) -> Any:
        return orjson.loads(await gateway("--json"))[field]

    async def read_to_the_head() -> bool:
        await running.chain.mine()
        line = orjson.loads(await gateway("--json"))
        return line["trouble"] is None and line["lag_blocks"] == 0 and line["head"] > 0

    session = await running.open()  # while nobody waits the ingester rests
    await eventually(read_to_the_head)
    assert await shown("single_provider") is True
    decided = ("local", "--reason", "a drill", "--actor", "ann")
    assert "is halted since" in await gateway("halt", *decided)
    assert await shown("state") == "halted"
    await running.pay(session)
    await asyncio.sleep(halting.LOOK_SECONDS + 1)
    head = await shown("head")
    await running.chain.mine(3)
    assert await shown("head") == head
    assert "goes on" in await gateway("resume", *decided)
    assert "not halted" in await gateway("resume", *decided)
    told = [
        orjson.loads(line)
        for line in (await gateway("history", "local", "--json")).split("\n")[:-1]
    ]
    assert [(each["what"], each["by"]) for each in told] == [
        ("network.halted", "operator:ann"),
        ("network.resumed", "operator:ann"),
    ]
    assert "a drill" in await gateway("history", "local")
    await running.complete(session)


async def test_another_token_with_the_same_symbol_is_not_credited(running: Running) -> None:
    session = await running.open()
    forged = await running.chain.deploy("TestDollar", "USD Coin", "USDC")
    await running.pay(session, token=forged)
    # A real payment to another session right behind it shows that those blocks were read.
    other = await running.open()
    await running.pay(other)
    await running.complete(other)
    found = await running.read(session)
    assert (found["status"], found["transfers"]) == ("pending", [])


async def test_two_transfers_in_one_transaction_are_both_counted(running: Running) -> None:
    session = await running.open("10.00")
    chain, address = running.chain, session["payment"]["address"]
    customer = (await chain.accounts())[CUSTOMER]
    batcher = await chain.deploy("Batcher")
    await chain.mint(USDC, customer, 10_000_000)
    approve = keccak(text="approve(address,uint256)")[:4]
    approve += encode(["address", "uint256"], [batcher, 10_000_000])
    send = keccak(text="send(address,address[],uint256[])")[:4] + encode(
        ["address", "address[]", "uint256[]"], [USDC, [address, address], [4_000_000, 6_000_000]]
    )
    await chain.call_contract(USDC, approve, customer)
    await chain.call_contract(batcher, send, customer)
    done = await running.complete(session)
    assert [transfer["amount"] for transfer in done["transfers"]] == ["4.00", "6.00"]
    assert (done["amount_confirmed"], done["exceptions"]) == ("10.00", ["multiple_transfers"])


async def test_200_creations_at_once_with_ten_keys_make_ten_sessions(running: Running) -> None:
    body = {"amount": "3.00", "currency": "USD"}

    async def create(number: int) -> str:
        answer = await running.api.post("/v1/payment-sessions", body, key=f"burst-{number % 10}")
        return str(answer["id"])

    ids = await asyncio.gather(*(create(number) for number in range(200)))
    assert len(set(ids)) == 10
    assert all(len({ids[n] for n in range(k, 200, 10)}) == 1 for k in range(10))


async def test_200_refunds_at_once_never_exceed_what_arrived(running: Running) -> None:
    session = await running.open("5.00")
    await running.pay(session)
    await running.complete(session)

    async def refund(number: int) -> bool:
        body = {"payment_session_id": session["id"], "amount": "1.00"}
        try:
            await running.api.post("/v1/refunds", body, key=f"refund-{session['id']}-{number}")
        except ApiFailed:
            return False
        return True

    granted = await asyncio.gather(*(refund(number) for number in range(200)))
    assert sum(granted) == 5

    async def refunded() -> bool:
        await running.chain.mine()
        return bool((await running.read(session))["status"] == "refunded")

    await eventually(refunded)
    assert (await running.read(session))["amount_refunded"] == "5.00"


async def test_with_postgresql_down_the_api_says_503_and_recovers(running: Running) -> None:
    session = await running.open()
    postgres = running.gateway.embedded.postgres
    await postgres.stop("immediate")
    try:
        for method, path in (("GET", f"/v1/payment-sessions/{session['id']}"), ("GET", "/readyz")):
            status, body, seconds = await _raw(running, method, path)
            assert status == 503, body
            assert "postgresql" in str(body)
            assert seconds < 8
        status, body, _ = await _raw(running, "GET", "/livez")
        assert status == 200
    finally:
        await postgres.start()
    await running.pay(session)
    assert (await running.complete(session))["amount_confirmed"] == "10.00"
    await running.webhook("payment.completed", session)


async def test_with_nats_down_sessions_open_and_payments_wait(running: Running) -> None:
    nats = running.gateway.embedded.nats
    await nats.stop()
    try:
        session = await running.open()
        await running.pay(session)
        await running.chain.mine(3)
        await asyncio.sleep(1)
        assert (await running.read(session))["status"] == "pending"
        status, body, _ = await _raw(running, "GET", "/readyz")
        assert (status, body["status"]) == (200, "degraded")
    finally:
        await nats.start()
    assert (await running.complete(session))["amount_confirmed"] == "10.00"


async def test_a_wiped_jetstream_store_loses_nothing(running: Running) -> None:
    nats = running.gateway.embedded.nats
    session = await running.open()
    await nats.stop()
    await running.pay(session)
    await running.chain.mine(3)
    await nats.wipe_store()
    await nats.start()
    assert (await running.complete(session))["amount_confirmed"] == "10.00"
    assert (await running.facts(session)).count("payment.completed") == 1


async def test_with_the_provider_down_the_api_serves_and_catches_up(running: Running) -> None:
    session = await running.open()
    await running.pay(session)
    await running.until(session, lambda s: s["status"] == "confirming")
    await running.gateway.embedded.anvil.stop()
    try:
        await asyncio.sleep(1)
        assert (await running.read(session))["status"] == "confirming"
        assert (await running.open())["status"] == "pending"
    finally:
        await running.gateway.embedded.anvil.start()
    assert (await running.complete(session))["amount_confirmed"] == "10.00"


async def test_the_books_balance_after_all_of_this(running: Running) -> None:
    async with bootstrap.core(settings.load(running.gateway.environment), "books") as core:
        await bootstrap.progress(core).wait_for(await core.store.head(), timeout_seconds=10)
        totals = await bootstrap.books(core).trial_balance()
    assert totals
    assert [line.difference for line in totals] == [0] * len(totals)


async def _raw(running: Running, method: str, path: str) -> tuple[int, Any, float]:
    """Status, body and seconds of one call, whatever it answers."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    headers = {"Authorization": f"Bearer {running.merchant.api_key}"}
    url = running.gateway.environment["PUBLIC_BASE_URL"] + path
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, url) as response,
    ):
        return response.status, await response.json(content_type=None), loop.time() - began

"""`gateway up` killed with -9 in the middle of a payment, and started again: nothing lost, nothing twice.

The whole process group dies at once, as when a machine loses power; the local servers follow it.
Each test kills at another point of a payment's way.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # the package ships no type hints
import psycopg
import pytest

from adapters.clock import SystemClock
from adapters.webhook_receiver import WebhookReceiver
from gateway.failures import GatewayError
from gateway.http import ApiClient
from gateway.local_chain import USDC, LocalChain
from gateway.local_files import read_environment, read_merchant
from tests.gateway.dying import with_us
from tests.gateway.running import SECONDS_MAX, eventually

ROOT = Path(__file__).resolve().parents[2]
CUSTOMER = 4
UNITS = 10_000_000


class Up:
    """`gateway up` as a person runs it, in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._process = self._spawned()
        await eventually(self._ready)

    def _spawned(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "gateway", "up", "--folder", str(self.folder)]
        with (self.folder / "up.log").open("ab") as log:
            return subprocess.Popen(
                with_us(*command, "--block-seconds", "1"),
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "up.log").read_text()
        if not (read_environment(self.folder) and read_merchant(self.folder)):
            return False
        async with self.api() as api:
            return await api.ready()

    def api(self) -> ApiClient:
        base = read_environment(self.folder)["PUBLIC_BASE_URL"]
        return ApiClient(base, read_merchant(self.folder)["api_key"])

    def chain(self) -> LocalChain:
        return LocalChain(read_environment(self.folder)["RPC_URLS_LOCAL"])

    def children(self) -> list[Any]:
        assert self._process is not None
        found: list[Any] = psutil.Process(self._process.pid).children(recursive=True)
        return found

    def child(self, name: str) -> Any:
        return next(c for c in self.children() if c.cmdline()[-1:] == [name])

    async def kill(self) -> None:
        """Kill -9 for the gateway and everything it started."""
        assert self._process is not None
        family = self.children()
        os.killpg(self._process.pid, signal.SIGKILL)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                # Its own servers end by themselves; the gateway's processes go the hard way.
                if "gateway" in member.cmdline():
                    member.kill()
        await asyncio.to_thread(self._process.wait)

    async def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(self._process.wait, SECONDS_MAX)


@pytest.fixture(scope="module")
def crash_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="gateway-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver(SystemClock()) as found:
        yield found


@pytest.fixture(scope="module")
async def up(crash_folder: Path, receiver: WebhookReceiver) -> AsyncIterator[Up]:
    found = Up(crash_folder)
    await found.start()
    async with found.api() as api:
        endpoint = await api.post("/v1/webhook-endpoints", {"url": receiver.url})
        receiver.trust(endpoint["secret"])
    yield found
    await found.stop()


async def _open(up: Up) -> dict[str, Any]:
    async with up.api() as api:
        session: dict[str, Any] = await api.post(
            "/v1/payment-sessions", {"amount": "10.00", "currency": "USD"}
        )
    return session


async def _pay(up: Up, session: dict[str, Any]) -> None:
    async with up.chain() as chain:
        customer = (await chain.accounts())[CUSTOMER]
        await chain.mint(USDC, customer, UNITS)
        await chain.transfer(USDC, customer, session["payment"]["address"], UNITS)


async def _until(up: Up, path: str, *statuses: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def reached() -> bool:
        async with up.api() as api:
            with contextlib.suppress(GatewayError):
                found.update(await api.get(path))
        return found.get("status") in statuses

    await eventually(reached)
    return found


async def _settled(up: Up, receiver: WebhookReceiver, session: dict[str, Any]) -> None:
    """Completed once, credited once, told, and the books agree."""
    done = await _until(up, f"/v1/payment-sessions/{session['id']}", "completed")
    assert done["amount_confirmed"] == "10.00"
    assert len(done["transfers"]) == 1
    async with up.api() as api:
        history = await api.get(f"/v1/payment-sessions/{session['id']}/events")
    names = [event["name"] for event in history["data"]]
    assert names.count("payment.completed") == 1
    assert names.count("transfer.confirmed") == 1
    told = await receiver.wait_for(
        lambda r: (
            r.type == "payment.completed"
            and r.message["data"]["payment_session_id"] == session["id"]
        ),
        timeout_seconds=SECONDS_MAX,
    )
    ids = {r.message["id"] for r in receiver.received if r.body == told.body}
    assert len(ids) == 1
    await eventually(lambda: _books_agree(up.folder))


async def _books_agree(folder: Path) -> bool:
    finished = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "gateway", "trial-balance", "--json", "--folder", str(folder)],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    return finished.returncode == 0


async def test_killed_before_the_transfer_is_seen(up: Up, receiver: WebhookReceiver) -> None:
    session = await _open(up)
    up.child("local").suspend()  # the ingester: its last argument is the network
    await _pay(up, session)
    await up.kill()
    await up.start()
    await _settled(up, receiver, session)


async def test_killed_between_the_bus_and_the_books_with_the_stream_deleted(
    up: Up, receiver: WebhookReceiver
) -> None:
    session = await _open(up)
    up.child("settle").suspend()
    await _pay(up, session)
    dsn = read_environment(up.folder)["DATABASE_URL"]
    await eventually(lambda: _published(dsn, session["payment"]["address"]))
    await up.kill()
    await asyncio.to_thread(_wipe, up.folder / "nats")
    await up.start()
    await _settled(up, receiver, session)


async def _published(dsn: str, address: str) -> bool:
    query = """SELECT count(*) FROM ingest.outbox
               WHERE published_at IS NOT NULL AND position(%s IN convert_from(data, 'UTF8')) > 0"""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        row = await (await connection.execute(query, (address.lower(),))).fetchone()
    return row is not None and row[0] > 0


def _wipe(store: Path) -> None:
    """The gateway's NATS ends by itself once the gateway is dead; then its store is deleted."""
    for process in psutil.process_iter(["cmdline"]):
        if any(str(store) in part for part in process.info["cmdline"] or ()):
            process.wait(SECONDS_MAX)
    shutil.rmtree(store)


async def test_killed_while_the_payment_is_confirming(up: Up, receiver: WebhookReceiver) -> None:
    session = await _open(up)
    await _pay(up, session)
    await _until(up, f"/v1/payment-sessions/{session['id']}", "confirming", "completed")
    await up.kill()
    await up.start()
    await _settled(up, receiver, session)


async def test_killed_while_the_webhook_is_under_way(up: Up, receiver: WebhookReceiver) -> None:
    session = await _open(up)
    up.child("deliver").suspend()
    await _pay(up, session)
    await _until(up, f"/v1/payment-sessions/{session['id']}", "completed")
    await up.kill()
    await up.start()
    await _settled(up, receiver, session)


async def test_killed_during_a_refund_it_is_paid_once(up: Up, receiver: WebhookReceiver) -> None:
    session = await _open(up)
    await _pay(up, session)
    await _settled(up, receiver, session)
    async with up.chain() as chain:
        customer = (await chain.accounts())[CUSTOMER]
        before = await chain.balance(USDC, customer)
    async with up.api() as api:
        refund = await api.post(
            "/v1/refunds",
            {"payment_session_id": session["id"], "amount": "4.00"},
            key=f"refund-{session['id']}",
        )
    await _until(up, f"/v1/refunds/{refund['id']}", "signed", "broadcast", "completed")
    await up.kill()
    await up.start()
    done = await _until(up, f"/v1/refunds/{refund['id']}", "completed", "failed")
    assert done["status"] == "completed"
    async with up.chain() as chain:
        assert await chain.balance(USDC, customer) - before == 4_000_000
    assert await _books_agree(up.folder)

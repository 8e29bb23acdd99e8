"""`gateway coverage`, `recheck` and `reconcile` beside a gateway that runs."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.local_chain import USDC
from tests.gateway.running import CUSTOMER, Running, eventually, run_gateway

pytestmark = pytest.mark.services
SECONDS_MAX = 60
Command = Callable[..., tuple[int, str]]


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


@pytest.fixture
def command(running: Running) -> Command:
    """A `gateway` command as an operator types it; its status, and what it said."""

    def run(*arguments: str) -> tuple[int, str]:
        ended = subprocess.run(
            [sys.executable, "-m", "gateway", *arguments, "--folder", running.gateway.folder],
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
            env={"PATH": os.defpath},
        )
        return ended.returncode, ended.stdout + ended.stderr

    return run


def told(output: str) -> Any:
    """What it answered; lines of its log stand beside that."""
    return orjson.loads([line for line in output.splitlines() if line.startswith("{")][-1])


async def paid(running: Running) -> tuple[dict[str, Any], str]:
    session = await running.open()
    tx_hash = await running.pay(session)
    return await running.complete(session), tx_hash


async def test_coverage_shows_what_was_read_and_closes_it(
    running: Running, command: Command
) -> None:
    await paid(running)
    status, output = command("coverage")
    assert (status, "GAP" in output, "BROKEN" in output) == (0, False, False)
    assert "local  blocks" in output
    assert "~" in output, "one provider: on its word"
    status, output = command("coverage", "--json")
    line = told(output)
    assert (status, line["network"], line["whole"], line["gaps"]) == (0, "local", True, [])
    assert line["proved"] >= 1
    first, last = line["spans"][0]["first"], line["spans"][-1]["last"]
    assert command("coverage", "--network", "local", "--close", f"{first}..{last}")[0] == 0
    beyond = f"{first}..{last + 10**6}"
    status, output = command("coverage", "--network", "local", "--close", beyond)
    assert status == 1
    assert "cannot be closed: not scanned: blocks" in output


@pytest.mark.parametrize("arguments", [("--network", "moon"), ("--close", "1..2")])
def test_a_coverage_of_nothing_says_what_to_give(
    command: Command, arguments: tuple[str, ...]
) -> None:
    status, output = command("coverage", *arguments)
    assert status == 1
    assert "among NETWORKS" in output or "needs --network" in output


async def test_recheck_tells_where_a_payment_went(running: Running, command: Command) -> None:
    session, tx_hash = await paid(running)
    status, output = command("recheck", tx_hash, "--network", "local")
    assert (status, f"credited to {session['id']}" in output) == (0, True)
    head = await running.chain.head()
    status, output = command("recheck", f"1..{head}", "--network", "local", "--apply", "--json")
    line = told(output)
    assert (status, line["wrong"], line["fed_in"], line["blocks"]) == (0, False, 0, head)
    assert session["id"] in {finding["subject"] for finding in line["findings"]}
    assert command("recheck", "0x" + "99" * 32, "--network", "local")[0] == 0
    status, output = command("recheck", "yesterday", "--network", "local")
    assert (status, "FIRST..LAST" in output) == (1, True)


async def test_the_books_and_the_chain_agree_with_top_ups_refunds_and_strays(
    running: Running, command: Command
) -> None:
    session, _ = await paid(running)
    body = {"payment_session_id": session["id"], "amount": "2.50"}
    await running.api.post("/v1/refunds", body, key="second-look-refund")

    async def refunded() -> bool:
        await running.chain.mine()
        return bool((await running.read(session))["amount_refunded"] == "2.50")

    await eventually(refunded)
    customer = (await running.chain.accounts())[CUSTOMER]
    await running.chain.mint(USDC, customer, 10**6)
    await running.chain.transfer(USDC, customer, session["payment"]["address"], 10**6)
    await running.chain.mine(5)
    found: dict[str, Any] = {}

    async def agrees() -> bool:
        status, output = command("reconcile", "--network", "local", "--now", "--json")
        found.update(told(output))
        usdc = next(each for each in found["assets"] if each["asset"].endswith(USDC.lower()))
        return status == 0 and usdc["settling"] == "0"

    await eventually(agrees)
    usdc = next(each for each in found["assets"] if each["asset"].endswith(USDC.lower()))
    assert usdc["difference"] == "0"
    assert int(usdc["booked"]) >= int(usdc["confirmed"]) - int(usdc["nobodys"]) > 0
    run = found["reconciled"]
    assert (run["differing"], run["undecided"], run["unexplained"]) == (0, 0, 0)
    assert run["checked"] > 0
    status, output = command("reconcile", "--network", "local")
    assert (status, "What arrived on local" in output) == (0, True)
    assert "0 above what was seen" in command("coverage")[1]

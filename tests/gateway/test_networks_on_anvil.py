"""A network that only a file describes, on a real chain: checked, refused, followed."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from adapters.addresses import checksum_address
from adapters.nats_bus import NatsBus
from adapters.postgres import Postgres
from application.chain_messages import STREAM
from gateway.embedded_anvil import Anvil
from gateway.local_chain import USDC, USDT, LocalChain
from gateway.network_files import networks_of_file
from tests.chain_ingest.rig import DEPOSIT, Rig
from tests.conftest import Migrated

pytestmark = pytest.mark.services
ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 60.0
DESCRIPTION = f"""
[networks.devnet]
title = "A chain of our own"
chain_id = 31337
mode = "test"
block_seconds = 1
confirmations = "2"
allow_unattested = true

[[networks.devnet.tokens]]
symbol = "USDC"
address = "{checksum_address(USDC)}"
decimals = 6
eip712 = {{ name = "USD Coin", version = "2" }}

[[networks.devnet.tokens]]
symbol = "USDT"
address = "{checksum_address(USDT)}"
decimals = 6
"""


class Finished(NamedTuple):
    status: int
    said: str
    complained: str


async def command(*arguments: str, **environment: str) -> Finished:
    """A `gateway` command as an operator runs it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        *arguments,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SECONDS_MAX):
            said, complained = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Finished(process.returncode, said.decode(), complained.decode())


@pytest.fixture
async def chain(fresh_anvil: Anvil) -> AsyncIterator[LocalChain]:
    async with LocalChain(fresh_anvil.url) as chain:
        await chain.deploy_tokens()
        await chain.mint(USDC, (await chain.accounts())[1], 10**9)
        yield chain


@pytest.fixture
def described(tmp_path: Path) -> Path:
    path = tmp_path / "networks.toml"
    path.write_text(DESCRIPTION, encoding="utf-8")
    return path


def describe(path: Path, before: str, after: str) -> None:
    """The description with a mistake in it."""
    assert before in DESCRIPTION
    path.write_text(DESCRIPTION.replace(before, after), encoding="utf-8")


def two_ways_to(anvil: Anvil) -> str:
    """One node under two names stands for two operators."""
    return f"{anvil.url},{anvil.url.replace('127.0.0.1', 'localhost')}"


async def checked(described: Path, urls: str) -> tuple[int, dict[str, Any]]:
    finished = await command(
        "networks",
        "check",
        "devnet",
        "--json",
        NETWORKS_FILE=str(described),
        RPC_URLS_DEVNET=urls,
    )
    assert finished.complained == ""
    return finished.status, orjson.loads(finished.said)


async def test_a_described_network_is_checked_before_it_is_served(
    chain: LocalChain, fresh_anvil: Anvil, described: Path
) -> None:
    await chain.mine(5)
    status, told = await checked(described, two_ways_to(fresh_anvil))
    assert status == 0
    assert (told["network"], told["chain_id"], told["ok"]) == ("devnet", 31337, True)
    for provider in told["providers"]:
        held = {finding["about"]: finding["holds"] for finding in provider["findings"]}
        assert held == {
            "chain id": True,
            f"token USDC at {USDC}, decimals()": True,
            f"token USDC at {USDC}, DOMAIN_SEPARATOR()": True,
            f"token USDT at {USDT}, decimals()": True,
            "header hash": True,
            "eth_getBlockReceipts": True,
            "eth_getLogs of a block": True,
            "eth_getLogs of a range": True,
            "eth_call at a block's hash": True,
            "tag safe": True,
            "tag finalized": True,
        }
    hashes = told["agreement"]["hashes"]
    assert list(hashes) == ["devnet-1", "devnet-2"]
    assert len(set(hashes.values())) == 1
    assert told["advice"] == [
        "two providers: while one is down nothing is confirmed; give a third"
    ]


async def test_the_table_says_what_does_not_fit_and_what_to_do(
    chain: LocalChain, fresh_anvil: Anvil, described: Path
) -> None:
    assert await chain.head() > 0
    describe(described, '"USD Coin"', '"USDC"')
    finished = await command(
        "networks",
        "check",
        "devnet",
        NETWORKS_FILE=str(described),
        RPC_URLS_DEVNET=f"{fresh_anvil.url},http://127.0.0.1:1",
    )
    assert finished.status == 1
    assert "A chain of our own (devnet), chain 31337, test" in finished.said
    assert "NO: 0x" in finished.said
    assert "correct the token's eip712 name and version, or claim none" in finished.said
    assert "devnet-2: does not answer" in finished.said
    assert "Confirmed after: 2 confirmations." in finished.said


@pytest.mark.parametrize(
    ("name", "said"),
    [("nonesuch", "nobody has described a network 'nonesuch'"), ("base", "RPC_URLS_BASE is not")],
)
async def test_who_cannot_be_asked_is_said(name: str, said: str) -> None:
    finished = await command("networks", "check", name)
    assert finished.status == 1
    assert said in finished.complained


@pytest.mark.parametrize("process", [("ingest", "--network", "devnet"), ("work",)])
async def test_a_wrong_claim_refuses_to_start_with_one_clear_line(
    chain: LocalChain,
    fresh_anvil: Anvil,
    described: Path,
    migrated: Migrated,
    nats_url: str,
    process: tuple[str, ...],
) -> None:
    assert await chain.head() > 0
    describe(described, 'version = "2"', 'version = "1"')
    finished = await command(
        *process,
        DATABASE_URL=migrated.app_dsn,
        NATS_URL=nats_url,
        NETWORKS="devnet",
        NETWORKS_FILE=str(described),
        RPC_URLS_DEVNET=fresh_anvil.url,
    )
    assert finished.status == 1
    (line,) = [line for line in finished.complained.splitlines() if line.startswith("gateway: ")]
    assert f"devnet: provider devnet-1: token USDC at {USDC}, DOMAIN_SEPARATOR(): it says" in line
    assert 'of "USD Coin" version "1"; correct the token' in line
    assert "Traceback" not in finished.complained


@pytest.fixture
async def rig(
    chain: LocalChain, fresh_anvil: Anvil, described: Path, migrated: Migrated, nats_url: str
) -> AsyncIterator[Rig]:
    (network,) = networks_of_file(described)
    bus = NatsBus(nats_url, name="test-described")
    await bus.open()
    async with Postgres(migrated.app_dsn, name="test-described") as postgres:
        rig = Rig(chain, [fresh_anvil.url], postgres, bus, network=network)
        await rig.start()
        yield rig
        await rig.stop()
    await (await bus._connected()).jetstream.delete_stream(STREAM)
    await bus.close()


async def test_a_payment_on_a_described_network_is_seen_and_confirmed(rig: Rig) -> None:
    payer = (await rig.chain.accounts())[1]
    await rig.chain.transfer(USDC, payer, DEPOSIT, 3_000_000)
    await rig.chain.mine()
    await rig.until("observed", "confirmed")
    sighting = rig.transfers[-1].sighting
    assert (sighting.network, sighting.amount.units) == ("devnet", 3_000_000)
    assert sighting.amount.asset == f"eip155:31337/erc20:{USDC}"

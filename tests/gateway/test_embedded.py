"""The local servers: quick to start, durable, found again after any end, strict about folders."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import nats
import psutil  # type: ignore[import-untyped]  # the package ships no type hints
import psycopg
import pytest

from gateway.embedded import ChainOptions, Embedded, EmbeddedError
from gateway.embedded_anvil import Anvil
from gateway.embedded_nats import Nats
from gateway.embedded_postgres import Postgres
from gateway.embedded_server import LocalServer, port_is_free
from gateway.processes import poll_until

pytestmark = pytest.mark.services

GONE_SECONDS_MAX = 20.0


async def query(url: str, *statements: str) -> Any:
    """Run statements in a transaction each; the first column of the last one's first row."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = await connection.execute(statement.encode())
        row = await cursor.fetchone() if cursor.description else None
        return row[0] if row else None


async def rpc(server: Anvil, method: str, *params: Any) -> Any:
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    async with (
        aiohttp.ClientSession() as session,
        session.post(server.url, json=request) as response,
    ):
        return (await response.json())["result"]


async def publish(url: str, *, create: bool) -> int:
    """Store one message in a stream on disk and return how many there are."""
    client = await nats.connect(url)
    try:
        stream = client.jetstream()
        if create:
            await stream.add_stream(name="EVENTS", subjects=["events"])
        await stream.publish("events", b"one")
        return (await stream.stream_info("EVENTS")).state.messages
    finally:
        await client.close()


async def gone(pids: Sequence[int | None]) -> bool:
    alive = psutil.pid_exists
    return await poll_until(lambda: not any(alive(p) for p in pids if p), GONE_SECONDS_MAX)


@pytest.fixture
async def servers(server_folder: Path) -> AsyncIterator[Embedded]:
    made = Embedded(server_folder / "var")
    yield made
    await made.stop()


async def test_all_three_answer_on_loopback_with_durable_settings(servers: Embedded) -> None:
    steps: list[str] = []
    endpoints = await servers.start(lambda name, seconds: steps.append(name))
    assert sorted(steps) == ["NATS", "PostgreSQL", "anvil"]
    assert (await query(endpoints.database_url, "SHOW server_version")).startswith("18.")
    for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
        assert await query(endpoints.database_url, f"SHOW {setting}") == "on"
    assert await publish(endpoints.nats_url, create=True) == 1
    assert "sync_interval: always" in (servers.folder / "nats" / "nats.conf").read_text()
    assert await rpc(servers.anvil, "eth_chainId") == hex(31337)
    for server in (servers.postgres, servers.nats, servers.anvil):
        listening = psutil.Process(server.pid).net_connections("tcp")
        assert {c.laddr.ip for c in listening if c.status == "LISTEN"} == {"127.0.0.1"}


async def test_a_second_run_has_the_same_addresses_and_data(servers: Embedded) -> None:
    first = await servers.start()
    await query(first.database_url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)")
    await publish(first.nats_url, create=True)
    await rpc(servers.anvil, "anvil_mine", hex(5))
    block = await rpc(servers.anvil, "eth_getBlockByNumber", "latest", False)
    await servers.stop()

    again = Embedded(servers.folder)
    try:
        assert await again.start() == first
        assert await query(first.database_url, "SELECT n FROM kept") == 7
        assert await publish(first.nats_url, create=False) == 2
        assert await rpc(again.anvil, "eth_getBlockByNumber", "latest", False) == block
    finally:
        await again.stop()


async def test_stopping_leaves_no_process_and_no_port_behind(servers: Embedded) -> None:
    await servers.start()
    all_three: tuple[LocalServer, ...] = (servers.postgres, servers.nats, servers.anvil)
    pids = [server.pid for server in all_three]
    await servers.stop()
    assert not any(psutil.pid_exists(pid) for pid in pids if pid)
    assert all(port_is_free(server.port) for server in all_three)


async def test_one_folder_serves_one_gateway_and_two_folders_two(server_folder: Path) -> None:
    chain = ChainOptions(persistent=False)
    first = Embedded(server_folder / "a", postgres=False, chain=chain)
    other = Embedded(server_folder / "b", postgres=False, chain=chain)
    try:
        await first.start()
        await other.start()
        assert not set(first.endpoints) & set(other.endpoints)
        refused = Embedded(server_folder / "a", postgres=False, chain=chain)
        with pytest.raises(EmbeddedError, match=rf"in use by another.*{os.getpid()}"):
            await refused.start()
        await refused.stop()
        assert await rpc(first.anvil, "eth_blockNumber") == "0x0"
    finally:
        await first.stop()
        await other.stop()


async def test_a_refused_second_gateway_leaves_the_first_ones_database_alone(
    servers: Embedded,
) -> None:
    await servers.start()
    pid = servers.postgres.pid
    second = Embedded(servers.folder)
    with pytest.raises(EmbeddedError, match="in use by another"):
        await second.start()
    await second.stop()
    assert await query(servers.postgres.url, "SELECT 1") == 1
    assert servers.postgres.pid == pid


async def test_ctrl_c_in_the_terminal_does_not_reach_the_servers(servers: Embedded) -> None:
    await servers.start()
    for server in (servers.postgres, servers.nats, servers.anvil):
        assert server.pid is not None
        assert os.getpgid(server.pid) != os.getpgid(0)
        assert os.getsid(server.pid) != os.getsid(0)


async def test_the_databases_of_a_stranger_are_closed(servers: Embedded) -> None:
    endpoints = await servers.start()
    stranger = f"postgresql://postgres:wrong@127.0.0.1:{servers.postgres.port}/postgres"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        await query(stranger, "SELECT 1")
    assert await query(endpoints.database_url, "SELECT 1") == 1
    assert (servers.folder / "secret").stat().st_mode & 0o077 == 0
    assert servers.postgres.data.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("how", ["immediate", "kill"])
async def test_what_postgres_committed_survives_a_crash(servers: Embedded, how: str) -> None:
    url = (await servers.start()).database_url
    await query(url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
    if how == "kill":
        await servers.postgres.kill()
    else:
        await servers.postgres.stop("immediate")
    with pytest.raises(psycopg.OperationalError):
        await query(url, "SELECT 1")
    await servers.postgres.start()
    assert await query(url, "SELECT count(*) FROM kept") == 1


async def test_a_wiped_jetstream_comes_back_empty_on_the_same_port(servers: Embedded) -> None:
    url = (await servers.start()).nats_url
    await publish(url, create=True)
    with pytest.raises(EmbeddedError, match="stop NATS"):
        await servers.nats.wipe_store()
    await servers.nats.stop()
    await servers.nats.wipe_store()
    await servers.nats.start()
    assert await publish(url, create=True) == 1


async def test_a_killed_chain_keeps_what_was_saved(server_folder: Path) -> None:
    chain = Anvil(server_folder / "anvil")
    await chain.start()
    try:
        await rpc(chain, "anvil_mine", hex(3))
        kept = server_folder / "anvil" / "state.kept.json"
        assert await poll_until(
            lambda: kept.exists() and json.loads(kept.read_text())["best_block_number"] == 3, 10
        )
        await chain.kill()
        # What kill -9 leaves when it comes in the middle of anvil's own writing.
        state = server_folder / "anvil" / "state.json"
        state.write_bytes(state.read_bytes()[:100])
        await chain.start()
        assert await rpc(chain, "eth_blockNumber") == "0x3"
    finally:
        await chain.stop()


async def test_a_chain_mines_as_it_is_told(server_folder: Path) -> None:
    options = ChainOptions(chain_id=80002, mining="manual", persistent=False)
    chain = Anvil(server_folder / "anvil", options)
    await chain.start()
    try:
        first, second = (await rpc(chain, "eth_accounts"))[:2]
        await rpc(chain, "eth_sendTransaction", {"from": first, "to": second, "value": "0x1"})
        assert await rpc(chain, "eth_blockNumber") == "0x0"
        await rpc(chain, "evm_mine")
        assert await rpc(chain, "eth_getBlockTransactionCountByNumber", "latest") == "0x1"
        assert await rpc(chain, "eth_chainId") == hex(80002)
    finally:
        await chain.stop()


def _one(kind: str, folder: Path) -> LocalServer:
    if kind == "postgres":
        return Postgres(folder / "postgres", password="x", durable=False)
    if kind == "nats":
        return Nats(folder / "nats", password="x")
    return Anvil(folder / "anvil", ChainOptions(persistent=False))


@pytest.mark.parametrize("kind", ["postgres", "nats", "anvil"])
async def test_a_server_that_a_crash_left_behind_is_ended(kind: str, server_folder: Path) -> None:
    left = _one(kind, server_folder)
    await left.start()
    fresh = _one(kind, server_folder)
    try:
        await fresh.start()
        assert not left.running
        assert fresh.running
    finally:
        await fresh.stop()
        await left.stop()


async def test_somebody_elses_process_is_never_ended(server_folder: Path) -> None:
    chain = _one("anvil", server_folder)
    argument = chain.marker
    bystander = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import time; time.sleep(60)", argument
    )
    try:
        await chain.start()
        assert bystander.returncode is None
        assert psutil.pid_exists(bystander.pid)
    finally:
        await chain.stop()
        bystander.kill()
        await bystander.wait()


async def test_a_recycled_process_id_does_not_stop_postgres(server_folder: Path) -> None:
    server = Postgres(server_folder / "postgres", password="x", durable=False)
    await server.start()
    pid_file = server.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    await server.kill()
    # The old server's id now belongs to a process of the same account that lives on.
    stranger = await asyncio.create_subprocess_exec(
        "/bin/sleep", "60", user=server.data.stat().st_uid, cwd="/"
    )
    try:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:], ""]))
        await server.start()
        assert await query(server.url, "SELECT 1") == 1
        assert psutil.pid_exists(stranger.pid)
    finally:
        await server.stop()
        stranger.kill()
        await stranger.wait()


@pytest.mark.parametrize("group", [False, True])
async def test_after_kill_9_of_the_gateway_the_next_start_has_everything(
    group: bool, server_folder: Path
) -> None:
    folder = server_folder / "var"
    gateway = _gateway(folder)
    try:
        assert gateway.stdout is not None
        told = json.loads(await asyncio.to_thread(gateway.stdout.readline))
        url = told["database_url"]
        await query(url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)")
        children = [child.pid for child in psutil.Process(gateway.pid).children()]
        assert len(children) == 3
    finally:
        if group:
            os.killpg(gateway.pid, signal.SIGKILL)
        else:
            gateway.kill()
        gateway.communicate()
    again = Embedded(folder)
    try:
        assert (await again.start()).database_url == url
        assert await query(url, "SELECT n FROM kept") == 7
        assert await gone(children)
    finally:
        await again.stop()


def _gateway(folder: Path) -> "subprocess.Popen[bytes]":
    """Another process that starts the servers, says where they are, and waits."""
    code = (
        "import asyncio, json, sys\n"
        "from pathlib import Path\n"
        "from gateway.embedded import Embedded\n"
        "async def main():\n"
        "    endpoints = await Embedded(Path(sys.argv[1])).start()\n"
        "    print(json.dumps(endpoints._asdict()), flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells children on Linux only")
async def test_servers_end_by_themselves_when_the_gateway_is_killed(server_folder: Path) -> None:
    gateway = _gateway(server_folder / "var")
    try:
        assert gateway.stdout is not None
        await asyncio.to_thread(gateway.stdout.readline)
        children = [child.pid for child in psutil.Process(gateway.pid).children()]
    finally:
        gateway.kill()
        gateway.communicate()
    assert len(children) == 3
    assert await gone(children)
    log = (server_folder / "var" / "log" / "postgres.log").read_text()
    assert "database system is shut down" in log

"""The local servers when something is in their way: said plainly, with what to do next."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway import embedded_postgres
from gateway.embedded import ChainOptions, Embedded, EmbeddedError
from gateway.embedded_anvil import Anvil
from gateway.embedded_postgres import Postgres
from gateway.embedded_server import free_port
from gateway.processes import poll_until
from tests.gateway.test_embedded import query

pytestmark = pytest.mark.services


@pytest.fixture
async def servers(server_folder: Path) -> AsyncIterator[Embedded]:
    made = Embedded(server_folder / "var")
    yield made
    await made.stop()


async def test_a_server_that_cannot_start_says_which_why_and_what_to_do(
    servers: Embedded,
) -> None:
    await servers.start()
    await servers.stop()
    (servers.postgres.data / "global" / "pg_control").unlink()
    with pytest.raises(EmbeddedError) as raised:
        await servers.start()
    message = str(raised.value)
    assert "PostgreSQL did not start" in message
    assert "could not find the database system" in message
    assert "Next:" in message
    assert not servers.nats.running
    assert not servers.anvil.running


async def test_a_port_taken_during_an_outage_is_named(servers: Embedded) -> None:
    await servers.start()
    await servers.nats.stop()
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", servers.nats.port))
        thief.listen()
        with pytest.raises(EmbeddedError, match=f"port {servers.nats.port}"):
            await servers.nats.start()
    await servers.nats.start()


async def test_a_remembered_port_that_is_taken_is_replaced(server_folder: Path) -> None:
    port = free_port()
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", port))
        thief.listen()
        chain = Anvil(server_folder / "anvil", ChainOptions(persistent=False), port=port)
        await chain.start()
        try:
            assert chain.port != port
        finally:
            await chain.stop()


async def test_a_lost_password_is_explained(servers: Embedded) -> None:
    await servers.start()
    await servers.stop()
    (servers.folder / "secret").unlink()
    again = Embedded(servers.folder, chain=None, nats=False)
    with pytest.raises(EmbeddedError, match="`secret`"):
        await again.start()
    assert not again.postgres.running


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
async def test_root_in_a_closed_folder_keeps_the_data_elsewhere(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fallback = server_folder / "elsewhere"
    monkeypatch.setattr(embedded_postgres, "FALLBACK", fallback)
    closed = server_folder / "closed"
    closed.mkdir(mode=0o700)
    server = Postgres(closed / "postgres", password="x", durable=False)
    try:
        await server.start()
        await query(server.url, "CREATE TABLE kept (n int)")
    finally:
        await server.stop()
    assert closed.stat().st_mode & 0o777 == 0o700
    assert (closed / "postgres").resolve().is_relative_to(fallback)
    again = Postgres(closed / "postgres", password="x", durable=False)
    try:
        await again.start()
        assert await query(again.url, "SELECT count(*) FROM kept") == 0
    finally:
        await again.stop()


async def test_a_cancelled_start_ends_what_it_had_begun(servers: Embedded) -> None:
    starting = asyncio.create_task(servers.start())
    assert await poll_until(lambda: servers.nats.running, 10)
    starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await starting
    assert not servers.nats.running
    assert not servers.postgres.running
    await servers.start()

"""The live status: told at once, bounded, and never in the way of a shutdown."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from application.ports import StoreUnavailable
from domain.payment import PaymentSession
from tests.api.world import Tenant, World
from tests.web.conftest import Site
from web import live

SECONDS_MAX = 5


class Reader:
    """Reads server-sent events one by one."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def block(self) -> dict[str, str]:
        async with asyncio.timeout(SECONDS_MAX):
            lines = []
            while line := (await self.response.content.readline()).decode().strip():
                lines.append(line.partition(": "))
            return {name: value for name, _, value in lines}

    async def status(self) -> Any:
        while True:
            block = await self.block()
            if block.get("event") == "status":
                return {**json.loads(block["data"]), "id": block["id"]}


def _live(session: PaymentSession) -> str:
    return f"/c/ps_{session.session_id.hex}/live"


async def test_a_payment_is_followed_from_pending_to_completed(
    site: Site, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    async with site.client.get(_live(session)) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["Cache-Control"] == "no-store"
        reader = Reader(response)
        assert (await reader.block()).keys() == {"retry"}
        assert (await reader.status())["stage"] == "pending"
        seen = await world.observe(session)
        first = await reader.status()
        assert (first["stage"], first["confirmations"]) == (
            "confirming",
            {"seen": 1, "required": 3, "waiting_for": None},
        )
        assert "Confirming (1/3)" in first["html"]
        world.reads.heads.numbers["local"] = 101
        await world.bus.hint("hint.local.head")
        second = await reader.status()
        assert "Confirming (2/3)" in second["html"]
        assert second["id"] == first["id"] == "3"
        await world.confirm(seen)
        done = await reader.status()
        assert (done["stage"], done["id"]) == ("completed", "5")
        assert "Payment complete" in done["html"]
        assert (await reader.block())["event"] == "end"
        assert await response.content.read() == b""


async def test_a_stream_says_only_what_the_page_says(
    site: Site, world: World, shop: Tenant
) -> None:
    session = await world.session(shop, merchant_reference="internal-4711")
    async with site.client.get(_live(session)) as response:
        told = await Reader(response).status()
    assert set(told) == {
        "id",
        "stage",
        "amount",
        "amount_received",
        "confirmations",
        "tx_hash",
        "html",
    }
    assert "internal-4711" not in json.dumps(told)


async def test_without_hints_a_stream_still_sees_what_happens(
    site: Site, world: World, shop: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(subject: str, data: bytes = b"") -> None:
        del subject, data

    monkeypatch.setattr(world.bus, "hint", deaf)
    session = await world.session(shop)
    async with site.client.get(_live(session)) as response:
        reader = Reader(response)
        await reader.status()
        await world.observe(session)
        assert (await reader.status())["stage"] == "confirming"


async def test_an_outage_does_not_end_a_stream(site: Site, world: World, shop: Tenant) -> None:
    session = await world.session(shop)
    async with site.client.get(_live(session)) as response:
        reader = Reader(response)
        await reader.status()
        world.store.outage = StoreUnavailable("away")
        await asyncio.sleep(live.POLL_SECONDS * 2)
        world.store.outage = None
        await world.observe(session)
        assert (await reader.status())["stage"] == "confirming"


async def test_streams_are_bounded_and_a_place_is_free_once_a_reader_leaves(
    site: Site, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    held = [await site.client.get(_live(session)) for _ in range(3)]
    for response in held:
        await Reader(response).status()
    status, _, refused = await site.get(_live(session))
    assert (status, refused.headers["Retry-After"]) == (503, "5")
    for response in held:
        response.close()
    for _ in range(100):
        async with site.client.get(_live(session)) as response:
            if response.status == 200:
                return
        await asyncio.sleep(0.05)
    pytest.fail("no place became free")


async def test_a_stream_ends_when_the_process_is_to_stop(
    site: Site, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    async with site.client.get(_live(session)) as response:
        await Reader(response).status()
        site.pages.stopping.set()
        async with asyncio.timeout(SECONDS_MAX):
            assert b"event: status" not in await response.content.read()


async def test_a_quiet_stream_is_kept_alive_and_ends_by_itself(
    site: Site, world: World, shop: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "KEEP_ALIVE_SECONDS", 0.5)
    monkeypatch.setattr(live, "STREAM_SECONDS_MAX", 1.5)
    session = await world.session(shop)
    async with site.client.get(_live(session)) as response:
        async with asyncio.timeout(SECONDS_MAX):
            said = (await response.content.read()).decode()
    assert said.count("event: status") == 1
    assert ": still here" in said
    assert "event: end" not in said

"""A payment that waits for the chain's own word says so, on the page and in the API."""

import pytest

from domain.networks import ConfirmationPolicy, NetworkBook
from tests.api.world import NETWORK, Tenant, World
from tests.web.conftest import Site

FINAL = ConfirmationPolicy(version=1, blocks=3, tag="finalized", allow_unattested=True)


@pytest.fixture
def world() -> World:
    world = World()
    final = NETWORK.model_copy(update={"policy": FINAL})
    world.networks = NetworkBook(networks=(final, *world.networks.networks[1:]))
    return world


async def test_the_checkout_names_what_is_waited_for(
    site: Site, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    seen = await world.observe(session)
    path = f"/c/ps_{session.session_id.hex}"
    _, page, _ = await site.get(path)
    assert "Waiting for a finalized block" in page
    assert "Confirming (" not in page
    assert 'value="0" max="1"' in page
    await world.confirm(seen)
    _, page, _ = await site.get(path)
    assert "Payment complete" in page


async def test_the_api_names_it_too(site: Site, world: World, shop: Tenant) -> None:
    session = await world.session(shop)
    seen = await world.observe(session)
    path = f"/v1/payment-sessions/ps_{session.session_id.hex}"
    headers = {"Authorization": f"Bearer {shop.key}"}
    async with site.client.get(path, headers=headers) as response:
        told = await response.json()
    waiting = {"seen": 0, "required": 1, "waiting_for": "a finalized block"}
    assert told["confirmations"] == waiting
    await world.confirm(seen)
    async with site.client.get(path, headers=headers) as response:
        told = await response.json()
    assert told["confirmations"] == {"seen": 1, "required": 1, "waiting_for": None}

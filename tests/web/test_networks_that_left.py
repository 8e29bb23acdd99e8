"""The page of a payment whose network is not served any more."""

import aiohttp
import pytest

from api.app import create_app
from domain.networks import POLYGON, NetworkBook
from tests.api.serving import Front
from tests.api.world import NETWORK, Tenant, World
from web.app import Pages, router_of


@pytest.mark.parametrize(
    ("book", "amount"),
    [
        (NetworkBook(networks=(POLYGON,), others=(NETWORK,)), "10.00"),
        (NetworkBook(networks=(POLYGON,)), NETWORK.asset(NETWORK.tokens[0])),
    ],
)
@pytest.mark.parametrize("paid", [True, False])
async def test_the_page_is_shown_on(
    front: Front, world: World, shop: Tenant, book: NetworkBook, amount: str, paid: bool
) -> None:
    session = await world.session(shop)
    await world.arrive(session.deposit_address, token=NETWORK.tokens[1])
    if paid:
        await world.pay(session)
    world.serve(book)
    services = world.web()
    pages = Pages(services, streams_max=3)
    front.app = create_app(world.api())
    front.app.include_router(router_of(pages))
    async with (
        aiohttp.ClientSession(front.url) as client,
        client.get(f"/c/ps_{session.session_id.hex}") as answer,
    ):
        assert answer.status == 200
        assert amount in await answer.text()
    services.stopping.set()
    await pages.wakeups.close()

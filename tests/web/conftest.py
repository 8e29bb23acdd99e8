"""The pages and the API together, as they run: one application, behind a real socket."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest

from api.app import create_app
from tests.api.serving import Front, serving
from tests.api.world import Tenant, World
from web.app import Pages, router_of


@dataclass(slots=True)
class Site:
    client: aiohttp.ClientSession
    pages: Pages

    async def get(self, path: str) -> tuple[int, str, aiohttp.ClientResponse]:
        async with self.client.get(path) as response:
            return response.status, await response.text(), response


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def shop(world: World) -> Tenant:
    return await world.tenant("Acme <Coffee>", 1)


@pytest.fixture(scope="session")
async def front() -> AsyncIterator[Front]:
    front = Front()
    async with serving(front) as url:
        front.url = url
        yield front


@pytest.fixture
async def site(front: Front, world: World) -> AsyncIterator[Site]:
    services = world.web()
    pages = Pages(services, streams_max=3)
    app = create_app(world.api())
    app.include_router(router_of(pages))
    front.app = app
    async with aiohttp.ClientSession(front.url) as client:
        yield Site(client, pages)
    services.stopping.set()
    await pages.wakeups.close()

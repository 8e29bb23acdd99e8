"""One gateway of twins a test, behind a real socket; `api` speaks to it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDictProxy

from api.app import create_app
from tests.api.serving import Front, serving
from tests.api.world import Tenant, World


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    json: Any

    def problem(self, status: int, code: str, field: str | None = None) -> Any:
        """The error member, once the answer is a whole problem of this kind."""
        assert self.status == status, self.body
        assert self.headers["Content-Type"] == "application/problem+json"
        members = {"type", "title", "status", "detail", "instance", "error"}
        assert set(self.json) == members
        assert self.json["status"] == status
        error = self.json["error"]
        assert error["type"] == code, self.body
        assert self.json["type"] == f"/docs#{code}"
        assert error["request_id"] == self.headers["X-Request-Id"]
        if field is not None:
            assert field in [detail["field"] for detail in error["details"]], self.body
        assert b"Traceback" not in self.body
        return error


class Api:
    """A client that sends exactly what it is told."""

    def __init__(self, client: aiohttp.ClientSession, key: str) -> None:
        self._client = client
        self.key = key

    def with_key(self, key: str) -> "Api":
        return Api(self._client, key)

    async def call(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        data: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        sent = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        if data is not None:
            sent["Content-Type"] = "application/json"
        sent |= headers or {}
        request = self._client.request(method, path, json=json, data=data, headers=sent)
        async with request as response:
            body = await response.read()
            told = await response.json(content_type=None) if body[:1] in {b"{", b"["} else None
            return Answer(response.status, response.headers, body, told)

    async def get(self, path: str, **more: Any) -> Answer:
        return await self.call("GET", path, **more)

    async def post(self, path: str, json: Any = None, **more: Any) -> Answer:
        return await self.call("POST", path, json, **more)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def shop(world: World) -> Tenant:
    return await world.tenant("Acme", 1)


@pytest.fixture
async def other(world: World) -> Tenant:
    return await world.tenant("Other", 5)


@pytest.fixture(scope="session")
async def front() -> AsyncIterator[Front]:
    front = Front()
    async with serving(front) as url:
        front.url = url
        yield front


@pytest.fixture
async def api(front: Front, world: World, shop: Tenant) -> AsyncIterator[Api]:
    front.app = create_app(world.api())
    async with aiohttp.ClientSession(front.url) as client:
        yield Api(client, shop.key)

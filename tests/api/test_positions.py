"""X-Position and min_position: reading what one has just written, or hearing that it is behind."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import aiohttp
import pytest

from adapters.memory.reads import MemoryReads
from adapters.memory.store import MemoryEventStore
from api import positions
from api.app import create_app
from tests.api.conftest import Api
from tests.api.serving import Front
from tests.api.world import Tenant, World

PATH = "/v1/payment-sessions"
NEW = {"amount": "10.00", "currency": "USD"}


@dataclass
class Lagging:
    """Read models that contain the log up to a position that the test moves."""

    position_: int = 0
    asked: int = 0

    async def position(self, projection: str) -> int:
        del projection
        return self.position_

    async def wait_for(
        self, position: int, *, timeout_seconds: float, projection: str | None = None
    ) -> bool:
        del projection
        self.asked += 1
        ends_at = asyncio.get_running_loop().time() + timeout_seconds
        while self.position_ < position:
            if asyncio.get_running_loop().time() >= ends_at:
                return False
            await asyncio.sleep(0.001)
        return True


@pytest.fixture
def views() -> Lagging:
    return Lagging()


@pytest.fixture
async def behind(front: Front, world: World, shop: Tenant, views: Lagging) -> AsyncIterator[Api]:
    """An API whose lists come from read models that have not begun to follow."""
    empty = MemoryReads(MemoryEventStore(ids=world.ids, clock=world.clock), world.networks)
    services = replace(world.api(), session_reads=empty.sessions, progress=views)
    front.app = create_app(services)
    async with aiohttp.ClientSession(front.url) as client:
        yield Api(client, shop.key)


async def test_a_command_says_where_it_is_written_and_a_read_can_wait_for_it(
    behind: Api, views: Lagging, world: World
) -> None:
    made = await behind.post(PATH, NEW)
    position = int(made.headers["X-Position"])
    assert position == await world.store.head()
    waiting = asyncio.create_task(behind.get(f"{PATH}?min_position={position}&limit=5"))
    while not views.asked:
        await asyncio.sleep(0.001)
    assert not waiting.done()
    views.position_ = position
    assert (await waiting).status == 200


async def test_the_newest_fact_of_several_is_what_is_named(api: Api, world: World) -> None:
    for _ in range(3):
        made = await api.post(PATH, NEW)
        assert int(made.headers["X-Position"]) == await world.store.head()
    assert (await api.get(PATH)).headers.get("X-Position") is None


async def test_a_repeat_and_a_command_without_effect_name_a_position_too(
    api: Api, world: World
) -> None:
    first = await api.post(PATH, NEW, headers={"Idempotency-Key": "k"})
    again = await api.post(PATH, NEW, headers={"Idempotency-Key": "k"})
    assert again.headers["Idempotent-Replayed"] == "true"
    assert int(again.headers["X-Position"]) >= int(first.headers["X-Position"])
    path = f"{PATH}/{first.json['id']}/cancel"
    once, twice = await api.post(path), await api.post(path)
    assert once.headers["X-Position"] == twice.headers["X-Position"]
    assert int(twice.headers["X-Position"]) == await world.store.head()
    assert "X-Position" not in (await api.post(PATH, {})).headers


async def test_two_commands_at_once_each_name_their_own(api: Api, world: World) -> None:
    made = await asyncio.gather(*(api.post(PATH, NEW) for _ in range(20)))
    named = {int(one.headers["X-Position"]): one.json["id"] for one in made}
    assert len(named) == 20
    for recorded in await world.store.read_log(after=0, limit=1_000):
        if recorded.position in named:
            assert named[recorded.position] == f"ps_{recorded.stream.id.hex}"


@pytest.mark.parametrize(
    "path",
    [
        PATH,
        f"{PATH}/{{id}}",
        "/v1/refunds",
        "/v1/refunds/rf_" + "0" * 32,
        "/v1/transfers",
        "/v1/webhook-deliveries",
        "/v1/webhook-deliveries/wd_" + "0" * 32,
    ],
)
async def test_what_is_not_there_in_time_is_a_clear_error_on_every_view(
    behind: Api, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(positions, "BEHIND_SECONDS_MAX", 0.01)
    made = await behind.post(PATH, NEW)
    asked = f"{path.format(id=made.json['id'])}?min_position={made.headers['X-Position']}"
    answer = await behind.get(asked)
    answer.problem(503, "view.behind", "min_position")
    assert int(answer.headers["Retry-After"]) > 0


async def test_a_position_the_log_has_not_reached_is_a_wrong_value_and_nobody_waits_for_it(
    behind: Api, world: World
) -> None:
    ahead = await world.store.head() + 1
    began = asyncio.get_running_loop().time()
    answer = await behind.get(f"{PATH}?min_position={ahead}")
    answer.problem(422, "request.invalid", "min_position")
    assert asyncio.get_running_loop().time() - began < positions.BEHIND_SECONDS_MAX / 2


async def test_nobody_waits_who_may_not_read(behind: Api, views: Lagging, shop: Tenant) -> None:
    writer = behind.with_key(shop.keys["write",])
    answer = await writer.get(f"{PATH}?min_position=1")
    answer.problem(403, "api_key.scope_missing")
    assert views.asked == 0


async def test_a_read_of_the_log_itself_knows_no_min_position(api: Api) -> None:
    made = await api.post(PATH, NEW)
    answer = await api.get(f"{PATH}/{made.json['id']}/events?min_position=1")
    answer.problem(422, "request.invalid", "min_position")


async def test_the_openapi_document_says_so(api: Api) -> None:
    document = (await api.get("/openapi.json")).json
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if not path.startswith("/v1/"):
                continue
            names = [each["name"] for each in operation.get("parameters", ())]
            heads = [each.get("headers", {}) for each in operation["responses"].values()]
            assert any("X-Position" in head for head in heads) == (method != "get")
            if method != "get":
                assert "min_position" not in names
    listed = document["paths"][PATH]["get"]["parameters"]
    offered = {each["name"] for each in listed}
    assert {"q", "payer", "token", "amount_min", "amount_max", "min_position"} <= offered

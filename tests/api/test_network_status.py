"""A session says when its network is read late, and a new one says nothing about it."""

from datetime import timedelta

from application.standing import PENDING_SHOWN_SECONDS, Standing
from tests.api.conftest import Api
from tests.api.world import Tenant, World

PATH = "/v1/payment-sessions"


async def test_a_session_says_when_its_network_is_read_late(
    api: Api, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    path = f"{PATH}/ps_{session.session_id.hex}"
    assert (await api.get(path)).json["network_status"] == "following", "nothing is known"
    now = world.clock.now()
    since = now - timedelta(seconds=PENDING_SHOWN_SECONDS)
    for pending, said in ((True, "pending"), (False, "following")):
        world.reads.heads.standings["local"] = Standing(
            "local", now, trouble="finality_stalled", since=since, pending=pending
        )
        assert (await api.get(path)).json["network_status"] == said
        assert (await api.get(PATH)).json["data"][0]["network_status"] == said
    world.reads.heads.standings["local"] = Standing("local", now, since=now, trouble="too_few")
    assert (await api.get(path)).json["network_status"] == "following", "too young to be told"


async def test_a_new_session_does_not_look_how_its_network_stands(api: Api) -> None:
    created = (await api.post(PATH, {"amount": "10.00", "currency": "USD"})).json
    assert created["network_status"] is None


async def test_a_network_that_nobody_has_begun_to_read_opens_no_session(
    api: Api, world: World, shop: Tenant
) -> None:
    """Its ingester begins with the blocks of that moment: what was paid before would be lost."""
    world.reads.heads.numbers.clear()
    body = {"amount": "10.00", "currency": "USD"}
    refused = await api.post(PATH, body)
    assert refused.status == 503
    assert int(refused.headers["Retry-After"]) >= 1
    assert "network local is not read yet" in refused.json["error"]["message"]
    assert "start gateway ingest --network local" in refused.json["error"]["message"]
    assert (await api.get(PATH)).json["data"] == []
    world.reads.heads.numbers["local"] = 0
    assert (await api.post(PATH, body)).status == 201


async def test_an_old_session_of_a_network_never_read_says_so(
    api: Api, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    world.reads.heads.numbers.clear()
    path = f"{PATH}/ps_{session.session_id.hex}"
    assert (await api.get(path)).json["network_status"] == "pending"

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

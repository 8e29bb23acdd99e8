"""A network taken out of NETWORKS: what was opened, paid and given back there is still told."""

import json
from dataclasses import dataclass

import pytest

from adapters.addresses import checksum_address
from api.app import create_app
from application.messages import Messages
from domain.networks import POLYGON, NetworkBook
from tests.api.conftest import Api
from tests.api.serving import Front
from tests.api.world import NETWORK, Tenant, World

SESSIONS, REFUNDS, TRANSFERS = "/v1/payment-sessions", "/v1/refunds", "/v1/transfers"
DESCRIBED = NetworkBook(networks=(POLYGON,), others=(NETWORK,))
FORGOTTEN = NetworkBook(networks=(POLYGON,))
DUE_ASSET = NETWORK.asset(NETWORK.tokens[0])


@dataclass
class Before:
    """What there was when the network was served."""

    session: str
    refund: str
    stray: str


@pytest.fixture
async def before(api: Api, world: World, shop: Tenant) -> Before:
    session = await world.session(shop)
    await world.pay(session)
    await world.fund(shop, "50.00")
    name = f"ps_{session.session_id.hex}"
    body = {"payment_session_id": name, "amount": "4.00"}
    refund = await api.post(REFUNDS, body, headers={"Idempotency-Key": "r1"})
    await world.arrive(session.deposit_address, "1.00", token=NETWORK.tokens[1])
    listed = (await api.get(TRANSFERS)).json["data"]
    return Before(name, refund.json["id"], listed[0]["id"])


async def _all_answer(api: Api, before: Before) -> None:
    for path in (
        f"{SESSIONS}/{before.session}",
        f"{SESSIONS}/{before.session}/events",
        SESSIONS,
        f"{REFUNDS}/{before.refund}",
        REFUNDS,
        TRANSFERS,
    ):
        assert (await api.get(path)).status == 200, path


async def test_everything_of_a_network_that_is_only_described_is_told_as_ever(
    api: Api, front: Front, world: World, before: Before
) -> None:
    path = f"{SESSIONS}/{before.session}"
    session, refund = (
        (await api.get(path)).json,
        (await api.get(f"{REFUNDS}/{before.refund}")).json,
    )
    stray = (await api.get(f"{TRANSFERS}/{before.stray}")).json
    world.serve(DESCRIBED)
    front.app = create_app(world.api())
    await _all_answer(api, before)
    now = (await api.get(path)).json
    assert now.pop("network_status") == "pending", "nobody reads it"
    session.pop("network_status")
    assert now == session
    assert (await api.get(f"{REFUNDS}/{before.refund}")).json == refund
    assert (await api.get(f"{TRANSFERS}/{before.stray}")).json == stray
    assert (await api.get(TRANSFERS)).json["data"] == [stray]


async def test_where_nothing_describes_it_the_asset_is_named_and_no_decimals_are_guessed(
    api: Api, front: Front, world: World, before: Before
) -> None:
    world.serve(FORGOTTEN)
    front.app = create_app(world.api())
    await _all_answer(api, before)
    session = (await api.get(f"{SESSIONS}/{before.session}")).json
    assert (session["network"], session["token"]) == ("local", DUE_ASSET)
    assert (session["amount"], session["payment"]["amount_units"]) == ("10000000", "10000000")
    refund = (await api.get(f"{REFUNDS}/{before.refund}")).json
    assert (refund["network"], refund["token"], refund["amount"]) == (
        "local",
        DUE_ASSET,
        "4000000",
    )
    (await api.get(f"{TRANSFERS}/{before.stray}")).problem(404, "transfer.unknown")


@pytest.mark.parametrize("book", [DESCRIBED, FORGOTTEN])
async def test_nothing_new_is_begun_on_it(
    api: Api, front: Front, world: World, before: Before, book: NetworkBook
) -> None:
    world.serve(book)
    front.app = create_app(world.api())
    body = {"payment_session_id": before.session, "amount": "1.00"}
    refused = await api.post(REFUNDS, body, headers={"Idempotency-Key": "r2"})
    assert "not served here any more" in refused.problem(409, "refund.not_possible")["message"]
    opened = await api.post(SESSIONS, {"amount": "1.00", "currency": "USD", "network": "local"})
    opened.problem(422, "network.unknown", "network")


@pytest.mark.parametrize("book", [DESCRIBED, FORGOTTEN])
async def test_every_webhook_of_it_can_still_be_made(
    world: World, before: Before, book: NetworkBook
) -> None:
    """One that cannot be made would hold up those of every merchant."""
    facts = await world.store.read_log(after=0, limit=1_000)
    known = Messages(world.store, world.networks, checksum_address)
    as_ever = [await known.message_for(fact) for fact in facts]
    left = Messages(world.store, book, checksum_address)
    now = [await left.message_for(fact) for fact in facts]
    assert sum(message is not None for message in now) >= 4
    assert [m and (m.id, m.type, m.mode) for m in now] == [
        m and (m.id, m.type, m.mode) for m in as_ever
    ]
    if book is DESCRIBED:
        assert now == as_ever
    for message in now:
        if message is not None:
            assert json.loads(message.body)["data"]["network"] == "local"

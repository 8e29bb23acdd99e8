import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from adapters.memory.reads import MemoryReads
from adapters.memory.store import MemoryEventStore
from api.app import create_app
from tests.api.conftest import Api
from tests.api.serving import serving
from tests.api.world import Tenant, World
from tests.examples import AT, PAYER

PATH = "/v1/payment-sessions"
NEW: dict[str, Any] = {"amount": "10.00", "currency": "USD"}


async def test_a_created_session_says_how_to_pay(api: Api, world: World) -> None:
    answer = await api.post(
        PATH,
        {
            **NEW,
            "network": "local",
            "token": "USDT",
            "description": "Order 1042: café",
            "merchant_reference": "order-1042",
            "success_url": "https://shop.example/thanks",
            "cancel_url": "http://127.0.0.1:8080/cart",
            "customer_email": "jane@example.org",
            "metadata": {"cart": "7", "note": "größer"},
            "expires_in": 3600,
        },
    )
    assert answer.status == 201
    session = answer.json
    payment = session["payment"]
    assert session["id"].startswith("ps_")
    assert session["status"] == "pending"
    assert session["amount"] == "10.00"
    assert (session["network"], session["token"]) == ("local", "USDT")
    assert payment["amount_units"] == "10000000"
    assert payment["chain_id"] == 31337
    assert payment["uri"] == (
        f"ethereum:{payment['token_contract']}@31337/transfer"
        f"?address={payment['address']}&uint256=10000000"
    )
    assert payment["address"] == world.write(payment["address"].lower())
    assert payment["address"] != payment["address"].lower()
    assert session["checkout_url"] == f"https://pay.example/c/{session['id']}"
    assert session["expires_at"] == (AT + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    assert session["metadata"] == {"cart": "7", "note": "größer"}
    assert session["confirmations"] is None
    assert session["livemode"] is False
    assert b"jane@example.org" not in answer.body


async def test_the_amount_is_what_was_asked_for_however_much_has_come(
    api: Api, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    await world.pay(session, "4.00")
    part = (await api.get(f"{PATH}/ps_{session.session_id.hex}")).json
    assert (part["amount"], part["amount_received"]) == ("10.00", "4.00")
    assert (part["payment"]["amount"], part["payment"]["amount_units"]) == ("6.00", "6000000")
    assert part["payment"]["uri"].endswith("&uint256=6000000")
    await world.pay(session, "6.00", tx="12")
    whole = (await api.get(f"{PATH}/ps_{session.session_id.hex}")).json
    assert (whole["status"], whole["amount"]) == ("completed", "10.00")


async def test_what_was_created_can_be_read_and_listed(api: Api) -> None:
    # Whoever changes something does not look how its network stands.
    created = (await api.post(PATH, NEW)).json | {"network_status": "following"}
    assert (await api.get(f"{PATH}/{created['id']}")).json == created
    listed = (await api.get(PATH)).json
    assert listed == {"object": "list", "data": [created], "next_cursor": None, "has_more": False}


async def test_what_the_views_do_not_have_yet_is_read_from_the_log(
    world: World, shop: Tenant, other: Tenant
) -> None:
    nothing = MemoryReads(MemoryEventStore(ids=world.ids, clock=world.clock), world.networks)
    lagging = replace(world.api(), session_reads=nothing.sessions, refund_reads=nothing.refunds)
    async with serving(create_app(lagging)) as url, aiohttp.ClientSession(url) as client:
        ours, theirs = Api(client, shop.key), Api(client, other.key)
        created = (await ours.post(PATH, NEW)).json | {"network_status": "following"}
        assert (await ours.get(f"{PATH}/{created['id']}")).json == created
        stranger = await theirs.get(f"{PATH}/{created['id']}")
        stranger.problem(404, "payment_session.unknown")
        session = await world.session(shop)
        await world.pay(session)
        await world.fund(shop, "50.00")
        wanted = {"payment_session_id": f"ps_{session.session_id.hex}"}
        refund = await ours.post("/v1/refunds", wanted, headers={"Idempotency-Key": "r"})
        path = f"/v1/refunds/{refund.json['id']}"
        assert (await ours.get(path)).json == refund.json
        (await theirs.get(path)).problem(404, "refund.unknown")


async def test_the_list_is_paged_and_filtered(api: Api, world: World, shop: Tenant) -> None:
    made = []
    for number in range(5):
        made.append((await api.post(PATH, {**NEW, "merchant_reference": f"order-{number}"})).json)
        world.clock.advance(60)
    first = (await api.get(f"{PATH}?limit=2")).json
    assert [one["id"] for one in first["data"]] == [made[4]["id"], made[3]["id"]]
    assert first["has_more"] is True
    rest = (await api.get(f"{PATH}?limit=100&cursor={first['next_cursor']}")).json
    assert [one["id"] for one in rest["data"]] == [made[n]["id"] for n in (2, 1, 0)]
    one = (await api.get(f"{PATH}?merchant_reference=order-3")).json["data"]
    assert [found["id"] for found in one] == [made[3]["id"]]
    since = made[2]["created_at"].replace("+", "%2B")
    until = made[4]["created_at"].replace("+", "%2B")
    window = (await api.get(f"{PATH}?created_from={since}&created_to={until}")).json["data"]
    assert [found["id"] for found in window] == [made[3]["id"], made[2]["id"]]
    session = await world.session(shop)
    await world.pay(session)
    done = (await api.get(f"{PATH}?status=completed&network=local")).json["data"]
    assert [found["status"] for found in done] == ["completed"]
    assert (await api.get(f"{PATH}?tx_hash=0x{'11' * 32}")).json["data"] == done
    assert (await api.get(f"{PATH}?tx_hash=0x{'22' * 32}")).json["data"] == []


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("token=USDC", [2, 1, 0]),
        ("token=USDT&network=local", []),
        ("amount_min=20", [2, 1]),
        ("amount_max=20.00&amount_min=20.00", [1]),
        ("amount_min=30.01", []),
        ("payer=" + PAYER, [0]),
        ("payer=" + "0x" + PAYER[2:].upper(), [0]),
        ("q=order-2", [2]),
        ("q=order", []),
        ("q=0x" + "AB" * 32, [0]),
        ("q=" + PAYER, [0]),
        ("q={id}", [1]),
        ("q={address}", [1]),
        ("q={id}&status=completed", []),
        ("q=Two", []),
    ],
)
async def test_each_filter_takes_what_people_write(
    api: Api, world: World, shop: Tenant, asked: str, found: list[int]
) -> None:
    made = []
    for number, amount in enumerate(("10.00", "20.00", "30.00")):
        reference = f"order-{number}"
        made.append(
            await world.session(
                shop, amount, merchant_reference=reference, description="Two", network="local"
            )
        )
        world.clock.advance(1)
    await world.pay(made[0], tx="ab")
    one = made[1]
    path = asked.format(id=f"ps_{one.session_id.hex}", address=one.deposit_address)
    answer = await api.get(f"{PATH}?{path}")
    assert answer.status == 200, answer.body
    references = [each["merchant_reference"] for each in answer.json["data"]]
    assert references == [f"order-{number}" for number in found]


async def test_progress_and_money_are_told_while_it_is_paid(
    api: Api, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    path = f"{PATH}/ps_{session.session_id.hex}"
    seen = await world.observe(session, "6.00", tx="11", number=100)
    short = (await api.get(path)).json
    assert (short["status"], short["exceptions"]) == ("pending", ["underpaid"])
    assert (short["amount_received"], short["amount_confirmed"]) == ("6.00", "0.00")
    more = await world.observe(session, "4.00", tx="22", number=101)
    confirming = (await api.get(path)).json
    assert confirming["status"] == "confirming"
    assert confirming["confirmations"] == {"seen": 1, "required": 3, "waiting_for": None}
    world.reads.heads.numbers["local"] = 102
    assert (await api.get(path)).json["confirmations"]["seen"] == 2
    assert (await api.get(PATH)).json["data"][0]["confirmations"]["seen"] == 2
    await world.confirm(seen)
    await world.confirm(more)
    done = (await api.get(path)).json
    assert done["status"] == "completed"
    assert done["fee"] == "0.05"
    assert done["amount_refundable"] == "10.00"
    assert [transfer["status"] for transfer in done["transfers"]] == ["confirmed", "confirmed"]
    assert done["exceptions"] == ["multiple_transfers"]


async def test_an_unpaid_session_can_be_cancelled_and_a_paid_one_cannot(
    api: Api, world: World, shop: Tenant
) -> None:
    created = (await api.post(PATH, NEW)).json
    for _ in range(2):
        cancelled = await api.post(f"{PATH}/{created['id']}/cancel")
        assert (cancelled.status, cancelled.json["status"]) == (200, "failed")
    paid = await world.session(shop)
    await world.pay(paid)
    refused = await api.post(f"{PATH}/ps_{paid.session_id.hex}/cancel")
    refused.problem(409, "payment_session.not_open")


async def test_the_history_says_what_happened_when_by_whom_and_why(
    api: Api, world: World, shop: Tenant
) -> None:
    session = await world.session(shop, customer_email="jane@example.org")
    await world.pay(session)
    answer = await api.get(f"{PATH}/ps_{session.session_id.hex}/events")
    facts = answer.json["data"]
    assert [fact["name"] for fact in facts] == [
        "payment_session.created",
        "transfer.observed",
        "payment.covered",
        "transfer.confirmed",
        "payment.completed",
    ]
    assert [fact["version"] for fact in facts] == [1, 2, 3, 4, 5]
    assert facts[0]["actor"].startswith("api_key:")
    assert facts[0]["data"]["session_id"] == f"ps_{session.session_id.hex}"
    assert facts[3]["policy_version"] == 1
    assert b"ciphertext" not in answer.body
    later = await api.get(f"{PATH}/ps_{session.session_id.hex}/events?after=2&limit=2")
    assert [fact["version"] for fact in later.json["data"]] == [3, 4]
    assert later.json["has_more"] is True


async def test_the_same_key_and_body_give_the_same_answer(api: Api, world: World) -> None:
    headers = {"Idempotency-Key": "order-1042"}
    first = await api.post(PATH, NEW, headers=headers)
    world.clock.advance(90)
    again = await api.post(
        PATH,
        data='{"currency" : "USD", "amount":"10.00"}',
        headers={"Idempotency-Key": '"order-1042"'},
    )
    assert (again.status, again.body) == (201, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert len((await api.get(PATH)).json["data"]) == 1


async def test_a_used_key_is_refused_for_anything_else(api: Api) -> None:
    headers = {"Idempotency-Key": "order-1042"}
    assert (await api.post(PATH, NEW, headers=headers)).status == 201
    other_body = await api.post(PATH, {**NEW, "amount": "10.01"}, headers=headers)
    other_body.problem(422, "idempotency_key_reused", "Idempotency-Key")
    url = {"url": "https://shop.example/hooks"}
    other_route = await api.post("/v1/webhook-endpoints", url, headers=headers)
    other_route.problem(422, "idempotency_key_reused", "Idempotency-Key")


async def test_a_refused_request_does_not_use_up_its_key(api: Api) -> None:
    headers = {"Idempotency-Key": "order-1042"}
    bad = await api.post(PATH, {**NEW, "amount": "0"}, headers=headers)
    bad.problem(422, "amount.out_of_range", "amount")
    assert (await api.post(PATH, NEW, headers=headers)).status == 201


async def test_keys_of_two_merchants_do_not_meet(api: Api, other: Tenant) -> None:
    headers = {"Idempotency-Key": "order-1042"}
    ours = await api.post(PATH, NEW, headers=headers)
    theirs = await api.with_key(other.key).post(PATH, NEW, headers=headers)
    assert theirs.status == 201
    assert theirs.json["id"] != ours.json["id"]


async def test_two_hundred_creations_with_ten_keys_make_ten_sessions(api: Api) -> None:
    answers = await asyncio.gather(
        *(
            api.post(PATH, NEW, headers={"Idempotency-Key": f"order-{number % 10}"})
            for number in range(200)
        )
    )
    assert {answer.status for answer in answers} == {201}
    assert len({answer.json["id"] for answer in answers}) == 10
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 190
    assert len((await api.get(f"{PATH}?limit=100")).json["data"]) == 10

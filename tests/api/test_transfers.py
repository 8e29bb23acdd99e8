"""The inbox over HTTP: what is there, why, and what the merchant decides."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from domain.values import public_id
from tests.api.conftest import Api
from tests.api.world import BRIDGED, NETWORK, Tenant, World
from tests.examples import PAYER, RECEIVING

PATH = "/v1/transfers"


@pytest.fixture
async def wallet(world: World, shop: Tenant) -> str:
    await world.receive_at(shop, RECEIVING)
    return RECEIVING


@pytest.fixture
async def stray(world: World, wallet: str) -> str:
    return public_id("tr", await world.arrive(wallet))


async def _ids(api: Api, query: str = "") -> list[str]:
    answer = await api.get(PATH + query)
    assert answer.status == 200, answer.body
    return [one["id"] for one in answer.json["data"]]


async def _decide(api: Api, transfer: str, what: str, key: str = "", **body: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else None
    return await api.post(f"{PATH}/{transfer}/{what}", body, headers=headers)


async def test_a_transfer_says_what_it_is_and_why_it_is_nobodys(
    api: Api, world: World, stray: str
) -> None:
    (listed,) = (await api.get(PATH)).json["data"]
    assert (await api.get(f"{PATH}/{stray}")).json == listed
    assert listed["id"] == stray
    assert (listed["amount"], listed["token"], listed["network"]) == ("10.00", "USDC", "local")
    assert listed["verdict"] == "unknown_sender"
    assert listed["reason"] == "sent to the merchant's wallet by somebody no session knows"
    assert listed["to_address"] == world.write(RECEIVING)
    assert listed["from_address"] == world.write(PAYER)
    assert (listed["status"], listed["waiting"], listed["resolution"]) == (
        "confirmed",
        True,
        "open",
    )
    assert (listed["payment_session_id"], listed["refund_id"]) == (None, None)


async def test_the_list_shows_what_waits_unless_other_transfers_are_asked_for(
    api: Api, world: World, shop: Tenant, wallet: str
) -> None:
    session = await world.session(shop)
    await world.pay(session, tx="11")
    first = public_id("tr", await world.arrive(wallet, tx="21"))
    bridged = public_id("tr", await world.arrive(wallet, tx="22", token=BRIDGED))
    other = public_id("tr", await world.arrive(wallet, tx="23", sender="0x" + "0a" * 20))
    await _decide(api, first, "accept", reason="a tip")
    assert await _ids(api) == [other, bridged]
    assert await _ids(api, "?resolution=accepted") == [first]
    assert (await _ids(api, "?show=all"))[:3] == [other, bridged, first]
    assert len(await _ids(api, "?show=all")) == 4
    assert await _ids(api, "?token=USDC.e") == [bridged]
    assert await _ids(api, f"?from_address=0x{'0A' * 20}") == [other]
    assert await _ids(api, f"?tx_hash=0x{'22' * 32}") == [bridged]
    assert await _ids(api, "?network=local&limit=1") == [other]
    assert await _ids(api, "?network=elsewhere") == []
    page = (await api.get(PATH + "?limit=1")).json
    assert await _ids(api, f"?limit=1&cursor={page['next_cursor']}") == [bridged]


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("token=DAI", "token.unknown", "token"),
        ("from_address=0x12", "address.malformed", "from_address"),
        ("resolution=lost", "request.invalid", "resolution"),
        ("show=everything", "request.invalid", "show"),
        ("tx_hash=0x12", "request.invalid", "tx_hash"),
        ("cursor=nonsense", "cursor.malformed", "cursor"),
        ("colour=green", "request.invalid", "colour"),
    ],
)
async def test_a_wrong_filter_is_named(api: Api, query: str, code: str, field: str) -> None:
    (await api.get(f"{PATH}?{query}")).problem(422, code, field)


@pytest.mark.parametrize(("what", "then"), [("accept", "accepted"), ("dismiss", "dismissed")])
async def test_a_decision_is_final_and_keeps_its_reason_and_actor(
    api: Api, world: World, stray: str, what: str, then: str
) -> None:
    decided = await _decide(api, stray, what, reason=" he came twice ")
    assert (decided.status, decided.json["resolution"], decided.json["waiting"]) == (
        200,
        then,
        False,
    )
    assert (await api.get(f"{PATH}/{stray}")).json == decided.json
    assert await _ids(api) == []
    log = await world.store.read_log(after=0, limit=1_000)
    (fact,) = [each for each in log if each.event.name == f"onchain_transfer.{then}"]
    assert fact.event.model_dump()["reason"] == "he came twice"
    assert fact.context.actor.startswith("api_key:")
    for again in ("accept", "dismiss"):
        refused = await _decide(api, stray, again, reason="once more")
        refused.problem(409, "transfer.not_unmatched")


async def test_the_same_key_gives_the_same_answer_to_a_decision(api: Api, stray: str) -> None:
    first = await _decide(api, stray, "accept", "k-1", reason="a tip")
    again = await _decide(api, stray, "accept", "k-1", reason="a tip")
    assert (again.status, again.body) == (200, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await _decide(api, stray, "accept", "k-1", reason="another")
    other.problem(422, "idempotency_key_reused", "Idempotency-Key")


@pytest.mark.parametrize("what", ["accept", "dismiss", "assign", "refund"])
@pytest.mark.parametrize("reason", ["", "   ", None, 7, "x" * 501, "a\u0000b"])
async def test_a_decision_needs_a_reason(api: Api, stray: str, what: str, reason: Any) -> None:
    body: dict[str, Any] = {"reason": reason}
    if what == "assign":
        body["payment_session_id"] = "ps_" + "0" * 32
    answer = await _decide(api, stray, what, "k", **body)
    if what == "assign" and reason == "   ":
        answer.problem(404, "payment_session.unknown")  # looked at first
        return
    code = "reason.missing" if reason == "   " else "request.invalid"
    answer.problem(422, code, "reason")


async def test_a_transfer_can_be_given_to_a_session_also_to_a_closed_one(
    api: Api, world: World, shop: Tenant, stray: str
) -> None:
    session = await world.session(shop, "10.00", pay_by="merchant_wallet")
    world.clock.advance(9 * 24 * 3600)
    wanted = public_id("ps", session.session_id)
    given = await _decide(api, stray, "assign", reason="he told us", payment_session_id=wanted)
    assert (given.status, given.json["payment_session_id"]) == (200, wanted)
    assert (given.json["purpose"], given.json["verdict"]) == (
        "payment_session",
        "assigned_by_person",
    )
    paid = (await api.get(f"/v1/payment-sessions/{wanted}")).json
    assert paid["status"] == "completed"
    again = await _decide(api, stray, "assign", reason="he told us", payment_session_id=wanted)
    assert (again.status, again.json) == (200, given.json)


async def test_a_transfer_fits_only_sessions_of_its_token(
    api: Api, world: World, shop: Tenant, wallet: str
) -> None:
    bridged = public_id("tr", await world.arrive(wallet, token=BRIDGED))
    session = await world.session(shop, pay_by="merchant_wallet")
    wanted = public_id("ps", session.session_id)
    refused = await _decide(api, bridged, "assign", reason="his", payment_session_id=wanted)
    error = refused.problem(422, "transfer.does_not_fit", "payment_session_id")
    assert "USDC.e on local" in error["message"]
    malformed = await _decide(api, bridged, "assign", reason="his", payment_session_id="order-1")
    malformed.problem(422, "id.malformed", "payment_session_id")


async def test_money_nobody_knows_goes_back_to_where_it_came_from(
    api: Api, world: World, shop: Tenant, stray: str
) -> None:
    await world.fund(shop, "50.00")
    refund = await _decide(api, stray, "refund", "k-1", reason="sent by mistake")
    assert refund.status == 201, refund.body
    assert refund.json["transfer_id"] == stray
    assert refund.json["payment_session_id"] is None
    assert refund.json["to_address"] == world.write(PAYER)
    assert (refund.json["amount"], refund.json["gas"]) == ("10.00", None)
    again = await _decide(api, stray, "refund", "k-1", reason="sent by mistake")
    assert (again.status, again.body) == (201, refund.body)
    transfer = (await api.get(f"{PATH}/{stray}")).json
    assert (transfer["resolution"], transfer["refund_id"]) == ("refunding", refund.json["id"])
    second = await _decide(api, stray, "refund", "k-2", reason="and again")
    second.problem(409, "transfer.not_unmatched")
    assert (await api.get(f"/v1/refunds/{refund.json['id']}")).json == refund.json


async def test_ten_refunds_at_once_of_one_transfer_are_one(
    api: Api, world: World, shop: Tenant, stray: str
) -> None:
    await world.fund(shop, "500.00")
    answers = await asyncio.gather(
        *(_decide(api, stray, "refund", f"k-{n}", reason="back") for n in range(10))
    )
    assert sorted(answer.status for answer in answers) == [201] + [409] * 9
    assert len((await api.get("/v1/refunds")).json["data"]) == 1


async def test_a_refund_of_a_transfer_has_the_rules_of_every_refund(
    api: Api, world: World, shop: Tenant, wallet: str, stray: str
) -> None:
    (await _decide(api, stray, "refund", reason="back")).problem(400, "idempotency_key_missing")
    small = await _decide(api, stray, "refund", "k-1", reason="back")
    small.problem(409, "refund.float_too_small", "amount")
    await world.fund(shop, "50.00")
    for address, code in (
        ("0x" + "0" * 40, "address.forbidden"),
        (NETWORK.tokens[0].address, "address.forbidden"),
        (RECEIVING, "address.forbidden"),
        ("0x12", "address.malformed"),
    ):
        refused = await _decide(api, stray, "refund", "k-1", reason="back", to_address=address)
        refused.problem(422, code, "to_address")
    young = public_id("tr", await world.arrive(wallet, tx="45", confirmed=False))
    early = await _decide(api, young, "refund", "k-1", reason="back")
    early.problem(409, "transfer.not_confirmed")
    bridged = public_id("tr", await world.arrive(wallet, tx="46", token=BRIDGED))
    other_token = await _decide(api, bridged, "refund", "k-1", reason="back")
    error = other_token.problem(409, "refund.not_possible", "transfer_id")
    assert "USDC.e" in error["message"]
    elsewhere = "0x" + "0b" * 20
    paid = await _decide(api, stray, "refund", "k-1", reason="back", to_address=elsewhere)
    assert (paid.status, paid.json["to_address"]) == (201, world.write(elsewhere))


@pytest.mark.parametrize("transfer", ["tr_" + "0" * 32, "tr_", "ps_" + "0" * 32, "x" * 3000])
async def test_an_unknown_transfer_is_unknown(api: Api, transfer: str) -> None:
    (await api.get(f"{PATH}/{transfer}")).problem(404, "transfer.unknown")
    accepted = await _decide(api, transfer, "accept", reason="ours?")
    accepted.problem(404, "transfer.unknown")


async def test_money_at_an_address_of_nobody_is_nobodys_to_decide(api: Api, world: World) -> None:
    nobodys: UUID = await world.arrive("0x" + "0c" * 20)
    transfer = public_id("tr", nobodys)
    (await api.get(f"{PATH}/{transfer}")).problem(404, "transfer.unknown")
    assert await _ids(api, "?show=all") == []

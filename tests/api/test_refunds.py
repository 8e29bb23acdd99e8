import asyncio
from typing import Any

import pytest

from tests.api.conftest import Api
from tests.api.world import Tenant, World
from tests.examples import TOKEN

PATH = "/v1/refunds"


@pytest.fixture
async def paid(world: World, shop: Tenant) -> str:
    """A paid session of 10.00, and enough in the float."""
    session = await world.session(shop)
    await world.pay(session)
    await world.fund(shop, "50.00")
    return f"ps_{session.session_id.hex}"


async def _refund(api: Api, key: str, **body: Any) -> Any:
    return await api.post(PATH, body, headers={"Idempotency-Key": key})


async def test_part_of_a_payment_goes_back_to_the_payer(api: Api, world: World, paid: str) -> None:
    answer = await _refund(api, "r1", payment_session_id=paid, amount="4.00", reason="too small")
    assert answer.status == 201
    refund = answer.json
    assert refund["id"].startswith("rf_")
    assert (refund["status"], refund["amount"]) == ("requested", "4.00")
    assert refund["to_address"] == world.write("0x" + "ff" * 20)
    assert (await api.get(f"{PATH}/{refund['id']}")).json == refund
    assert (await api.get(f"{PATH}?payment_session_id={paid}")).json["data"] == [refund]
    session = (await api.get(f"/v1/payment-sessions/{paid}")).json
    assert session["amount_refundable"] == "6.00"


async def test_without_a_key_nothing_is_refunded(api: Api, paid: str) -> None:
    answer = await api.post(PATH, {"payment_session_id": paid})
    answer.problem(400, "idempotency_key_missing", "Idempotency-Key")
    assert (await api.get(PATH)).json["data"] == []


async def test_a_repeated_refund_is_one_refund(api: Api, paid: str) -> None:
    first = await _refund(api, "r1", payment_session_id=paid, amount="4.00")
    again = await _refund(api, "r1", payment_session_id=paid, amount="4.00")
    assert (again.status, again.body) == (201, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await _refund(api, "r1", payment_session_id=paid, amount="5.00")
    other.problem(422, "idempotency_key_reused", "Idempotency-Key")


async def test_a_repeat_is_answered_even_when_nothing_is_left_to_refund(
    api: Api, paid: str
) -> None:
    first = await _refund(api, "all", payment_session_id=paid)
    assert first.json["amount"] == "10.00"
    again = await _refund(api, "all", payment_session_id=paid)
    assert (again.status, again.body) == (201, first.body)
    fresh = await _refund(api, "more", payment_session_id=paid)
    fresh.problem(422, "refund.exceeds_received", "amount")


async def test_two_hundred_refunds_at_once_never_exceed_what_arrived(
    api: Api, world: World, paid: str
) -> None:
    answers = await asyncio.gather(
        *(
            _refund(api, f"r{number % 50}", payment_session_id=paid, amount="3.00")
            for number in range(200)
        )
    )
    made = {answer.json["id"] for answer in answers if answer.status == 201}
    assert len(made) == 3
    assert {answer.status for answer in answers} <= {201, 422, 503}
    assert len((await api.get(PATH)).json["data"]) == 3


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"amount": "10.01"}, 422, "refund.exceeds_received", "amount"),
        ({"amount": "0"}, 422, "amount.malformed", "amount"),
        ({"amount": "-1"}, 422, "amount.malformed", "amount"),
        ({"amount": 1}, 422, "request.invalid", "amount"),
        ({"to_address": "0x" + "0" * 40}, 422, "address.forbidden", "to_address"),
        ({"to_address": TOKEN}, 422, "address.forbidden", "to_address"),
        ({"to_address": "0x12"}, 422, "address.malformed", "to_address"),
        (
            {"to_address": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"},
            422,
            "address.malformed",
            "to_address",
        ),
        ({"payment_session_id": "ps_1"}, 422, "id.malformed", "payment_session_id"),
        (
            {"payment_session_id": "ps_" + "0" * 32},
            404,
            "payment_session.unknown",
            "payment_session_id",
        ),
        ({"reason": "\u0000"}, 422, "request.invalid", "reason"),
        ({"fee": "1"}, 422, "request.invalid", "fee"),
    ],
)
async def test_a_wrong_refund_is_told_why(
    api: Api, paid: str, body: dict[str, Any], status: int, code: str, field: str
) -> None:
    answer = await _refund(api, "r1", **{"payment_session_id": paid, **body})
    answer.problem(status, code, field)


async def test_our_own_addresses_are_no_destination(api: Api, world: World, paid: str) -> None:
    session = (await api.get(f"/v1/payment-sessions/{paid}")).json
    ours = session["payment"]["address"]
    answer = await _refund(api, "r1", payment_session_id=paid, to_address=ours)
    answer.problem(422, "address.forbidden", "to_address")


async def test_an_unpaid_session_and_an_empty_float_are_conflicts(
    api: Api, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    wanted = f"ps_{session.session_id.hex}"
    unpaid = await _refund(api, "r1", payment_session_id=wanted)
    unpaid.problem(409, "refund.not_possible", "payment_session_id")
    await world.pay(session)
    empty = await _refund(api, "r2", payment_session_id=wanted)
    empty.problem(409, "refund.float_too_small", "amount")
    read = (await api.get(f"/v1/payment-sessions/{wanted}")).json
    assert read["amount_refundable"] == "10.00"

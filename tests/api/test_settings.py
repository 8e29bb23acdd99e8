"""What a merchant sets by itself."""

from typing import Any

import pytest

from tests.api.conftest import Api
from tests.api.world import Tenant, World
from tests.examples import RECEIVING

PATH = "/v1/settings"
NEW: dict[str, Any] = {"amount": "200.00", "currency": "USD"}


async def _put(api: Api, **body: Any) -> Any:
    return await api.call("PUT", PATH, body)


async def test_nothing_is_missing_and_no_wallet_is_shared_until_it_is_said(api: Api) -> None:
    assert (await api.get(PATH)).json == {
        "object": "settings",
        "tolerance": {"absolute": "0.00", "percent": "0.00"},
        "receiving_address": None,
        "livemode": False,
    }


async def test_what_is_left_out_stays_and_a_second_time_changes_nothing(
    api: Api, world: World
) -> None:
    tolerance = {"absolute": "0.05", "percent": "1.25"}
    first = await _put(api, tolerance=tolerance)
    assert (first.status, first.json["tolerance"]) == (200, tolerance)
    facts = await world.store.head()
    for again in (await _put(api, tolerance=tolerance), await _put(api)):
        assert again.json == first.json == (await api.get(PATH)).json
    assert await world.store.head() == facts
    assert (await _put(api, tolerance={})).json["tolerance"]["percent"] == "0.00"


@pytest.mark.parametrize("address", [RECEIVING, "0x12", "", None, 7, {}])
async def test_where_customers_pay_to_is_the_operators_to_set_and_everybodys_to_read(
    api: Api, world: World, shop: Tenant, address: Any
) -> None:
    """One leaked key must not send every later payment elsewhere."""
    await world.receive_at(shop, RECEIVING)
    before, facts = (await api.get(PATH)).json, await world.store.head()
    assert before["receiving_address"] == world.write(RECEIVING)
    refused = await _put(api, tolerance={"absolute": "0.05"}, receiving_address=address)
    error = refused.problem(422, "request.invalid", "receiving_address")
    assert "operator" in error["message"]
    assert (await api.get(PATH)).json == before
    assert await world.store.head() == facts


async def test_the_contract_does_not_offer_it(api: Api) -> None:
    schemas = (await api.get("/openapi.json")).json["components"]["schemas"]
    assert set(schemas["SettingsChange"]["properties"]) == {"tolerance"}
    assert "operator" in schemas["SettingsView"]["properties"]["receiving_address"]["description"]


async def test_test_and_live_do_not_mix(api: Api, world: World, shop: Tenant) -> None:
    await world.receive_at(shop, RECEIVING)
    await _put(api, tolerance={"absolute": "0.05"})
    live = (await api.with_key(shop.live_key).get(PATH)).json
    assert (live["receiving_address"], live["livemode"]) == (None, True)
    assert live["tolerance"]["absolute"] == "0.00"


async def test_a_tolerance_counts_for_sessions_opened_from_then_on(
    api: Api, world: World, shop: Tenant
) -> None:
    before = await world.session(shop, "200.00")
    await _put(api, tolerance={"absolute": "0.05", "percent": "1.00"})
    assert (await api.post("/v1/payment-sessions", NEW)).json["tolerance"] == "2.00"
    old = (await api.get(f"/v1/payment-sessions/ps_{before.session_id.hex}")).json
    assert old["tolerance"] == "0.00"
    session = await world.session(shop, "200.00")
    await world.pay(session, "198.00")
    paid = (await api.get(f"/v1/payment-sessions/ps_{session.session_id.hex}")).json
    assert (paid["status"], paid["exceptions"]) == ("completed", ["underpaid"])


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"tolerance": {"absolute": "0.0000001"}}, "amount.malformed", "tolerance.absolute"),
        ({"tolerance": {"absolute": "-1"}}, "amount.malformed", "tolerance.absolute"),
        ({"tolerance": {"absolute": "1e2"}}, "amount.malformed", "tolerance.absolute"),
        ({"tolerance": {"absolute": 1}}, "request.invalid", "tolerance.absolute"),
        ({"tolerance": {"percent": "1.001"}}, "amount.malformed", "tolerance.percent"),
        ({"tolerance": {"percent": 0.5}}, "request.invalid", "tolerance.percent"),
        ({"tolerance": {"percent": "10.01"}}, "merchant.tolerance_out_of_range", "tolerance"),
        ({"tolerance": {"absolute": "100.01"}}, "merchant.tolerance_out_of_range", "tolerance"),
        ({"tolerance": {"absolute": "9" * 101}}, "request.invalid", "tolerance.absolute"),
        ({"tolerance": {"colour": "1"}}, "request.invalid", "tolerance.colour"),
        ({"colour": "green"}, "request.invalid", "colour"),
    ],
)  # fmt: skip
async def test_a_wrong_setting_is_named_and_nothing_changes(
    api: Api, world: World, body: dict[str, Any], code: str, field: str
) -> None:
    facts = await world.store.head()
    (await api.call("PUT", PATH, body)).problem(422, code, field)
    assert await world.store.head() == facts

from datetime import timedelta

from application.statements import CLOSING_SECONDS, Month
from tests.api.conftest import Api
from tests.api.world import Tenant, World

NOVEMBER = "/v1/statements/2026-11"


async def test_a_month_is_stated_with_its_invoice(api: Api, world: World, shop: Tenant) -> None:
    session = await world.session(shop, "10.01")
    await world.pay(session, "10.01")
    await world.fund(shop, "50.00")
    answer = await api.get(NOVEMBER)
    assert answer.status == 200
    stated = answer.json
    assert stated["month"] == "2026-11"
    assert stated["begins_at"] == "2026-11-01T00:00:00Z"
    assert stated["ends_at"] == "2026-12-01T00:00:00Z"
    assert stated["preliminary"] is True
    assert stated["livemode"] is False
    assert stated["merchant_id"] == shop.merchant_id.hex
    (paid,) = stated["payments_completed"]
    assert (paid["token"], paid["network"], paid["count"], paid["gross"]) == (
        "USDC",
        "local",
        1,
        "10.01",
    )
    invoice = stated["invoice"]
    assert invoice["number"] == f"TEST-2026-11-{shop.merchant_id.hex[:12].upper()}"
    assert invoice["total_usd"] == "0.05005"
    (line,) = invoice["lines"]
    assert (line["count"], line["base"], line["amount"]) == (1, "10.01", "0.05005")
    accounts = {each["account"]: each for each in stated["accounts"]}
    assert accounts["merchant_payable"]["closing"] == "10.01"
    assert accounts["merchant_payable"]["normal_side"] == "credit"
    assert accounts["hot_wallet"]["debits"] == "50.00"
    world.clock.advance(
        (
            Month(2026, 11).ends - world.clock.now() + timedelta(seconds=CLOSING_SECONDS)
        ).total_seconds()
    )
    closed = (await api.get(NOVEMBER)).json
    assert closed == {**stated, "preliminary": False}


async def test_balances_are_those_of_any_position(api: Api, world: World, shop: Tenant) -> None:
    await world.fund(shop, "50.00")
    before = (await api.get("/v1/balances")).json
    await world.pay(await world.session(shop))
    now = (await api.get("/v1/balances")).json
    held = {each["account"]: each["balance"] for each in now["data"]}
    assert held == {
        "customer_receipts": "10.00",
        "merchant_payable": "10.00",
        "fees_receivable": "0.05",
        "fee_revenue": "0.05",
        "hot_wallet": "50.00",
        "refund_float": "50.00",
    }
    assert now["position"] == await world.store.head() > before["position"]
    again = await api.get(f"/v1/balances?at_position={before['position']}")
    assert again.json == before
    assert [each["account"] for each in before["data"]] == ["hot_wallet", "refund_float"]
    assert (await api.get("/v1/balances?at_position=0")).json["data"] == []


async def test_nobody_sees_the_books_of_another_or_of_the_other_mode(
    api: Api, world: World, shop: Tenant, other: Tenant
) -> None:
    await world.pay(await world.session(shop))
    for key in (other.key, shop.live_key):
        stranger = api.with_key(key)
        assert (await stranger.get("/v1/balances")).json["data"] == []
        stated = (await stranger.get(NOVEMBER)).json
        assert stated["accounts"] == stated["activity"] == stated["payments_completed"] == []
        assert stated["invoice"]["total_usd"] == "0.00"
    assert (await api.with_key(shop.keys[("write",)]).get(NOVEMBER)).status == 403
    assert (await api.with_key("").get("/v1/balances")).status == 401


async def test_months_and_positions_that_are_none_are_refused(api: Api) -> None:
    for month in ("2026-13", "november", "2026-1"):
        answer = await api.get(f"/v1/statements/{month}")
        answer.problem(422, "statement.month_malformed", "month")
    answer = await api.get("/v1/statements/2026-12")
    answer.problem(422, "statement.month_ahead", "month")
    answer = await api.get("/v1/balances?at_position=1000000")
    answer.problem(422, "balances.position_ahead", "at_position")
    for wrong in ("-1", "x", "1e3", str(2**63)):
        (await api.get(f"/v1/balances?at_position={wrong}")).problem(
            422, "request.invalid", "at_position"
        )
    (await api.get("/v1/balances?position=1")).problem(422, "request.invalid", "position")

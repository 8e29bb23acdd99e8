import re
from typing import Any

import pytest

from application.ports import StoreUnavailable
from domain.payment import PaymentSession
from tests.api.world import Tenant, World
from tests.examples import LOCAL
from tests.web.conftest import Site
from web.app import REFRESH_SECONDS
from web.assets import Assets


def _url(session: PaymentSession) -> str:
    return f"/c/ps_{session.session_id.hex}"


async def test_a_pending_checkout_says_everything_as_text(
    site: Site, world: World, shop: Tenant
) -> None:
    session = await world.session(shop, "48.50", description="Two bags")
    status, page, response = await site.get(_url(session))
    address = world.write(session.deposit_address)
    contract = world.write(LOCAL.tokens[0].address)
    assert status == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Send 48.50 USDC on Local test chain" in page
    assert "Send only USDC on Local test chain." in page
    assert "chain ID 31337" in page
    assert "Two bags" in page
    assert f'data-copy="{address}"' in page
    shown = re.search(r'<code class="address">(.*?)</code>', page)
    assert shown is not None
    assert re.sub(r"<.*?>", "", shown[1]) == address
    uri = f"ethereum:{contract}@31337/transfer?address={address}&amp;uint256=48500000"
    assert f'href="{uri}"' in page
    assert page.count("<svg") == 1
    assert "Test mode" in page


async def test_without_javascript_the_page_refreshes_until_nothing_can_change(
    site: Site, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    refresh = f'<noscript><meta http-equiv="refresh" content="{REFRESH_SECONDS}"></noscript>'
    assert refresh in (await site.get(_url(session)))[1]
    await world.pay(session)
    done = (await site.get(_url(session)))[1]
    assert "Payment complete" in done
    assert "http-equiv" not in done


async def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere(
    site: Site, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    for path in (_url(session), "/", "/c/unknown"):
        _, page, response = await site.get(path)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"<script(?![^>]*\bsrc=\"/assets/)", page)
        assert not re.search(r"<style|\sstyle=|\son\w+=", page)
        assert not re.search(r"(src|rel=\"stylesheet\" href)=\"(https?:)?//", page)
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Cache-Control"] == "no-store"


async def test_what_people_wrote_is_escaped(site: Site, world: World, shop: Tenant) -> None:
    attack = '"><script>alert(1)</script>'
    session = await world.session(
        shop, description=attack, cancel_url='https://shop.example/?q="><img>'
    )
    page = (await site.get(_url(session)))[1]
    assert "<script>alert" not in page
    assert "<img>" not in page
    assert "Acme &lt;Coffee&gt;" in page


async def test_only_what_a_payer_may_know_is_on_the_page(
    site: Site, world: World, shop: Tenant
) -> None:
    session = await world.session(
        shop,
        customer_email="jane@example.org",
        merchant_reference="internal-4711",
        metadata={"margin": "38 percent"},  # type: ignore[arg-type]  # not a text
    )
    page = (await site.get(_url(session)))[1]
    for secret in ("jane@", "internal-4711", "38 percent", shop.merchant_id.hex):
        assert secret not in page


async def test_each_stage_has_its_page(site: Site, world: World, shop: Tenant) -> None:
    links = {"success_url": "https://shop.example/ok", "cancel_url": "https://shop.example/no"}
    part = await world.session(shop, **links)
    await world.observe(part, "4.00", tx="21")
    page = (await site.get(_url(part)))[1]
    assert "4.00 of 10.00 USDC arrived." in page
    assert "Send 6.00 USDC on" in page
    assert "uint256=6000000" in page

    paying = await world.session(shop, **links)
    seen = await world.observe(paying, tx="31")
    page = (await site.get(_url(paying)))[1]
    assert "Confirming (1/3)" in page
    assert "<svg" in page
    assert "uint256" not in page

    await world.confirm(seen)
    page = (await site.get(_url(paying)))[1]
    assert "Payment complete" in page
    assert 'href="https://shop.example/ok"' in page
    assert "0x" + "31" * 32 in page

    gone = await world.session(shop, **links)
    await world.sessions.cancel(gone.session_id, shop.caller())
    page = (await site.get(_url(gone)))[1]
    assert "This payment was cancelled" in page
    assert 'href="https://shop.example/no"' in page
    assert "uint256" not in page

    late = await world.session(shop, **links)
    world.clock.advance(8 * 24 * 3600)
    page = (await site.get(_url(late)))[1]
    assert "This payment has expired" in page
    assert "uint256" not in page


async def test_a_cancelled_payment_follows_money_that_a_person_assigned_to_it(
    site: Site, world: World, shop: Tenant
) -> None:
    gone = await world.session(shop)
    await world.sessions.cancel(gone.session_id, shop.caller())
    caller = shop.caller()

    async def assign(amount: str, tx: str) -> str:
        sent = await world.arrive(gone.deposit_address, amount, tx=tx, confirmed=False)
        await world.inbox.assign(sent, gone.session_id, "his", caller)
        return (await site.get(_url(gone)))[1]

    assert "Nothing has been charged." in (await site.get(_url(gone)))[1]
    page = await assign("4.00", "41")
    assert "This payment was cancelled" in page
    assert "Nothing has been charged." not in page
    assert "4.00 USDC arrived and is on record." in page
    page = await assign("6.00", "42")
    assert "Confirming (1/3)" in page
    assert "was cancelled" not in page
    for tx in ("41", "42"):
        await world.arrive(gone.deposit_address, {"41": "4.00", "42": "6.00"}[tx], tx=tx)
    assert "Payment complete" in (await site.get(_url(gone)))[1]


async def test_too_much_is_said_to_the_one_who_paid_it(
    site: Site, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    await world.pay(session, "12.00")
    page = (await site.get(_url(session)))[1]
    assert "received 12.00 USDC" in page
    assert "More than 10.00 USDC arrived." in page


@pytest.mark.parametrize(
    "session_id", ["ps_" + "0" * 32, "ps_", "rf_" + "0" * 32, "x" * 3000, "%00", "%3Cscript%3E"]
)
async def test_an_unknown_payment_gets_a_friendly_page(site: Site, session_id: str) -> None:
    status, page, _ = await site.get(f"/c/{session_id}")
    assert status == 404
    assert "We cannot find this payment" in page
    assert "<script>" not in page
    assert (await site.get(f"/c/{session_id}/live"))[0] == 404


async def test_an_outage_gets_a_page_that_tries_again(
    site: Site, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    world.store.outage = StoreUnavailable("away")
    status, page, response = await site.get(_url(session))
    assert status == 503
    assert int(response.headers["Retry-After"]) == REFRESH_SECONDS
    assert 'http-equiv="refresh"' in page
    assert (await site.get(_url(session) + "/live"))[0] == 503
    world.store.outage = None
    assert (await site.get(_url(session)))[0] == 200


async def test_assets_are_named_by_their_content_and_small(site: Site) -> None:
    page = (await site.get("/"))[1]
    for url in re.findall(r'"(/assets/[^"]+)"', page):
        status, _, response = await site.get(url)
        assert status == 200
        assert "immutable" in response.headers["Cache-Control"]
    assert (await site.get("/assets/checkout.css"))[0] == 404
    assert (await site.get("/assets/..%2fapp.py"))[0] == 404
    assert Assets().size() < 200_000


async def test_the_front_page_leads_to_the_reference(site: Site) -> None:
    status, page, _ = await site.get("/")
    assert status == 200
    for path in ("/docs", "/openapi.json", "/readyz"):
        assert f'href="{path}"' in page
        assert (await site.get(path))[0] == 200


async def test_link_previews_may_ask_for_the_head_alone(
    site: Site, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    async with site.client.head(_url(session)) as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_pages_stay_out_of_the_contract(site: Site) -> None:
    document: Any = await (await site.client.get("/openapi.json")).json()
    assert all(path.startswith("/v1/") or path.endswith("z") for path in document["paths"])

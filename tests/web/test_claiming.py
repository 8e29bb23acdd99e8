"""Saying which payment is yours, and what is said of money that could not be credited."""

import asyncio
import re
from typing import Any

import pytest

from adapters.question_limits import (
    ASKING_RETRY_SECONDS,
    FAILURES_MAX,
    FAILURES_WINDOW_SECONDS,
)
from application.ports import StoreUnavailable
from domain.payment import CLAIMS_MAX, PaymentSession
from tests.api.signing import Wallet
from tests.api.world import BRIDGED, NETWORK, Tenant, World
from tests.examples import RECEIVING
from tests.web.conftest import Site
from web.claiming import HASH_FORM_BYTES_MAX

ALICE, BOB = Wallet(0x21), Wallet(0x22)
HASH = "0x" + "77" * 32


def _url(session: PaymentSession) -> str:
    return f"/c/ps_{session.session_id.hex}"


@pytest.fixture
async def session(world: World, shop: Tenant) -> PaymentSession:
    await world.receive_at(shop, RECEIVING)
    return await world.session(shop, pay_by="merchant_wallet")


async def _post(site: Site, path: str, form: Any, **headers: str) -> tuple[int, str, Any]:
    request = site.client.post(path, data=form, headers=headers, allow_redirects=False)
    async with request as response:
        return response.status, await response.text(), response


async def _sign(site: Site, world: World, session: PaymentSession, wallet: Wallet) -> Any:
    words = await world.claims.words_for(session.session_id)
    form = {"address": wallet.address, "signature": wallet.sign_text(words)}
    return await _post(site, _url(session) + "/payers", form)


async def test_a_shared_address_comes_with_two_ways_to_say_what_is_yours(
    site: Site, world: World, session: PaymentSession, shop: Tenant
) -> None:
    page = (await site.get(_url(session)))[1]
    words = re.search(r'data-words="0x([0-9a-f]+)"', page)
    assert words is not None
    text = (await world.claims.words_for(session.session_id)).text
    assert bytes.fromhex(words[1]).decode() == text
    assert f'data-sign="{_url(session)}/payers"' in page
    assert f'href="{_url(session)}/paid"' in page
    own = await world.session(shop, pay_by="deposit_address")
    page = (await site.get(_url(own)))[1]
    assert "data-sign" not in page
    assert "/paid" not in page


async def test_the_form_works_without_javascript_and_leads_back(
    site: Site, world: World, session: PaymentSession
) -> None:
    status, page, response = await site.get(_url(session) + "/paid")
    assert status == 200
    assert f'<form method="post" action="{_url(session)}/paid"' in page
    assert "<script" not in page
    assert "http-equiv" not in page  # a reload would take away what is being typed
    policy = response.headers["Content-Security-Policy"]
    assert "form-action 'self'" in policy
    assert "script-src 'self'" in policy
    status, _, response = await _post(site, _url(session) + "/paid", {"tx_hash": f" {HASH}\n"})
    assert (status, response.headers["Location"]) == (303, _url(session))
    page = (await site.get(_url(session)))[1]
    assert "Looking for" in page
    assert HASH in page
    await world.arrive(RECEIVING, tx="77")
    assert "Payment complete" in (await site.get(_url(session)))[1]


async def test_an_explorers_page_about_it_is_understood(
    site: Site, world: World, session: PaymentSession
) -> None:
    pasted = f"https://explorer.example/tx/{HASH.replace('7', 'A', 1)}?from=wallet"
    assert (await _post(site, _url(session) + "/paid", {"tx_hash": pasted}))[0] == 303
    after = await world.claims.words_for(session.session_id)
    assert after.text
    row = await world.reads.sessions.find(session.session_id)
    assert row is not None
    assert row.session.announced == (HASH.replace("7", "a", 1),)


@pytest.mark.parametrize(
    "text", ["", "0x12", HASH + "0", "0x" + "zz" * 32, HASH + " 0x" + "78" * 32, "<script>", "é"]
)
async def test_what_is_no_hash_is_said_beside_the_field(
    site: Site, world: World, session: PaymentSession, text: str
) -> None:
    facts = await world.store.head()
    status, page, _ = await _post(site, _url(session) + "/paid", {"tx_hash": text})
    assert status == 422
    assert 'role="alert">A transaction hash is 0x and 64' in page
    assert "<script>" not in page
    assert await world.store.head() == facts


async def test_too_many_hashes_and_a_closed_payment_are_said_so(
    site: Site, world: World, session: PaymentSession
) -> None:
    for number in range(CLAIMS_MAX):
        form = {"tx_hash": f"0x{number:064x}"}
        assert (await _post(site, _url(session) + "/paid", form))[0] == 303
    status, page, _ = await _post(site, _url(session) + "/paid", {"tx_hash": HASH})
    assert status == 422
    assert "Too much has been named" in page
    world.clock.advance(9 * 24 * 3600)  # past the grace period
    status, page, _ = await _post(site, _url(session) + "/paid", {"tx_hash": HASH})
    assert status == 422
    assert "This payment is closed." in page
    assert (await site.get(_url(session) + "/paid"))[1].count("<form") == 0  # led back
    assert "/paid" not in (await site.get(_url(session)))[1]


async def test_an_expired_payment_can_be_claimed_within_its_grace(
    site: Site, world: World, session: PaymentSession
) -> None:
    world.clock.advance(7 * 24 * 3600 + 60)
    page = (await site.get(_url(session)))[1]
    assert "This payment has expired" in page
    assert f'href="{_url(session)}/paid"' in page
    assert "data-sign" not in page


async def test_a_wallet_that_signs_is_named_and_what_it_sends_is_credited(
    site: Site, world: World, session: PaymentSession
) -> None:
    status, body, _ = await _sign(site, world, session, ALICE)
    assert (status, body) == (200, '{"message":"Your wallet has signed."}')
    page = (await site.get(_url(session)))[1]
    assert world.write(ALICE.address) in page
    assert "data-sign" not in page
    await world.arrive(RECEIVING, sender=ALICE.address)
    assert "Payment complete" in (await site.get(_url(session)))[1]


@pytest.mark.parametrize(
    ("form", "status", "said"),
    [
        ({}, 422, "does not fit"),
        ({"address": ALICE.address}, 422, "does not fit"),
        ({"address": "0x12", "signature": "0x00"}, 422, "does not fit"),
        ({"address": ALICE.address, "signature": "0xzz"}, 422, "does not fit"),
        # Perhaps a contract's: this world has no chain to ask.
        ({"address": ALICE.address, "signature": "0x00"}, 503, "cannot check"),
    ],
)
async def test_a_signature_that_does_not_fit_is_answered_in_words(
    site: Site, session: PaymentSession, form: dict[str, str], status: int, said: str
) -> None:
    answered, body, _ = await _post(site, _url(session) + "/payers", form or {"a": "b"})
    assert answered == status
    assert said in body


class NoCode:
    """A provider of a chain without contracts, which takes its time when it is told to."""

    name = "no code"

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def call(self, method: str, *params: object) -> str:
        assert method == "eth_getCode", params
        self.asked += 1
        await self.answers.wait()
        return "0x"


async def test_who_has_the_link_cannot_make_us_ask_the_chain_as_often_as_he_likes(
    site: Site, world: World, session: PaymentSession, shop: Tenant
) -> None:
    provider = NoCode()
    world.providers["local"] = (provider,)
    form = {"address": BOB.address, "signature": "0x00"}
    path = _url(session) + "/payers"
    for _ in range(FAILURES_MAX):
        assert (await _post(site, path, form))[0] == 422
        world.clock.advance(60)
    status, body, response = await _post(site, path, form)
    assert (status, provider.asked) == (429, FAILURES_MAX)
    assert response.headers["Retry-After"] == str(FAILURES_WINDOW_SECONDS - 60 * FAILURES_MAX)
    assert f"Please try again in {60 - FAILURES_MAX} minutes" in body
    other = await world.session(shop, pay_by="merchant_wallet")
    assert (await _post(site, _url(other) + "/payers", form))[0] == 422
    assert (await _sign(site, world, session, ALICE))[0] == 200  # a key's needs no question


async def test_one_signature_of_a_payment_is_checked_at_a_time(
    site: Site, world: World, session: PaymentSession
) -> None:
    provider = NoCode()
    world.providers["local"] = (provider,)
    provider.answers.clear()
    form = {"address": BOB.address, "signature": "0x00"}
    path = _url(session) + "/payers"
    first = asyncio.create_task(_post(site, path, form))
    async with asyncio.timeout(10):
        while not provider.asked:
            await asyncio.sleep(0.01)
    status, body, response = await _post(site, path, form)
    assert (status, provider.asked) == (429, 1)
    assert response.headers["Retry-After"] == str(ASKING_RETRY_SECONDS)
    assert "try again in a minute" in body
    provider.answers.set()
    assert (await first)[0] == 422


FROM_ELSEWHERE: tuple[dict[str, str], ...] = (
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
)


@pytest.mark.parametrize("headers", FROM_ELSEWHERE)
@pytest.mark.parametrize("form", ["paid", "payers"])
async def test_another_site_cannot_post_to_our_forms(
    site: Site, world: World, session: PaymentSession, form: str, headers: dict[str, str]
) -> None:
    facts = await world.store.head()
    status, _, _ = await _post(site, f"{_url(session)}/{form}", {"tx_hash": HASH}, **headers)
    assert status == 403
    assert await world.store.head() == facts


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
        {"Origin": "https://pay.example"},
        {"Host": "localhost:8000", "Origin": "http://localhost:8000"},
        {},
    ],
)
async def test_our_own_page_and_a_tool_may(
    site: Site, session: PaymentSession, headers: dict[str, str]
) -> None:
    assert (await _post(site, _url(session) + "/paid", {"tx_hash": HASH}, **headers))[0] == 303


@pytest.mark.parametrize(
    ("data", "media", "status"),
    [
        (b"tx_hash=" + b"0" * HASH_FORM_BYTES_MAX, "application/x-www-form-urlencoded", 413),
        (b'{"tx_hash": "0x"}', "application/json", 415),
        (b"tx_hash=0x", "text/plain", 415),
        (b"tx_hash=0x", "multipart/form-data; boundary=x", 415),
        (b"\xff\xfe", "application/x-www-form-urlencoded", 400),
        (b"tx_hash=%ff", "application/x-www-form-urlencoded", 400),
        (b"a=1&b=2&c=3&d=4&e=5", "application/x-www-form-urlencoded", 400),
    ],
)
async def test_forms_are_bounded_and_of_one_kind(
    site: Site, session: PaymentSession, data: bytes, media: str, status: int
) -> None:
    path = _url(session) + "/paid"
    assert (await _post(site, path, data, **{"Content-Type": media}))[0] == status


async def test_unknown_payments_and_outages_have_their_pages(
    site: Site, world: World, session: PaymentSession
) -> None:
    unknown = "/c/ps_" + "0" * 32
    assert (await site.get(unknown + "/paid"))[0] == 404
    assert (await _post(site, unknown + "/paid", {"tx_hash": HASH}))[0] == 404
    form = {"address": ALICE.address, "signature": "0x00"}
    assert (await _post(site, unknown + "/payers", form))[0] == 404
    world.store.outage = StoreUnavailable("away")
    assert (await site.get(_url(session) + "/paid"))[0] == 503
    assert (await _post(site, _url(session) + "/paid", {"tx_hash": HASH}))[0] == 503
    assert (await _post(site, _url(session) + "/payers", form))[0] == 503


# ---------------------------------------------------------------- what could not be credited


async def test_a_wrong_token_is_named_to_the_one_who_sent_it(
    site: Site, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    transfer = await world.arrive(session.deposit_address, "5.00", token=BRIDGED)
    page = (await site.get(_url(session)))[1]
    assert "5.00 USDC.e on Local test chain arrived and could not be credited." in page
    assert "USDC.e is not accepted here. It is another token than USDC." in page
    assert "Acme &lt;Coffee&gt; sees it, and can accept it or give it back." in page
    assert "Send 10.00 USDC on" in page  # still to be paid
    await world.inbox.dismiss(transfer, "sent back by hand", shop.caller())
    page = (await site.get(_url(session)))[1]
    assert "Acme &lt;Coffee&gt; has dealt with it." in page
    assert "by hand" not in page
    await world.arrive(session.deposit_address, "10.00", token=NETWORK.tokens[1], tx="45")
    page = (await site.get(_url(session)))[1]
    assert "This payment asks for USDC, and this is USDT." in page


async def test_money_after_the_grace_period_is_named_too(
    site: Site, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    world.clock.advance(9 * 24 * 3600)
    transfer = await world.arrive(session.deposit_address)
    page = (await site.get(_url(session)))[1]
    assert "It was sent too long after the payment had expired." in page
    await world.fund(shop, "50.00")
    await world.refunds.request_for_transfer(
        transfer, "too late", None, shop.caller(), None, lambda _: (201, b"")
    )
    assert "It is on its way back." in (await site.get(_url(session)))[1]


async def test_at_a_shared_wallet_only_what_is_yours_is_named(
    site: Site, world: World, session: PaymentSession
) -> None:
    await _sign(site, world, session, ALICE)
    await world.arrive(RECEIVING, "3.00", tx="41", token=BRIDGED, sender=ALICE.address)
    await world.arrive(RECEIVING, "4.00", tx="42", token=BRIDGED, sender=BOB.address)
    page = (await site.get(_url(session)))[1]
    assert "3.00 USDC.e" in page
    assert "4.00 USDC.e" not in page
    await _post(site, _url(session) + "/paid", {"tx_hash": "0x" + "43" * 32})
    await world.arrive(RECEIVING, "9.00", tx="43", sender=BOB.address)
    page = (await site.get(_url(session)))[1]
    assert "9.00 USDC on Local test chain arrived and could not be credited." in page
    assert "Only the exact amount that is missing is credited" in page

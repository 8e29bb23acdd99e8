"""A payer whose network is read late is told so, calmly, and only while it matters to him."""

from datetime import timedelta

from application.standing import PENDING_SHOWN_SECONDS, STANDING_STALE_SECONDS, Standing
from domain.payment import PaymentSession
from tests.api.world import Tenant, World
from tests.web.conftest import Site
from tests.web.test_live import Reader

SENTENCE = "Payments are seen later than usual; your payment is safe."


def _url(session: PaymentSession) -> str:
    return f"/c/ps_{session.session_id.hex}"


def _in_trouble(world: World, *, for_seconds: float = PENDING_SHOWN_SECONDS) -> None:
    now = world.clock.now()
    since = now - timedelta(seconds=for_seconds)
    world.reads.heads.standings["local"] = Standing(
        "local", now, trouble="disagreement", since=since, pending=True
    )


async def test_the_page_says_that_the_network_is_being_checked(
    site: Site, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    assert SENTENCE not in (await site.get(_url(session)))[1]
    _in_trouble(world, for_seconds=PENDING_SHOWN_SECONDS - 1)
    assert SENTENCE not in (await site.get(_url(session)))[1], "too young to be told"
    _in_trouble(world)
    page = (await site.get(_url(session)))[1]
    assert SENTENCE in page
    assert "Network check pending." in page
    assert world.write(session.deposit_address) in page, "what to pay stays as it is"
    await world.observe(session)
    confirming = (await site.get(_url(session)))[1]
    assert SENTENCE in confirming
    assert "Confirming (1/3)" in confirming


async def test_a_network_that_nobody_reads_any_more_is_pending_too(
    site: Site, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    world.reads.heads.standings["local"] = Standing("local", world.clock.now())
    world.clock.advance(STANDING_STALE_SECONDS + 1)
    assert SENTENCE in (await site.get(_url(session)))[1]


async def test_a_payment_that_is_complete_is_not_troubled_by_it(
    site: Site, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    await world.pay(session)
    _in_trouble(world)
    page = (await site.get(_url(session)))[1]
    assert "Payment complete" in page
    assert SENTENCE not in page


async def test_an_open_page_hears_of_it_and_of_its_end(
    site: Site, world: World, shop: Tenant
) -> None:
    session = await world.session(shop)
    async with site.client.get(f"{_url(session)}/live") as response:
        reader = Reader(response)
        await reader.block()
        assert SENTENCE not in (await reader.status())["html"]
        _in_trouble(world)
        assert SENTENCE in (await reader.status())["html"]
        world.reads.heads.standings.clear()
        assert SENTENCE not in (await reader.status())["html"]

"""The operator sets the wallet that a merchant's sessions share."""

from collections.abc import Callable
from uuid import UUID

import pytest

from domain.errors import AddressForbidden, AddressMalformed, NetworkUnknown
from domain.networks import ZERO_ADDRESS, NetworkBook
from gateway.failures import GatewayError
from gateway.operate_merchants import Wallets
from tests.api.world import NETWORK, Tenant, World
from tests.examples import RECEIVING

OTHER = "0x" + "cd" * 20


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def shop(world: World) -> Tenant:
    return await world.tenant("Acme", 1)


@pytest.fixture
def wallets(world: World) -> Wallets:
    return Wallets(world.handler, world.networks, world.reads.watch_list)


async def test_it_holds_for_new_sessions_and_says_who_set_it(
    world: World, shop: Tenant, wallets: Wallets
) -> None:
    said = await wallets.receive_at(shop.merchant_id, "test", world.write(RECEIVING))
    assert said.startswith("Acme: new test sessions")
    assert world.write(RECEIVING) in said
    (fact,) = (await world.store.read_log(after=0, limit=1_000))[-1:]
    assert fact.event.name == "merchant.receiving_address_set"
    assert (fact.context.actor, fact.context.merchant_id) == ("operator", shop.merchant_id)
    old = await world.session(shop, pay_by="merchant_wallet")
    said = await wallets.receive_at(shop.merchant_id, "test", OTHER)
    assert f"open ones are still paid to {world.write(RECEIVING)}" in said
    new = await world.session(shop, pay_by="merchant_wallet")
    assert (old.deposit_address, new.deposit_address) == (RECEIVING, OTHER)


async def test_a_second_time_changes_nothing_and_modes_do_not_mix(
    world: World, shop: Tenant, wallets: Wallets
) -> None:
    await wallets.receive_at(shop.merchant_id, "test", RECEIVING)
    facts = await world.store.head()
    said = await wallets.receive_at(shop.merchant_id, "test", world.write(RECEIVING))
    assert said.startswith("nothing changed")
    assert await world.store.head() == facts
    merchant = await world.merchants.find(shop.merchant_id)
    assert merchant is not None
    assert merchant.receiving_addresses == {"test": RECEIVING}
    await wallets.receive_at(shop.merchant_id, "live", OTHER)
    merchant = await world.merchants.find(shop.merchant_id)
    assert merchant is not None
    assert merchant.receiving_addresses == {"test": RECEIVING, "live": OTHER}


def _mistyped(address: str) -> str:
    """One letter in the other case: the checksum does not add up."""
    at = next(place for place in range(2, len(address)) if address[place].isalpha())
    return address[:at] + address[at].swapcase() + address[at + 1 :]


@pytest.mark.parametrize("text", ["", "0x12", "acme.eth", _mistyped])
async def test_what_is_no_address_is_refused(
    world: World, shop: Tenant, wallets: Wallets, text: str | Callable[[str], str]
) -> None:
    facts = await world.store.head()
    wrong = text if isinstance(text, str) else text(world.write(NETWORK.tokens[0].address))
    with pytest.raises(AddressMalformed):
        await wallets.receive_at(shop.merchant_id, "test", wrong)
    assert await world.store.head() == facts


async def test_an_address_where_money_is_lost_or_has_another_purpose_is_refused(
    world: World, shop: Tenant, wallets: Wallets
) -> None:
    other = await world.tenant("Other", 5)
    await world.receive_at(other, RECEIVING)
    deposit = (await world.session(shop)).deposit_address
    merchant = await world.merchants.find(shop.merchant_id)
    assert merchant is not None
    refund_wallet = merchant.refund_wallets["test"].address
    facts = await world.store.head()
    token = NETWORK.tokens[0].address
    for address in (ZERO_ADDRESS, token, deposit, refund_wallet, RECEIVING):
        with pytest.raises(AddressForbidden):
            await wallets.receive_at(shop.merchant_id, "test", address)
    assert await world.store.head() == facts


async def test_a_merchant_nobody_knows_and_a_mode_without_a_network_are_said_so(
    world: World, shop: Tenant, wallets: Wallets
) -> None:
    with pytest.raises(GatewayError, match="no merchant"):
        await wallets.receive_at(UUID(int=0), "test", RECEIVING)
    only_test = Wallets(world.handler, NetworkBook(networks=(NETWORK,)), world.reads.watch_list)
    with pytest.raises(NetworkUnknown, match="no network is configured for live mode"):
        await only_test.receive_at(shop.merchant_id, "live", RECEIVING)


async def test_a_wallet_of_the_merchants_own_seed_never_becomes_one_sessions_address(
    world: World, shop: Tenant, wallets: Wallets
) -> None:
    merchant = await world.merchants.find(shop.merchant_id)
    assert merchant is not None
    first = world.addresses.check(merchant.extended_public_keys["test"])
    await wallets.receive_at(shop.merchant_id, "test", first)
    session = await world.session(shop)
    assert session.deposit_address != first
    assert session.pay_by == "deposit_address"

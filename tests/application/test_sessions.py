"""What a new session is fixed to: where it is paid, and how much may be missing."""

import pytest

from adapters.addresses import ExtendedKey
from domain.errors import PayByUnknown, ReceivingAddressMissing, WalletMissing
from tests.api.world import Tenant, World
from tests.examples import RECEIVING, usd


async def shop() -> tuple[World, Tenant]:
    world = World()
    return world, await world.tenant("Shop", 1)


async def bare() -> tuple[World, Tenant]:
    """A merchant that has said nothing yet of where customers pay to."""
    world = World()
    return world, Tenant(await world.merchants.register("Shop", "test", actor="test"))


async def test_a_session_gets_an_address_of_its_own_unless_asked_otherwise() -> None:
    world, tenant = await shop()
    await world.receive_at(tenant, RECEIVING)
    session = await world.session(tenant)
    assert (session.pay_by, session.deposit_index) == ("deposit_address", 0)
    assert session.deposit_address != RECEIVING
    shared = await world.session(tenant, pay_by="merchant_wallet")
    assert (shared.pay_by, shared.deposit_index) == ("merchant_wallet", None)
    assert shared.deposit_address == RECEIVING


async def test_a_merchant_with_only_a_wallet_is_paid_to_it() -> None:
    world, tenant = await bare()
    with pytest.raises(WalletMissing):
        await world.session(tenant)
    await world.receive_at(tenant, RECEIVING)
    assert (await world.session(tenant)).pay_by == "merchant_wallet"
    with pytest.raises(WalletMissing):
        await world.session(tenant, pay_by="deposit_address")


async def test_how_a_session_is_paid_is_one_of_two_and_possible() -> None:
    world, tenant = await shop()
    with pytest.raises(PayByUnknown) as refused:
        await world.session(tenant, pay_by="cheque")
    assert refused.value.at_field == "pay_by"
    with pytest.raises(ReceivingAddressMissing, match="receiving address for test mode"):
        await world.session(tenant, pay_by="merchant_wallet")


async def test_a_tolerance_holds_for_new_sessions_and_old_ones_keep_theirs() -> None:
    world, tenant = await shop()
    before = await world.session(tenant)
    await world.merchants.set_tolerance(
        tenant.merchant_id, "test", absolute_micros=50_000, basis_points=100, actor="test"
    )
    after = await world.session(tenant)
    small = await world.session(tenant, "0.08")
    assert before.tolerance == usd("0")
    assert after.tolerance == usd("0.10")
    assert small.tolerance == usd("0.04")
    await world.pay(after, "9.90")
    await world.pay(before, "9.90", tx="22")
    assert (await world.sessions.find(after.session_id, tenant.caller())).status == "completed"
    assert (await world.sessions.find(before.session_id, tenant.caller())).status == "pending"


async def test_no_wallet_there_ever_was_becomes_one_sessions_address() -> None:
    """Money at a wallet that was replaced is still of many sessions, not of one."""
    world, tenant = await shop()
    merchant = await world.merchants.find(tenant.merchant_id)
    assert merchant is not None
    key = ExtendedKey.parse(merchant.extended_public_keys["test"])
    own = [key.address(index) for index in range(4)]  # of the same seed
    for wallet in (*own[:3], RECEIVING):
        await world.receive_at(tenant, wallet)
    session = await world.session(tenant)
    assert (session.deposit_index, session.deposit_address) == (3, own[3])

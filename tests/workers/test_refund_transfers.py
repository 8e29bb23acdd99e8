"""Transfers of the inbox go back as refunds of sessions do: once, booked, or not at all."""

import pytest

from domain.refund import Refund
from tests.workers.conftest import FLOAT_UNITS
from tests.workers.fuse import Fuse
from tests.workers.paying import PAID_UNITS, World

pytestmark = pytest.mark.services


async def test_a_transfer_of_the_inbox_goes_back_once_and_is_booked(world: World) -> None:
    asked = await world.request_for_transfer()
    assert (asked.session_id, asked.amount.units) == (None, PAID_UNITS)
    assert await world.balance("suspense") == -PAID_UNITS
    (refund,) = await world.finish(asked.refund_id)
    assert refund.status == "completed"
    assert await world.paid_to(asked.destination) == [PAID_UNITS]
    transfer = await world.transfer(asked.transfer_id or "")
    assert (transfer.resolution, transfer.refund_id) == ("refunded", asked.refund_id)
    assert await world.balance("suspense") == 0
    assert await world.balance("customer_refunds") == -PAID_UNITS
    assert await world.balance("gas_spent") == await world.gas_spent() > 0
    held = await world.float_()
    assert (held.available_units, held.reserved) == (FLOAT_UNITS - PAID_UNITS, {})
    await world.books_agree()


async def is_back_in_the_inbox(world: World, asked: Refund, why: str) -> None:
    refund = await world.refund(asked.refund_id)
    assert refund.status == "failed"
    assert why in (refund.failure or "")
    assert (await world.transfer(asked.transfer_id or "")).resolution == "open"
    held = await world.float_()
    assert (held.available_units, held.reserved) == (FLOAT_UNITS, {})
    assert await world.paid_to(asked.destination) == []
    await world.books_agree()


async def test_to_a_frozen_address_it_fails_and_the_transfer_waits_again(world: World) -> None:
    frozen = "0x" + "f2" * 20
    await world.token.send(world.chain.accounts[0], "blacklist(address)", frozen)
    asked = await world.request_for_transfer(destination=frozen)
    await world.finish(asked.refund_id)
    await is_back_in_the_inbox(world, asked, "the token refuses the transfer")
    again = await world.request_for_transfer(asked.transfer_id)
    (paid,) = await world.finish(again.refund_id)
    assert paid.status == "completed"
    assert await world.paid_to(again.destination) == [PAID_UNITS]


async def test_reversed_before_it_is_asked_of_the_signer_it_fails(world: World) -> None:
    asked = await world.request_for_transfer()
    await world.reverse_an_inbox_transfer(asked.transfer_id or "")
    await world.finish(asked.refund_id)
    assert await world.balance("suspense") == 0
    await is_back_in_the_inbox(world, asked, "the transfer was reversed")


async def test_reversed_while_it_waits_for_the_signer_it_is_withdrawn(world: World) -> None:
    asked = await world.request_for_transfer()
    sender, signer = world.workers()
    await sender.look()
    await world.reverse_an_inbox_transfer(asked.transfer_id or "")
    world.clock.advance(1.0)
    await sender.look()
    assert await signer.sign_waiting() == 0
    await is_back_in_the_inbox(world, asked, "the transfer was reversed")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_killed_at_any_call_it_is_paid_exactly_once(world: World, *, after: bool) -> None:
    fuse = Fuse()
    await world.finish((await world.request_for_transfer()).refund_id, fuse=fuse)
    for call in range(1, fuse.calls + 1):
        asked = await world.request_for_transfer()
        (refund,) = await world.finish(asked.refund_id, fuse=Fuse(blows_at=call, after=after))
        assert refund.status == "completed"
        assert await world.paid_to(asked.destination) == [PAID_UNITS]
        assert (await world.transfer(asked.transfer_id or "")).resolution == "refunded"
        assert len(await world.facts(refund.refund_id)) == 4
    assert (await world.float_()).reserved == {}
    await world.books_agree()

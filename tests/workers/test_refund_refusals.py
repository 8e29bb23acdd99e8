"""Refunds that cannot be paid end failed, with the reason, and the money is free again."""

import pytest

from application.paying_out import Caps
from domain.refund import Refund
from gateway.embedded_anvil import Anvil
from tests.workers.conftest import FLOAT_UNITS, MakeWorld
from tests.workers.paying import PAID_UNITS, UNITS, World

pytestmark = pytest.mark.services


class TestRefusals:
    async def released(self, world: World, asked: Refund, says: str) -> None:
        refund = await world.refund(asked.refund_id)
        assert refund.status == "failed"
        assert says in (refund.failure or "")
        session = await world.session(asked.session_id)
        assert session.refundable.units == PAID_UNITS
        held = await world.float_()
        assert (held.available_units, held.reserved) == (FLOAT_UNITS, {})
        assert await world.paid_to(asked.destination) == []
        await world.books_agree()

    async def test_a_frozen_recipient_fails_and_the_next_refund_is_paid(
        self, world: World
    ) -> None:
        asked = await world.request(UNITS)
        owner = world.chain.accounts[0]
        await world.token.send(owner, "blacklist(address)", asked.destination)
        await world.finish(asked.refund_id)
        await self.released(world, asked, "the token refuses the transfer")
        again = await world.request(UNITS)
        (paid,) = await world.finish(again.refund_id)
        assert (paid.status, paid.nonce) == ("completed", 0)

    @pytest.mark.parametrize("contract", ["TestDollar", "TetherLike"])
    async def test_a_paused_token_fails(
        self, make_world: MakeWorld, anvil: Anvil, contract: str
    ) -> None:
        world = await make_world(anvil, contract)
        asked = await world.request(UNITS)
        await world.token.send(world.chain.accounts[0], "pause()")
        await world.finish(asked.refund_id)
        await self.released(world, asked, "the token refuses the transfer")

    async def test_a_frozen_refund_wallet_fails(self, make_world: MakeWorld, anvil: Anvil) -> None:
        world = await make_world(anvil, "TetherLike")
        asked = await world.request(UNITS)
        await world.token.send(world.chain.accounts[0], "addBlackList(address)", world.wallet)
        await world.finish(asked.refund_id)
        await self.released(world, asked, "the token refuses the transfer")

    async def test_funds_that_vanished_from_the_wallet_fail(
        self, make_world: MakeWorld, anvil: Anvil
    ) -> None:
        world = await make_world(anvil, "TetherLike")
        owner = world.chain.accounts[0]
        await world.token.send(owner, "addBlackList(address)", world.wallet)
        await world.token.send(owner, "destroyBlackFunds(address)", world.wallet)
        asked = await world.request(UNITS)
        await world.finish(asked.refund_id)
        await self.released(world, asked, "holds less than the refund")

    async def test_frozen_between_signature_and_block_it_fails_by_its_receipt(
        self, world: World
    ) -> None:
        asked = await world.request(UNITS)
        sender, signer = world.workers()
        await sender.look()
        assert await signer.sign_waiting() == 1
        owner = world.chain.accounts[0]
        await world.token.send(owner, "blacklist(address)", asked.destination)
        await world.finish(asked.refund_id)
        await self.released(world, asked, "refused the transfer on chain")
        again = await world.request(UNITS)
        (paid,) = await world.finish(again.refund_id)
        assert (paid.status, paid.nonce) == ("completed", 1)

    async def test_a_refund_is_not_paid_once_its_payment_was_reversed(self, world: World) -> None:
        asked = await world.request(UNITS)
        await world.reverse_a_transfer(asked.session_id)
        await world.finish(asked.refund_id)
        refund = await world.refund(asked.refund_id)
        assert (refund.status, refund.failure) == ("failed", "the payment was reversed")
        session = await world.session(asked.session_id)
        assert session.refunds[asked.refund_id].status == "released"
        held = await world.float_()
        assert (held.available_units, held.reserved) == (FLOAT_UNITS, {})
        assert await world.paid_to(asked.destination) == []
        await world.books_agree()

    async def test_reversed_while_it_waits_for_gas_a_refund_fails(self, world: World) -> None:
        asked = await world.request(UNITS)
        await world.chain.rpc("anvil_setBalance", world.wallet, "0x0")
        sender, signer = world.workers()
        await world.round(sender, signer)
        assert (await world.refund(asked.refund_id)).status == "requested"
        await world.reverse_a_transfer(asked.session_id)
        await world.round(sender, signer)
        assert (await world.refund(asked.refund_id)).failure == "the payment was reversed"

    async def test_what_the_payment_still_covers_after_a_reversal_is_refunded(
        self, world: World
    ) -> None:
        session_id = await world.paid_session()
        await world.pay_again(session_id)
        (earlier,) = await world.finish((await world.request(UNITS, None, session_id)).refund_id)
        covered = await world.request(PAID_UNITS - UNITS, None, session_id)
        await world.reverse_a_transfer(session_id)
        (paid,) = await world.finish(covered.refund_id)
        assert [earlier.status, paid.status] == ["completed", "completed"]

    async def test_what_was_refunded_before_the_reversal_counts_against_what_is_left(
        self, world: World
    ) -> None:
        session_id = await world.paid_session()
        await world.pay_again(session_id)
        await world.finish((await world.request(UNITS, None, session_id)).refund_id)
        too_much = await world.request(PAID_UNITS - UNITS + 1, None, session_id)
        await world.reverse_a_transfer(session_id)
        (refused,) = await world.finish(too_much.refund_id)
        assert (refused.status, refused.failure) == ("failed", "the payment was reversed")
        assert await world.paid_to(too_much.destination) == []

    async def test_over_a_cap_of_the_signer_it_fails(self, world: World) -> None:
        world.caps = Caps(UNITS - 1, 10**12, 10**12)
        asked = await world.request(UNITS)
        await world.finish(asked.refund_id)
        await self.released(world, asked, "more than may leave in one refund")

    async def test_the_caps_of_a_day_bound_what_a_stolen_key_can_take(self, world: World) -> None:
        world.caps = Caps(10**12, 10**12, 5 * UNITS + 1)
        asked = [await world.request(UNITS) for _ in range(12)]
        refunds = await world.finish(*(one.refund_id for one in asked))
        assert [refund.status for refund in refunds].count("completed") == 5
        assert sum([sum(await world.paid_to(one.destination)) for one in asked]) == 5 * UNITS
        assert (await world.float_()).available_units == FLOAT_UNITS - 5 * UNITS

"""Refunds that cannot be paid end failed, with the reason, and the money is free again."""

import asyncio
import contextlib

import pytest
from structlog.testing import capture_logs

from application.paying_out import Caps
from domain.refund import Refund
from gateway.embedded_anvil import Anvil
from tests.workers import paying
from tests.workers.conftest import FLOAT_UNITS, MakeWorld
from tests.workers.fuse import Crash, Fuse
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
        await world.finish_failing(asked.refund_id)
        await self.released(world, asked, "refused the transfer on chain")
        spent = await world.gas_spent()
        assert await world.balance("gas_spent") == spent > 0
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

    async def test_reversed_while_it_waits_for_the_signer_it_is_withdrawn(
        self, world: World
    ) -> None:
        asked = await world.request(UNITS)
        sender, signer = world.workers()
        await sender.look()
        row = await world.outgoing.find(asked.refund_id)
        assert row is not None
        assert row.state == "reserved"
        await world.reverse_a_transfer(asked.session_id)
        world.clock.advance(1.0)
        await sender.look()
        refund = await world.refund(asked.refund_id)
        assert (refund.status, refund.failure) == ("failed", "the payment was reversed")
        assert await signer.sign_waiting() == 0
        await world.finish(asked.refund_id)
        assert await world.paid_to(asked.destination) == []
        await world.books_agree()
        again = await world.request(UNITS)
        (paid,) = await world.finish(again.refund_id)
        assert (paid.status, paid.nonce) == ("completed", 0)

    async def test_reversed_after_the_signer_gave_it_a_nonce_it_is_paid_and_that_is_said(
        self, world: World
    ) -> None:
        asked = await world.request(UNITS)
        sender, _ = world.workers()
        await sender.look()
        dies = Fuse(blows_at=3)  # having read what waits and approved it, before it stores
        _, signer = world.workers(dies)
        with pytest.raises(Crash):
            await signer.sign_waiting()
        assert dies.names == ["unsigned", "approve", "store"]
        await world.reverse_a_transfer(asked.session_id)
        world.clock.advance(1.0)
        await sender.look()
        assert (await world.refund(asked.refund_id)).status == "requested"
        with capture_logs() as logs:
            (paid,) = await world.finish(asked.refund_id)
        assert paid.status == "completed"
        assert await world.paid_to(asked.destination) == [UNITS]
        said = [line["why"] for line in logs if line["event"] == "refund_is_paid_although_gone"]
        assert said == ["the payment was reversed"]

    async def test_sender_and_signer_at_once_either_withdraw_it_or_pay_it(
        self, world: World
    ) -> None:
        asked = [await world.request(UNITS) for _ in range(16)]
        sender, signer = world.workers()
        await sender.look()
        for one in asked:
            await world.reverse_a_transfer(one.session_id)
        world.clock.advance(1.0)
        await asyncio.gather(sender.look(), signer.sign_waiting())
        refunds = await world.finish(*(one.refund_id for one in asked))
        paid = [refund for refund in refunds if refund.status == "completed"]
        assert sorted(refund.nonce or 0 for refund in paid) == list(range(len(paid)))
        for refund in refunds:
            if refund in paid:
                assert await world.paid_to(refund.destination) == [UNITS]
            else:
                assert refund.failure == "the payment was reversed"
                assert await world.paid_to(refund.destination) == []
        held = await world.float_()
        assert held.available_units == FLOAT_UNITS - UNITS * len(paid)
        await world.books_agree()

    async def test_killed_while_it_is_withdrawn_its_money_is_released_once(
        self, world: World
    ) -> None:
        for call in range(1, 40):
            asked = await world.request(UNITS)
            sender, signer = world.workers()
            await sender.look()
            await world.reverse_a_transfer(asked.session_id)
            world.clock.advance(1.0)
            crashing = Fuse(blows_at=call)
            dying, _ = world.workers(crashing)
            with contextlib.suppress(Crash):
                await dying.look()
            world.clock.advance(paying.ROUND_SECONDS)
            (refund,) = await world.finish(asked.refund_id)
            assert (refund.status, refund.failure) == ("failed", "the payment was reversed")
            assert (await world.facts(refund.refund_id)).count("refund.failed") == 1
            if crashing.calls < call:
                break
        assert "withdraw" in crashing.names
        assert await signer.sign_waiting() == 0
        assert (await world.float_()).available_units == FLOAT_UNITS
        await world.books_agree()

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

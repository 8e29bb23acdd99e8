"""Killed at any call, thrown out by a reorg, or answered by nobody: one refund, one transfer."""

from typing import Any

import pytest

from application.ports import StoreUnavailable
from gateway.embedded_anvil import Anvil
from tests.workers.conftest import FLOAT_UNITS, MakeWorld
from tests.workers.fuse import Fuse
from tests.workers.paying import PAID_UNITS, UNITS, World
from workers.refund_sender import RefundSender

pytestmark = pytest.mark.services


class TestCrashes:
    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    async def test_killed_at_any_call_a_refund_is_paid_exactly_once(
        self, world: World, *, after: bool
    ) -> None:
        fuse = Fuse()
        clean = await world.request(UNITS)
        await world.finish(clean.refund_id, fuse=fuse)
        assert {"reserve", "approve", "store", "append", "broadcast", "receipt"} <= set(fuse.names)
        for call in range(1, fuse.calls + 1):
            asked = await world.request(1_000 + call)
            crashing = Fuse(blows_at=call, after=after)
            (refund,) = await world.finish(asked.refund_id, fuse=crashing)
            assert refund.status == "completed", f"killed {crashing.names[call - 1]}"
            assert await world.paid_to(asked.destination) == [1_000 + call]
            facts = await world.facts(refund.refund_id)
            assert len(facts) == len(set(facts)) == 4
        assert (await world.float_()).reserved == {}
        await world.books_agree()

    async def test_a_failing_refund_killed_at_any_call_is_released_exactly_once(
        self, world: World
    ) -> None:
        frozen = "0x" + "f0" * 20
        await world.token.send(world.chain.accounts[0], "blacklist(address)", frozen)
        fuse = Fuse()
        asked = await world.request(UNITS, frozen)
        await world.finish(asked.refund_id, fuse=fuse)
        for call in range(1, fuse.calls + 1):
            for after in (False, True):
                asked = await world.request(UNITS, frozen)
                crashing = Fuse(blows_at=call, after=after)
                (refund,) = await world.finish(asked.refund_id, fuse=crashing)
                assert refund.status == "failed"
                assert (await world.session(asked.session_id)).refundable.units == PAID_UNITS
        assert (await world.float_()).available_units == FLOAT_UNITS
        assert await world.paid_to(frozen) == []
        await world.books_agree()

    async def test_lost_answers_of_the_store_change_nothing(self, world: World) -> None:
        asked = await world.request(UNITS)
        fuse = LosesAnswers()
        (refund,) = await world.finish(asked.refund_id, fuse=fuse)
        assert fuse.lost == 3
        assert refund.status == "completed"
        assert len(await world.facts(refund.refund_id)) == 4
        assert await world.paid_to(asked.destination) == [UNITS]

    async def test_a_sender_that_was_overtaken_does_not_release_what_is_being_paid(
        self, world: World
    ) -> None:
        asked = await world.request(UNITS)
        fuse = Overtaken()
        slow, signer = world.workers(fuse)
        fuse.other, _ = world.workers()
        await slow.look()
        await signer.sign_waiting()
        (refund,) = await world.finish(asked.refund_id)
        assert refund.status == "completed"
        assert await world.paid_to(asked.destination) == [UNITS]
        await world.books_agree()


class LosesAnswers(Fuse):
    """Every append is made, and its answer lost."""

    lost = 0

    async def call(self, name: str, work: Any) -> Any:
        answer = await work()
        if name == "append":
            self.lost += 1
            raise StoreUnavailable("the connection failed", outcome_unknown=True)
        return answer


class Overtaken(Fuse):
    """Another sender, who sees no obstacle, is quicker by one call."""

    other: RefundSender

    async def call(self, name: str, work: Any) -> Any:
        answer = await work()
        if name != "simulate_transfer":
            return answer
        await self.other.look()
        return "frozen"


class TestReorgs:
    async def test_thrown_out_before_its_depth_the_same_bytes_are_mined_again(
        self, make_world: MakeWorld, fresh_anvil: Anvil
    ) -> None:
        world = await make_world(fresh_anvil)
        asked = await world.request(UNITS)
        sender, signer = world.workers()
        await world.round(sender, signer)  # signed
        snapshot = await world.chain.rpc("evm_snapshot")
        await world.round(sender, signer)  # broadcast and mined
        assert await world.paid_to(asked.destination) == [UNITS]
        before = await world.refund(asked.refund_id)
        await world.chain.rpc("evm_revert", snapshot)
        assert await world.paid_to(asked.destination) == []
        (refund,) = await world.finish(asked.refund_id)
        assert refund.status == "completed"
        assert refund.tx_hash == before.tx_hash
        assert await world.paid_to(asked.destination) == [UNITS]

    async def test_what_a_deep_reorg_took_from_before_a_nonce_goes_out_again_first(
        self, make_world: MakeWorld, fresh_anvil: Anvil
    ) -> None:
        world = await make_world(fresh_anvil)
        snapshot = await world.chain.rpc("evm_snapshot")
        first = await world.request(UNITS)
        second = await world.request(UNITS)
        await world.finish(first.refund_id, second.refund_id)
        await world.chain.rpc("evm_revert", snapshot)
        third = await world.request(UNITS)
        (refund,) = await world.finish(third.refund_id)
        assert (refund.status, refund.nonce) == ("completed", 2)
        for asked in (first, second, third):
            assert await world.paid_to(asked.destination) == [UNITS]

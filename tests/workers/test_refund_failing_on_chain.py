"""A receipt that moved nothing releases money only once it cannot come undone in any usual way."""

from collections.abc import MutableMapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from application.policies import Policies
from domain.networks import ConfirmationPolicy
from domain.refund import Refund
from gateway.embedded_anvil import Anvil
from tests.workers.conftest import FLOAT_UNITS, MakeWorld
from tests.workers.fuse import NEVER, Fuse
from tests.workers.paying import BLOCKS, PAID_UNITS, UNITS, World
from tests.workers.reorged import PAID, Untagged, completed, look, paid_once, watch_of
from workers.refund_finality import FINAL_BLOCKS_MIN
from workers.refund_sender import RefundSender
from workers.refund_watch import WATCHED_SECONDS_MIN

pytestmark = pytest.mark.services

REVERTED = "the token refused the transfer on chain"
WAITS = "refund_failure_waits_for_finality"
FAILED_BUT_PAID = "error refund_failed_but_paid"


@pytest.fixture
async def world(make_world: MakeWorld, fresh_anvil: Anvil) -> World:
    return await make_world(fresh_anvil)


class ElsewhereInTheEnd(Fuse):
    """The node has another block where its receipt says that the transaction is."""

    async def call(self, name: str, work: Any) -> Any:
        answer = await work()
        return f"0x{0:064x}" if name == "block_hash" else answer


def errors(logs: Sequence[MutableMapping[str, Any]]) -> list[str]:
    return [line["event"] for line in logs if line["log_level"] == "error"]


async def frozen(world: World, refund: Refund, *, free: bool = False) -> None:
    owner = world.chain.accounts[0]
    call = "unBlacklist(address)" if free else "blacklist(address)"
    await world.token.send(owner, call, refund.destination)


async def reverted(world: World, fuse: Fuse = NEVER) -> tuple[Refund, RefundSender]:
    """A refund whose transaction is mined and reverted, at the policy's depth and beyond."""
    asked = await world.request(UNITS)
    sender, signer = world.workers(fuse)
    await sender.look()
    assert await signer.sign_waiting() == 1
    await frozen(world, asked)
    for _ in range(2 * BLOCKS + 2):
        await world.round(sender, signer)
    return await world.refund(asked.refund_id), sender


async def mined(world: World, blocks: int, sender: RefundSender) -> None:
    await world.chain.rpc("anvil_mine", hex(blocks))
    world.clock.advance(60.0)
    await sender.look()


async def depth_of(world: World, refund: Refund) -> int:
    receipt = await world.client.receipt(refund.tx_hash or "")
    assert receipt is not None
    assert not receipt.succeeded
    return await world.client.head_number() - receipt.block_number + 1


async def finalized(world: World, refund: Refund) -> bool:
    receipt = await world.client.receipt(refund.tx_hash or "")
    named = await world.client.tagged_number("finalized")
    assert receipt is not None
    return named is not None and receipt.block_number <= named


async def held(world: World, refund: Refund) -> None:
    """Open, and its money is not free."""
    assert (await world.refund(refund.refund_id)).status == "broadcast"
    assert (await world.float_()).reserved.keys() == {refund.refund_id}
    session = await world.session(refund.session_id)
    assert session.refundable.units == PAID_UNITS - UNITS
    await world.books_agree()


async def released(world: World, refund: Refund) -> None:
    ended = await world.refund(refund.refund_id)
    assert (ended.status, ended.failure) == ("failed", REVERTED)
    float_ = await world.float_()
    assert (float_.available_units, float_.reserved) == (FLOAT_UNITS, {})
    assert (await world.session(refund.session_id)).refundable.units == PAID_UNITS
    assert await world.balance("gas_spent") == await world.gas_spent() > 0
    await world.books_agree()


class TestReleasing:
    async def test_at_policy_depth_it_stays_open_and_that_is_said_once(self, world: World) -> None:
        with capture_logs() as logs:
            refund, sender = await reverted(world)
            await mined(world, 1, sender)
        assert await depth_of(world, refund) > BLOCKS
        assert not await finalized(world, refund)
        await held(world, refund)
        assert errors(logs) == [WAITS]

    async def test_it_fails_with_the_block_that_becomes_final_and_no_earlier(
        self, world: World
    ) -> None:
        refund, sender = await reverted(world)
        for _ in range(80):
            final = await finalized(world, refund)
            await mined(world, 0, sender)
            if final:
                break
            await held(world, refund)
            await world.chain.rpc("anvil_mine", "0x1")
        await released(world, refund)

    async def test_what_is_final_but_not_at_policy_depth_stays_open(self, world: World) -> None:
        policy = ConfirmationPolicy(version=1, blocks=100, allow_unattested=True)
        deeper = world.network.model_copy(update={"policy": policy})
        await Policies(world.handler).adopt(world.network)
        await Policies(world.handler).adopt(deeper)
        refund, sender = await reverted(world)
        await mined(world, 99 - await depth_of(world, refund), sender)
        assert await finalized(world, refund)
        await held(world, refund)
        await mined(world, 1, sender)
        await released(world, refund)

    async def test_without_the_tag_it_waits_for_a_depth_no_chain_ever_lost(
        self, world: World
    ) -> None:
        refund, sender = await reverted(world, Untagged())
        await mined(world, FINAL_BLOCKS_MIN - 1 - await depth_of(world, refund), sender)
        assert await finalized(world, refund), "the tag alone would do, were it served"
        await held(world, refund)
        await mined(world, 1, sender)
        await released(world, refund)

    async def test_a_receipt_from_a_branch_that_was_left_releases_nothing(
        self, world: World
    ) -> None:
        with capture_logs() as logs:
            refund, sender = await reverted(world, ElsewhereInTheEnd())
            await mined(world, 2 * FINAL_BLOCKS_MIN, sender)
        await held(world, refund)
        assert errors(logs) == []

    async def test_the_block_is_asked_for_after_everything_else(self, world: World) -> None:
        fuse = Fuse()
        refund, sender = await reverted(world, fuse)
        await world.chain.rpc("anvil_mine", "0x50")
        world.clock.advance(60.0)
        fuse.names.clear()
        await sender.look()
        await released(world, refund)
        of_the_chain = {"head_number", "receipt", "tagged_number", "block_hash"}
        asked = [name for name in fuse.names if name in of_the_chain]
        assert asked == ["head_number", "receipt", "tagged_number", "block_hash"]

    async def test_a_reorg_before_that_lets_the_same_bytes_pay_and_it_completes(
        self, world: World
    ) -> None:
        refund, _ = await reverted(world)
        await world.chain.rpc("anvil_reorg", await depth_of(world, refund), [])
        await frozen(world, refund, free=True)
        (paid,) = await world.finish(refund.refund_id)
        assert (paid.status, paid.tx_hash) == ("completed", refund.tx_hash)
        assert await world.facts(refund.refund_id) == PAID
        await paid_once(world, [refund])
        await world.books_agree()


class TestWatched:
    """What failed by a final receipt: should that come undone all the same, it is said."""

    async def failed(self, world: World) -> Refund:
        refund, sender = await reverted(world)
        await mined(world, 80, sender)
        await released(world, refund)
        return await world.refund(refund.refund_id)

    async def pays_after_all(self, world: World, refund: Refund) -> None:
        await world.chain.rpc("anvil_reorg", await depth_of(world, refund), [])
        await frozen(world, refund, free=True)
        row = await world.outgoing.find(refund.refund_id)
        assert row is not None
        assert row.raw is not None
        await world.client.broadcast(row.raw)
        await world.chain.rpc("anvil_mine", "0x1")
        assert await world.paid_to(refund.destination) == [UNITS]

    async def test_paid_after_all_it_is_an_error_once_and_no_fact(self, world: World) -> None:
        refund = await self.failed(world)
        watch = watch_of(world)
        assert await look(world, watch, 2) == []
        before = await world.store.head()
        await self.pays_after_all(world, refund)
        assert await look(world, watch, 3) == [FAILED_BUT_PAID]
        assert await world.store.head() == before

    async def test_found_by_a_watch_that_remembers_nothing(self, world: World) -> None:
        refund = await self.failed(world)
        world.clock.advance(3_600)
        await self.pays_after_all(world, refund)
        assert await look(world, watch_of(world)) == [FAILED_BUT_PAID]

    async def test_a_payment_on_a_branch_that_the_node_does_not_have_is_not_said(
        self, world: World
    ) -> None:
        refund = await self.failed(world)
        await self.pays_after_all(world, refund)
        assert await look(world, watch_of(world, ElsewhereInTheEnd()), 2) == []

    async def test_paid_after_all_it_is_said_once_however_old_it_is(self, world: World) -> None:
        refund = await self.failed(world)
        world.clock.advance(WATCHED_SECONDS_MIN - 3 * 3_600)
        await self.pays_after_all(world, refund)
        watch = watch_of(world)
        said = []
        for _ in range(10):
            said += await look(world, watch)
            world.clock.advance(900)
        assert said == [FAILED_BUT_PAID]

    async def test_what_failed_before_the_window_is_not_asked_for(self, world: World) -> None:
        await self.failed(world)
        world.clock.advance(WATCHED_SECONDS_MIN + 1)
        fuse = Fuse()
        assert await look(world, watch_of(world, fuse)) == []
        assert fuse.names == []

    async def test_what_was_never_sent_is_not_asked_for(self, world: World) -> None:
        asked = await world.request(UNITS)
        await frozen(world, asked)
        (refused,) = await world.finish(asked.refund_id)
        assert (refused.status, refused.tx_hash) == ("failed", None)
        fuse = Fuse()
        assert await look(world, watch_of(world, fuse)) == []
        assert fuse.names == []

    async def test_it_hides_no_loss_of_another_refund(self, world: World) -> None:
        await self.failed(world)
        paid = await completed(world)
        fuse = Fuse()
        assert await look(world, watch_of(world, fuse)) == []
        assert sorted(fuse.names) == ["block_hash", "receipt", "tagged_number"]
        assert paid.block_hash is not None

"""A reorg deeper than the policy takes back what completed: it is undone, and paid again."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from application.ports import Unavailable
from gateway.embedded_anvil import Anvil
from tests.workers import paying
from tests.workers.conftest import FLOAT_UNITS, MakeWorld
from tests.workers.fuse import Fuse
from tests.workers.paying import BLOCKS, PAID_UNITS, UNITS, World
from tests.workers.reorged import (
    LOST,
    PAID,
    PAID_AGAIN,
    completed,
    look,
    mined_again,
    paid_once,
    thrown_out,
    watch_of,
)
from workers.refund_facts import RefundFacts
from workers.refund_watch import WATCH_SECONDS

pytestmark = pytest.mark.services

POLLS_MAX = 200
POLL_SECONDS = 0.02


@pytest.fixture
async def world(make_world: MakeWorld, fresh_anvil: Anvil) -> World:
    return await make_world(fresh_anvil)


class TestLost:
    async def test_completed_and_reorged_out_it_is_undone_in_one_write_and_paid_again(
        self, world: World
    ) -> None:
        refund = await completed(world)
        await world.books_agree()
        head = await world.store.head()
        await thrown_out(world, refund)
        store = Fuse()
        assert await look(world, watch_of(world, store=store), 3) == [LOST]
        written = await world.store.read_log(after=head, limit=100)
        assert sorted(fact.event.name for fact in written) == [
            "journal.entry_posted",
            "journal.entry_posted",
            "journal.entry_posted",
            "payment.refund_reversed",
            "refund.reversed",
            "refund_float.spending_reversed",
        ]
        assert {fact.context.actor for fact in written} == {"chain:31337"}
        assert store.names.count("append") == 1

        again = await world.refund(refund.refund_id)
        assert (again.status, again.gas, again.block_hash) == ("broadcast", None, None)
        session = await world.session(refund.session_id)
        assert (session.refunded.units, session.refundable.units) == (0, PAID_UNITS - UNITS)
        assert (await world.float_()).reserved.keys() == {refund.refund_id}
        assert await world.balance("gas_spent") == 0
        await world.books_agree()

        (paid,) = await world.finish(refund.refund_id)
        assert (paid.status, paid.tx_hash) == ("completed", refund.tx_hash)
        assert paid.block_hash != refund.block_hash
        assert await world.facts(refund.refund_id) == PAID_AGAIN
        session = await world.session(refund.session_id)
        assert session.refunded.units == UNITS
        held = await world.float_()
        assert (held.available_units, held.reserved) == (FLOAT_UNITS - UNITS, {})
        assert await world.balance("gas_spent") == await world.gas_spent() > 0
        await paid_once(world, [refund])
        await world.books_agree()

    async def test_a_refund_of_the_inbox_too(self, world: World) -> None:
        asked = await world.request_for_transfer()
        (refund,) = await world.finish(asked.refund_id)
        assert refund.transfer_id is not None
        await thrown_out(world, refund)
        assert await look(world, watch_of(world)) == [LOST]
        assert (await world.transfer(refund.transfer_id)).resolution == "refunding"
        assert await world.balance("suspense") == -PAID_UNITS
        await world.books_agree()
        (paid,) = await world.finish(refund.refund_id)
        assert paid.status == "completed"
        assert (await world.transfer(refund.transfer_id)).resolution == "refunded"
        assert await world.balance("suspense") == 0
        assert await world.paid_to(refund.destination) == [PAID_UNITS]
        await world.books_agree()

    async def test_the_sender_watches_beside_its_paying(self, world: World) -> None:
        refund = await completed(world)
        await thrown_out(world, refund)
        sender, _ = world.workers()
        stop = asyncio.Event()
        running = asyncio.create_task(sender.run(stop))
        for _ in range(POLLS_MAX):
            world.clock.advance(WATCH_SECONDS)
            await asyncio.sleep(POLL_SECONDS)
            await world.chain.rpc("anvil_mine", "0x1")
            if await world.facts(refund.refund_id) == PAID_AGAIN:
                break
        stop.set()
        await asyncio.wait_for(running, timeout=2)
        assert await world.facts(refund.refund_id) == PAID_AGAIN
        await paid_once(world, [refund])
        await world.books_agree()

    async def test_two_watches_at_once_undo_it_once(self, world: World) -> None:
        refund = await completed(world)
        await thrown_out(world, refund)
        with capture_logs() as logs:
            await asyncio.gather(*(watch_of(world).look() for _ in range(3)))
        assert [line["event"] for line in logs] == ["refund_transaction_lost"]
        assert await world.facts(refund.refund_id) == [*PAID, "refund.reversed"]

    async def test_an_answer_about_an_earlier_completion_undoes_nothing(
        self, world: World
    ) -> None:
        before = await completed(world)
        await thrown_out(world, before)
        await look(world, watch_of(world))
        await world.finish(before.refund_id)
        assert not await RefundFacts(world.handler, world.networks).lost(before)
        assert await world.facts(before.refund_id) == PAID_AGAIN

    async def test_lost_twice_it_is_undone_and_paid_twice(self, world: World) -> None:
        refund = await completed(world)
        watch = watch_of(world)
        for times in (1, 2):
            await thrown_out(world, refund)
            assert await look(world, watch) == [LOST]
            (refund,) = await world.finish(refund.refund_id)
            facts = await world.facts(refund.refund_id)
            assert facts.count("refund.completed") == times + 1
        await paid_once(world, [refund])
        await world.books_agree()

    async def test_it_completes_again_at_the_policys_depth_and_no_earlier(
        self, world: World
    ) -> None:
        refund = await completed(world)
        await thrown_out(world, refund, unmined=True)
        await look(world, watch_of(world))
        sender, _ = world.workers()
        await sender.look()  # sends the bytes
        for depth in range(1, BLOCKS + 1):
            assert (await world.refund(refund.refund_id)).status == "broadcast"
            await world.chain.rpc("anvil_mine", "0x1")
            world.clock.advance(paying.ROUND_SECONDS)
            await sender.look()
            done = (await world.refund(refund.refund_id)).status == "completed"
            assert done == (depth == BLOCKS)

    async def test_what_a_later_nonce_waits_for_goes_out_before_it_though_not_looked_at_yet(
        self, world: World
    ) -> None:
        old = await completed(world)
        watch = watch_of(world)
        world.clock.advance(86_400)
        assert await look(world, watch) == []
        recent = await completed(world)
        await thrown_out(world, old, recent)
        assert await look(world, watch) == [LOST]
        await world.finish(recent.refund_id)
        assert await world.facts(old.refund_id) == PAID
        await paid_once(world, [old, recent])

    async def test_frozen_in_between_it_fails_and_its_money_is_free_again(
        self, world: World
    ) -> None:
        refund = await completed(world)
        await thrown_out(world, refund)
        owner = world.chain.accounts[0]
        await world.token.send(owner, "blacklist(address)", refund.destination)
        assert await look(world, watch_of(world)) == [LOST]
        ended = await world.finish_failing(refund.refund_id)
        assert (ended.status, ended.failure) == (
            "failed",
            "the token refused the transfer on chain",
        )
        assert (await world.session(refund.session_id)).refundable.units == PAID_UNITS
        assert (await world.float_()).available_units == FLOAT_UNITS
        assert await world.balance("gas_spent") == await world.gas_spent() > 0
        await world.books_agree()

    async def test_a_nonce_that_another_transaction_took_is_said_and_it_stays_open(
        self, world: World
    ) -> None:
        refund = await completed(world)
        await thrown_out(world, refund)
        await world.chain.rpc("anvil_setNonce", world.wallet, "0x1")
        assert await look(world, watch_of(world)) == [LOST]
        sender, signer = world.workers()
        with capture_logs() as logs:
            for _ in range(2):
                await world.round(sender, signer)
        assert [line["event"] for line in logs] == ["refund_nonce_used_elsewhere"]
        assert (await world.refund(refund.refund_id)).status == "broadcast"
        assert (await world.float_()).reserved.keys() == {refund.refund_id}


class TestNotLost:
    async def test_mined_again_before_anybody_looked_it_stays_completed(
        self, world: World
    ) -> None:
        refund = await completed(world)
        await mined_again(world, refund)
        assert await look(world, watch_of(world), 3) == []
        assert await world.facts(refund.refund_id) == PAID
        await paid_once(world, [refund])

    async def test_and_lost_from_there_it_is_undone(self, world: World) -> None:
        refund = await completed(world)
        watch = watch_of(world)
        await mined_again(world, refund)
        assert await look(world, watch) == []
        await thrown_out(world, refund)
        assert await look(world, watch) == [LOST]

    async def test_mined_again_and_not_paying_it_is_undone(self, world: World) -> None:
        refund = await completed(world)
        row = await world.outgoing.find(refund.refund_id)
        assert row is not None
        assert row.raw is not None
        await thrown_out(world, refund)
        owner = world.chain.accounts[0]
        await world.token.send(owner, "blacklist(address)", refund.destination)
        await world.client.broadcast(row.raw)
        await world.chain.rpc("anvil_mine", "0x1")
        assert await look(world, watch_of(world)) == [LOST]
        ended = await world.finish_failing(refund.refund_id)
        assert ended.status == "failed"
        await world.books_agree()

    @pytest.mark.parametrize("fault", ["lags", "silent", "forgets", "wavers", "away"])
    async def test_no_faulty_node_undoes_anything(self, world: World, fault: str) -> None:
        refund = await completed(world)
        await look(world, watch_of(world, Faulty(fault=fault)), 4)
        assert await world.facts(refund.refund_id) == PAID

    async def test_a_node_that_comes_back_is_asked_again(self, world: World) -> None:
        refund = await completed(world)
        fuse = Faulty(fault="away")
        watch = watch_of(world, fuse)
        assert await look(world, watch, 2) == ["warning worker_waits"]
        fuse.fault = ""
        assert await look(world, watch, 2) == ["info worker_goes_on"]
        await thrown_out(world, refund)
        assert await look(world, watch) == [LOST]


class Faulty(Fuse):
    """Answers of a node that does not know better, or of several that are not of one mind."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    async def call(self, name: str, work: Any) -> Any:
        self.names.append(name)
        if self.fault == "away":
            raise Unavailable("rpc", "anvil: no answer")
        if self.fault == "silent":
            return 0 if name == "head_number" else None
        if name == "block_hash" and self.fault == "lags":
            return None
        if name == "block_hash" and self.fault == "wavers":
            return f"0x{len(self.names):064x}"
        if name == "receipt" and self.fault in {"lags", "forgets", "wavers"}:
            return None
        return await work()

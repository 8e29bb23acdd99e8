"""A completed refund is final with the block that pays it, and nothing is done about it again."""

import asyncio
from typing import Any

import pytest

from application.ports import Unavailable
from domain.refund import Refund
from gateway.embedded_anvil import Anvil
from tests.workers.conftest import FLOAT_UNITS, MakeWorld
from tests.workers.fuse import Fuse
from tests.workers.paying import FINAL_BLOCKS, UNITS, World
from tests.workers.reorged import (
    FOR_GOOD,
    LOST,
    PAID,
    PAID_AGAIN,
    Untagged,
    bury,
    completed,
    look,
    mined_again,
    paid_once,
    thrown_out,
    watch_of,
)
from workers import refund_watch
from workers.refund_facts import RefundFacts
from workers.refund_finality import FINAL_BLOCKS_MIN

pytestmark = pytest.mark.services
AWAY = f"0x{0:064x}"


@pytest.fixture
async def world(make_world: MakeWorld, fresh_anvil: Anvil) -> World:
    return await make_world(fresh_anvil)


async def blocks_above(world: World, refund: Refund) -> int:
    assert refund.block_number is not None
    return await world.client.head_number() - refund.block_number


class TestWhen:
    async def test_with_the_block_that_becomes_final_and_no_earlier(self, world: World) -> None:
        refund = await completed(world)
        watch = watch_of(world)
        await bury(world, FINAL_BLOCKS - 1 - await blocks_above(world, refund))
        assert await look(world, watch, 2) == []
        assert await world.facts(refund.refund_id) == PAID
        await bury(world, 1)
        head = await world.store.head()
        assert await look(world, watch, 3) == []
        (fact,) = await world.store.read_log(after=head, limit=10)
        assert (fact.event.name, fact.context.actor) == ("refund.finalized", "chain:31337")
        final = await world.refund(refund.refund_id)
        assert final.final_at is not None
        assert (final.block_number, final.block_hash) == (refund.block_number, refund.block_hash)
        await paid_once(world, [refund])
        await world.books_agree()

    async def test_without_the_tag_it_waits_for_a_depth_no_chain_ever_lost(
        self, world: World
    ) -> None:
        refund = await completed(world)
        fuse = Untagged()
        watch = watch_of(world, fuse)
        await bury(world, FINAL_BLOCKS_MIN - 2 - await blocks_above(world, refund))
        assert await look(world, watch) == []
        assert await world.facts(refund.refund_id) == PAID
        assert fuse.names == ["tagged_number", "head_number", "block_hash"]
        await bury(world, 1)
        assert await look(world, watch) == []
        assert await world.facts(refund.refund_id) == FOR_GOOD

    async def test_mined_again_elsewhere_it_is_final_with_that_block_and_no_earlier(
        self, world: World
    ) -> None:
        refund = await completed(world)
        receipt = await mined_again(world, refund)
        watch = watch_of(world)
        there = receipt.block_number
        await bury(world, there + FINAL_BLOCKS - 1 - await world.client.head_number())
        assert await look(world, watch, 2) == []
        assert await world.facts(refund.refund_id) == PAID
        await bury(world, 1)
        assert await look(world, watch, 2) == []
        assert await world.facts(refund.refund_id) == FOR_GOOD
        final = await world.refund(refund.refund_id)
        assert final.block_hash != refund.block_hash
        assert (final.block_number, final.block_hash) == (there, receipt.block_hash)
        await world.books_agree()

    async def test_lost_and_paid_again_it_is_final_then(self, world: World) -> None:
        refund = await completed(world)
        watch = watch_of(world)
        await thrown_out(world, refund)
        assert await look(world, watch) == [LOST]
        (again,) = await world.finish(refund.refund_id)
        await bury(world)
        assert await look(world, watch) == []
        assert await world.facts(refund.refund_id) == [*PAID_AGAIN, "refund.finalized"]
        assert (await world.refund(refund.refund_id)).block_hash == again.block_hash

    async def test_many_become_final_page_by_page(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(refund_watch, "PAGE_MAX", 1)
        refunds = [await completed(world) for _ in range(5)]
        await bury(world)
        assert await look(world, watch_of(world), len(refunds) - 1) == []  # two at first, then one
        for refund in refunds:
            assert await world.facts(refund.refund_id) == FOR_GOOD


class TestOnce:
    async def test_several_watches_at_once_record_it_once(self, world: World) -> None:
        refund = await completed(world)
        await bury(world)
        await asyncio.gather(*(watch_of(world).look() for _ in range(3)))
        assert await world.facts(refund.refund_id) == FOR_GOOD

    async def test_an_answer_about_an_earlier_completion_makes_nothing_final(
        self, world: World
    ) -> None:
        before = await completed(world)
        assert before.block_number is not None
        assert before.block_hash is not None
        place = (before.block_number, before.block_hash)
        facts = RefundFacts(world.handler, world.networks)
        await thrown_out(world, before)
        await look(world, watch_of(world))
        assert not await facts.final(before, *place)
        await world.finish(before.refund_id)
        assert not await facts.final(before, *place)
        assert await world.facts(before.refund_id) == PAID_AGAIN

    async def test_what_is_final_is_not_lost_whoever_says_so(self, world: World) -> None:
        before = await completed(world)
        await bury(world)
        await look(world, watch_of(world))
        facts = RefundFacts(world.handler, world.networks)
        head = await world.store.head()
        assert not await facts.lost(before)
        assert not await facts.lost(await world.refund(before.refund_id))
        assert await world.store.head() == head
        session = await world.session(before.session_id)
        assert session.refunded.units == UNITS
        held = await world.float_()
        assert (held.available_units, held.reserved) == (FLOAT_UNITS - UNITS, {})


class Doubtful(Fuse):
    """Nodes behind one address that are not of one mind about blocks, and what they call final."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    async def call(self, name: str, work: Any) -> Any:
        self.names.append(name)
        answer = await work()
        hashes = self.names.count("block_hash")
        if name == "block_hash" and self.fault == "then another":
            return answer if hashes % 2 else AWAY
        if name == "block_hash" and self.fault == "then none":
            return answer if hashes % 2 else None
        if name == "block_hash" and self.fault == "ends before":
            return None
        if name == "block_hash" and self.fault == "none of the receipt's":
            return AWAY
        if name == "tagged_number" and self.fault == "calls nothing final":
            return 0
        if name == "tagged_number" and self.fault == "breaks off":
            raise ValueError("not a block")
        if name == "tagged_number" and self.fault == "refuses":
            raise Unavailable("rpc", "anvil: -32000: not here")
        return answer


class TestNotOnADoubtfulWord:
    @pytest.mark.parametrize(
        "fault",
        [
            "then another",
            "then none",
            "ends before",
            "none of the receipt's",
            "calls nothing final",
        ],
    )
    async def test_nothing_is_final(self, world: World, fault: str) -> None:
        refund = await completed(world)
        await bury(world)
        assert await look(world, watch_of(world, Doubtful(fault)), 3) == []
        assert await world.facts(refund.refund_id) == PAID
        assert await look(world, watch_of(world)) == []
        assert await world.facts(refund.refund_id) == FOR_GOOD, "it was only the node's word"

    @pytest.mark.parametrize(
        ("fault", "says"),
        [
            ("breaks off", ["error refund_watch_failed"] * 3),
            ("refuses", ["warning worker_waits"]),
        ],
    )
    async def test_a_node_that_does_not_say_what_is_final_hides_no_loss(
        self, world: World, fault: str, says: list[str]
    ) -> None:
        refund = await completed(world)
        await bury(world)
        fuse = Doubtful(fault)
        watch = watch_of(world, fuse)
        assert await look(world, watch, 3) == says
        assert await world.facts(refund.refund_id) == PAID
        fuse.fault = ""
        back = ["info worker_goes_on"] if fault == "refuses" else []
        assert await look(world, watch) == back
        assert await world.facts(refund.refund_id) == FOR_GOOD
        other = await completed(world)
        await thrown_out(world, other)
        fuse.fault = fault
        assert await look(world, watch) == [says[0], LOST]

    async def test_what_is_final_is_asked_before_the_blocks_are(self, world: World) -> None:
        await completed(world)
        await bury(world)
        fuse = Fuse()
        await look(world, watch_of(world, fuse))
        assert fuse.names == ["tagged_number", "block_hash", "block_hash"]

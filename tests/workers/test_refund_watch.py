"""A reorg deeper than the policy takes back what completed: it is noticed, and paid again."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.memory.reads import MemoryReads
from application.ports import Unavailable
from domain.refund import Refund
from gateway.embedded_anvil import Anvil
from tests.workers.conftest import FLOAT_UNITS, MakeWorld
from tests.workers.paying import BLOCKS, UNITS, Fuse, World
from workers.refund_watch import WATCH_SECONDS, WATCHED_AFTER_SECONDS, RefundWatch

pytestmark = pytest.mark.services

POLLS_MAX = 200
POLL_SECONDS = 0.02
LOST, BACK = "refund_transaction_lost", "refund_transaction_back"


@pytest.fixture
async def world(make_world: MakeWorld, fresh_anvil: Anvil) -> World:
    return await make_world(fresh_anvil)


def watch_of(world: World, fuse: Fuse | None = None) -> RefundWatch:
    around = fuse or Fuse()
    return RefundWatch(
        MemoryReads(world.store, world.networks).refunds,
        around.around(world.outgoing),
        {world.network.name: around.around(world.client)},
        world.networks,
        world.clock,
    )


async def completed(world: World) -> Refund:
    asked = await world.request(UNITS)
    (refund,) = await world.finish(asked.refund_id)
    assert refund.status == "completed"
    assert await world.paid_to(refund.destination) == [UNITS]
    return refund


async def thrown_out(world: World, *refunds: Refund) -> None:
    """A reorg from the block of the first of these on; none of them is in the new chain."""
    mined = await world.client.receipt(refunds[0].tx_hash or "")
    assert mined is not None
    depth = await world.client.head_number() - mined.block_number + 1
    await world.chain.rpc("anvil_reorg", depth, [])
    for refund in refunds:
        assert await world.client.receipt(refund.tx_hash or "") is None
        assert await world.token.balance(refund.destination) == 0


async def look(world: World, watch: RefundWatch, times: int = 1) -> list[str]:
    """What the log says, while a block a look is mined."""
    with capture_logs() as logs:
        for _ in range(times):
            await watch.look()
            await world.chain.rpc("anvil_mine", "0x1")
            world.clock.advance(WATCH_SECONDS)
    return [f"{line['log_level']} {line['event']}" for line in logs]


async def paid_once(world: World, refunds: Sequence[Refund]) -> None:
    for refund in refunds:
        assert await world.paid_to(refund.destination) == [UNITS]
        assert await world.token.balance(refund.destination) == UNITS
        assert await world.client.receipt(refund.tx_hash or "") is not None
    assert await world.token.balance(world.wallet) == FLOAT_UNITS - UNITS * len(refunds)
    assert await world.client.transaction_count(world.wallet) == len(refunds)


async def test_completed_and_reorged_out_it_is_paid_again_exactly_once_and_said(
    world: World,
) -> None:
    refund = await completed(world)
    facts = await world.facts(refund.refund_id)
    await thrown_out(world, refund)
    watch = watch_of(world)
    assert await look(world, watch) == [f"error {LOST}"]
    assert await look(world, watch, BLOCKS) == [f"info {BACK}"]
    assert await look(world, watch, 2) == []
    await paid_once(world, [refund])
    assert await world.facts(refund.refund_id) == facts
    await world.books_agree()


async def test_the_sender_watches_beside_its_paying(world: World) -> None:
    refund = await completed(world)
    sender, _ = world.workers()
    stop = asyncio.Event()
    running = asyncio.create_task(sender.run(stop))
    await asyncio.sleep(POLL_SECONDS)
    await thrown_out(world, refund)
    for _ in range(POLLS_MAX):
        world.clock.advance(WATCH_SECONDS)
        await asyncio.sleep(POLL_SECONDS)
        if await world.paid_to(refund.destination):
            break
    stop.set()
    await asyncio.wait_for(running, timeout=2)
    await paid_once(world, [refund])


async def test_while_it_stays_lost_the_error_is_said_once_and_the_bytes_are_sent_again(
    world: World,
) -> None:
    refund = await completed(world)
    await world.chain.rpc("evm_setAutomine", False)
    await thrown_out(world, refund)
    fuse = Fuse()
    watch = watch_of(world, fuse)
    with capture_logs() as logs:
        for _ in range(3):
            await watch.look()
    assert [line["event"] for line in logs] == [LOST]
    assert logs[0]["refund_id"] == refund.refund_id.hex
    assert logs[0]["tx_hash"] == refund.tx_hash
    assert fuse.names.count("broadcast") == 3
    await world.chain.rpc("evm_setAutomine", True)
    assert await look(world, watch, BLOCKS + 1) == [f"info {BACK}"]
    await paid_once(world, [refund])


async def test_it_is_back_at_the_policys_depth_and_no_earlier(world: World) -> None:
    refund = await completed(world)
    await world.chain.rpc("evm_setAutomine", False)
    await thrown_out(world, refund)
    watch = watch_of(world)
    assert await look(world, watch) == [f"error {LOST}"]  # and mined, one block deep
    assert await look(world, watch, BLOCKS - 1) == []
    assert await look(world, watch) == [f"info {BACK}"]


async def test_lost_twice_it_is_said_and_paid_twice(world: World) -> None:
    refund = await completed(world)
    watch = watch_of(world)
    for _ in range(2):
        await thrown_out(world, refund)
        assert await look(world, watch, BLOCKS + 1) == [f"error {LOST}", f"info {BACK}"]
    await paid_once(world, [refund])


async def test_what_a_later_nonce_waits_for_goes_out_before_it_however_old(world: World) -> None:
    old = await completed(world)
    world.clock.advance(WATCHED_AFTER_SECONDS)
    recent = await completed(world)
    await thrown_out(world, old, recent)
    assert await look(world, watch_of(world), BLOCKS + 1) == [f"error {LOST}", f"info {BACK}"]
    await paid_once(world, [old, recent])


async def test_what_is_missed_stays_under_watch_beyond_its_time(world: World) -> None:
    refund = await completed(world)
    await thrown_out(world, refund)
    watch = watch_of(world)
    with capture_logs():
        await watch.look()
    world.clock.advance(2 * WATCHED_AFTER_SECONDS)
    assert await look(world, watch, BLOCKS) == [f"info {BACK}"]
    await paid_once(world, [refund])


async def test_what_completed_long_ago_is_not_asked_for(world: World) -> None:
    await completed(world)
    fuse = Fuse()
    watch = watch_of(world, fuse)
    assert await look(world, watch) == []
    assert fuse.names == ["receipt"]
    world.clock.advance(WATCHED_AFTER_SECONDS)
    assert await look(world, watch) == []
    assert fuse.names == ["receipt"]


async def test_a_nonce_that_another_transaction_took_is_said_too(world: World) -> None:
    refund = await completed(world)
    await thrown_out(world, refund)
    await world.chain.rpc("anvil_setNonce", world.wallet, "0x1")
    says = [f"error {LOST}", "error refund_nonce_used_elsewhere"]
    watch = watch_of(world)
    assert await look(world, watch, 2) == says
    assert await world.paid_to(refund.destination) == []


async def test_mined_again_without_moving_the_money_it_is_not_called_back(world: World) -> None:
    refund = await completed(world)
    await thrown_out(world, refund)
    owner = world.chain.accounts[0]
    await world.token.send(owner, "blacklist(address)", refund.destination)
    says = [f"error {LOST}", "error refund_transaction_not_as_booked"]
    assert await look(world, watch_of(world), BLOCKS + 1) == says
    assert await world.paid_to(refund.destination) == []


async def test_a_receipt_that_names_another_amount_is_said(world: World) -> None:
    await completed(world)
    watch = watch_of(world, Shrinks())
    assert await look(world, watch, 2) == ["error refund_transaction_not_as_booked"]


async def test_a_node_that_is_away_is_no_lost_transaction(world: World) -> None:
    refund = await completed(world)
    fuse = Away()
    watch = watch_of(world, fuse)
    assert await look(world, watch, 2) == ["warning worker_waits"]
    fuse.away = False
    assert await look(world, watch, 2) == ["info worker_goes_on"]
    await thrown_out(world, refund)
    assert await look(world, watch, BLOCKS + 1) == [f"error {LOST}", f"info {BACK}"]


class Away(Fuse):
    """No receipt is answered."""

    away = True

    async def call(self, name: str, work: Any) -> Any:
        if self.away and name == "receipt":
            raise Unavailable("rpc", "anvil: no answer")
        return await work()


class Shrinks(Fuse):
    """The receipt says that less was moved."""

    async def call(self, name: str, work: Any) -> Any:
        answer = await work()
        if name != "receipt":
            return answer
        token, sender, recipient, units = answer.transfers[0]
        return replace(answer, transfers=((token, sender, recipient, units - 1),))

"""Refunds that completed, a reorg that throws them out, and the watch that looks."""

from collections.abc import Sequence
from typing import Any

from structlog.testing import capture_logs

from adapters.memory.reads import MemoryReads
from application.handling import Handler
from application.outside import Receipt
from domain.refund import Refund
from tests.workers.conftest import FLOAT_UNITS
from tests.workers.fuse import Fuse
from tests.workers.paying import FINAL_BLOCKS, UNITS, World
from workers.refund_facts import RefundFacts
from workers.refund_watch import WATCH_SECONDS, RefundWatch

LOST = "error refund_transaction_lost"
PAID = ["refund.requested", "refund.signed", "refund.broadcast", "refund.completed"]
PAID_AGAIN = [*PAID, "refund.reversed", "refund.completed"]
FOR_GOOD = [*PAID, "refund.finalized"]


class Untagged(Fuse):
    """A node that calls no block final."""

    async def call(self, name: str, work: Any) -> Any:
        self.names.append(name)
        return None if name == "tagged_number" else await work()


def watch_of(world: World, fuse: Fuse | None = None, *, store: Fuse | None = None) -> RefundWatch:
    around = fuse or Fuse()
    handler = Handler((store or Fuse()).around(world.store), world.clock)
    return RefundWatch(
        MemoryReads(world.store, world.networks).refunds,
        RefundFacts(handler, world.networks),
        {world.network.name: around.around(world.client)},
        world.networks,
        world.clock,
    )


async def completed(world: World, units: int = UNITS) -> Refund:
    asked = await world.request(units)
    (refund,) = await world.finish(asked.refund_id)
    assert refund.status == "completed"
    assert await world.paid_to(refund.destination) == [units]
    return refund


async def thrown_out(world: World, *refunds: Refund, unmined: bool = False) -> None:
    """A reorg from the block of the first of these on, into as many blocks without them.

    With `unmined` the node mines nothing by itself from then on.
    """
    mined = await world.client.receipt(refunds[0].tx_hash or "")
    assert mined is not None
    depth = await world.client.head_number() - mined.block_number + 1
    if unmined:
        await world.chain.rpc("evm_setAutomine", False)
    await world.chain.rpc("anvil_reorg", depth, [])
    for refund in refunds:
        assert await world.client.receipt(refund.tx_hash or "") is None
        assert await world.token.balance(refund.destination) == 0


async def mined_again(world: World, refund: Refund) -> Receipt:
    """A reorg, and its bytes in a block of the new branch."""
    row = await world.outgoing.find(refund.refund_id)
    assert row is not None
    assert row.raw is not None
    await thrown_out(world, refund)
    await world.client.broadcast(row.raw)
    await world.chain.rpc("anvil_mine", "0x1")
    receipt = await world.client.receipt(refund.tx_hash or "")
    assert receipt is not None
    return receipt


async def bury(world: World, blocks: int = FINAL_BLOCKS) -> None:
    await world.chain.rpc("anvil_mine", hex(blocks))


async def look(world: World, watch: RefundWatch, times: int = 1) -> list[str]:
    """What the log says."""
    with capture_logs() as logs:
        for _ in range(times):
            await watch.look()
            world.clock.advance(WATCH_SECONDS)
    return [f"{line['log_level']} {line['event']}" for line in logs]


async def paid_once(world: World, refunds: Sequence[Refund]) -> None:
    for refund in refunds:
        assert await world.paid_to(refund.destination) == [UNITS]
        assert await world.token.balance(refund.destination) == UNITS
    assert await world.token.balance(world.wallet) == FLOAT_UNITS - UNITS * len(refunds)
    assert await world.client.transaction_count(world.wallet) == len(refunds)

"""What the refund sender records, and what a receipt of ours means.

Shapes  The end of a refund is one write: the refund, the session and the float, or none of them.
        Told twice, nothing is added.
"""

from typing import Literal

from application.deciders import PAYMENT, REFUND, REFUND_FLOAT, float_id
from application.handling import Handler, UnitOfWork
from application.outside import Receipt
from application.ports import Context
from domain import commands as c
from domain.networks import NetworkBook
from domain.refund import Refund

Outcome = Literal["paid", "reverted", "nothing_moved", "unexplained"]


class RefundFacts:
    def __init__(self, handler: Handler, networks: NetworkBook) -> None:
        self._handler = handler
        self._networks = networks

    async def signed(self, refund: Refund, tx_hash: str, nonce: int) -> None:
        async def work(unit: UnitOfWork) -> None:
            command = c.RecordSigned(at=unit.now, tx_hash=tx_hash, nonce=nonce)
            await unit.decide(REFUND, refund.refund_id, command)

        await self._handler.execute(_context(refund, "system"), work)

    async def broadcast(self, refund: Refund, tx_hash: str) -> None:
        async def work(unit: UnitOfWork) -> None:
            command = c.RecordBroadcast(at=unit.now, tx_hash=tx_hash)
            await unit.decide(REFUND, refund.refund_id, command)

        await self._handler.execute(_context(refund, "system"), work)

    async def mined(self, refund: Refund, receipt: Receipt, confirmations: int) -> None:
        """Completed, in one write: refund, session and float."""
        network = self._networks.get(refund.network)

        async def work(unit: UnitOfWork) -> None:
            command = c.RecordRefundMined(
                at=unit.now,
                tx_hash=receipt.tx_hash,
                block_number=receipt.block_number,
                block_hash=receipt.block_hash,
                confirmations=confirmations,
            )
            await unit.decide(REFUND, refund.refund_id, command)
            settle = c.SettleRefund(
                at=unit.now, refund_id=refund.refund_id, tx_hash=receipt.tx_hash
            )
            await unit.decide(PAYMENT, refund.session_id, settle)
            spend = c.SpendFloat(at=unit.now, refund_id=refund.refund_id)
            await _decide_float(unit, refund, spend)

        context = _context(refund, f"chain:{network.chain_id}", network.policy.version)
        await self._handler.execute(context, work)

    async def failed(self, refund: Refund, reason: str) -> None:
        """Never to be paid, in one write: the money is free again on session and float."""

        async def work(unit: UnitOfWork) -> None:
            await unit.decide(REFUND, refund.refund_id, c.FailRefund(at=unit.now, reason=reason))
            release = c.ReleaseRefund(at=unit.now, refund_id=refund.refund_id, reason=reason)
            await unit.decide(PAYMENT, refund.session_id, release)
            free = c.ReleaseFloat(at=unit.now, refund_id=refund.refund_id)
            await _decide_float(unit, refund, free)

        await self._handler.execute(_context(refund, "system"), work)


async def _decide_float(
    unit: UnitOfWork, refund: Refund, command: c.SpendFloat | c.ReleaseFloat
) -> None:
    stream_id = float_id(refund.merchant_id, refund.mode, refund.amount.asset)
    await unit.decide(
        REFUND_FLOAT, stream_id, command, merchant_id=refund.merchant_id, mode=refund.mode
    )


def _context(refund: Refund, actor: str, policy_version: int | None = None) -> Context:
    return Context(
        actor=actor,
        merchant_id=refund.merchant_id,
        mode=refund.mode,
        correlation_id=refund.refund_id.hex,
        policy_version=policy_version,
    )


def judge(receipt: Receipt, refund: Refund, networks: NetworkBook) -> Outcome:
    """What the token's own logs say has left the wallet; nothing else of a receipt proves it.

    A token may keep a fee of what it moves (USDT can), so less may arrive than has left.
    """
    if not receipt.succeeded:
        return "reverted"
    _, token = networks.of_asset(refund.amount.asset)
    left = arrived = 0
    for emitter, sender, recipient, units in receipt.transfers:
        if (emitter, sender) == (token.address, refund.wallet):
            left += units
            arrived += units if recipient == refund.destination else 0
    if left == 0:
        return "nothing_moved"
    return "paid" if left == refund.amount.units and arrived > 0 else "unexplained"

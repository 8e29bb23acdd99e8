"""What the refund sender records, and what a receipt of ours means.

Shapes  A refund gives back a session's payment or a transfer of the inbox; its end, and the loss
        of its transaction to a reorg, are one write each: the refund, whose money it was, and
        the float, or none of them. Told twice, nothing is added.
Units   gas in the smallest unit of the network's own coin.
"""

from typing import Literal
from uuid import UUID

from application.deciders import (
    PAYMENT,
    REFUND,
    REFUND_FLOAT,
    TRANSFER,
    float_id,
    transfer_stream_id,
)
from application.handling import Handler, UnitOfWork
from application.outside import Receipt
from application.ports import Context
from domain import commands as c
from domain.money import Amount
from domain.networks import NetworkBook
from domain.payment import PaymentSession
from domain.refund import Refund
from domain.transfer import OnchainTransfer

Outcome = Literal["paid", "reverted", "nothing_moved", "unexplained"]
MOVED_NOTHING: frozenset[Outcome] = frozenset({"reverted", "nothing_moved"})
PAYMENT_REVERSED = "the payment was reversed"
TRANSFER_REVERSED = "the transfer was reversed"


class RefundFacts:
    def __init__(self, handler: Handler, networks: NetworkBook) -> None:
        self._handler = handler
        self._networks = networks

    async def why_gone(self, refund: Refund) -> str | None:
        """Why the money this refund would give back is not there any more; None while it is."""
        if refund.session_id is not None:
            session = await self._handler.load(PAYMENT, refund.session_id)
            assert session is not None, "a refund is requested together with its session's reserve"
            return None if _still_paid(session) else PAYMENT_REVERSED
        transfer = await self._handler.load(TRANSFER, _transfer_stream(refund))
        assert transfer is not None, "a refund is requested together with its transfer's reserve"
        return None if _still_there(transfer) else TRANSFER_REVERSED

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

    async def mined(
        self, refund: Refund, receipt: Receipt, confirmations: int, policy_version: int
    ) -> None:
        """Completed, in one write: refund, session or transfer, and float."""

        async def work(unit: UnitOfWork) -> None:
            command = c.RecordRefundMined(
                at=unit.now,
                tx_hash=receipt.tx_hash,
                block_number=receipt.block_number,
                block_hash=receipt.block_hash,
                confirmations=confirmations,
                gas=self._gas(refund, receipt),
            )
            await unit.decide(REFUND, refund.refund_id, command)
            at, refund_id, tx_hash = unit.now, refund.refund_id, receipt.tx_hash
            await _decide_origin(
                unit,
                refund,
                c.SettleRefund(at=at, refund_id=refund_id, tx_hash=tx_hash),
                c.SettleTransferRefund(at=at, refund_id=refund_id, tx_hash=tx_hash),
            )
            spend = c.SpendFloat(at=at, refund_id=refund_id)
            await _decide_float(unit, refund, spend)

        await self._handler.execute(self._by_chain(refund, policy_version), work)

    async def failed(self, refund: Refund, reason: str, receipt: Receipt | None = None) -> None:
        """Never to be paid, in one write: its money is free again, and the float's.

        With the receipt of a transaction that moved nothing and cost its gas all the same.
        """

        async def work(unit: UnitOfWork) -> None:
            gas = None if receipt is None else self._gas(refund, receipt)
            command = c.FailRefund(at=unit.now, reason=reason, gas=gas)
            await unit.decide(REFUND, refund.refund_id, command)
            at, refund_id = unit.now, refund.refund_id
            await _decide_origin(
                unit,
                refund,
                c.ReleaseRefund(at=at, refund_id=refund_id, reason=reason),
                c.ReleaseTransferRefund(at=at, refund_id=refund_id, reason=reason),
            )
            free = c.ReleaseFloat(at=at, refund_id=refund_id)
            await _decide_float(unit, refund, free)

        await self._handler.execute(_context(refund, "system"), work)

    async def lost(self, completed: Refund) -> bool:
        """A reorg took its transaction, in one write: it is under way again.

        `completed` is the refund as it was when the chain was asked. Where it has moved on since
        then, the answer is about another completion, and nothing is recorded: False.
        """
        tx_hash = completed.tx_hash
        assert tx_hash is not None

        async def work(unit: UnitOfWork) -> bool:
            now = await unit.load(REFUND, completed.refund_id)
            if now is None or _moved_on(completed, now):
                return False
            at, refund_id = unit.now, completed.refund_id
            await unit.decide(REFUND, refund_id, c.RecordRefundLost(at=at, tx_hash=tx_hash))
            await _decide_origin(
                unit,
                completed,
                c.UnsettleRefund(at=at, refund_id=refund_id, tx_hash=tx_hash),
                c.UnsettleTransferRefund(at=at, refund_id=refund_id, tx_hash=tx_hash),
            )
            undo = c.ReverseSpending(at=at, refund_id=refund_id, amount=completed.amount)
            await _decide_float(unit, completed, undo)
            return True

        return await self._handler.execute(self._by_chain(completed, None), work)

    async def final(self, completed: Refund, block_number: int, block_hash: str) -> bool:
        """This block pays it, and no reorg takes that out any more. `completed` is as for `lost`.

        Nothing else changes with it: its money is where it is already, and stays there.
        """
        tx_hash = completed.tx_hash
        assert tx_hash is not None

        async def work(unit: UnitOfWork) -> bool:
            now = await unit.load(REFUND, completed.refund_id)
            if now is None or _moved_on(completed, now):
                return False
            command = c.RecordRefundFinal(
                at=unit.now, tx_hash=tx_hash, block_number=block_number, block_hash=block_hash
            )
            await unit.decide(REFUND, completed.refund_id, command)
            return True

        return await self._handler.execute(self._by_chain(completed, None), work)

    def _gas(self, refund: Refund, receipt: Receipt) -> Amount:
        network = self._networks.get(refund.network)
        return Amount(units=receipt.cost, asset=network.coin_asset)

    def _by_chain(self, refund: Refund, policy_version: int | None) -> Context:
        network = self._networks.get(refund.network)
        return _context(refund, f"chain:{network.chain_id}", policy_version)


def _moved_on(completed: Refund, now: Refund) -> bool:
    """Whether what the chain was asked about `completed` is about this one no more."""
    return now.final_at is not None or _completion(now) != _completion(completed)


def _completion(refund: Refund) -> tuple[str, str | None, int | None, str | None]:
    return refund.status, refund.tx_hash, refund.block_number, refund.block_hash


def _still_paid(session: PaymentSession) -> bool:
    """Whether what is confirmed covers all that was given back or is set aside to be."""
    taken = sum(one.amount.units for one in session.refunds.values() if one.status != "released")
    return session.confirmed.units >= taken


def _still_there(transfer: OnchainTransfer) -> bool:
    return transfer.status == "confirmed"


def _transfer_stream(refund: Refund) -> UUID:
    assert refund.transfer_id is not None, "a refund is of a session or of a transfer"
    return transfer_stream_id(refund.transfer_id)


async def _decide_origin(
    unit: UnitOfWork,
    refund: Refund,
    of_session: c.SessionCommand,
    of_transfer: c.TransferCommand,
) -> None:
    """Whose money it is: the session's, or the transfer's."""
    if refund.session_id is not None:
        await unit.decide(PAYMENT, refund.session_id, of_session)
        return
    await unit.decide(TRANSFER, _transfer_stream(refund), of_transfer, mode=refund.mode)


async def _decide_float(unit: UnitOfWork, refund: Refund, command: c.FloatCommand) -> None:
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

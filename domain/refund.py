"""A refund: requested, signed, broadcast, then completed or failed.

Shapes  RefundRequested names everything that will be paid; nothing later may change it. Once
        signed, only the stored bytes can pay it, so a crash repeats them and pays once. A reorg
        can take the transaction of a completed one: then it is broadcast, and follows again.
        Once the block that pays it is final (final_at), nothing changes any more.
Errors  RefundUnknown.
"""

from typing import Literal, assert_never
from uuid import UUID

from domain import commands as c
from domain import events as e
from domain.errors import RefundUnknown
from domain.money import Amount
from domain.values import Mode, Moment, Value


class Refund(Value):
    refund_id: UUID
    session_id: UUID | None
    transfer_id: str | None
    merchant_id: UUID
    mode: Mode
    network: str
    amount: Amount
    destination: str
    wallet: str
    wallet_index: int
    reason: str | None
    created_at: Moment
    status: Literal["requested", "signed", "broadcast", "completed", "failed"] = "requested"
    tx_hash: str | None = None
    nonce: int | None = None
    failure: str | None = None
    completed_at: Moment | None = None
    failed_at: Moment | None = None
    block_number: int | None = None  # of the receipt it completed by; once final, of that block
    block_hash: str | None = None
    gas: Amount | None = None
    final_at: Moment | None = None  # when it was known that no reorg takes its block out

    @property
    def open(self) -> bool:
        return self.status not in {"completed", "failed"}

    @property
    def failed_on_chain_at(self) -> Moment | None:
        """When it failed by the receipt of its transaction; None where it never had one."""
        return self.failed_at if self.tx_hash is not None else None


def decide(command: c.RefundCommand, refund: Refund | None) -> tuple[e.Event, ...]:
    if isinstance(command, c.RequestRefund):
        return () if refund is not None else (e.RefundRequested(**dict(command)),)
    if refund is None:
        raise RefundUnknown("there is no such refund")
    match command:
        case c.RecordSigned():
            if refund.status != "requested":
                return ()
            return (e.RefundSigned(at=command.at, tx_hash=command.tx_hash, nonce=command.nonce),)
        case c.RecordBroadcast():
            if refund.status != "signed":
                return ()
            return (e.RefundBroadcast(at=command.at, tx_hash=command.tx_hash),)
        case c.RecordRefundMined():
            if not refund.open:
                return ()
            return (
                e.RefundCompleted(
                    at=command.at,
                    tx_hash=command.tx_hash,
                    block_number=command.block_number,
                    block_hash=command.block_hash,
                    confirmations=command.confirmations,
                    gas=command.gas,
                ),
            )
        case c.RecordRefundLost():
            return _lost(command, refund)
        case c.RecordRefundFinal():
            return _final(command, refund)
        case c.FailRefund():
            if not refund.open:
                return ()
            return (e.RefundFailed(at=command.at, reason=command.reason, gas=command.gas),)
        case _:
            assert_never(command)


def _lost(command: c.RecordRefundLost, refund: Refund) -> tuple[e.Event, ...]:
    """A final one is not lost: what says so is then a node that is wrong, or a chain that gave up
    a final block. Neither is to be followed by itself, as the books would be undone on its word.
    """
    if not _may_still_be_lost(refund, command.tx_hash):
        return ()
    assert refund.block_number is not None
    assert refund.block_hash is not None
    return (
        e.RefundReversed(
            at=command.at,
            tx_hash=command.tx_hash,
            block_number=refund.block_number,
            block_hash=refund.block_hash,
            gas=refund.gas,
        ),
    )


def _final(command: c.RecordRefundFinal, refund: Refund) -> tuple[e.Event, ...]:
    if not _may_still_be_lost(refund, command.tx_hash):
        return ()
    return (
        e.RefundFinalized(
            at=command.at,
            tx_hash=command.tx_hash,
            block_number=command.block_number,
            block_hash=command.block_hash,
        ),
    )


def _may_still_be_lost(refund: Refund, tx_hash: str) -> bool:
    """Completed by this transaction, in a block that is not known to be final."""
    return (refund.status, refund.tx_hash, refund.final_at) == ("completed", tx_hash, None)


def evolve(refund: Refund | None, event: e.Event) -> Refund:
    if isinstance(event, e.RefundRequested):
        fields = {**event.__dict__}
        return Refund.trusted(created_at=fields.pop("at"), **fields)
    assert refund is not None, f"{event.name} before the refund was requested"
    match event:
        case e.RefundSigned():
            return refund.changed(status="signed", tx_hash=event.tx_hash, nonce=event.nonce)
        case e.RefundBroadcast():
            return refund.changed(status="broadcast", tx_hash=event.tx_hash)
        case e.RefundCompleted():
            return refund.changed(
                status="completed",
                tx_hash=event.tx_hash,
                completed_at=event.at,
                block_number=event.block_number,
                block_hash=event.block_hash,
                gas=event.gas,
            )
        case e.RefundReversed():
            return refund.changed(
                status="broadcast", completed_at=None, block_number=None, block_hash=None, gas=None
            )
        case e.RefundFinalized():
            return refund.changed(
                final_at=event.at, block_number=event.block_number, block_hash=event.block_hash
            )
        case e.RefundFailed():
            return refund.changed(status="failed", failure=event.reason, failed_at=event.at)
        case _:
            raise AssertionError(f"{event.name} is no event of a refund")

"""A payment session: one amount due, one asset, one deposit address, one window.

Shapes  decide and evolve over domain/payment_state.py.
Errors  Requests of people may be refused; reports of the chain never are: they are recorded,
        or already known and answered with no event.
"""

from typing import assert_never

from domain import commands as c
from domain import events as e
from domain.errors import (
    ClaimNotNeeded,
    RefundExceedsReceived,
    RefundNotPossible,
    SessionNotOpen,
    SessionUnknown,
    TooManyClaims,
)
from domain.money import fee_on
from domain.payment_state import (
    Exceptional,
    PaymentSession,
    SessionRefund,
    SessionTransfer,
    Status,
)
from domain.values import Moment

CLAIMS_MAX = 10  # wallets, and transactions, of one session

__all__ = [
    "CLAIMS_MAX",
    "Exceptional",
    "PaymentSession",
    "SessionRefund",
    "SessionTransfer",
    "Status",
    "decide",
    "evolve",
]


def decide(command: c.SessionCommand, session: PaymentSession | None) -> tuple[e.Event, ...]:
    if isinstance(command, c.CreateSession):
        return () if session is not None else (_created(command),)
    if session is None:
        raise SessionUnknown("there is no such payment session")
    match command:
        case c.ObserveTransfer():
            return _observe(command, session)
        case c.RetractTransfer():
            return _retract(command, session)
        case c.ConfirmTransfer():
            return _confirm(command, session)
        case c.CancelSession():
            return _cancel(command, session)
        case c.ExpireSession():
            return _expire(command, session)
        case c.ReserveRefund():
            return _reserve(command, session)
        case c.ReleaseRefund() | c.SettleRefund():
            return _end_refund(command, session)
        case c.UnsettleRefund():
            return _unsettle(command, session)
        case c.ProvePayer() | c.AnnounceTransaction():
            return _claim(command, session)
        case _:
            assert_never(command)


def _created(command: c.CreateSession) -> e.SessionCreated:
    return e.SessionCreated(**dict(command))


def _observe(command: c.ObserveTransfer, session: PaymentSession) -> tuple[e.Event, ...]:
    sighting = command.sighting
    known = session.transfers.get(sighting.transfer_id)
    if known is not None and known.status in {"observed", "confirmed"}:
        if known.block_hash == sighting.block_hash:
            return ()
        return _moved(command, session, known)
    observed = e.TransferObserved(
        at=command.at,
        transfer_id=sighting.transfer_id,
        amount=sighting.amount,
        payer=sighting.sender,
        tx_hash=sighting.tx_hash,
        block_number=sighting.block_number,
        block_hash=sighting.block_hash,
        block_time=sighting.block_time,
        late=sighting.block_time >= session.expires_at,
    )
    return (observed, *_cover(command.at, evolve(session, observed)))


def _moved(
    command: c.ObserveTransfer, session: PaymentSession, known: SessionTransfer
) -> tuple[e.Event, ...]:
    """Seen in another block: the retraction from the old one was overtaken, so it is made here."""
    retract = c.RetractTransfer(
        at=command.at, transfer_id=known.transfer_id, block_hash=known.block_hash
    )
    gone = _retract(retract, session)
    for event in gone:
        session = evolve(session, event)
    return (*gone, *_observe(command, session))


def _cover(at: Moment, session: PaymentSession) -> tuple[e.Event, ...]:
    if session.covered or not session.lacks_nothing:
        return ()
    return (e.PaymentCovered(at=at, seen=session.seen),)


def _complete(at: Moment, session: PaymentSession) -> tuple[e.Event, ...]:
    if session.completed_at is not None:
        return ()
    total = session.confirmed_and_kept
    if total.units < session.enough.units:
        return ()
    return (e.PaymentCompleted(at=at, amount=total, fee=fee_on(total)),)


def _retract(command: c.RetractTransfer, session: PaymentSession) -> tuple[e.Event, ...]:
    transfer = session.transfers.get(command.transfer_id)
    if transfer is None or transfer.block_hash != command.block_hash:
        return ()
    if transfer.status == "observed":
        return (
            e.TransferRetracted(
                at=command.at, transfer_id=command.transfer_id, block_hash=command.block_hash
            ),
        )
    if transfer.status == "confirmed":
        return _reverse(command, session, transfer)
    return ()


def _reverse(
    command: c.RetractTransfer, session: PaymentSession, transfer: SessionTransfer
) -> tuple[e.Event, ...]:
    reversed_ = e.TransferReversed(
        at=command.at, transfer_id=transfer.transfer_id, amount=transfer.amount
    )
    left = evolve(session, reversed_).confirmed_and_kept
    if session.completed_at is None or session.fee is None:
        return (reversed_,)
    if left.units < session.enough.units:
        return (reversed_, e.PaymentReversed(at=command.at, amount=left, fee=session.fee))
    fee = fee_on(left)
    if fee.units >= session.fee.units:  # the excess came after completion and cost nothing
        return (reversed_,)
    less = e.PaymentReduced(at=command.at, amount=left, fee=fee, fee_returned=session.fee - fee)
    return (reversed_, less)


def _confirm(command: c.ConfirmTransfer, session: PaymentSession) -> tuple[e.Event, ...]:
    transfer = session.transfers.get(command.transfer_id)
    if transfer is None or transfer.status != "observed":
        return ()
    if transfer.block_hash != command.block_hash:
        return ()
    confirmed = e.TransferConfirmed(
        at=command.at,
        transfer_id=command.transfer_id,
        amount=transfer.amount,
        confirmations=command.confirmations,
        policy_version=command.policy_version,
        rule=command.rule,
    )
    return (confirmed, *_complete(command.at, evolve(session, confirmed)))


def _cancel(command: c.CancelSession, session: PaymentSession) -> tuple[e.Event, ...]:
    if session.ended == "cancelled":
        return ()
    if session.ended is not None or session.seen.units or session.completed_at is not None:
        raise SessionNotOpen("only an open session that nobody has paid to can be cancelled")
    return (e.SessionCancelled(at=command.at),)


def _expire(command: c.ExpireSession, session: PaymentSession) -> tuple[e.Event, ...]:
    open_ = session.ended is None and session.completed_at is None and not session.covered
    if not open_ or command.at < session.expires_at:
        return ()
    return (e.SessionExpired(at=command.at),)


def _claim(
    command: c.ProvePayer | c.AnnounceTransaction, session: PaymentSession
) -> tuple[e.Event, ...]:
    """Evidence counts only where several sessions share one wallet."""
    if session.pay_by != "merchant_wallet":
        raise ClaimNotNeeded("this session has an address of its own; paying to it is enough")
    if not session.awaits(command.at):
        raise SessionNotOpen("the session is closed; money for it is not awaited any more")
    if isinstance(command, c.ProvePayer):
        known = session.proven_payers
        if command.payer in known:
            return ()
        _refuse_more_claims(known)
        return (e.PayerProven(at=command.at, payer=command.payer, scheme=command.scheme),)
    if command.tx_hash in session.announced:
        return ()
    _refuse_more_claims(session.announced)
    return (e.TransactionAnnounced(at=command.at, tx_hash=command.tx_hash),)


def _refuse_more_claims(known: tuple[str, ...]) -> None:
    if len(known) >= CLAIMS_MAX:
        raise TooManyClaims(f"a session takes at most {CLAIMS_MAX} wallets or transactions")


def _reserve(command: c.ReserveRefund, session: PaymentSession) -> tuple[e.Event, ...]:
    if command.refund_id in session.refunds:
        return ()
    if session.confirmed.units == 0:
        raise RefundNotPossible("no confirmed transfer has arrived for this session yet")
    if not 0 < command.amount.units <= session.refundable.units:
        raise RefundExceedsReceived("more than what arrived and has not been refunded yet")
    return (
        e.PaymentRefundReserved(at=command.at, refund_id=command.refund_id, amount=command.amount),
    )


def _end_refund(
    command: c.ReleaseRefund | c.SettleRefund, session: PaymentSession
) -> tuple[e.Event, ...]:
    refund = session.refunds.get(command.refund_id)
    if refund is None or refund.status != "reserved":
        return ()
    if isinstance(command, c.ReleaseRefund):
        return _release(command, session, refund)
    return (
        e.PaymentRefunded(
            at=command.at,
            refund_id=refund.refund_id,
            amount=refund.amount,
            refunded_total=session.refunded + refund.amount,
            tx_hash=command.tx_hash,
        ),
    )


def _unsettle(command: c.UnsettleRefund, session: PaymentSession) -> tuple[e.Event, ...]:
    """The refund's transaction is gone, and will be sent again: its money stays set aside."""
    refund = session.refunds.get(command.refund_id)
    if refund is None or refund.status != "refunded":
        return ()
    return (
        e.PaymentRefundReversed(
            at=command.at,
            refund_id=refund.refund_id,
            amount=refund.amount,
            refunded_total=session.refunded - refund.amount,
            tx_hash=command.tx_hash,
        ),
    )


def _release(
    command: c.ReleaseRefund, session: PaymentSession, refund: SessionRefund
) -> tuple[e.Event, ...]:
    """Money that does not go back counts again, and may be what was missing."""
    released = e.PaymentRefundReleased(
        at=command.at, refund_id=refund.refund_id, amount=refund.amount, reason=command.reason
    )
    session = evolve(session, released)
    covered = _cover(command.at, session)
    return (released, *covered, *_complete(command.at, session))


def evolve(session: PaymentSession | None, event: e.Event) -> PaymentSession:
    if isinstance(event, e.SessionCreated):
        fields = {**event.__dict__}
        return PaymentSession.trusted(created_at=fields.pop("at"), **fields)
    assert session is not None, f"{event.name} before the session was created"
    match event:
        case e.TransferObserved():
            return _with_transfer(_remembering(session, event), _sighted(event))
        case e.TransferRetracted():
            moved = _restated(session, event.transfer_id, "retracted")
            return _recovered(moved)
        case e.TransferConfirmed():
            return _restated(session, event.transfer_id, "confirmed")
        case e.TransferReversed():
            moved = _restated(session, event.transfer_id, "reversed")
            return _recovered(moved)
        case e.PaymentCovered():
            return session.changed(covered=True)
        case e.PaymentCompleted():
            return session.changed(completed_at=event.at, fee=event.fee)
        case e.PaymentReduced():
            return session.changed(fee=event.fee)
        case e.PaymentReversed():
            return session.changed(completed_at=None, fee=None)
        case e.SessionCancelled():
            return session.changed(ended="cancelled")
        case e.SessionExpired():
            return session.changed(ended="expired")
        case e.PaymentRefundReserved():
            refund = SessionRefund.trusted(
                refund_id=event.refund_id,
                amount=event.amount,
                status="reserved",
                early=session.completed_at is None,
            )
            return _recovered(_with_refund(session, refund))
        case e.PaymentRefundReversed():
            undone = session.refunds[event.refund_id].changed(status="reserved", tx_hash=None)
            return _with_refund(session, undone)
        case e.PayerProven():
            return session.changed(proven_payers=(*session.proven_payers, event.payer))
        case e.TransactionAnnounced():
            return session.changed(announced=(*session.announced, event.tx_hash))
        case e.PaymentRefundReleased():
            ended = session.refunds[event.refund_id]
            return _with_refund(session, ended.changed(status="released"))
        case e.PaymentRefunded():
            ended = session.refunds[event.refund_id]
            return _with_refund(session, ended.changed(status="refunded", tx_hash=event.tx_hash))
        case _:
            raise AssertionError(f"{event.name} is no event of a payment session")


def _sighted(event: e.TransferObserved) -> SessionTransfer:
    return SessionTransfer.trusted(
        transfer_id=event.transfer_id,
        amount=event.amount,
        payer=event.payer,
        tx_hash=event.tx_hash,
        block_number=event.block_number,
        block_hash=event.block_hash,
        late=event.late,
        status="observed",
    )


def _remembering(session: PaymentSession, event: e.TransferObserved) -> PaymentSession:
    """Who sent it before: a transaction mined again may hold somebody else's in its place."""
    before = session.transfers.get(event.transfer_id)
    former = session.former_payers
    if before is None or before.payer in {event.payer, *former}:
        return session
    return session.changed(former_payers=(*former, before.payer))


def _recovered(session: PaymentSession) -> PaymentSession:
    """Less counts than before: is it still enough?"""
    return session.changed(covered=session.covered and session.lacks_nothing)


def _with_transfer(session: PaymentSession, transfer: SessionTransfer) -> PaymentSession:
    transfers = {**session.transfers, transfer.transfer_id: transfer}
    return session.changed(transfers=transfers)


def _restated(session: PaymentSession, transfer_id: str, status: str) -> PaymentSession:
    moved = session.transfers[transfer_id].changed(status=status)
    return _with_transfer(session, moved)


def _with_refund(session: PaymentSession, refund: SessionRefund) -> PaymentSession:
    return session.changed(refunds={**session.refunds, refund.refund_id: refund})

"""A payment session: one amount due, one asset, one deposit address, one window.

Shapes  PaymentSession is folded from its stream. Where it stands (`status`) and what went
        differently (`exceptions`) are two answers, both derived, neither stored.
Units   base units of the session's one asset.
Errors  Requests of people may be refused; reports of the chain never are: they are recorded,
        or already known and answered with no event.
"""

from datetime import timedelta
from typing import Literal, assert_never
from uuid import UUID

from domain import commands as c
from domain import events as e
from domain.errors import (
    RefundExceedsReceived,
    RefundNotPossible,
    SessionNotOpen,
    SessionUnknown,
)
from domain.money import Amount, fee_on
from domain.values import Mode, Moment, Value

Status = Literal["pending", "confirming", "completed", "failed", "refunded", "partially_refunded"]
Exceptional = Literal["underpaid", "overpaid", "paid_late", "multiple_transfers", "reversed"]


class SessionTransfer(Value):
    transfer_id: str
    amount: Amount
    payer: str
    tx_hash: str
    block_number: int
    block_hash: str
    late: bool
    status: Literal["observed", "confirmed", "retracted", "reversed"]


class SessionRefund(Value):
    refund_id: UUID
    amount: Amount
    status: Literal["reserved", "released", "refunded"]
    tx_hash: str | None = None


class PaymentSession(Value):
    session_id: UUID
    merchant_id: UUID
    mode: Mode
    network: str
    due: Amount
    deposit_address: str
    deposit_index: int
    created_at: Moment
    expires_at: Moment
    grace_seconds: int
    description: str | None
    merchant_reference: str | None
    success_url: str | None
    cancel_url: str | None
    metadata: dict[str, str]
    customer_email: e.Sealed | None = None
    transfers: dict[str, SessionTransfer] = {}
    refunds: dict[UUID, SessionRefund] = {}
    covered: bool = False
    completed_at: Moment | None = None
    fee: Amount | None = None
    ended: Literal["expired", "cancelled"] | None = None

    def _sum(self, *statuses: str) -> Amount:
        units = sum(t.amount.units for t in self.transfers.values() if t.status in statuses)
        return Amount(units=units, asset=self.due.asset)

    @property
    def seen(self) -> Amount:
        return self._sum("observed", "confirmed")

    @property
    def confirmed(self) -> Amount:
        return self._sum("confirmed")

    def _refunds(self, *statuses: str) -> Amount:
        units = sum(r.amount.units for r in self.refunds.values() if r.status in statuses)
        return Amount(units=units, asset=self.due.asset)

    @property
    def refunded(self) -> Amount:
        return self._refunds("refunded")

    @property
    def refundable(self) -> Amount:
        """Confirmed, and neither given back nor set aside to be."""
        taken = self._refunds("reserved", "refunded").units
        return Amount(units=max(0, self.confirmed.units - taken), asset=self.due.asset)

    @property
    def status(self) -> Status:
        if self.completed_at is not None:
            if self.refunded.units == 0:
                return "completed"
            whole = self.refunded.units >= self.confirmed.units
            return "refunded" if whole else "partially_refunded"
        if self.ended == "cancelled":
            return "failed"
        if self.covered:
            return "confirming"
        return "failed" if self.ended else "pending"

    @property
    def exceptions(self) -> tuple[Exceptional, ...]:
        counted = [t for t in self.transfers.values() if t.status in {"observed", "confirmed"}]
        short = 0 < self.seen.units < self.due.units
        found: list[Exceptional] = []
        if short:
            found.append("underpaid")
        if self.seen.units > self.due.units:
            found.append("overpaid")
        if any(t.late for t in counted):
            found.append("paid_late")
        if len(counted) > 1:
            found.append("multiple_transfers")
        if any(t.status == "reversed" for t in self.transfers.values()):
            found.append("reversed")
        return tuple(found)

    @property
    def credits_until(self) -> Moment:
        return self.expires_at + timedelta(seconds=self.grace_seconds)

    def payers(self) -> tuple[str, ...]:
        confirmed = (t.payer for t in self.transfers.values() if t.status == "confirmed")
        return tuple(dict.fromkeys(confirmed))


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
    if session.covered or session.seen.units < session.due.units:
        return ()
    return (e.PaymentCovered(at=at, seen=session.seen),)


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
    left = session.confirmed - transfer.amount
    if session.completed_at is None or left.units >= session.due.units:
        return (reversed_,)
    fee = session.fee or Amount(units=0, asset=session.due.asset)
    return (reversed_, e.PaymentReversed(at=command.at, amount=left, fee=fee))


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
    )
    total = session.confirmed + transfer.amount
    if session.completed_at is not None or total.units < session.due.units:
        return (confirmed,)
    return (confirmed, e.PaymentCompleted(at=command.at, amount=total, fee=fee_on(total)))


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
        return (
            e.PaymentRefundReleased(
                at=command.at,
                refund_id=refund.refund_id,
                amount=refund.amount,
                reason=command.reason,
            ),
        )
    return (
        e.PaymentRefunded(
            at=command.at,
            refund_id=refund.refund_id,
            amount=refund.amount,
            refunded_total=session.refunded + refund.amount,
            tx_hash=command.tx_hash,
        ),
    )


def evolve(session: PaymentSession | None, event: e.Event) -> PaymentSession:
    if isinstance(event, e.SessionCreated):
        fields = dict(event)
        return PaymentSession(created_at=fields.pop("at"), **fields)
    assert session is not None, f"{event.name} before the session was created"
    match event:
        case e.TransferObserved():
            return _with_transfer(session, _sighted(event))
        case e.TransferRetracted():
            moved = _restated(session, event.transfer_id, "retracted")
            return moved.model_copy(update={"covered": moved.seen.units >= moved.due.units})
        case e.TransferConfirmed():
            return _restated(session, event.transfer_id, "confirmed")
        case e.TransferReversed():
            moved = _restated(session, event.transfer_id, "reversed")
            return moved.model_copy(update={"covered": moved.seen.units >= moved.due.units})
        case e.PaymentCovered():
            return session.model_copy(update={"covered": True})
        case e.PaymentCompleted():
            return session.model_copy(update={"completed_at": event.at, "fee": event.fee})
        case e.PaymentReversed():
            return session.model_copy(update={"completed_at": None, "fee": None})
        case e.SessionCancelled():
            return session.model_copy(update={"ended": "cancelled"})
        case e.SessionExpired():
            return session.model_copy(update={"ended": "expired"})
        case e.PaymentRefundReserved():
            refund = SessionRefund(
                refund_id=event.refund_id, amount=event.amount, status="reserved"
            )
            return _with_refund(session, refund)
        case e.PaymentRefundReleased():
            ended = session.refunds[event.refund_id]
            return _with_refund(session, ended.model_copy(update={"status": "released"}))
        case e.PaymentRefunded():
            ended = session.refunds[event.refund_id]
            paid = {"status": "refunded", "tx_hash": event.tx_hash}
            return _with_refund(session, ended.model_copy(update=paid))
        case _:
            raise AssertionError(f"{event.name} is no event of a payment session")


def _sighted(event: e.TransferObserved) -> SessionTransfer:
    return SessionTransfer(
        transfer_id=event.transfer_id,
        amount=event.amount,
        payer=event.payer,
        tx_hash=event.tx_hash,
        block_number=event.block_number,
        block_hash=event.block_hash,
        late=event.late,
        status="observed",
    )


def _with_transfer(session: PaymentSession, transfer: SessionTransfer) -> PaymentSession:
    transfers = {**session.transfers, transfer.transfer_id: transfer}
    return session.model_copy(update={"transfers": transfers})


def _restated(session: PaymentSession, transfer_id: str, status: str) -> PaymentSession:
    moved = session.transfers[transfer_id].model_copy(update={"status": status})
    return _with_transfer(session, moved)


def _with_refund(session: PaymentSession, refund: SessionRefund) -> PaymentSession:
    return session.model_copy(update={"refunds": {**session.refunds, refund.refund_id: refund}})

"""What a payment session's facts add up to: where it stands, and what went differently.

Shapes  PaymentSession is folded from its stream by domain/payment.py. `status` and `exceptions`
        are two answers, both derived, neither stored.
Units   base units of the session's one asset.
"""

from datetime import timedelta
from typing import Literal
from uuid import UUID

from domain.event_base import Sealed
from domain.money import Amount
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
    # Asked for before the payment was completed: what goes back then does not pay for anything.
    early: bool = False
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
    customer_email: Sealed | None = None
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

    @property
    def given_back_early(self) -> Amount:
        """Refunded, or set aside to be, before the payment was completed."""
        units = sum(
            r.amount.units for r in self.refunds.values() if r.early and r.status != "released"
        )
        return Amount(units=units, asset=self.due.asset)

    def _kept(self, arrived: Amount) -> Amount:
        units = max(0, arrived.units - self.given_back_early.units)
        return Amount(units=units, asset=self.due.asset)

    @property
    def seen_and_kept(self) -> Amount:
        """What counts towards the amount due, not all of it safe yet."""
        return self._kept(self.seen)

    @property
    def confirmed_and_kept(self) -> Amount:
        """What counts towards the amount due and is safe."""
        return self._kept(self.confirmed)

    @property
    def outstanding(self) -> Amount:
        """What the customer still has to send."""
        units = max(0, self.due.units - self.seen_and_kept.units)
        return Amount(units=units, asset=self.due.asset)

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
        short = self.seen.units > 0 and self.seen_and_kept.units < self.due.units
        found: list[Exceptional] = []
        if short:
            found.append("underpaid")
        if self.seen_and_kept.units > self.due.units:
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

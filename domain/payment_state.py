"""What a payment session's facts add up to: where it stands, and what went differently.

Shapes  PaymentSession is folded from its stream by domain/payment.py. `status` and `exceptions`
        are two answers, both derived, neither stored.
Units   base units of the session's one asset.
"""

from datetime import timedelta
from typing import Literal
from uuid import UUID

from domain.event_base import Sealed
from domain.events_payment import PayBy
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
    pay_by: PayBy
    tolerance: Amount
    deposit_address: str
    deposit_index: int | None
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
    former_payers: tuple[str, ...] = ()  # of transfers that were mined again as somebody else's
    refunds: dict[UUID, SessionRefund] = {}
    proven_payers: tuple[str, ...] = ()
    announced: tuple[str, ...] = ()  # transaction hashes
    covered: bool = False
    completed_at: Moment | None = None
    fee: Amount | None = None
    ended: Literal["expired", "cancelled"] | None = None

    def _amount(self, units: int) -> Amount:
        return self.due.changed(units=units)

    def _arrived(self, *statuses: str) -> int:
        return sum(t.amount.units for t in self.transfers.values() if t.status in statuses)

    def _given_back_early(self) -> int:
        return sum(
            r.amount.units for r in self.refunds.values() if r.early and r.status != "released"
        )

    def _kept(self, arrived: int) -> int:
        return max(0, arrived - self._given_back_early())

    def _refunds(self, *statuses: str) -> int:
        return sum(r.amount.units for r in self.refunds.values() if r.status in statuses)

    @property
    def seen(self) -> Amount:
        return self._amount(self._arrived("observed", "confirmed"))

    @property
    def confirmed(self) -> Amount:
        return self._amount(self._arrived("confirmed"))

    @property
    def given_back_early(self) -> Amount:
        """Refunded, or set aside to be, before the payment was completed."""
        return self._amount(self._given_back_early())

    @property
    def seen_and_kept(self) -> Amount:
        """What counts towards the amount due, not all of it safe yet."""
        return self._amount(self._kept(self._arrived("observed", "confirmed")))

    @property
    def confirmed_and_kept(self) -> Amount:
        """What counts towards the amount due and is safe."""
        return self._amount(self._kept(self._arrived("confirmed")))

    @property
    def enough(self) -> Amount:
        """What completes the payment: the amount due, less what may be missing."""
        return self.due - self.tolerance

    @property
    def lacks_nothing(self) -> bool:
        """Whether enough is seen, though not all of it safe yet."""
        return not self._lacking()

    @property
    def outstanding(self) -> Amount:
        """What the customer still has to send; nothing, once there is enough."""
        return self._amount(self._lacking())

    def _lacking(self) -> int:
        kept = self._kept(self._arrived("observed", "confirmed"))
        due = self.due.units
        return 0 if kept >= due - self.tolerance.units else due - kept

    @property
    def refunded(self) -> Amount:
        return self._amount(self._refunds("refunded"))

    @property
    def refundable(self) -> Amount:
        """Confirmed, and neither given back nor set aside to be."""
        taken = self._refunds("reserved", "refunded")
        return self._amount(max(0, self._arrived("confirmed") - taken))

    @property
    def status(self) -> Status:
        if self.completed_at is not None:
            refunded = self._refunds("refunded")
            if refunded == 0:
                return "completed"
            whole = refunded >= self._arrived("confirmed")
            return "refunded" if whole else "partially_refunded"
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

    def awaits(self, moment: Moment) -> bool:
        """Whether money that is mined at this moment is credited by itself."""
        return self.ended != "cancelled" and moment < self.credits_until

    def all_payers(self) -> frozenset[str]:
        """Every wallet that was ever seen to pay."""
        return frozenset((*self.former_payers, *(t.payer for t in self.transfers.values())))

    def payers(self) -> tuple[str, ...]:
        confirmed = (t.payer for t in self.transfers.values() if t.status == "confirmed")
        return tuple(dict.fromkeys(confirmed))

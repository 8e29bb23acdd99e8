"""A payment session, whatever happens to it."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from application.deciders import PAYMENT
from domain import commands as c
from domain import events as e
from domain.events import Event, Posting
from domain.journal import postings_for
from domain.money import Amount, fee_on
from domain.payment import CLAIMS_MAX, PaymentSession
from tests.domain.machine import AnyHistory, histories
from tests.domain.steps import (
    announce,
    confirm,
    observe,
    prove,
    release,
    reserve,
    retract,
    settle,
    unsettle,
)
from tests.examples import ASSET, AT, CREATED, MERCHANT_ID, sighting, usd

UNITS = (1, 3_999_999, 4_000_000, 6_000_000, 9_900_000, 10_000_000, 25_000_000)
MINED_AT = (AT, CREATED.expires_at, CREATED.expires_at + timedelta(days=3))
# A transfer is the same wherever it is mined: its amount and sender follow from its name.
transfers = st.builds(
    lambda which, branch: sighting(
        Amount(units=UNITS[which], asset=ASSET),
        tx=f"{which % 4:02x}",
        log_index=which // 4,
        branch=branch,
        sender=f"0x{which % 3:040x}",
        block_time=MINED_AT[which % 3],
    ),
    st.integers(0, len(UNITS) - 1),
    st.sampled_from("abc"),
)
refund_ids = st.integers(1, 4).map(lambda number: UUID(int=number))
amounts = st.one_of(st.sampled_from((0, 1, *UNITS)), st.integers(0, 30_000_000)).map(
    lambda units: Amount(units=units, asset=ASSET)
)
moments = st.sampled_from((AT, CREATED.expires_at, CREATED.expires_at + timedelta(days=2)))

TRANSFER_EDGES = {
    (None, "observed"),
    ("observed", "confirmed"),
    ("observed", "retracted"),
    ("confirmed", "reversed"),
    ("retracted", "observed"),
    ("reversed", "observed"),
}
REFUND_EDGES = {
    (None, "reserved"),
    ("reserved", "released"),
    ("reserved", "refunded"),
    ("refunded", "reserved"),
}


class AnyPayment(AnyHistory):
    decider = PAYMENT
    reports = (c.ObserveTransfer, c.ConfirmTransfer, c.RetractTransfer)

    state: PaymentSession

    @initialize(tolerance=st.sampled_from(("0", "0.10", "5.00")), shared=st.booleans())
    def a_session_is_opened(self, tolerance: str, *, shared: bool) -> None:
        create = c.CreateSession(**dict(CREATED)).model_copy(
            update={
                "tolerance": usd(tolerance),
                "pay_by": "merchant_wallet" if shared else "deposit_address",
            }
        )
        self.do(create)

    def postings(self, event: Event, state: Any) -> tuple[Posting, ...]:
        return postings_for(event, MERCHANT_ID)

    # ------------------------------------------------------------ what may happen

    @rule(seen=transfers)
    def it_is_seen(self, seen: e.Sighting) -> None:
        self.do(observe(seen))
        assert self.state.transfers[seen.transfer_id].block_hash == seen.block_hash
        assert self.state.transfers[seen.transfer_id].status in {"observed", "confirmed"}

    @rule(seen=transfers)
    def it_is_confirmed(self, seen: e.Sighting) -> None:
        self.do(confirm(seen))

    @rule(seen=transfers)
    def it_is_seen_and_confirmed(self, seen: e.Sighting) -> None:
        self.do(observe(seen))
        self.do(confirm(seen))
        assert self.state.transfers[seen.transfer_id].status == "confirmed"

    @rule(seen=transfers)
    def it_is_lost(self, seen: e.Sighting) -> None:
        self.do(retract(seen))
        known = self.state.transfers.get(seen.transfer_id)
        if known is not None and known.block_hash == seen.block_hash:
            assert known.status in {"retracted", "reversed"}

    @rule(at=moments)
    def its_time_is_over(self, at: Any) -> None:
        self.do(c.ExpireSession(at=at))

    @rule(at=moments)
    def somebody_cancels(self, at: Any) -> None:
        self.do(c.CancelSession(at=at))

    @rule(payer=st.integers(0, CLAIMS_MAX + 1), at=moments)
    def somebody_claims(self, payer: int, at: Any) -> None:
        self.do(prove(f"0x{payer:040x}", at))
        self.do(announce(f"0x{payer:064x}", at))

    @rule(refund_id=refund_ids, amount=amounts)
    def a_refund_is_asked_for(self, refund_id: UUID, amount: Amount) -> None:
        self.do(reserve(amount, refund_id))

    @precondition(lambda self: self.state.refundable.units)
    @rule(refund_id=refund_ids)
    def all_of_it_is_asked_back(self, refund_id: UUID) -> None:
        known = refund_id in self.state.refunds
        events = self.do(reserve(self.state.refundable, refund_id))
        assert known or len(events) == 1

    @rule(refund_id=refund_ids, how=st.sampled_from((release, settle, unsettle)))
    def a_refund_goes_on(self, refund_id: UUID, how: Any) -> None:
        self.do(how(refund_id))

    # ------------------------------------------------------------ what stays true

    def seen(self, before: Any, event: Event) -> None:
        if before is None:
            return
        after = self.state
        for moved, known, edges in (
            (after.transfers, before.transfers, TRANSFER_EDGES),
            (after.refunds, before.refunds, REFUND_EDGES),
        ):
            for key, one in moved.items():
                was = known[key].status if key in known else None
                assert was == one.status or (was, one.status) in edges
        if isinstance(event, e.PaymentRefundReserved):
            taken = sum(r.amount.units for r in after.refunds.values() if r.status != "released")
            assert taken <= after.confirmed.units, "a refund of money that is not there"
        if isinstance(event, e.PaymentCompleted):
            assert before.completed_at is None, "completed twice"
            assert event.fee == fee_on(event.amount)

    @invariant()
    def covered_is_to_lack_nothing(self) -> None:
        assert self.state.covered == (self.state.outstanding.units == 0)

    @invariant()
    def completed_is_to_hold_enough_that_is_safe(self) -> None:
        enough = self.state.confirmed_and_kept.units >= self.state.enough.units
        assert (self.state.completed_at is not None) == enough
        assert (self.state.fee is not None) == enough

    @invariant()
    def the_fee_is_never_more_than_half_a_percent_of_what_is_there(self) -> None:
        if self.state.fee is not None:
            least, most = fee_on(self.state.enough), fee_on(self.state.confirmed_and_kept)
            assert least.units <= self.state.fee.units <= most.units

    @invariant()
    def the_books_say_what_the_session_says(self) -> None:
        confirmed, refunded = self.state.confirmed.units, self.state.refunded.units
        fee = self.state.fee.units if self.state.fee else 0
        assert self.books.debit("customer_receipts") == confirmed
        assert self.books.credit("merchant_payable") == confirmed - refunded
        assert self.books.credit("customer_refunds") == refunded
        assert self.books.debit("fees_receivable") == self.books.credit("fee_revenue") == fee

    @invariant()
    def evidence_is_bounded(self) -> None:
        assert len(set(self.state.proven_payers)) == len(self.state.proven_payers) <= CLAIMS_MAX
        assert len(set(self.state.announced)) == len(self.state.announced) <= CLAIMS_MAX


TestAnyPayment = AnyPayment.TestCase
TestAnyPayment.settings = histories()

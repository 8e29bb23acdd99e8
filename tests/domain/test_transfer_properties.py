"""A transfer on chain, whatever is reported of it and decided about it.

The chain's reports may come in any order and any number of times. What is then the same as in
order, exactly: whether the transfer is on the chain, and then in which block; whether it is
confirmed, and by which rule; whose it is. What may differ is history: a sighting or a confirmation
that was overtaken by its loss is never made, so of a transfer that is gone the last known block
may be an earlier one, and `reversed` in order may be `retracted` out of order.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from application.deciders import TRANSFER
from domain import commands as c
from domain import events as e
from domain.events import Event, Posting
from domain.journal import postings_for_transfer
from domain.transfer import OnchainTransfer
from tests.domain.machine import AnyHistory, histories
from tests.domain.steps import NOBODYS, OURS, PAID_BY, WAITING, reported
from tests.examples import LATER, SESSION_ID, sighting

BRANCHES = "abc"
branches = st.sampled_from(BRANCHES)
kinds = st.sampled_from(("observed", "confirmed", "retracted"))
reasons = st.sampled_from(("because", "  "))
refund_ids = st.integers(1, 3).map(lambda number: UUID(int=number))
FLOAT = c.Attribution(
    purpose="refund_float",
    subject_id=UUID(int=0xA1),
    merchant_id=UUID(int=0xA1),
    verdict="refund_wallet",
    reason="sent to the merchant's refund wallet",
)
RESOLUTIONS = {
    ("open", "accepted"),
    ("open", "dismissed"),
    ("open", "refunding"),
    ("refunding", "open"),
    ("refunding", "refunded"),
    ("refunded", "refunding"),
}


def at_branch(branch: str) -> e.Sighting:
    return sighting(number=100 + BRANCHES.index(branch), branch=branch)


class AnyTransfer(AnyHistory):
    decider = TRANSFER
    reports = (c.ReportObserved, c.ReportConfirmed, c.ReportRetracted)

    state: OnchainTransfer

    @initialize(
        kind=kinds,
        branch=branches,
        whose=st.sampled_from((OURS, FLOAT, NOBODYS, WAITING, WAITING)),
    )
    def it_is_first_reported(self, kind: str, branch: str, whose: c.Attribution) -> None:
        self.first = whose
        self.do(reported(kind, 10, at_branch(branch), whose))

    def postings(self, event: Event, state: Any) -> tuple[Posting, ...]:
        return postings_for_transfer(event, state)

    # ------------------------------------------------------------ what may happen

    @rule(kind=kinds, branch=branches, number=st.integers(1, 60))
    def it_is_reported(self, kind: str, branch: str, number: int) -> None:
        before = self.state.report_number
        events = self.do(reported(kind, number, at_branch(branch)))
        assert bool(events) == (number > before), "the newest report, and only that, is a fact"
        if events:
            on_chain = {"observed": "observed", "confirmed": "confirmed"}.get(kind)
            assert self.state.on_chain == (on_chain is not None)
            if on_chain is not None:
                assert self.state.status == on_chain
                assert self.state.sighting == at_branch(branch)

    @rule(session=st.integers(1, 2), reason=reasons)
    def somebody_assigns_it(self, session: int, reason: str) -> None:
        if self.state.merchant_id is None:
            return  # the use case refuses what is another's or nobody's
        self.do(
            c.AssignTransfer(
                at=LATER, session_id=UUID(int=session), verdict="assigned_by_person", reason=reason
            )
        )

    @rule(kind=st.sampled_from((c.AcceptTransfer, c.DismissTransfer)), reason=reasons)
    def somebody_decides(self, kind: Any, reason: str) -> None:
        self.do(kind(at=LATER, reason=reason))

    @rule(refund_id=refund_ids, reason=reasons)
    def somebody_gives_it_back(self, refund_id: UUID, reason: str) -> None:
        if self.state.merchant_id is None:
            return  # refused by the use case too: nobody's money has no float to go back from
        self.do(c.ReserveTransferRefund(at=LATER, refund_id=refund_id, reason=reason))

    @rule(refund_id=refund_ids, how=st.sampled_from(("release", "settle", "unsettle")))
    def a_refund_goes_on(self, refund_id: UUID, how: str) -> None:
        match how:
            case "release":
                self.do(c.ReleaseTransferRefund(at=LATER, refund_id=refund_id, reason="frozen"))
            case "settle":
                self.do(c.SettleTransferRefund(at=LATER, refund_id=refund_id, tx_hash=PAID_BY))
            case _:
                self.do(c.UnsettleTransferRefund(at=LATER, refund_id=refund_id, tx_hash=PAID_BY))

    # ------------------------------------------------------------ what stays true

    def seen(self, before: Any, event: Event) -> None:
        if before is None:
            return
        after = self.state
        if before.purpose in {"payment_session", "refund_float"}:
            assert (after.purpose, after.subject_id) == (before.purpose, before.subject_id)
        if before.resolution != after.resolution:
            assert (before.resolution, after.resolution) in RESOLUTIONS
        assert after.report_number >= before.report_number

    @invariant()
    def it_is_attributed_once(self) -> None:
        attributed = [f for f in self.past if isinstance(f, e.OnchainTransferAssigned)]
        unmatched = [f for f in self.past if isinstance(f, e.OnchainTransferUnmatched)]
        assert len(attributed) <= 1
        assert len(unmatched) == (self.first.purpose == "unmatched")
        assert attributed or unmatched

    @invariant()
    def it_is_given_back_at_most_once(self) -> None:
        paid = sum(isinstance(f, e.OnchainTransferRefunded) for f in self.past)
        undone = sum(isinstance(f, e.OnchainTransferRefundReversed) for f in self.past)
        assert paid - undone == (self.state.resolution == "refunded")

    @invariant()
    def suspense_is_the_open_confirmed_inbox(self) -> None:
        """And what was given back and then taken by a reorg is what it falls short."""
        it, units = self.state, self.state.sighting.amount.units
        safe = it.status == "confirmed" and it.merchant_id is not None
        waiting = it.purpose == "unmatched" and it.resolution not in {"accepted", "dismissed"}
        refunded = units if it.resolution == "refunded" else 0
        assert self.books.credit("suspense") == (units if safe and waiting else 0) - refunded
        assert self.books.credit("customer_refunds") == refunded
        accepted = safe and it.resolution == "accepted" and it.purpose == "unmatched"
        assert self.books.credit("merchant_payable") == (units if accepted else 0)


TestAnyTransfer = AnyTransfer.TestCase
TestAnyTransfer.settings = histories()


# ---------------------------------------------------------------- the order of reports


@dataclass(frozen=True)
class Told:
    """A chain's true story of one transfer: each step follows from the one before."""

    reports: tuple[c.TransferReportCommand, ...]
    order: tuple[int, ...]  # how it arrives: every report at least once


@st.composite
def stories(draw: st.DrawFn) -> Told:
    """Seen in a block, confirmed or not, lost; then in another block, or back in the same."""
    reports: list[c.TransferReportCommand] = []
    for _ in range(draw(st.integers(1, 4))):
        branch = draw(branches)
        steps = draw(
            st.sampled_from(
                (("observed",), ("observed", "confirmed"), ("observed", "confirmed", "confirmed"))
            )
        )
        reports.extend(_numbered(reports, steps, branch))
        if draw(st.booleans()):
            reports.extend(_numbered(reports, ("retracted",), branch))
    extra = draw(st.lists(st.integers(0, len(reports) - 1), max_size=4))
    order = draw(st.permutations([*range(len(reports)), *extra]))
    return Told(tuple(reports), tuple(order))


def _numbered(
    before: list[c.TransferReportCommand], steps: tuple[str, ...], branch: str
) -> list[c.TransferReportCommand]:
    return [
        reported(kind, len(before) + place, at_branch(branch), WAITING)
        for place, kind in enumerate(steps, 1)
    ]


def after(reports: list[c.TransferReportCommand]) -> OnchainTransfer:
    state: OnchainTransfer | None = None
    for report in reports:
        for event in TRANSFER.decide(report, state):
            state = TRANSFER.evolve(state, event)
    assert state is not None
    return state


@given(stories())
@histories()
def test_reports_end_the_same_in_any_order_and_however_often(told: Told) -> None:
    in_order = after(list(told.reports))
    as_told = after([told.reports[place] for place in told.order])
    for one in ("report_number", "purpose", "subject_id", "verdict", "resolution", "on_chain"):
        assert getattr(as_told, one) == getattr(in_order, one)
    if in_order.on_chain:
        assert as_told.status == in_order.status
        assert as_told.sighting == in_order.sighting
    if in_order.status == "confirmed":
        assert as_told == in_order


def test_a_session_may_be_named_only_by_the_one_it_was_given_to() -> None:
    story = after([reported("observed", 1)])
    again = c.AssignTransfer(at=LATER, session_id=SESSION_ID, verdict="x", reason="again")
    assert TRANSFER.decide(again, story) == ()

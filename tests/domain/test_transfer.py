"""A transfer on chain: attributed once, whatever order the reports come in."""

from itertools import permutations

from application.deciders import TRANSFER
from domain import commands as c
from domain.commands import Attribution
from domain.events import Event, Sighting
from tests.examples import LATER, MERCHANT_ID, SEEN, SESSION_ID, sighting
from tests.given import given

OURS = Attribution(
    purpose="payment_session",
    subject_id=SESSION_ID,
    merchant_id=MERCHANT_ID,
    verdict="deposit_address",
    reason="address",
)
NOBODYS = Attribution(
    purpose="unmatched",
    subject_id=None,
    merchant_id=None,
    verdict="unknown_address",
    reason="unknown",
)
NEW = given(TRANSFER)


def observed(number: int, seen: Sighting = SEEN) -> c.ReportObserved:
    return c.ReportObserved(at=LATER, report_number=number, sighting=seen, attribution=OURS)


def confirmed(number: int, seen: Sighting = SEEN) -> c.ReportConfirmed:
    return c.ReportConfirmed(
        at=LATER,
        report_number=number,
        sighting=seen,
        attribution=OURS,
        confirmations=3,
        policy_version=1,
        rule="3 confirmations",
    )


def retracted(number: int, seen: Sighting = SEEN) -> c.ReportRetracted:
    return c.ReportRetracted(at=LATER, report_number=number, sighting=seen, attribution=OURS)


def test_a_first_sighting_is_attributed_once_and_for_ever() -> None:
    seen = NEW.when(observed(1)).then("onchain_transfer.observed", "onchain_transfer.assigned")
    other = c.ReportObserved(
        at=LATER, report_number=9, sighting=sighting(branch="b"), attribution=NOBODYS
    )
    assert seen.when(other).then("onchain_transfer.observed").state.subject_id == SESSION_ID


def test_a_transfer_nobody_expects_waits_in_the_inbox_with_a_reason() -> None:
    report = observed(1).model_copy(update={"attribution": NOBODYS})
    seen = NEW.when(report).then("onchain_transfer.observed", "onchain_transfer.unmatched")
    assert seen.state.reason == "unknown"


def test_a_confirmation_that_overtakes_the_sighting_tells_the_whole_story() -> None:
    done = NEW.when(confirmed(2)).then(
        "onchain_transfer.observed", "onchain_transfer.assigned", "onchain_transfer.confirmed"
    )
    assert done.when(observed(1)).events() == ()


def test_a_confirmed_transfer_that_is_orphaned_is_reversed_and_not_retracted() -> None:
    seen = NEW.when(observed(1)).then("onchain_transfer.observed", "onchain_transfer.assigned")
    seen.when(retracted(2)).then("onchain_transfer.retracted")
    done = seen.when(confirmed(2)).then("onchain_transfer.confirmed")
    done.when(retracted(3)).then("onchain_transfer.reversed")


def test_the_reports_of_a_reorg_end_the_same_in_any_order() -> None:
    again = sighting(number=101, branch="b")
    reports: tuple[c.TransferCommand, ...] = (
        observed(1),
        retracted(2),
        observed(3, again),
        confirmed(4, again),
    )
    for order in permutations(reports):
        state = None
        for report in (*order, *order):  # each comes twice
            events: tuple[Event, ...] = TRANSFER.decide(report, state)
            for event in events:
                state = TRANSFER.evolve(state, event)
        assert state is not None
        assert (state.status, state.sighting.block_hash) == ("confirmed", again.block_hash)
        assert state.subject_id == SESSION_ID

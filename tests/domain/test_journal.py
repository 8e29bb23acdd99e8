"""Which fact posts what: every fact that moves money, and no other."""

from uuid import UUID

import pytest

from application.deciders import TRANSFER
from domain import events as e
from domain.events import Event, Posting
from domain.journal import account, postings_for, postings_for_transfer
from domain.money import Amount
from domain.transfer import OnchainTransfer
from tests.domain.steps import NOBODYS, OURS, WAITING, Books, reported
from tests.domain.test_transfer_inbox import (
    ACCEPT,
    ASSIGN,
    DISMISS,
    RELEASE,
    RESERVE,
    SETTLE,
    UNSETTLE,
)
from tests.examples import ASSET, EXAMPLES, GAS, LATER, MERCHANT_ID, REFUND_ID, SEEN, sighting, usd

ID = SEEN.transfer_id
ZERO = usd("0")


def move(debit: str, credit: str, amount: Amount) -> Posting:
    return Posting(
        debit=f"{debit}:{MERCHANT_ID.hex}", credit=f"{credit}:{MERCHANT_ID.hex}", amount=amount
    )


BY_NAME: dict[str, Event] = {event.name: event for event in EXAMPLES}
POSTED: dict[str, tuple[Posting, ...]] = {
    "transfer.confirmed": (move("customer_receipts", "merchant_payable", usd("10.00")),),
    "transfer.reversed": (move("merchant_payable", "customer_receipts", usd("10.00")),),
    "payment.completed": (move("fees_receivable", "fee_revenue", usd("0.05")),),
    "payment.reduced": (move("fee_revenue", "fees_receivable", usd("0.02")),),
    "payment.reversed": (move("fee_revenue", "fees_receivable", usd("0.05")),),
    "payment.refunded": (move("merchant_payable", "customer_refunds", usd("4.00")),),
    "payment.refund_reversed": (move("customer_refunds", "merchant_payable", usd("4.00")),),
    "refund.completed": (move("gas_spent", "gas_paid", GAS),),
    "refund.reversed": (move("gas_paid", "gas_spent", GAS),),
    "refund_float.topped_up": (move("hot_wallet", "refund_float", usd("50.00")),),
    "refund_float.top_up_reversed": (
        move("refund_float", "hot_wallet", usd("46.00")),
        move("float_shortfall", "float_owed", usd("4.00")),
    ),
    "refund_float.reserved": (move("refund_float", "refunds_pending", usd("4.00")),),
    "refund_float.released": (move("refunds_pending", "refund_float", usd("4.00")),),
    "refund_float.spent": (move("refunds_pending", "hot_wallet", usd("4.00")),),
    "refund_float.spending_reversed": (move("hot_wallet", "refunds_pending", usd("4.00")),),
}


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.name)
def test_each_fact_of_a_session_refund_or_float_posts_what_the_chart_says(event: Event) -> None:
    assert postings_for(event, MERCHANT_ID) == POSTED.get(event.name, ())


def test_an_account_is_of_one_kind_and_one_merchant() -> None:
    assert account("suspense", UUID(int=0xA1)) == "suspense:" + "0" * 30 + "a1"


def test_what_fills_a_gap_is_not_free() -> None:
    topped = e.FloatToppedUp(at=LATER, transfer_id="x", amount=usd("10.00"), owed=usd("4.00"))
    assert postings_for(topped, MERCHANT_ID) == (
        move("hot_wallet", "refund_float", usd("6.00")),
        move("float_owed", "float_shortfall", usd("4.00")),
    )
    freed = e.FloatReleased(at=LATER, refund_id=REFUND_ID, amount=usd("10.00"), owed=usd("4.00"))
    assert postings_for(freed, MERCHANT_ID) == (
        move("refunds_pending", "refund_float", usd("6.00")),
        move("refunds_pending", "hot_wallet", usd("4.00")),
        move("float_owed", "float_shortfall", usd("4.00")),
    )


def test_what_is_nothing_is_not_posted() -> None:
    one = Amount(units=1, asset=ASSET)
    reduced = e.PaymentReduced(at=LATER, amount=usd("10.00"), fee=one, fee_returned=ZERO)
    all_lost = e.FloatTopUpReversed(at=LATER, transfer_id="x", amount=one, missing=one)
    assert postings_for(reduced, MERCHANT_ID) == ()
    assert postings_for(all_lost, MERCHANT_ID) == (move("float_shortfall", "float_owed", one),)
    assert postings_for(e.PaymentCompleted(at=LATER, amount=one, fee=one), MERCHANT_ID) == (
        move("fees_receivable", "fee_revenue", one),
    )


def test_gas_is_posted_where_it_was_spent_also_by_a_refund_that_failed() -> None:
    failed = e.RefundFailed(at=LATER, reason="reverted", gas=GAS)
    assert postings_for(failed, MERCHANT_ID) == (move("gas_spent", "gas_paid", GAS),)
    silent = BY_NAME["refund.reversed"].model_copy(update={"gas": None})
    assert postings_for(silent, MERCHANT_ID) == ()


# ---------------------------------------------------------------- the inbox

OBSERVED = e.OnchainTransferObserved(at=LATER, report_number=1, sighting=SEEN)
TEN = usd("10.00")
CONFIRM, LOSE = reported("confirmed", 2), reported("retracted", 3)


def posted(whose: object, *commands: object) -> tuple[list[tuple[Posting, ...]], OnchainTransfer]:
    """What the last command's facts post, and the state after it."""
    first = reported("observed", 1, whose=whose)  # type: ignore[arg-type]  # an Attribution
    state: OnchainTransfer | None = None
    found: list[tuple[Posting, ...]] = []
    for command in (first, *commands):
        found = []
        for event in TRANSFER.decide(command, state):  # type: ignore[arg-type]  # a command
            state = TRANSFER.evolve(state, event)
            found.append(postings_for_transfer(event, state))
    assert state is not None
    return found, state


STORIES = (
    ("seen and not safe", (), ()),
    ("safe", (CONFIRM,), (move("customer_receipts", "suspense", TEN),)),
    ("lost", (CONFIRM, LOSE), (move("suspense", "customer_receipts", TEN),)),
    ("lost before it was safe", (reported("retracted", 2),), ()),
    ("assigned", (CONFIRM, ASSIGN), (move("suspense", "customer_receipts", TEN),)),
    ("assigned early", (ASSIGN,), ()),
    ("assigned, then safe", (ASSIGN, CONFIRM), ()),
    ("assigned, then lost", (CONFIRM, ASSIGN, LOSE), ()),
    ("accepted", (CONFIRM, ACCEPT), (move("suspense", "merchant_payable", TEN),)),
    ("accepted early", (ACCEPT,), ()),
    (
        "accepted, then safe",
        (ACCEPT, CONFIRM),
        (move("customer_receipts", "merchant_payable", TEN),),
    ),
    (
        "accepted, then lost",
        (CONFIRM, ACCEPT, LOSE),
        (move("merchant_payable", "customer_receipts", TEN),),
    ),
    ("dismissed", (CONFIRM, DISMISS), (move("suspense", "customer_receipts", TEN),)),
    ("dismissed early", (DISMISS,), ()),
    ("dismissed, then safe", (DISMISS, CONFIRM), ()),
    ("dismissed, then lost", (CONFIRM, DISMISS, LOSE), ()),
    ("refund set aside", (CONFIRM, RESERVE), ()),
    ("refund released", (CONFIRM, RESERVE, RELEASE), ()),
    ("refunded", (CONFIRM, RESERVE, SETTLE), (move("suspense", "customer_refunds", TEN),)),
    (
        "refund reversed",
        (CONFIRM, RESERVE, SETTLE, UNSETTLE),
        (move("customer_refunds", "suspense", TEN),),
    ),
    (
        "lost under a refund",
        (CONFIRM, RESERVE, LOSE),
        (move("suspense", "customer_receipts", TEN),),
    ),
)


@pytest.mark.parametrize(("commands", "wanted"), [story[1:] for story in STORIES],
                         ids=[story[0] for story in STORIES])  # fmt: skip
def test_the_inbox_is_booked_as_it_stands(
    commands: tuple[object, ...], wanted: tuple[Posting, ...]
) -> None:
    found, _ = posted(WAITING, *commands)
    assert tuple(one for postings in found for one in postings) == wanted


@pytest.mark.parametrize(
    "commands",
    [(CONFIRM, ASSIGN), (CONFIRM, ACCEPT), (CONFIRM, DISMISS), (CONFIRM, RESERVE, SETTLE)],
    ids=["assign", "accept", "dismiss", "refund"],
)
def test_suspense_is_empty_again_after_every_decision(commands: tuple[object, ...]) -> None:
    books = Books()
    for count in range(len(commands) + 1):
        for postings in posted(WAITING, *commands[:count])[0]:
            books.post(postings)
    assert books.credit("suspense") == 0
    assert books.balance()


@pytest.mark.parametrize("whose", [NOBODYS, OURS], ids=["nobody's", "a session's"])
def test_what_is_nobodys_or_a_sessions_is_not_booked_as_inbox(whose: object) -> None:
    for commands in ((), (CONFIRM,), (CONFIRM, LOSE)):
        found, state = posted(whose, *commands)
        assert [one for postings in found for one in postings] == []
        assert postings_for_transfer(OBSERVED, state) == ()


def test_a_move_to_another_block_takes_the_money_out_and_puts_it_in_again() -> None:
    again = sighting(number=140, branch="b")
    found, _ = posted(WAITING, CONFIRM, reported("confirmed", 3, again))
    assert found == [
        (move("suspense", "customer_receipts", TEN),),
        (),
        (move("customer_receipts", "suspense", TEN),),
    ]

"""Whose transfer it is: every verdict, with the reason that is written beside it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args
from uuid import UUID

import pytest

from application.deciders import PAYMENT
from domain import commands as c
from domain.commands import Attribution
from domain.events import Sighting
from domain.matching import (
    BIRTH_SLACK_SECONDS,
    CLOCK_SLACK_SECONDS,
    NOBODY,
    AddressOwner,
    Candidates,
    Verdict,
    attribute,
    concerns,
)
from domain.networks import POLYGON, NetworkBook
from domain.payment import PaymentSession
from tests.domain.steps import AT_WALLET, observe
from tests.examples import (
    AT,
    CREATED,
    LATER,
    LOCAL,
    MERCHANT_ID,
    OTHER_ASSET,
    OTHER_TOKEN,
    RECEIVING,
    SEEN,
    SESSION_ID,
    sighting,
    usd,
)
from tests.given import given

BOOK = NetworkBook(networks=(LOCAL, POLYGON))
BRIDGED = POLYGON.tokens[2]  # USDC.e
GRACE_END = CREATED.expires_at + timedelta(seconds=CREATED.grace_seconds)
JUST = timedelta(microseconds=1)
SLACK = timedelta(seconds=CLOCK_SLACK_SECONDS)
BIRTH_SLACK = timedelta(seconds=BIRTH_SLACK_SECONDS)

AT_ADDRESS = AddressOwner(
    purpose="payment_session", subject_id=SESSION_ID, merchant_id=MERCHANT_ID
)
WALLET_OF = AddressOwner(
    purpose="merchant_wallet", subject_id=MERCHANT_ID, merchant_id=MERCHANT_ID
)
FLOAT_OF = AddressOwner(purpose="refund_float", subject_id=MERCHANT_ID, merchant_id=MERCHANT_ID)
SESSION: PaymentSession = given(PAYMENT, CREATED).state
CANCELLED = PAYMENT.evolve(SESSION, PAYMENT.decide(c.CancelSession(at=LATER), SESSION)[0])
TO_WALLET = sighting(recipient=RECEIVING)


def shared(number: int, created_at: datetime = AT, **changed: object) -> PaymentSession:
    """One of several sessions that are paid to the merchant's wallet."""
    created = AT_WALLET.model_copy(
        update={"session_id": UUID(int=number), "at": created_at, **changed}
    )
    state: PaymentSession = given(PAYMENT, created).state
    return state


ONE, TWO = shared(1), shared(2)


def full(session: PaymentSession) -> PaymentSession:
    """It has what it needs."""
    for event in PAYMENT.decide(observe(sighting(tx="99")), session):
        session = PAYMENT.evolve(session, event)
    return session


PAID = full(ONE)


@dataclass(frozen=True)
class Case:
    verdict: Verdict
    reason: str
    seen: Sighting
    owner: AddressOwner | None
    candidates: Candidates = NOBODY
    to: UUID | None = None
    safe: bool = True


ON_POLYGON = TO_WALLET.model_copy(
    update={
        "network": "polygon",
        "token": BRIDGED.address,
        "amount": usd("10.00", POLYGON.asset(BRIDGED)),
    }
)
IN_USDT = SEEN.model_copy(update={"token": OTHER_TOKEN, "amount": usd("10.00", OTHER_ASSET)})
UNKNOWN_ASSET = "eip155:31337/erc20:0x" + "77" * 20
CASES = (
    Case(
        "deposit_address",
        "sent to the session's own deposit address",
        SEEN,
        AT_ADDRESS,
        Candidates(deposit=SESSION),
        SESSION_ID,
    ),
    Case(
        "payer_proven",
        "sent by the wallet that signed for this session",
        TO_WALLET,
        WALLET_OF,
        Candidates(by_payer=(ONE,)),
        ONE.session_id,
    ),
    Case(
        "hash_announced",
        "the transaction was announced for this session",
        TO_WALLET,
        WALLET_OF,
        Candidates(by_hash=(ONE,)),
        ONE.session_id,
    ),
    Case(
        "refund_wallet",
        "sent to the merchant's refund wallet",
        SEEN,
        FLOAT_OF,
        NOBODY,
        MERCHANT_ID,
    ),
    Case("unknown_address", "nobody has been given this address", SEEN, None),
    Case("session_unknown", "the session of this address is not known", SEEN, AT_ADDRESS),
    Case(
        "wrong_network",
        "sent on polygon, the session is paid on local",
        ON_POLYGON,
        AT_ADDRESS,
        Candidates(deposit=SESSION),
    ),
    Case(
        "unsupported_token",
        "USDC.e is not accepted here; the session asks for USDC",
        ON_POLYGON,
        WALLET_OF,
        Candidates(
            by_payer=(
                shared(
                    3,
                    network="polygon",
                    due=usd("10.00", POLYGON.asset(POLYGON.tokens[0])),
                    tolerance=usd("0", POLYGON.asset(POLYGON.tokens[0])),
                ),
            )
        ),
    ),
    Case(
        "unsupported_token",
        f"{UNKNOWN_ASSET} is not accepted here; the session asks for USDC",
        SEEN.model_copy(update={"token": "0x" + "77" * 20, "amount": usd("10.00", UNKNOWN_ASSET)}),
        AT_ADDRESS,
        Candidates(deposit=SESSION),
    ),
    Case(
        "wrong_token",
        "sent in USDT, the session asks for USDC",
        IN_USDT,
        AT_ADDRESS,
        Candidates(deposit=SESSION),
    ),
    Case(
        "session_cancelled",
        "the session was cancelled",
        SEEN,
        AT_ADDRESS,
        Candidates(deposit=CANCELLED),
    ),
    Case(
        "after_grace",
        "sent after the session's grace period",
        sighting(block_time=GRACE_END),
        AT_ADDRESS,
        Candidates(deposit=SESSION),
    ),
    Case(
        "before_session",
        "sent before the session was created",
        sighting(block_time=SESSION.created_at - BIRTH_SLACK - JUST),
        AT_ADDRESS,
        Candidates(deposit=SESSION),
    ),
    Case(
        "unknown_sender",
        "sent to the merchant's wallet by somebody no session knows",
        TO_WALLET,
        WALLET_OF,
    ),
    Case(
        "ambiguous_payer",
        "sent by a wallet that signed for 2 open sessions",
        TO_WALLET,
        WALLET_OF,
        Candidates(by_payer=(ONE, TWO)),
    ),
    Case(
        "ambiguous_hash",
        "the transaction was announced for 2 open sessions",
        TO_WALLET,
        WALLET_OF,
        Candidates(by_hash=(ONE, TWO)),
    ),
    Case(
        "announced_amount_differs",
        "the transaction was announced for a session that lacks another amount",
        sighting(usd("9.99"), recipient=RECEIVING),
        WALLET_OF,
        Candidates(by_hash=(ONE,)),
    ),
    Case(
        "payer_has_paid",
        "sent by a wallet whose payment is complete already",
        TO_WALLET,
        WALLET_OF,
        Candidates(by_payer=(PAID,)),
    ),
    Case(
        "awaits_confirmation",
        "the transaction was announced for a session; it is credited once it is confirmed, "
        "unless it is announced for another one too",
        TO_WALLET,
        WALLET_OF,
        Candidates(by_hash=(ONE,)),
        safe=False,
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.verdict)
def test_every_verdict_says_whose_and_why(case: Case) -> None:
    purpose = "unmatched"
    if case.to is not None:
        purpose = "refund_float" if case.verdict == "refund_wallet" else "payment_session"
    assert attribute(case.seen, case.owner, case.candidates, BOOK, safe=case.safe) == Attribution(
        purpose=purpose,  # type: ignore[arg-type]  # one of the three
        subject_id=case.to,
        merchant_id=MERCHANT_ID if case.owner else None,
        verdict=case.verdict,
        reason=case.reason,
    )


def test_no_verdict_is_without_a_case() -> None:
    assert {case.verdict for case in CASES} == set(get_args(Verdict))


def verdict(candidates: Candidates, seen: Sighting = TO_WALLET) -> tuple[str, UUID | None]:
    whose = attribute(seen, WALLET_OF, candidates, BOOK, safe=True)
    return whose.verdict, whose.subject_id


# ---------------------------------------------------------------- the order of trust


def test_a_signature_is_worth_more_than_an_announcement() -> None:
    assert verdict(Candidates(by_payer=(ONE,), by_hash=(TWO,))) == ("payer_proven", ONE.session_id)


def test_two_who_signed_are_ambiguous_even_if_one_of_them_announced_it_too() -> None:
    assert verdict(Candidates(by_payer=(ONE, TWO), by_hash=(ONE,))) == ("ambiguous_payer", None)


def test_of_two_who_signed_the_one_that_lacks_money_is_meant() -> None:
    assert verdict(Candidates(by_payer=(full(ONE), TWO))) == ("payer_proven", TWO.session_id)
    assert verdict(Candidates(by_payer=(full(ONE), full(TWO)))) == ("payer_has_paid", None)
    assert verdict(Candidates(by_payer=(full(ONE),))) == ("payer_has_paid", None)


def test_who_has_paid_one_session_and_announces_for_the_next_means_the_next() -> None:
    said = verdict(Candidates(by_payer=(full(ONE),), by_hash=(TWO,)))
    assert said == ("hash_announced", TWO.session_id)


def test_announcing_for_a_session_of_another_price_holds_up_nobody() -> None:
    cent = shared(7, due=usd("0.01"), tolerance=usd("0"))
    assert verdict(Candidates(by_hash=(cent, ONE))) == ("hash_announced", ONE.session_id)
    assert verdict(Candidates(by_hash=(cent,)))[0] == "announced_amount_differs"


def test_sessions_of_another_merchant_never_get_it() -> None:
    strange = shared(9, merchant_id=UUID(int=0xBAD))
    for candidates in (Candidates(by_payer=(strange,)), Candidates(by_hash=(strange,))):
        assert verdict(candidates) == ("unknown_sender", None)
    both = Candidates(by_payer=(strange, ONE))
    assert verdict(both) == ("payer_proven", ONE.session_id)


def test_those_that_would_not_be_credited_make_nothing_ambiguous() -> None:
    gone = PAYMENT.evolve(TWO, PAYMENT.decide(c.CancelSession(at=LATER), TWO)[0])
    elsewhere = shared(4, network="polygon")
    other_token = shared(5, due=usd("10.00", OTHER_ASSET), tolerance=usd("0", OTHER_ASSET))
    both = Candidates(by_payer=(gone, ONE, elsewhere, other_token))
    assert verdict(both) == ("payer_proven", ONE.session_id)
    both = Candidates(by_hash=(gone, ONE, elsewhere, other_token))
    assert verdict(both) == ("hash_announced", ONE.session_id)


def test_where_only_one_speaks_for_itself_its_own_reason_is_given() -> None:
    gone = PAYMENT.evolve(ONE, PAYMENT.decide(c.CancelSession(at=LATER), ONE)[0])
    assert verdict(Candidates(by_payer=(gone,)))[0] == "session_cancelled"
    assert verdict(Candidates(by_hash=(gone,)))[0] == "session_cancelled"
    assert verdict(Candidates(by_payer=(gone,), by_hash=(gone,)))[0] == "session_cancelled"
    other = PAYMENT.evolve(TWO, PAYMENT.decide(c.CancelSession(at=LATER), TWO)[0])
    assert verdict(Candidates(by_payer=(gone, other)))[0] == "unknown_sender"


# ---------------------------------------------------------------- announcements


@pytest.mark.parametrize(("after", "believed"), [(SLACK, True), (SLACK + JUST, False)])
def test_a_transaction_older_than_the_session_is_not_believed(
    after: timedelta, *, believed: bool
) -> None:
    session = shared(1, created_at=TO_WALLET.block_time + after)
    said = verdict(Candidates(by_hash=(session,)))
    assert said == (
        ("hash_announced", session.session_id) if believed else ("unknown_sender", None)
    )


def test_a_signature_does_not_reach_back_either() -> None:
    for after, said in ((SLACK, "payer_proven"), (SLACK + JUST, "unknown_sender")):
        session = shared(1, created_at=TO_WALLET.block_time + after)
        assert verdict(Candidates(by_payer=(session,)))[0] == said


@pytest.mark.parametrize("units", ["9.999999", "10.000001"])
def test_an_announced_transaction_must_pay_what_is_lacking_to_the_unit(units: str) -> None:
    seen = sighting(usd(units), recipient=RECEIVING)
    assert verdict(Candidates(by_hash=(ONE,)), seen)[0] == "announced_amount_differs"


@pytest.mark.parametrize(
    ("units", "believed"),
    [("9.899999", False), ("9.90", True), ("10.00", True), ("10.000001", False)],
)
def test_what_may_be_missing_may_be_missing_from_an_announced_transaction_too(
    units: str, *, believed: bool
) -> None:
    session = shared(1, tolerance=usd("0.10"))
    said, _ = verdict(Candidates(by_hash=(session,)), sighting(usd(units), recipient=RECEIVING))
    assert said == ("hash_announced" if believed else "announced_amount_differs")
    full_up = Candidates(by_hash=(full(session),))
    nothing = sighting(usd("0.05"), recipient=RECEIVING)
    assert verdict(full_up, nothing)[0] == "announced_amount_differs"


def test_of_two_who_announced_it_the_one_that_lacks_money_is_meant() -> None:
    assert verdict(Candidates(by_hash=(full(ONE), TWO))) == ("hash_announced", TWO.session_id)
    assert verdict(Candidates(by_hash=(full(ONE),)))[0] == "announced_amount_differs"


# ---------------------------------------------------------------- whom it concerns


def test_a_payer_may_ask_about_what_went_to_the_sessions_own_address() -> None:
    assert concerns(SEEN, SESSION)
    assert not concerns(TO_WALLET, SESSION)
    assert not concerns(SEEN, ONE)


@pytest.mark.parametrize(
    ("changed", "asks"),
    [
        ({}, False),
        ({"announced": (TO_WALLET.tx_hash,)}, True),
        ({"announced": ("0x99",)}, False),
        ({"proven_payers": (TO_WALLET.sender,)}, True),
        ({"proven_payers": ("0x99",)}, False),
        ({"proven_payers": (TO_WALLET.sender,), "created_at": TO_WALLET.block_time}, True),
        ({"proven_payers": (TO_WALLET.sender,), "created_at": TO_WALLET.block_time + JUST}, False),
        ({"announced": (TO_WALLET.tx_hash,), "created_at": TO_WALLET.block_time + JUST}, True),
    ],
)
def test_at_a_shared_wallet_only_who_has_evidence_may_ask(
    changed: dict[str, object], *, asks: bool
) -> None:
    assert concerns(TO_WALLET, ONE.changed(**changed)) is asks

"""Who pays a session that shares the merchant's wallet: proven payers, announced transactions."""

from datetime import timedelta

import pytest

from application.deciders import PAYMENT
from domain import commands as c
from domain import events as e
from domain.errors import ClaimNotNeeded, SessionNotOpen, TooManyClaims
from domain.payment import CLAIMS_MAX
from tests.domain.steps import AT_WALLET, announce, prove
from tests.examples import CREATED, LATER, PAYER, SEEN
from tests.given import Given, changes, given

SHARED = given(PAYMENT, AT_WALLET)
GRACE_END = CREATED.expires_at + timedelta(seconds=CREATED.grace_seconds)
CLAIMS = [prove(), announce()]


def test_a_proven_payer_and_an_announced_transaction_are_kept_once_each() -> None:
    proven = SHARED.when(prove()).gives(e.PayerProven(at=LATER, payer=PAYER, scheme="eip191"))
    assert changes(SHARED.state, proven.state) == {"proven_payers": (PAYER,)}
    assert proven.when(prove()).events() == ()
    told = proven.when(announce()).gives(e.TransactionAnnounced(at=LATER, tx_hash=SEEN.tx_hash))
    assert changes(proven.state, told.state) == {"announced": (SEEN.tx_hash,)}
    assert told.when(announce()).events() == ()
    other = "0x" + "f0" * 20
    both = told.when(prove(other)).then("payment_session.payer_proven")
    assert both.state.proven_payers == (PAYER, other)
    both = both.when(announce("0x22")).then("payment_session.transaction_announced")
    assert both.state.announced == (SEEN.tx_hash, "0x22")


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_session_with_an_address_of_its_own_needs_no_evidence(claim: c.SessionCommand) -> None:
    why = "this session has an address of its own; paying to it is enough"
    given(PAYMENT, CREATED).when(claim).refused(ClaimNotNeeded, why)


@pytest.mark.parametrize("claim", CLAIMS)
def test_nothing_is_claimed_for_a_session_that_awaits_no_money(claim: c.SessionCommand) -> None:
    why = "the session is closed; money for it is not awaited any more"
    late = claim.model_copy(update={"at": GRACE_END})
    SHARED.when(late).refused(SessionNotOpen, why)
    just = claim.model_copy(update={"at": GRACE_END - timedelta(microseconds=1)})
    assert len(SHARED.when(just).events()) == 1
    cancelled = SHARED.when(c.CancelSession(at=LATER)).then("payment_session.cancelled")
    cancelled.when(claim).refused(SessionNotOpen, why)


def test_a_session_takes_so_many_wallets_and_so_many_transactions_and_no_more() -> None:
    def full(kind: str, story: Given) -> Given:
        for number in range(CLAIMS_MAX):
            name = f"0x{number:040x}"
            story = story.when(prove(name) if kind == "payer" else announce(name)).then(
                "payment_session.payer_proven"
                if kind == "payer"
                else "payment_session.transaction_announced"
            )
        return story

    why = "a session takes at most 10 wallets or transactions"
    wallets = full("payer", SHARED)
    wallets.when(prove()).refused(TooManyClaims, why)
    assert wallets.when(prove(f"0x{0:040x}")).events() == ()
    full("tx_hash", wallets).when(announce()).refused(TooManyClaims, why)

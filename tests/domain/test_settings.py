"""Policies, tolerances and wallets: settings that change what a payment means."""

from datetime import timedelta
from uuid import UUID

import pytest
from pydantic import ValidationError

from application.deciders import CLAIM, MERCHANT, POLICY
from domain import commands as c
from domain import events as e
from domain.claim import NOTES_MAX
from domain.errors import ToleranceOutOfRange
from domain.merchant import EXACT, Tolerance
from domain.money import Amount
from domain.networks import (
    TIERS_MAX,
    AmountTier,
    ConfirmationPolicy,
    ConfirmationRule,
)
from tests.examples import (
    AT,
    BOOK,
    CREATED,
    EXAMPLES,
    GAS,
    LATER,
    LOCAL,
    RECEIVING,
    SEEN,
    SESSION_ID,
)
from tests.given import changes, given

SHOP = given(MERCHANT, next(one for one in EXAMPLES if one.name == "merchant.registered"))

# ---------------------------------------------------------------- confirmation policy

PLAIN = ConfirmationPolicy(version=1, blocks=3)
TIERED = ConfirmationPolicy(
    version=7,
    blocks=3,
    tiers=(
        AmountTier(from_usd=100, rule=ConfirmationRule(blocks=12)),
        AmountTier(from_usd=1_000, rule=ConfirmationRule(tag="finalized")),
    ),
)


def adopt(policy: ConfirmationPolicy) -> c.SetConfirmationPolicy:
    return c.SetConfirmationPolicy(at=LATER, network="local", policy=policy)


def test_a_changed_policy_gets_the_next_version_and_the_same_one_none() -> None:
    one = (
        given(POLICY)
        .when(adopt(TIERED))
        .gives(
            e.ConfirmationPolicySet(
                at=LATER, network="local", policy=TIERED.model_copy(update={"version": 1})
            )
        )
    )
    assert one.when(adopt(TIERED)).events() == ()
    assert one.when(adopt(TIERED.model_copy(update={"version": 99}))).events() == ()
    two = one.when(adopt(PLAIN)).gives(
        e.ConfirmationPolicySet(
            at=LATER, network="local", policy=PLAIN.model_copy(update={"version": 2})
        )
    )
    three = two.when(adopt(TIERED)).then("network.confirmation_policy_set")
    assert [policy.version for policy in three.state.policies] == [1, 2, 3]
    assert three.state.newest.same_terms(TIERED)


@pytest.mark.parametrize(
    "changed",
    [{"blocks": 4}, {"tag": "safe"}, {"tiers": ()}, {"allow_unattested": True}],
)
def test_every_term_of_a_policy_makes_it_another(changed: dict[str, object]) -> None:
    assert not TIERED.same_terms(TIERED.model_copy(update=changed))
    assert TIERED.same_terms(TIERED.model_copy(update={"version": 1}))


@pytest.mark.parametrize(
    ("units", "wanted"),
    [
        (0, "3 confirmations"),
        (99_999_999, "3 confirmations"),
        (100_000_000, "12 confirmations"),
        (999_999_999, "12 confirmations"),
        (1_000_000_000, "a finalized block"),
    ],
)
def test_a_tier_begins_at_its_dollar(units: int, wanted: str) -> None:
    assert TIERED.rule_for(units, 6).text == wanted
    assert TIERED.rule_for(units * 10**12, 18).text == wanted


def test_a_rule_reads_as_people_say_it() -> None:
    assert ConfirmationRule(blocks=1).text == "1 confirmation"
    assert (
        ConfirmationPolicy(version=1, blocks=5, tag="safe").rule_for(1, 6).text == "a safe block"
    )


@pytest.mark.parametrize("starts", [(100, 100), (1_000, 100), tuple(range(1, TIERS_MAX + 2))])
def test_tiers_ascend_and_are_few(starts: tuple[int, ...]) -> None:
    tiers = tuple(AmountTier(from_usd=each, rule=ConfirmationRule()) for each in starts)
    with pytest.raises(ValidationError):
        ConfirmationPolicy(version=1, blocks=3, tiers=tiers)


def test_an_asset_we_do_not_know_is_called_by_its_id() -> None:
    assert BOOK.unit_of(GAS.asset) == ("ETH", 18)
    assert BOOK.unit_of(LOCAL.asset(LOCAL.tokens[1])) == ("USDT", 6)
    assert BOOK.unit_of("eip155:1/erc20:0x") == ("eip155:1/erc20:0x", 0)


# ---------------------------------------------------------------- tolerance


@pytest.mark.parametrize(
    ("micros", "points", "due", "decimals", "missing"),
    [
        (0, 0, 10_000_000, 6, 0),
        (50_000, 0, 10_000_000, 6, 50_000),
        (0, 100, 10_000_000, 6, 100_000),
        (50_000, 100, 10_000_000, 6, 100_000),
        (200_000, 100, 10_000_000, 6, 200_000),
        (100_000_000, 0, 10_000_001, 6, 5_000_000),  # never more than half
        (100_000_000, 0, 1, 6, 0),
        (0, 1, 9_999, 6, 0),
        (0, 1, 10_000, 6, 1),
        (0, 1_000, 19, 6, 1),
        (19_999, 0, 10_000, 2, 1),  # rounded down, in cents
        (50_000, 0, 10 * 10**18, 18, 5 * 10**16),
    ],
)
def test_a_tolerance_is_the_larger_of_two_and_at_most_half(
    micros: int, points: int, due: int, decimals: int, missing: int
) -> None:
    tolerance = Tolerance(absolute_micros=micros, basis_points=points)
    amount = Amount(units=due, asset=SEEN.amount.asset)
    assert tolerance.of(amount, decimals) == Amount(units=missing, asset=amount.asset)


def tolerate(micros: int, points: int) -> c.SetTolerance:
    return c.SetTolerance(at=AT, mode="test", absolute_micros=micros, basis_points=points)


def test_a_tolerance_is_set_per_mode_and_within_bounds() -> None:
    most = SHOP.when(tolerate(100_000_000, 1_000)).gives(
        e.ToleranceSet(at=AT, mode="test", absolute_micros=100_000_000, basis_points=1_000)
    )
    assert most.state.tolerances == {
        "test": Tolerance(absolute_micros=100_000_000, basis_points=1_000)
    }
    assert most.when(tolerate(100_000_000, 1_000)).events() == ()
    back = most.when(tolerate(0, 0)).then("merchant.tolerance_set")
    assert back.state.tolerances["test"] == EXACT
    assert SHOP.when(tolerate(0, 0)).events() == ()
    why = "at most 100 USD and 10 % of an amount may be missing"
    for micros, points in ((100_000_001, 0), (-1, 0), (0, 1_001), (0, -1)):
        SHOP.when(tolerate(micros, points)).refused(ToleranceOutOfRange, why)


def test_a_receiving_address_is_set_per_mode_and_once() -> None:
    command = c.SetReceivingAddress(at=AT, mode="test", address=RECEIVING)
    story = SHOP.when(command).gives(e.ReceivingAddressSet(at=AT, mode="test", address=RECEIVING))
    assert changes(SHOP.state, story.state) == {
        "receiving_addresses": {"test": RECEIVING},
        "known_wallets": (RECEIVING,),
    }
    assert story.when(command).events() == ()
    live = story.when(command.model_copy(update={"mode": "live"}))
    assert live.then("merchant.receiving_address_set").state.receiving_addresses == {
        "test": RECEIVING,
        "live": RECEIVING,
    }


def test_a_replaced_receiving_address_stays_known() -> None:
    other = "0x" + "c0" * 20
    first = c.SetReceivingAddress(at=AT, mode="test", address=RECEIVING)
    second = c.SetReceivingAddress(at=AT, mode="test", address=other)
    story = SHOP.when(first).then("merchant.receiving_address_set")
    after = story.when(second).then("merchant.receiving_address_set").state
    assert (after.receiving_addresses, after.known_wallets) == (
        {"test": other},
        (RECEIVING, other),
    )


# ---------------------------------------------------------------- evidence


def test_sessions_and_transfers_meet_on_their_evidence_once_each() -> None:
    until = CREATED.expires_at
    made = c.MakeClaim(at=LATER, session_id=SESSION_ID, credits_until=until)
    story = (
        given(CLAIM)
        .when(made)
        .gives(e.PaymentClaimMade(at=LATER, session_id=SESSION_ID, credits_until=until))
    )
    assert story.when(made).events() == ()
    note = c.NoteTransfer(at=LATER, transfer_id=SEEN.transfer_id, report_number=3)
    both = story.when(note).gives(
        e.PaymentClaimTransferSeen(at=LATER, transfer_id=SEEN.transfer_id, report_number=3)
    )
    assert both.when(note).events() == ()
    assert both.state.transfers == {SEEN.transfer_id: 3}
    again = c.NoteTransfer(at=LATER, transfer_id=SEEN.transfer_id, report_number=4)
    looked_at = both.when(again).then("payment_claim.transfer_seen")
    assert looked_at.state.transfers == {SEEN.transfer_id: 4}
    assert looked_at.when(note).events() == (), "an older report says nothing new"


def test_a_flood_of_transfers_on_one_piece_of_evidence_is_noted_up_to_a_bound() -> None:
    story = given(CLAIM)
    for number in range(NOTES_MAX):
        note = c.NoteTransfer(at=LATER, transfer_id=f"t{number}", report_number=1)
        story = story.when(note).then("payment_claim.transfer_seen")
    one_more = c.NoteTransfer(at=LATER, transfer_id="one more", report_number=1)
    assert story.when(one_more).events() == ()
    known = c.NoteTransfer(at=LATER, transfer_id="t0", report_number=2)
    story.when(known).then("payment_claim.transfer_seen")
    given(CLAIM).when(note).then("payment_claim.transfer_seen")


def test_a_session_is_awaited_until_its_window_ends_and_the_newest_comes_last() -> None:
    until = CREATED.expires_at
    other = UUID(int=9)
    story = given(
        CLAIM,
        e.PaymentClaimMade(at=LATER, session_id=SESSION_ID, credits_until=until),
        e.PaymentClaimMade(
            at=LATER, session_id=other, credits_until=until + timedelta(microseconds=1)
        ),
    )
    just = until - timedelta(microseconds=1)
    assert story.state.awaiting(just) == (SESSION_ID, other)
    assert story.state.awaiting(until) == (other,)

"""What a payer is told of the way to a safe payment, by the rule for the amount."""

from application.instructions import Confirmations, confirmations_of
from domain import events as e
from domain.networks import AmountTier, ConfirmationPolicy, ConfirmationRule, Network
from domain.payment import PaymentSession, evolve
from tests.examples import CREATED, LATER, LOCAL, SESSION_ID, sighting, usd

TIERED = ConfirmationPolicy(
    version=1,
    blocks=3,
    tiers=(
        AmountTier(from_usd=10, rule=ConfirmationRule(blocks=12)),
        AmountTier(from_usd=100, rule=ConfirmationRule(tag="finalized")),
    ),
)
NETWORK = LOCAL.model_copy(update={"policy": TIERED})


def paid(due: str, *parts: tuple[str, int], confirmed: int = 0) -> PaymentSession:
    """A session over `due`, paid in parts of (amount, block number), the first ones confirmed."""
    past: list[e.Event] = [CREATED.model_copy(update={"due": usd(due)})]
    for index, (amount, number) in enumerate(parts):
        seen = sighting(usd(amount), tx=f"{index + 16}", number=number)
        past.append(
            e.TransferObserved(
                at=LATER,
                transfer_id=seen.transfer_id,
                amount=seen.amount,
                payer=seen.sender,
                tx_hash=seen.tx_hash,
                block_number=number,
                block_hash=seen.block_hash,
                block_time=seen.block_time,
                late=False,
            )
        )
        if index < confirmed:
            past.append(
                e.TransferConfirmed(
                    at=LATER,
                    transfer_id=seen.transfer_id,
                    amount=seen.amount,
                    confirmations=3,
                    policy_version=1,
                    rule="3 confirmations",
                )
            )
    session: PaymentSession | None = None
    for event in past:
        session = evolve(session, event)
    assert session is not None
    assert session.session_id == SESSION_ID
    return session


def told(session: PaymentSession, head: int | None, network: Network = NETWORK) -> object:
    return confirmations_of(session, network, head)


def test_nothing_is_told_before_anything_is_seen() -> None:
    assert told(paid("5.00"), 100) is None


def test_a_small_amount_needs_fewer_blocks_than_a_larger_one() -> None:
    assert told(paid("9.99", ("9.99", 100)), 101) == Confirmations(2, 3)
    assert told(paid("10.00", ("10.00", 100)), 101) == Confirmations(2, 12)


def test_a_part_is_judged_by_the_whole_amount_due() -> None:
    assert told(paid("10.00", ("1.00", 100)), 101) == Confirmations(2, 12)


def test_more_than_is_due_is_judged_by_what_has_arrived() -> None:
    assert told(paid("9.00", ("9.00", 100), ("1.00", 101)), 101) == Confirmations(1, 12)


def test_a_tag_has_no_count_but_words() -> None:
    waiting = paid("100.00", ("100.00", 100))
    for head in (None, 100, 10_000):
        assert told(waiting, head) == Confirmations(0, 1, waiting_for="a finalized block")
    half = paid("100.00", ("60.00", 100), ("40.00", 100), confirmed=1)
    assert told(half, 100) == Confirmations(0, 1, waiting_for="a finalized block")


def test_what_is_safe_is_told_as_whole_whatever_the_rule() -> None:
    assert told(paid("100.00", ("100.00", 100), confirmed=1), 200) == Confirmations(1, 1)
    assert told(paid("10.00", ("10.00", 100), confirmed=1), 200) == Confirmations(12, 12)


def test_a_head_that_lags_or_runs_ahead_stays_within_bounds() -> None:
    small = paid("5.00", ("5.00", 100))
    assert told(small, None) == told(small, 90) == Confirmations(1, 3)
    assert told(small, 1_000) == Confirmations(3, 3)

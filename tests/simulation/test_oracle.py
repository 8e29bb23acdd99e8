"""The oracle finds nothing wrong with what is right, and each kind of wrong by its name."""

import ast
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from simulation import evidence as ev
from simulation.oracle import judge
from simulation.oracle_tally import fee_of
from tests.simulation.scribe import (
    ADDRESS,
    BEGAN_US,
    FIRST,
    OTHER_ASSET,
    OWNER,
    PAY_TX,
    PAYER,
    REFUND,
    SECOND,
    SECOND_US,
    USDC,
    block,
    chain,
    log_of,
    moment,
    tx,
    units,
    uuid,
)
from tests.simulation.spoiling import (
    RIGHT,
    Spoil,
    account_is,
    again,
    block_is,
    data_of,
    evidence_is,
    invariants,
    on_chain,
    renumbered,
    reorganised,
    row_is,
    without,
)

PAY = (log_of(USDC, PAYER, ADDRESS, 6_000_000), log_of(USDC, PAYER, ADDRESS, 5_000_000))
OBSERVED, CONFIRMED = "onchain_transfer.observed", "onchain_transfer.confirmed"
ASSIGNED, UNMATCHED = "onchain_transfer.assigned", "onchain_transfer.unmatched"

WRONG: list[tuple[str, str, Spoil]] = [
    # the chain
    (
        "a third transfer of the transaction was missed",
        "transfer_missed",
        block_is(2, tx(PAY_TX, *PAY, log_of(USDC, OWNER, ADDRESS, 1))),
    ),
    ("a transfer that failed on chain is believed", "sighting_false", block_is(2)),
    ("a payment lost to a reorg still counts", "completed_on_orphan", on_chain(reorganised)),
    ("a transfer lost to a reorg is still confirmed", "transfer_phantom", on_chain(reorganised)),
    (
        "the amount of a sighting is not the chain's",
        "sighting_wrong",
        block_is(2, tx(PAY_TX, log_of(USDC, PAYER, ADDRESS, 7_000_000), PAY[1])),
    ),
    ("confirmed one block too early", "confirmed_too_early", data_of(CONFIRMED, confirmations=1)),
    (
        "confirmed before the chain was that deep",
        "confirmed_too_early",
        lambda e: replace(
            e,
            log=tuple(
                replace(r, written_at_us=BEGAN_US + 20 * SECOND_US) if r.name == CONFIRMED else r
                for r in e.log
            ),
        ),
    ),
    (
        "confirmed in a block nobody knows",
        "confirmed_nowhere",
        data_of(CONFIRMED, block_hash="0x"),
    ),
    ("attributed a second time", "attributed_twice", again(OBSERVED, stream="99" * 16)),
    ("attributed by nobody's verdict", "verdict_missing", without(ASSIGNED)),
    (
        "attributed to another session",
        "attributed_wrongly",
        data_of(ASSIGNED, subject_id=uuid("77" * 16)),
    ),
    (
        "another token credited to a session",
        "attributed_wrongly",
        lambda e: replace(
            e,
            log=tuple(
                replace(
                    r,
                    name=ASSIGNED,
                    data={
                        **r.data,
                        "purpose": "payment_session",
                        "subject_id": uuid("51" * 16),
                    },
                )
                if r.name == UNMATCHED
                else r
                for r in e.log
            ),
        ),
    ),
    ("attributed without a reason", "reason_missing", data_of(ASSIGNED, reason="")),
    # sessions
    (
        "a transfer confirmed but not credited",
        "confirmation_wrong",
        without("transfer.confirmed", 1),
    ),
    ("enough was there and nobody said so", "fact_missing", without("payment.covered")),
    ("the payment never completes", "fact_missing", without("payment.completed")),
    (
        "completed with another sum",
        "completed_wrongly",
        data_of("payment.completed", amount=units(10_000_000)),
    ),
    ("the fee rounded down", "fee_wrong", data_of("payment.completed", fee=units(54_999))),
    ("in time and called late", "late_wrongly", data_of("transfer.observed", late=True)),
    ("the list shows another status", "status_wrong", row_is("payments", status="completed")),
    (
        "the page shows another sum",
        "view_wrong",
        evidence_is(
            views={
                "51" * 16: {
                    "status": "partially_refunded",
                    "exceptions": ["overpaid", "multiple_transfers"],
                    "received": 11_000_000,
                    "confirmed": 10_000_000,
                    "refunded": 4_000_000,
                }
            }
        ),
    ),
    # books
    ("an account off by one", "account_wrong", account_is("fees_receivable", 55_001)),
    ("debits that nobody credited", "trial_balance", account_is("fees_receivable", 55_001)),
    (
        "a leg is missing",
        "postings_differ",
        lambda e: replace(e, postings=e.postings[:-1]),
    ),
    ("an entry posted twice", "entry_twice", again("journal.entry_posted")),
    ("an entry without a cause", "entry_without_cause", without("refund_float.topped_up")),
    ("the read model of balances is off", "balances_differ", row_is("balances", debits="1")),
    (
        "the float overdrawn in between",
        "overdrawn",
        lambda e: replace(
            e,
            postings=tuple(
                replace(p, units=p.units * 9, balance_after=p.balance_after * 9)
                if p.account.startswith("hot_wallet") and p.units < 0
                else p
                for p in e.postings
            ),
        ),
    ),
]


@pytest.mark.parametrize(
    ("invariant", "spoil"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG]
)
def test_what_is_wrong_is_named(invariant: str, spoil: Spoil) -> None:
    assert invariant in invariants(spoil(RIGHT))


def test_what_is_right_passes() -> None:
    assert judge(RIGHT) == ()


def test_a_part_that_cannot_read_the_log_does_not_silence_the_others() -> None:
    spoiled = data_of("payment.completed", amount=None)(evidence_is(settled=False)(RIGHT))
    assert {"stuck", "evidence_unreadable"} <= invariants(spoiled)


def expired_in_between(evidence: ev.Evidence) -> ev.Evidence:
    """The window was closed before the payment was recorded, which was mined long before."""
    place = next(i for i, row in enumerate(evidence.log) if row.name == OBSERVED)
    created = next(row for row in evidence.log if row.name == "payment_session.created")
    closed = replace(
        created,
        name="payment_session.expired",
        event_id="ee" * 16,
        data={"at": moment(BEGAN_US + 601 * SECOND_US)},
        written_at_us=BEGAN_US + 601 * SECOND_US,
    )
    return replace(
        evidence, log=renumbered((*evidence.log[:place], closed, *evidence.log[place:]))
    )


def test_a_window_is_not_closed_on_money_that_was_mined_in_time() -> None:
    assert "expired_wrongly" in invariants(expired_in_between(RIGHT))


def test_a_branch_that_takes_over_later_may_bring_older_blocks() -> None:
    shown_us = BEGAN_US + 602 * SECOND_US

    def later(facts: ev.ChainFacts) -> ev.ChainFacts:
        blocks = [replace(each, mined_at_us=shown_us) for each in facts.canonical]
        return replace(facts, canonical=tuple(blocks))

    assert "expired_wrongly" not in invariants(on_chain(later)(expired_in_between(RIGHT)))


def test_a_transfer_after_the_last_moment_of_grace_is_not_the_sessions() -> None:
    created = data_of("payment_session.created", grace_seconds=0, expires_at=block_time(2))
    assert "attributed_wrongly" in invariants(created(RIGHT))


def test_a_transfer_a_second_before_the_end_of_grace_is_the_sessions() -> None:
    later = moment(block(2).time_us + SECOND_US)
    created = data_of("payment_session.created", grace_seconds=0, expires_at=later)
    assert "attributed_wrongly" not in invariants(created(RIGHT))


def block_time(number: int) -> str:
    return moment(block(number).time_us)


def test_a_tolerated_shortfall_completes() -> None:
    short = data_of("payment_session.created", due=units(11_000_100), tolerance=units(100))(RIGHT)
    assert not {"completed_wrongly", "covered_wrongly"} & invariants(short)
    exact = data_of("payment_session.created", due=units(11_000_100))(RIGHT)
    assert {"completed_wrongly", "covered_wrongly"} <= invariants(exact)


def test_half_a_unit_of_fee_goes_up() -> None:
    assert [fee_of(amount) for amount in (0, 99, 100, 199, 200, 299, 300)] == [0, 0, 1, 1, 1, 1, 2]


def test_the_oracle_shares_no_code_with_the_gateway() -> None:
    folder = Path(sys.modules["simulation.oracle"].__file__ or "").parent
    ours = {"simulation"}
    for file in sorted(folder.glob("oracle*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            named = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                named = [each.name for each in node.names]
            for name in named:
                root, _, rest = name.partition(".")
                allowed = root in sys.stdlib_module_names or root in ours
                assert allowed, f"{file.name} imports {name}"
                assert not rest or root not in ours or rest.startswith(("oracle", "evidence"))


def test_the_builder_speaks_of_one_story() -> None:
    """What the spoiled stories rely on is really in the right one."""
    ids = {FIRST, SECOND}
    assert ids <= {str(row.data.get("transfer_id")) for row in RIGHT.log}
    assert RIGHT.chains == (chain(),)
    assert any(row.stream_id == REFUND for row in RIGHT.log)
    assert any(asset == OTHER_ASSET for asset in (row.asset for row in RIGHT.accounts))

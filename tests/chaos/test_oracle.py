"""The judge of the fault campaign: each broken promise is seen, and nothing else is blamed."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from application.chain_messages import ChainReport, ReorgReport, TransferReport
from chaos.driver import CHAIN_ID, TOKENS
from chaos.ingesting import NETWORK
from chaos.oracle import Transfer, Verdict, judge, judge_usual
from chaos.strategies import RangeFailover
from domain.events import Sighting
from domain.money import Amount

AT = datetime(2026, 11, 23, tzinfo=UTC)
OURS, PAYER = "0x" + "d1" * 20, "0x" + "11" * 20


def transfer(name: str, block: int = 5, branch: str = "a", units: int = 7) -> Transfer:
    tx_hash = "0x" + (name.encode().hex() * 32)[:64]
    block_hash = "0x" + (branch.encode().hex() * 32)[:62] + f"{block:02x}"
    return Transfer(f"{CHAIN_ID}:{tx_hash}:0", block_hash, block, TOKENS[0], PAYER, OURS, units)


A, B = transfer("A"), transfer("B", block=6)
AGAIN = transfer("B", block=6, branch="b")
NEVER = transfer("N", units=10**9)
REAL = {A, B, AGAIN}


class Story:
    def __init__(self) -> None:
        self.reports: list[ChainReport] = []

    def say(self, kind: str, told: Transfer, *, attested: bool = True) -> "Story":
        sighting = Sighting(
            transfer_id=told.transfer_id,
            network=NETWORK.name,
            amount=Amount(units=told.units, asset=f"eip155:{CHAIN_ID}/erc20:{told.token}"),
            token=told.token,
            sender=told.sender,
            recipient=told.recipient,
            tx_hash=told.seen[0],
            log_index=0,
            block_number=told.block_number,
            block_hash=told.block_hash,
            block_time=AT,
            attested=attested,
            providers=("p0", "p2"),
        )
        number = len(self.reports) + 1
        self.reports.append(
            TransferReport(
                kind=kind,  # type: ignore[arg-type]  # one of three words
                message_id=str(number),
                report_number=number,
                at=AT,
                sighting=sighting,
                confirmations=1,
                policy_version=1,
            )
        )
        return self

    def reorg(self, fork: int, *orphaned: Transfer) -> "Story":
        number = len(self.reports) + 1
        self.reports.append(
            ReorgReport(
                message_id=str(number),
                report_number=number,
                at=AT,
                network=NETWORK.name,
                fork_number=fork,
                from_hash="0x01",
                to_hash="0x02",
                depth=1,
                orphaned=tuple(each.transfer_id for each in orphaned),
            )
        )
        return self

    def judged(self, *truth: Transfer) -> Verdict:
        verdict, _ = judge(self.reports, {each.transfer_id: each for each in truth}, REAL)
        return verdict


def test_a_payment_told_once_and_confirmed_is_clean() -> None:
    assert Story().say("observed", A).say("confirmed", A).judged(A).clean


def test_a_payment_that_moved_to_another_branch_is_clean() -> None:
    story = Story().say("observed", B).reorg(5, B).say("retracted", B)
    assert story.say("observed", AGAIN).say("confirmed", AGAIN).judged(AGAIN).clean


@pytest.mark.parametrize("said", [[], ["observed"]])
def test_a_payment_not_confirmed_is_missed(said: Sequence[str]) -> None:
    story = Story()
    for kind in said:
        story.say(kind, A)
    assert story.judged(A).missed == 1


def test_a_confirmed_payment_of_a_lost_branch_is_a_phantom() -> None:
    verdict = Story().say("observed", B).say("confirmed", B).judged()
    assert (verdict.phantom, verdict.forged) == (1, 0)


def test_a_confirmed_payment_taken_back_is_none_but_counted() -> None:
    story = Story().say("observed", B).say("confirmed", B).reorg(5, B).say("retracted", B)
    verdict = story.judged()
    assert verdict.clean
    assert verdict.taken_back == 1


@pytest.mark.parametrize("kind", ["observed", "confirmed"])
def test_an_attested_transfer_that_never_was_is_forged(kind: str) -> None:
    assert Story().say(kind, NEVER).judged().forged == 1


def test_an_unattested_one_may_be_seen_but_not_confirmed_nor_left_open() -> None:
    story = Story().say("observed", NEVER, attested=False)
    assert (story.judged().forged, story.judged().unattested_forged) == (0, 1)
    assert not story.judged().clean, "still open"
    story.reorg(4, NEVER).say("retracted", NEVER, attested=False)
    assert story.judged().clean
    confirmed = Story().say("observed", NEVER, attested=False)
    assert confirmed.say("confirmed", NEVER, attested=False).judged().forged == 1


def test_a_real_transfer_with_another_amount_is_forged() -> None:
    assert Story().say("observed", replace_units(A, 700)).judged(A).forged == 1


def test_a_gap_in_the_numbers_is_seen() -> None:
    story = Story().say("observed", A).say("confirmed", A)
    story.reports = [
        story.reports[0],
        story.reports[1].model_copy(update={"report_number": 3}),
    ]
    assert not story.judged(A).clean


def broken() -> dict[str, Story]:
    return {
        "observed twice": Story().say("observed", A).say("observed", A).say("confirmed", A),
        "confirmed twice": Story().say("observed", A).say("confirmed", A).say("confirmed", A),
        "not observed": Story().say("confirmed", A),
        "before the reorg": Story()
        .say("observed", B)
        .say("observed", A)
        .reorg(5, B)
        .say("confirmed", A)
        .say("retracted", B),
        "retracted without a reorg": Story()
        .say("observed", A)
        .say("confirmed", A)
        .say("observed", B)
        .say("retracted", B),
        "a reorg that names too little": Story()
        .say("observed", B)
        .reorg(5)
        .say("observed", A)
        .say("confirmed", A),
    }


@pytest.mark.parametrize("how", broken())
def test_reports_out_of_order_are_seen(how: str) -> None:
    assert broken()[how].judged(A).wrong


def test_a_usual_strategy_is_judged_by_the_same_truth() -> None:
    strategy = RangeFailover("range", [], {OURS}, 0)
    strategy.confirm(Counter({A.seen: 1, NEVER.seen: 1, B.seen: 1}))
    verdict = judge_usual(strategy, {A.transfer_id: A, "other": transfer("O")}, REAL)
    assert (verdict.missed, verdict.phantom, verdict.forged) == (1, 1, 1)


def replace_units(told: Transfer, units: int) -> Transfer:
    return told._replace(units=units)

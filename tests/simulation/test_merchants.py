"""What merchants set and decide, and what payers claim, performed and judged."""

import dataclasses

import pytest

from domain.events import EVENTS
from simulation import steps as s
from simulation.evidence import Evidence, LogRow, Violation
from simulation.oracle import judge
from simulation.story import story
from simulation.world import run_history

POLYGON, ETHEREUM, ENOUGH = 1, 0, 8
WALLET = s.SetReceivingAddress(merchant=0, wallet=0)
OPEN = s.OpenSession(
    merchant=0,
    network=POLYGON,
    token=0,
    cents=1_000,
    window_seconds=600,
    pay_by="merchant_wallet",
)
OTHER = dataclasses.replace(OPEN, salt=1)
PAY = s.Pay(session=0, share="exact", payer=1)
PROVE = s.ProvePayer(session=0, payer=1)
SEEN, BURY = s.Mine(POLYGON, 1), s.Mine(POLYGON, ENOUGH)
FUND = s.TopUp(merchant=0, network=POLYGON, token=0, cents=100_000)

# Found by running many: between them these histories hold every event there can be. After a
# change of plots others may be needed: look for new ones where this test says what is missing.
SEEDS = (14, 18, 20, 23, 32, 48, 57, 84)
NEVER = {
    *("merchant.api_key_created", "merchant.api_key_revoked"),  # clients here need no keys
    *("network.halted", "network.resumed"),  # no fork here goes below what was final
    *(name for name in EVENTS if name.startswith("projection.")),  # nobody operates here
}


def left_by(*steps: s.Step) -> Evidence:
    evidence = run_history(s.History(1, steps)).evidence
    assert judge(evidence) == ()
    return evidence


def verdicts(evidence: Evidence) -> list[str]:
    names = ("onchain_transfer.assigned", "onchain_transfer.unmatched")
    return [row.data["verdict"] for row in evidence.log if row.name in names]


def test_between_them_histories_hold_every_event_there_can_be() -> None:
    told = {row.name for seed in SEEDS for row in run_history(story(seed, 100)).evidence.log}
    assert set(EVENTS) - told == NEVER


@pytest.mark.parametrize(
    "steps",
    [
        (PROVE, PAY, SEEN),
        (PAY, PROVE, SEEN),
        (PAY, SEEN, PROVE),
        (PAY, BURY, s.Wait(5), PROVE),
    ],
    ids=["before", "while it waits", "when it is seen", "when it is safe"],
)
def test_a_wallet_may_sign_before_or_after_it_pays(steps: tuple[s.Step, ...]) -> None:
    evidence = left_by(WALLET, OPEN, *steps, BURY)
    assert verdicts(evidence)[-1] == "payer_proven"
    assert [row.name for row in evidence.log].count("payment.completed") == 1


@pytest.mark.parametrize("signer", ["stranger", "session_before"])
def test_a_signature_of_another_or_for_another_session_is_refused(signer: s.Signer) -> None:
    prove = s.ProvePayer(session=1, payer=1, signer=signer)
    evidence = left_by(WALLET, OPEN, OTHER, prove, PAY, BURY)
    assert evidence.requests[3].code == "payment_session.signature_refused"
    assert verdicts(evidence) == ["unknown_sender"]


def test_a_wallet_that_signed_for_two_is_ambiguous() -> None:
    both = (PROVE, s.ProvePayer(session=1, payer=1))
    assert verdicts(left_by(WALLET, OPEN, OTHER, *both, PAY, BURY)) == ["ambiguous_payer"]


def test_an_announced_transaction_is_credited_once_it_is_safe() -> None:
    announce = s.AnnounceTransaction(session=0, whose="own")
    evidence = left_by(WALLET, OPEN, PAY, SEEN, announce, BURY)
    assert verdicts(evidence)[-1] == "hash_announced"


def test_a_transaction_announced_for_two_waits() -> None:
    claims = (
        s.AnnounceTransaction(session=0, whose="own"),
        s.AnnounceTransaction(session=1, whose="other"),
    )
    assert verdicts(left_by(WALLET, OPEN, OTHER, PAY, SEEN, *claims, BURY))[-1] == "ambiguous_hash"


@pytest.mark.parametrize(
    ("decision", "fact"),
    [
        ("accept", "onchain_transfer.accepted"),
        ("assign", "onchain_transfer.assigned"),
        ("dismiss", "onchain_transfer.dismissed"),
        ("refund", "onchain_transfer.refunded"),
    ],
)
def test_what_waits_is_decided_about_once(decision: s.Decision, fact: str) -> None:
    decide = s.DecideTransfer(transfer=0, decision=decision, copies=2, waiting=False)
    evidence = left_by(WALLET, OPEN, FUND, PAY, BURY, s.Wait(5), decide, s.Wait(5), BURY)
    assert [row.name for row in evidence.log if row.data.get("verdict") != "refund_wallet"].count(
        fact
    ) == 1


def test_another_merchant_knows_nothing_of_it() -> None:
    decide = s.DecideTransfer(transfer=0, decision="accept", meddling=True)
    evidence = left_by(WALLET, OPEN, PAY, BURY, s.Wait(5), decide)
    assert evidence.requests[-1].code == "transfer.unknown"


def test_a_tolerance_completes_what_is_almost_paid() -> None:
    own = dataclasses.replace(OPEN, pay_by="deposit_address")
    steps = (s.SetTolerance(merchant=0, cents=500, basis_points=1_000), own)
    evidence = left_by(*steps, dataclasses.replace(PAY, share="almost"), BURY)
    assert "payment.completed" in [row.name for row in evidence.log]


def test_a_transfer_is_confirmed_under_the_terms_it_was_first_seen_under() -> None:
    own = dataclasses.replace(OPEN, pay_by="deposit_address")
    change = s.ChangePolicy(network=POLYGON, policy=2)
    again = dataclasses.replace(PAY, payer=2)
    evidence = left_by(own, PAY, s.Mine(POLYGON, 2), change, s.Wait(2), again, BURY)
    confirmed = [row for row in evidence.log if row.name == "onchain_transfer.confirmed"]
    assert sorted(row.data["policy_version"] for row in confirmed) == [1, 2]


@pytest.mark.parametrize("trouble", ["tags_refused", "tags_lag", "tags_lie"])
def test_one_provider_in_trouble_with_tags_confirms_nothing_too_early(
    trouble: s.ProviderTrouble,
) -> None:
    own = dataclasses.replace(OPEN, network=ETHEREUM, cents=5_000, pay_by="deposit_address")
    fault = s.ProviderFault(ETHEREUM, 0, trouble, seconds=200, amount=2)
    result = run_history(s.History(1, (own, fault, PAY, s.Mine(ETHEREUM, 12))))
    assert result.faults[f"provider.{trouble}"] >= 1
    assert judge(result.evidence) == ()
    rules = [row.data["rule"] for row in result.evidence.log if "rule" in row.data]
    assert set(rules) == {"a safe block"}


# ---------------------------------------------------------------- the oracle sees what is wrong

DECIDED = (WALLET, OPEN, PAY, BURY, s.Wait(5), s.DecideTransfer(0, "accept"), s.Wait(5))
PROVEN = (WALLET, OPEN, PROVE, PAY, BURY)


def _spoilt(evidence: Evidence, name: str, **data: object) -> list[Violation]:
    """With other data in the facts of that name."""

    def bent(row: LogRow) -> LogRow:
        return dataclasses.replace(row, data=row.data | data) if row.name == name else row

    return list(judge(dataclasses.replace(evidence, log=tuple(map(bent, evidence.log)))))


@pytest.mark.parametrize(
    ("steps", "name", "data", "invariant"),
    [
        (DECIDED, "onchain_transfer.accepted", {"reason": "otherwise"}, "decided_otherwise"),
        (PROVEN, "payment_session.payer_proven", {"payer": "0x" + "9" * 40}, "claimed_by_nobody"),
        (PROVEN, "onchain_transfer.assigned", {"verdict": "hash_announced"}, "attributed_wrongly"),
        (PROVEN, "onchain_transfer.confirmed", {"rule": "4 confirmations"}, "rule_wrong"),
        (PROVEN, "onchain_transfer.confirmed", {"policy_version": 2}, "policy_wrong"),
        (PROVEN, "onchain_transfer.confirmed", {"confirmations": 7}, "confirmed_too_early"),
        (PROVEN, "merchant.receiving_address_set", {"address": "0x" + "8" * 40}, "wallet_wrong"),
    ],
)
def test_what_is_wrong_is_named(
    steps: tuple[s.Step, ...], name: str, data: dict[str, object], invariant: str
) -> None:
    assert invariant in {each.invariant for each in _spoilt(left_by(*steps), name, **data)}


def test_a_claim_that_is_passed_over_is_named() -> None:
    evidence = left_by(WALLET, OPEN, PAY, SEEN, s.Wait(2), PROVE, BURY)
    credited = [row for row in evidence.log if row.data.get("verdict") == "payer_proven"]
    kept = tuple(row for row in evidence.log if row not in credited)
    found = {each.invariant for each in judge(dataclasses.replace(evidence, log=kept))}
    assert "left_waiting" in found


def test_a_tag_that_one_provider_alone_told_is_named() -> None:
    own = dataclasses.replace(OPEN, network=ETHEREUM, cents=5_000, pay_by="deposit_address")
    evidence = left_by(own, PAY, s.Mine(ETHEREUM, 12))
    alone = tuple(each for each in evidence.tags if each.provider.endswith("-1"))
    found = {each.invariant for each in judge(dataclasses.replace(evidence, tags=alone))}
    assert "tag_unheard" in found

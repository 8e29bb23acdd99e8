"""Histories written by the first version of everything still fold into today's state."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from application.deciders import (
    CLAIM,
    DELIVERY,
    HALTS,
    MERCHANT,
    PAYMENT,
    POLICY,
    REFUND,
    REFUND_FLOAT,
    TRANSFER,
    Decider,
)
from domain.events import Event, decode
from domain.networks import ConfirmationRule
from domain.upcasters import UPCASTERS
from tests.examples import (
    EXAMPLES,
    KEY_ID,
    LATER,
    MERCHANT_ID,
    REFUND_ID,
    SEEN,
    SESSION_ID,
    usd,
)

GOLDEN = Path(__file__).parent.parent / "golden"
TODAY: dict[str, Event] = {event.name: event for event in EXAMPLES}


def first_version(name: str) -> Event:
    """What the oldest golden file of this fact means today."""
    return decode(name, 1, (GOLDEN / f"{name}.v1.json").read_bytes())


def fold(decider: Decider[Any, Any], *names: str) -> Any:
    state = None
    for name in names:
        state = decider.evolve(state, first_version(name))
    return state


HISTORIES: tuple[tuple[Decider[Any, Any], tuple[str, ...], Callable[[Any], bool]], ...] = (
    (
        PAYMENT,
        (
            "payment_session.created",
            "payment_session.payer_proven",
            "payment_session.transaction_announced",
            "transfer.observed",
            "payment.covered",
            "transfer.confirmed",
            "payment.completed",
            "payment.refund_reserved",
            "payment.refunded",
        ),
        lambda s: (
            (s.status, s.refunded, s.enough, s.pay_by)
            == ("partially_refunded", usd("4.00"), usd("10.00"), "deposit_address")
        ),
    ),
    (
        PAYMENT,
        (
            "payment_session.created",
            "transfer.observed",
            "payment.covered",
            "transfer.confirmed",
            "payment.completed",
            "payment.reduced",
            "payment.refund_reserved",
            "payment.refunded",
            "payment.refund_reversed",
            "payment.refund_released",
            "transfer.reversed",
            "payment.reversed",
        ),
        lambda s: (s.status, s.exceptions, s.refunded.units) == ("pending", ("reversed",), 0),
    ),
    (
        PAYMENT,
        (
            "payment_session.created",
            "transfer.observed",
            "transfer.retracted",
            "payment_session.expired",
        ),
        lambda s: (s.status, s.seen.units) == ("failed", 0),
    ),
    (
        PAYMENT,
        ("payment_session.created", "payment_session.cancelled"),
        lambda s: s.ended == "cancelled",
    ),
    (
        TRANSFER,
        (
            "onchain_transfer.observed",
            "onchain_transfer.assigned",
            "onchain_transfer.confirmed",
            "onchain_transfer.reversed",
        ),
        lambda s: (
            (s.status, s.subject_id, s.verdict, s.rule)
            == ("reversed", SESSION_ID, "deposit_address", "3 confirmations")
        ),
    ),
    (
        TRANSFER,
        (
            "onchain_transfer.observed",
            "onchain_transfer.unmatched",
            "onchain_transfer.retracted",
        ),
        lambda s: (s.purpose, s.verdict, s.waits) == ("unmatched", "unknown_address", False),
    ),
    (
        TRANSFER,
        (
            "onchain_transfer.observed",
            "onchain_transfer.unmatched",
            "onchain_transfer.confirmed",
            "onchain_transfer.refund_reserved",
            "onchain_transfer.refunded",
            "onchain_transfer.refund_reversed",
            "onchain_transfer.refund_released",
        ),
        lambda s: (s.resolution, s.waits) == ("open", True),
    ),
    (
        TRANSFER,
        (
            "onchain_transfer.observed",
            "onchain_transfer.unmatched",
            "onchain_transfer.accepted",
        ),
        lambda s: s.resolution == "accepted",
    ),
    (
        TRANSFER,
        (
            "onchain_transfer.observed",
            "onchain_transfer.unmatched",
            "onchain_transfer.dismissed",
        ),
        lambda s: s.resolution == "dismissed",
    ),
    (
        REFUND,
        ("refund.requested", "refund.signed", "refund.broadcast", "refund.completed"),
        lambda s: (
            (s.status, s.session_id, s.transfer_id, s.gas) == ("completed", SESSION_ID, None, None)
        ),
    ),
    (
        REFUND,
        (
            "refund.requested",
            "refund.signed",
            "refund.broadcast",
            "refund.completed",
            "refund.finalized",
        ),
        lambda s: (s.status, s.block_number, s.final_at) == ("completed", 110, LATER),
    ),
    (
        REFUND,
        (
            "refund.requested",
            "refund.signed",
            "refund.broadcast",
            "refund.completed",
            "refund.reversed",
            "refund.failed",
        ),
        lambda s: (s.status, s.failure) == ("failed", "recipient is frozen"),
    ),
    (
        REFUND_FLOAT,
        (
            "refund_float.topped_up",
            "refund_float.reserved",
            "refund_float.spent",
            "refund_float.spending_reversed",
            "refund_float.released",
            "refund_float.top_up_reversed",
        ),
        lambda s: (s.available_units, s.reserved, s.top_ups) == (0, {}, {}),
    ),
    (
        MERCHANT,
        (
            "merchant.registered",
            "merchant.wallet_configured",
            "merchant.receiving_address_set",
            "merchant.tolerance_set",
            "merchant.refund_wallet_assigned",
            "merchant.api_key_created",
            "merchant.api_key_revoked",
            "merchant.webhook_endpoint_created",
            "merchant.webhook_endpoint_disabled",
            "merchant.webhook_endpoint_deleted",
        ),
        lambda s: (s.api_keys[KEY_ID].revoked, s.endpoints) == (True, {}),
    ),
    (
        DELIVERY,
        (
            "delivery.opened",
            "delivery.attempt_failed",
            "delivery.failed",
            "delivery.replayed",
            "delivery.succeeded",
        ),
        lambda s: s.status == "delivered",
    ),
    (
        CLAIM,
        ("payment_claim.made", "payment_claim.transfer_seen"),
        lambda s: (set(s.sessions), s.transfers) == ({SESSION_ID}, {SEEN.transfer_id: 1}),
    ),
    (POLICY, ("network.confirmation_policy_set",), lambda s: s.newest.version == 2),
    (HALTS, ("network.halted", "network.resumed"), lambda s: (s.halt, s.resumed) == (None, 1)),
)
BY_THEMSELVES = {"journal.entry_posted", "network.reorg_detected"} | {
    name for name in TODAY if name.startswith("projection.")
}  # nothing is folded from them


@pytest.mark.parametrize(
    ("decider", "names", "holds"), HISTORIES, ids=lambda one: getattr(one, "stream_type", "")
)
def test_a_history_of_first_versions_folds(
    decider: Decider[Any, Any], names: tuple[str, ...], holds: Callable[[Any], bool]
) -> None:
    state = fold(decider, *names)
    assert holds(state), state


def test_no_golden_file_is_left_out_of_the_histories() -> None:
    folded = {name for _, names, _ in HISTORIES for name in names}
    stored = {path.name.rpartition(".v")[0] for path in GOLDEN.glob("*.json")}
    assert folded | BY_THEMSELVES == stored


LIFTED: dict[str, dict[str, Any]] = {
    "payment_session.created": {},
    "transfer.confirmed": {},
    "onchain_transfer.confirmed": {},
    "onchain_transfer.assigned": {},
    "onchain_transfer.unmatched": {},
    "refund.requested": {},
    "refund.completed": {"gas": None},
    "refund.failed": {},
}


@pytest.mark.parametrize("name", LIFTED)
def test_an_old_shape_means_what_was_meant_then(name: str) -> None:
    assert first_version(name) == TODAY[name].model_copy(update=LIFTED[name])


def test_every_upcaster_is_shown_at_work() -> None:
    assert {name for name, _ in UPCASTERS} == set(LIFTED)


@pytest.mark.parametrize(
    ("reason", "verdict"),
    [
        ("nobody has been given this address", "unknown_address"),
        ("the session of this address is not known", "session_unknown"),
        ("another token than the session asks for", "wrong_token"),
        ("the session was cancelled", "session_cancelled"),
        ("sent after the session's grace period", "after_grace"),
        ("sent on polygon, the session is paid on ethereum", "wrong_network"),
    ],
)
def test_each_sentence_of_the_first_inbox_has_its_verdict(reason: str, verdict: str) -> None:
    lifted = UPCASTERS["onchain_transfer.unmatched", 1]({"reason": reason})
    assert lifted == {"reason": reason, "verdict": verdict}


@pytest.mark.parametrize("name", ["transfer.confirmed", "onchain_transfer.confirmed"])
def test_an_old_confirmation_says_its_rule_as_todays_do(name: str) -> None:
    for count in (1, 2, 64):
        lifted = UPCASTERS[name, 1]({"confirmations": count})
        assert lifted["rule"] == ConfirmationRule(blocks=count).text


def test_a_top_up_was_assigned_by_its_address_too() -> None:
    lifted = UPCASTERS["onchain_transfer.assigned", 1]({"purpose": "refund_float"})
    assert lifted["verdict"] == "refund_wallet"


def test_the_ids_of_the_first_facts_are_todays() -> None:
    assert fold(REFUND, "refund.requested").refund_id == REFUND_ID
    assert fold(MERCHANT, "merchant.registered").merchant_id == MERCHANT_ID

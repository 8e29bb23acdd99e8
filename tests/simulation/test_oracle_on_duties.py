"""What the gateway owes its clients, its receivers and its own log: each wrong by its name."""

from dataclasses import replace

import pytest

from simulation import evidence as ev
from tests.simulation.scribe import (
    ADDRESS,
    BEGAN_US,
    OWNER,
    PAYER,
    REFUND_TX,
    SECOND_US,
    USDC,
    WALLET,
    block,
    log_of,
    moment,
    tx,
    units,
    uuid,
)
from tests.simulation.spoiling import (
    RIGHT,
    Spoil,
    again,
    block_is,
    data_of,
    evidence_is,
    header_is,
    invariants,
    on_chain,
    one_more_request,
    outgoing_is,
    post_is,
    request_is,
    said,
    without,
)

FAILED_TRY = {
    "attempt": 1,
    "status_code": 500,
    "latency_ms": 1,
    "error": "answered 500",
    "next_attempt_at": moment(BEGAN_US + 9 * SECOND_US),
}


def refund_mined_again(facts: ev.ChainFacts) -> ev.ChainFacts:
    """In another block of the same height; the one it was in, and those after it, are left."""
    paid = facts.canonical[5].txs
    instead = (
        block(5, *paid, branch="cd"),
        block(6, branch="cd", parent="cd"),
        block(7, branch="cd", parent="cd"),
    )
    kept = (*facts.canonical[:5], *instead)
    return replace(facts, canonical=kept, orphaned=facts.canonical[5:])


def renamed(spoil: Spoil, which: int, name: str) -> Spoil:
    """The n-th `refund.finalized` of what that gives is a fact of this name instead."""

    def rename(evidence: ev.Evidence) -> ev.Evidence:
        log = list(spoil(evidence).log)
        place = [i for i, row in enumerate(log) if row.name == "refund.finalized"][which]
        log[place] = replace(log[place], name=name)
        return replace(evidence, log=tuple(log))

    return rename


WRONG: list[tuple[str, str, Spoil]] = [
    # refunds
    (
        "more refunded than had arrived",
        "refund_exceeds_received",
        data_of("payment.refund_reserved", amount=units(11_000_001)),
    ),
    (
        "paid twice in one transaction",
        "refund_paid_twice",
        block_is(5, tx(REFUND_TX, *[log_of(USDC, WALLET, PAYER, 4_000_000)] * 2)),
    ),
    (
        "paid twice in two transactions",
        "paid_without_refund",
        block_is(
            5,
            tx(REFUND_TX, log_of(USDC, WALLET, PAYER, 4_000_000)),
            tx("0x" + "09" * 32, log_of(USDC, WALLET, PAYER, 4_000_000)),
        ),
    ),
    ("completed and not on chain", "refund_not_on_chain", block_is(5)),
    (
        "another sum paid",
        "refund_wrong",
        block_is(5, tx(REFUND_TX, log_of(USDC, WALLET, PAYER, 4_000_001))),
    ),
    (
        "failed and paid all the same",
        "refund_failed_but_paid",
        lambda e: replace(
            e,
            log=tuple(
                replace(r, name="refund.failed") if r.name == "refund.completed" else r
                for r in e.log
            ),
        ),
    ),
    ("never finished", "refund_stuck", without("refund.completed")),
    (
        "final in a block that does not pay it",
        "refund_not_final",
        data_of("refund.finalized", block_number=4, block_hash=block(4).hash),
    ),
    (
        "final at another height",
        "refund_not_final",
        data_of("refund.finalized", block_number=4),
    ),
    (
        "final in a block that left the chain",
        "refund_not_final",
        on_chain(refund_mined_again),
    ),
    (
        "final by another transaction",
        "refund_not_final",
        data_of("refund.finalized", tx_hash="0x"),
    ),
    (
        "final before the chain called it so",
        "refund_final_too_early",
        lambda e: replace(
            e, networks=(replace(e.networks[0], below_head={"safe": 1, "finalized": 3}),)
        ),
    ),
    ("final twice", "edge_not_allowed", again("refund.finalized")),
    ("final before it was completed", "edge_not_allowed", without("refund.completed")),
    (
        "lost after it was final",
        "edge_not_allowed",
        renamed(again("refund.finalized"), 1, "refund.reversed"),
    ),
    (
        "to an address of our own",
        "refund_destination",
        data_of("refund.requested", destination=ADDRESS),
    ),
    ("spent on one side only", "refund_half_ended", without("refund_float.spent")),
    ("paid without a reserve", "refund_not_reserved", without("refund_float.reserved")),
    ("signed with two nonces", "refund_wrong", outgoing_is(nonce=1)),
    ("sent other bytes than stored", "sent_before_stored", outgoing_is(raw="beef")),
    # clients
    (
        "one key made two sessions",
        "key_made_two",
        again("payment_session.created", session_id=uuid("52" * 16)),
    ),
    (
        "an answer that is not true",
        "answer_not_kept",
        request_is(1, body={**RIGHT.requests[1].body, "amount": "11.00"}),
    ),
    (
        "another sum than was asked for",
        "refund_not_as_asked",
        request_is(2, body={**RIGHT.requests[2].body, "amount": "3.00"}),
    ),
    (
        "all was asked for, a part was given",
        "refund_not_as_asked",
        request_is(2, body={**RIGHT.requests[2].body, "amount": None}),
    ),
    (
        "to another wallet than was named",
        "refund_not_as_asked",
        request_is(2, body={**RIGHT.requests[2].body, "to_address": OWNER}),
    ),
    (
        "open for longer than was asked for",
        "answer_not_kept",
        request_is(1, body={**RIGHT.requests[1].body, "expires_in": 60}),
    ),
    ("refused and done", "refused_and_done", request_is(2, outcome="refused", code="no")),
    ("a repeat got another answer", "answer_changed", one_more_request(1, raw="{}", repeats=1)),
    (
        "one key answered for two bodies",
        "key_reused",
        one_more_request(1, body={"amount": "9.00"}, repeats=1),
    ),
    # webhooks
    ("never delivered", "delivery_unfinished", without("delivery.succeeded")),
    (
        "nobody was told",
        "delivery_missing",
        lambda e: without("delivery.succeeded")(without("delivery.opened")(e)),
    ),
    (
        "told of what they did not ask for",
        "delivery_unwanted",
        data_of("merchant.webhook_endpoint_created", event_types=["payment.created"]),
    ),
    ("said to be sent, and never was", "delivery_wrong", evidence_is(posts=())),
    ("other bytes at one attempt", "webhook_bytes", post_is(0, body="{}")),
    ("a signature of another key", "webhook_signature", header_is("X-Webhook-Signature", "00")),
    (
        "the second scheme does not verify",
        "webhook_signature",
        header_is("webhook-signature", "v1,AAAA"),
    ),
    ("a stamp of ten minutes ago", "webhook_signature", post_is(0, sender_at_us=BEGAN_US * 2)),
    (
        "the message says another sum",
        "webhook_wrong",
        said(1, words={'"amount_received": "11.00"': '"amount_received": "6.00"'}),
    ),
    (
        "the message has another number",
        "webhook_wrong",
        said(0, words={'"sequence": 1': '"sequence": 2'}),
    ),
    (
        "given up after one try",
        "delivery_tries",
        lambda e: replace(
            e,
            log=tuple(
                replace(r, name="delivery.failed", data={"attempts": 1})
                if r.name == "delivery.succeeded"
                else r
                for r in e.log
            ),
        ),
    ),
    (
        "tried again too early",
        "delivery_delay",
        lambda e: replace(
            e,
            log=tuple(
                replace(
                    r,
                    name="delivery.attempt_failed",
                    data={**FAILED_TRY, "at": moment(BEGAN_US)},
                )
                if r.name == "delivery.succeeded"
                else r
                for r in e.log
            ),
        ),
    ),
    # the log and the read models
    ("a position left out", "position_gap", lambda e: replace(e, log=(*e.log[:9], *e.log[10:]))),
    ("a version left out", "version_gap", lambda e: replace(e, log=(*e.log[:9], *e.log[10:]))),
    ("an event nobody knows", "event_unknown", evidence_is(event_names=())),
    ("completed twice", "edge_not_allowed", again("payment.completed")),
    (
        "an older report after a newer one",
        "report_outdated",
        data_of("onchain_transfer.confirmed", report_number=0),
    ),
    (
        "rebuilt tables differ",
        "projection_differs",
        lambda e: replace(e, rebuilt={**e.rebuilt, "payments": []}),
    ),
    (
        "an address that is not watched",
        "not_watched",
        lambda e: replace(e, live={**e.live, "watch_list": []}),
    ),
    ("a message was parked", "parked", evidence_is(parked=(ev.ParkedRow("x", "y", "z"),))),
    ("a worker died", "worker_died", evidence_is(deaths=(ev.Death("x", "y", 0),))),
    ("it never came to rest", "stuck", evidence_is(settled=False)),
]


@pytest.mark.parametrize(
    ("invariant", "spoil"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG]
)
def test_what_is_wrong_is_named(invariant: str, spoil: Spoil) -> None:
    assert invariant in invariants(spoil(RIGHT))

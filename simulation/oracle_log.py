"""The log as such: gapless, known, and along allowed edges only.

Shapes  A stream is watched as several small machines at once: the session's window, its payment,
        each of its transfers and refunds. EDGES says for each event which machines it moves,
        from which states, to which.
"""

from collections import Counter
from collections.abc import Iterator

from simulation.evidence import LogRow, Violation
from simulation.oracle_truth import JOURNAL, Case

NONE = ""
# machine, the field of the data that tells its instances apart (or none), from, to
Edge = tuple[str, str | None, frozenset[str], str]


def _edge(machine: str, by: str | None, from_: str, to: str) -> Edge:
    states = frozenset(NONE if state == "-" else state for state in from_.split())
    return (machine, by, states, to)


_MONEY = {  # facts of sessions and transfers
    "payment_session.created": (
        _edge("window", None, "-", "open"),
        _edge("payment", None, "-", "due"),
    ),
    "payment_session.cancelled": (_edge("window", None, "open", "cancelled"),),
    "payment_session.expired": (
        _edge("window", None, "open", "expired"),
        _edge("payment", None, "due", "due"),
    ),
    "transfer.observed": (_edge("transfer", "transfer_id", "- retracted reversed", "observed"),),
    "transfer.confirmed": (_edge("transfer", "transfer_id", "observed", "confirmed"),),
    "transfer.retracted": (_edge("transfer", "transfer_id", "observed", "retracted"),),
    "transfer.reversed": (_edge("transfer", "transfer_id", "confirmed", "reversed"),),
    "payment.covered": (_edge("window", None, "open expired cancelled", "="),),
    "payment.completed": (_edge("payment", None, "due", "completed"),),
    "payment.reduced": (_edge("payment", None, "completed", "completed"),),
    "payment.reversed": (_edge("payment", None, "completed", "due"),),
    "payment.refund_reserved": (_edge("refund", "refund_id", "-", "reserved"),),
    "payment.refund_released": (_edge("refund", "refund_id", "reserved", "released"),),
    "payment.refunded": (_edge("refund", "refund_id", "reserved", "refunded"),),
    "payment.refund_reversed": (_edge("refund", "refund_id", "refunded", "reserved"),),
    "payment_session.payer_proven": (_edge("window", None, "open expired", "="),),
    "payment_session.transaction_announced": (_edge("window", None, "open expired", "="),),
    "payment_claim.made": (_edge("claim", "session_id", "- made", "made"),),
    "payment_claim.transfer_seen": (_edge("transfer", "transfer_id", "- seen", "seen"),),
    "onchain_transfer.observed": (
        _edge("sighting", None, "- observed retracted reversed", "observed"),
    ),
    "onchain_transfer.assigned": (_edge("verdict", None, "- inbox", "given"),),
    "onchain_transfer.unmatched": (_edge("verdict", None, "- inbox", "inbox"),),
    "onchain_transfer.accepted": (_edge("verdict", None, "inbox", "accepted"),),
    "onchain_transfer.dismissed": (_edge("verdict", None, "inbox", "dismissed"),),
    "onchain_transfer.refund_reserved": (_edge("verdict", None, "inbox", "refunding"),),
    "onchain_transfer.refund_released": (_edge("verdict", None, "refunding", "inbox"),),
    "onchain_transfer.refunded": (_edge("verdict", None, "refunding", "refunded"),),
    "onchain_transfer.refund_reversed": (_edge("verdict", None, "refunded", "refunding"),),
    "onchain_transfer.confirmed": (_edge("sighting", None, "observed", "confirmed"),),
    "onchain_transfer.retracted": (
        _edge("sighting", None, "observed retracted reversed", "retracted"),
    ),
    "onchain_transfer.reversed": (_edge("sighting", None, "confirmed", "reversed"),),
    "network.reorg_detected": (_edge("reorg", None, "-", "told"),),
    "network.confirmation_policy_set": (_edge("policy", None, "- set", "set"),),
    "network.halted": (_edge("halt", None, "- going", "halted"),),
    "network.resumed": (_edge("halt", None, "halted", "going"),),
}
_PAYING = {  # facts of refunds, floats and books
    "refund.requested": (_edge("refund", None, "-", "requested"),),
    "refund.signed": (_edge("refund", None, "requested", "signed"),),
    "refund.broadcast": (_edge("refund", None, "signed", "broadcast"),),
    "refund.completed": (_edge("refund", None, "broadcast", "completed"),),
    "refund.failed": (_edge("refund", None, "requested broadcast", "failed"),),
    "refund.reversed": (_edge("refund", None, "completed", "broadcast"),),
    "refund.finalized": (_edge("refund", None, "completed", "final"),),
    "refund_float.topped_up": (_edge("top_up", "transfer_id", "- reversed", "in"),),
    "refund_float.top_up_reversed": (_edge("top_up", "transfer_id", "in", "reversed"),),
    "refund_float.reserved": (_edge("refund", "refund_id", "-", "reserved"),),
    "refund_float.released": (_edge("refund", "refund_id", "reserved", "released"),),
    "refund_float.spent": (_edge("refund", "refund_id", "reserved", "spent"),),
    "refund_float.spending_reversed": (_edge("refund", "refund_id", "spent", "reserved"),),
    "journal.entry_posted": (_edge("entry", None, "-", "posted"),),
}
_MERCHANTS = {
    "merchant.registered": (_edge("merchant", None, "-", "registered"),),
    "merchant.wallet_configured": (_edge("merchant", None, "registered", "="),),
    "merchant.receiving_address_set": (_edge("merchant", None, "registered", "="),),
    "merchant.tolerance_set": (_edge("merchant", None, "registered", "="),),
    "merchant.refund_wallet_assigned": (_edge("wallet", "mode", "-", "assigned"),),
    "merchant.api_key_created": (_edge("key", "key_id", "-", "made"),),
    "merchant.api_key_revoked": (_edge("key", "key_id", "made", "revoked"),),
    "merchant.webhook_endpoint_created": (_edge("endpoint", "endpoint_id", "-", "made"),),
    "merchant.webhook_endpoint_deleted": (
        _edge("endpoint", "endpoint_id", "made disabled", "deleted"),
    ),
    "merchant.webhook_endpoint_disabled": (_edge("endpoint", "endpoint_id", "made", "disabled"),),
    "delivery.opened": (_edge("delivery", None, "-", "due"),),
    "delivery.succeeded": (_edge("delivery", None, "due", "delivered"),),
    "delivery.attempt_failed": (_edge("delivery", None, "due", "="),),
    "delivery.failed": (_edge("delivery", None, "due", "failed"),),
    "delivery.replayed": (_edge("delivery", None, "delivered failed", "due"),),
}
_TABLES = {  # what people did to read models: any of it, in any order
    f"projection.{done}": (_edge("tables", None, "- kept", "kept"),)
    for done in (
        "rebuild_started",
        "switched",
        "switched_back",
        "dropped",
        "stream_parked",
        "stream_retried",
    )
}
EDGES: dict[str, tuple[Edge, ...]] = {**_MONEY, **_PAYING, **_MERCHANTS, **_TABLES}


def check(case: Case) -> Iterator[Violation]:
    rows = sorted(case.evidence.log, key=lambda row: row.position)
    for place, row in enumerate(rows, 1):
        if row.position != place:
            yield Violation("position_gap", f"position {row.position} where {place} is next")
            break
    yield from _ids(rows)
    for (kind, stream_id), stream in case.streams.items():
        yield from _versions(f"{kind}/{stream_id}", stream)
        yield from _edges(f"{kind}/{stream_id}", stream)
    kinds = Counter(stream_id for _, stream_id in case.streams)
    for stream_id, count in kinds.items():
        if count > 1:
            yield Violation("stream_shared", f"{stream_id} is the id of streams of {count} kinds")


def _ids(rows: list[LogRow]) -> Iterator[Violation]:
    counts = Counter(row.event_id for row in rows)
    for event_id, count in counts.items():
        if count > 1:
            yield Violation("event_twice", f"event id {event_id} is there {count} times")


def _versions(name: str, rows: list[LogRow]) -> Iterator[Violation]:
    versions = [row.version for row in rows]
    if versions != list(range(1, len(rows) + 1)):
        yield Violation("version_gap", f"{name} has versions {versions}")


def _edges(name: str, rows: list[LogRow]) -> Iterator[Violation]:
    states: dict[tuple[str, str], str] = {}
    for row in rows:
        edges = EDGES.get(row.name)
        if edges is None:
            yield Violation("event_unknown", f"{row.name} in {name}: the oracle does not know it")
            continue
        for machine, by, allowed, to in edges:
            place = (machine, str(row.data[by]) if by else "")
            state = states.get(place, NONE)
            if state not in allowed:
                where = f"{name}@{row.version}"
                yield Violation(
                    "edge_not_allowed",
                    f"{row.name} at {where} while {machine} is {state or 'none'}",
                )
            states[place] = state if to == "=" else to
    yield from _reports(name, rows)


def _reports(name: str, rows: list[LogRow]) -> Iterator[Violation]:
    """Of two reports the newer tells the truth: an older one is never applied after it."""
    newest: dict[str, int] = {}  # a stream of evidence holds notes of several transfers
    for row in rows:
        noted = row.name == "payment_claim.transfer_seen"
        whose = str(row.data["transfer_id"]) if noted else ""
        number = int(row.data.get("report_number", newest.get(whose, 0)))
        if number < newest.get(whose, 0):
            what = f"{name}@{row.version}: {number} after {newest[whose]}"
            yield Violation("report_outdated", what)
        newest[whose] = number


def known_names(case: Case) -> Iterator[Violation]:
    for row in case.evidence.log:
        if row.name not in case.evidence.event_names:
            yield Violation("event_unknown", f"{row.name} at position {row.position}")


def causes(case: Case) -> Iterator[Violation]:
    """Each journal entry names a fact of the log as its cause, and no fact has two."""
    facts = {
        f"{row.name} {row.stream_type}/{row.stream_id}@{row.version}"
        for row in case.evidence.log
        if row.stream_type != JOURNAL
    }
    counts: Counter[str] = Counter()
    for _, rows in case.of_type(JOURNAL):
        counts.update(str(row.data["cause"]) for row in rows)
    for cause, count in counts.items():
        if cause not in facts:
            yield Violation("entry_without_cause", cause)
        if count > 1:
            yield Violation("entry_twice", cause)

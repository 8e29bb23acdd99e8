"""Whose a transfer rightly is: from what was known when it was first seen.

Rules   A6, in this order of trust: the session's own address; the merchant's wallet, paid by a
        wallet that signed for one session; the same, in an announced transaction that is younger
        than the session and pays exactly what it lacks. Two that would do are none. Another
        network, another token, a cancelled session, a block after the grace: the inbox.
"""

from collections.abc import Iterator

from simulation.evidence import LogRow, Violation
from simulation.oracle_tally import as_of
from simulation.oracle_truth import SESSION, Case, Moved, Opened, plain

Verdict = tuple[str, str | None, str | None]  # purpose, subject, merchant
VERDICTS = ("onchain_transfer.assigned", "onchain_transfer.unmatched")
EVIDENCE = ("payer_proven", "hash_announced")


def rightly(case: Case, first: Moved, position: int) -> Verdict:
    """At its first sighting, with the log as it was before that position."""
    owner = case.owner(first)
    if owner is None:
        return ("unmatched", None, None)
    if owner.purpose == "refund_float":
        return ("refund_float", owner.subject, owner.merchant)
    if owner.purpose == "payment_session":
        opened = case.sessions[owner.subject]
        found = opened if fits(case, opened, first, position) else None
    else:
        found = _by_evidence(case, first, position)
    if found is None:
        return ("unmatched", None, owner.merchant)
    return ("payment_session", found.session, owner.merchant)


def fits(case: Case, opened: Opened, first: Moved, position: int) -> bool:
    cancelled = any(
        row.name == "payment_session.cancelled" and row.position < position
        for row in case.streams[SESSION, opened.session]
    )
    right = (first.network, first.asset) == (opened.network, opened.asset)
    return right and not cancelled and first.time_us < opened.credits_until_us


def _by_evidence(case: Case, first: Moved, position: int) -> Opened | None:
    proven = _those(case, first, position, "payment_session.payer_proven", "payer")
    if proven:
        return proven[0] if len(proven) == 1 else None
    announced = _those(case, first, position, "payment_session.transaction_announced", "tx_hash")
    if len(announced) != 1:
        return None
    lacking = as_of(case, announced[0].session, position).lacking
    return announced[0] if first.units == lacking else None


def _those(case: Case, first: Moved, position: int, name: str, field: str) -> list[Opened]:
    """Sessions with that evidence; those that still lack money before all others."""
    wanted = first.sender if field == "payer" else first.tx_hash
    found = [
        opened
        for opened in case.sessions.values()
        if opened.shares_wallet
        and opened.address == first.recipient
        and fits(case, opened, first, position)
        and (field == "payer" or opened.created_us <= first.time_us)
        and any(
            row.name == name and row.position < position and row.data[field] == wanted
            for row in case.streams[SESSION, opened.session]
        )
    ]
    lacking = [one for one in found if as_of(case, one.session, position).lacking]
    return lacking or found


def check(case: Case, transfer_id: str, rows: list[LogRow]) -> Iterator[Violation]:
    """The first verdict is the right one; a later one takes it out of the inbox, with a cause."""
    told = [row for row in rows if row.name in VERDICTS]
    if not told or told[0].version != 2:
        yield Violation("verdict_missing", f"{transfer_id} was seen without a verdict")
        return
    if any(not row.data["reason"] for row in told):
        yield Violation("reason_missing", f"{transfer_id} was attributed without a reason")
    said = rows[0].data["sighting"]
    first = case.ever.get((transfer_id, said["block_hash"])) or _any(case, transfer_id)
    if first is None:
        return  # one provider's invention: that it comes to nothing is checked at its end
    expected = rightly(case, first, rows[0].position)
    if given(told[0]) != expected:
        what = f"{transfer_id} to {given(told[0])}, rightly {expected}"
        yield Violation("attributed_wrongly", what)
    for row in told[1:]:
        yield from _later(case, first, row)


def given(row: LogRow) -> Verdict:
    merchant = row.data["merchant_id"] and plain(row.data["merchant_id"])
    if row.name == "onchain_transfer.unmatched":
        return ("unmatched", None, merchant)
    return (row.data["purpose"], plain(row.data["subject_id"]), merchant)


def _later(case: Case, first: Moved, row: LogRow) -> Iterator[Violation]:
    purpose, subject, merchant = given(row)
    opened = case.sessions.get(subject or "")
    if purpose != "payment_session" or opened is None or opened.merchant != merchant:
        yield Violation("attributed_wrongly", f"{first.id} out of the inbox to {given(row)}")
        return
    if (first.network, first.asset) != (opened.network, opened.asset):
        yield Violation("attributed_wrongly", f"{first.id} does not fit session {subject}")
    if row.data.get("verdict") in EVIDENCE and not _claimed(case, opened, first, row):
        yield Violation("attributed_wrongly", f"{first.id} to {subject}: nobody claimed it")


def _claimed(case: Case, opened: Opened, first: Moved, row: LogRow) -> bool:
    """Evidence may come in the very append that uses it."""
    names = {
        "payment_session.payer_proven": ("payer", first.sender),
        "payment_session.transaction_announced": ("tx_hash", first.tx_hash),
    }
    return any(
        fact.data[names[fact.name][0]] == names[fact.name][1]
        for fact in case.streams[SESSION, opened.session]
        if fact.name in names
    ) and fits(case, opened, first, row.position)


def _any(case: Case, transfer_id: str) -> Moved | None:
    found = (moved for (known, _), moved in case.ever.items() if known == transfer_id)
    return case.final.get(transfer_id) or next(found, None)

"""Whose a transfer rightly is: from what was known each time somebody looked at it.

Rules   A6, in this order of trust: the session's own address; the merchant's wallet, paid by a
        wallet that signed for one session; the same, in an announced transaction. Two that
        would do are none. Another
        network, another token, a cancelled session, a block after the grace: the inbox.
        It is looked at when it is first seen; when it becomes safe or comes back; and when
        somebody makes a claim that fits it. What is then a session's beyond doubt is credited
        in that very write; else that write says what is in the way now.
        A proven wallet pays the one session that still lacks money. An announced transaction
        pays the one session that lacks just that much, once it is safe. Neither reaches back
        to money from before the session; clocks may differ by a minute. Nor does a session's
        own address: there by a quarter of an hour.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from simulation.evidence import LogRow, Violation
from simulation.oracle_tally import as_of
from simulation.oracle_truth import SESSION, Case, Moved, Opened, plain

Verdict = tuple[str, str | None, str | None]  # purpose, subject, merchant
VERDICTS = ("onchain_transfer.assigned", "onchain_transfer.unmatched")
BY_PERSON = "assigned_by_person"
PROVEN, ANNOUNCED = "payment_session.payer_proven", "payment_session.transaction_announced"
NAMES = {PROVEN: "payer", ANNOUNCED: "tx_hash"}
STATES = {
    "onchain_transfer.observed": "observed",
    "onchain_transfer.confirmed": "confirmed",
    "onchain_transfer.retracted": "retracted",
    "onchain_transfer.reversed": "reversed",
}
CLOCK_SLACK_US = 60_000_000
BIRTH_SLACK_US = 900_000_000
HERE = ("observed", "confirmed")
DECIDED = {
    "onchain_transfer.assigned": True,
    "onchain_transfer.accepted": True,
    "onchain_transfer.dismissed": True,
    "onchain_transfer.refund_reserved": True,
    "onchain_transfer.refund_released": False,
}


@dataclass(frozen=True, slots=True)
class Look:
    """A moment of the log: what was written before, and what was claimed by its end."""

    moved: Moved  # as it is in the block it is in
    before: int  # positions
    until: int
    safe: bool
    without: str = ""  # a transfer that is left out of what was written before

    @property
    def at_last(self) -> "Look":
        """With what the same write did about others: one claim may credit several in a row."""
        return replace(self, before=self.until + 1, without=self.moved.id)


def check(case: Case, transfer_id: str, rows: list[LogRow]) -> Iterator[Violation]:
    """The first verdict is the right one, and so is each later one that no person gave."""
    told = [row for row in rows if row.name in VERDICTS]
    if not told or told[0].version != 2:
        yield Violation("verdict_missing", f"{transfer_id} was seen without a verdict")
        return
    if any(not row.data["reason"] for row in told):
        yield Violation("reason_missing", f"{transfer_id} was attributed without a reason")
    look = _look(case, rows, rows[0])
    if look is None:
        return  # one provider's invention: that it comes to nothing is checked at its end
    expected, verdict = rightly(case, look)
    said = (given(told[0]), told[0].data.get("verdict", verdict))
    # What was claimed in that very moment may have been written while this was being decided.
    if said not in ((expected, verdict), rightly(case, _before_that_moment(case, look, told[0]))):
        what = f"{transfer_id} to {given(told[0])} {told[0].data.get('verdict')}"
        yield Violation("attributed_wrongly", f"{what}, rightly {expected} {verdict}")
    for row in told[1:]:
        yield from _later(case, rows, row)
    owner = case.owner(look.moved)
    if owner is not None and owner.purpose == "merchant_wallet":
        yield from _left(case, transfer_id, rows)


def _before_that_moment(case: Case, look: Look, row: LogRow) -> Look:
    together = (
        each.position
        for each in case.evidence.log
        if row.written_at_us is not None
        and each.written_at_us == row.written_at_us
        and each.position <= look.before
    )
    first = min(together, default=look.before)
    return replace(look, before=first, until=first - 1) if first < look.before else look


def given(row: LogRow) -> Verdict:
    merchant = row.data["merchant_id"] and plain(row.data["merchant_id"])
    if row.name == "onchain_transfer.unmatched":
        return ("unmatched", None, merchant)
    return (row.data["purpose"], plain(row.data["subject_id"]), merchant)


# ---------------------------------------------------------------- looking again


def _look(case: Case, rows: list[LogRow], at: LogRow) -> Look | None:
    """The transfer as it stood after the write of that row; None if it never was anywhere."""
    first, last = case.span(at)
    so_far = [row for row in rows if row.position <= last]
    seen = [row for row in so_far if row.name == "onchain_transfer.observed"]
    state = [STATES[row.name] for row in so_far if row.name in STATES][-1]
    said = seen[-1].data["sighting"]
    moved = case.ever.get((said["transfer_id"], said["block_hash"]))
    return None if moved is None else Look(moved, first, last, state == "confirmed")


def _later(case: Case, rows: list[LogRow], row: LogRow) -> Iterator[Violation]:
    """Out of the inbox: into a session of the merchant's, of that network and token."""
    purpose, subject, merchant = given(row)
    look = _look(case, rows, row)
    if look is None:
        return
    moved, opened = look.moved, case.sessions.get(subject or "")
    if row.data.get("verdict") != BY_PERSON:
        expected, verdict = rightly(case, look)
        said = (given(row), row.data.get("verdict"))
        if said not in ((expected, verdict), rightly(case, look.at_last)):
            what = f"{moved.id} later to {given(row)} {row.data.get('verdict')}"
            yield Violation("attributed_wrongly", f"{what}, rightly {expected} {verdict}")
    elif purpose != "payment_session" or opened is None or opened.merchant != merchant:
        yield Violation("attributed_wrongly", f"{moved.id} out of the inbox to {given(row)}")
    elif (moved.network, moved.asset) != (opened.network, opened.asset):
        yield Violation("attributed_wrongly", f"{moved.id} does not fit session {subject}")


def _left(case: Case, transfer_id: str, rows: list[LogRow]) -> Iterator[Violation]:
    """Looked at while it waited, and left there although it was a session's beyond doubt.

    Or left with what was in the way before.
    """
    for at, claimant in _moments(case, rows):
        look = _look(case, rows, at)
        if look is None or not _waited(case, rows, at):
            continue
        (purpose, subject, _), verdict = rightly(case, look)
        if rightly(case, look.at_last) != rightly(case, look):
            continue  # either would do: what was written is judged for itself
        if purpose == "unmatched":
            told = [row for row in rows if row.name in VERDICTS and row.position <= look.until]
            if told[-1].data.get("verdict") != verdict:
                what = f"{transfer_id} at {at.position} ({at.name}), rightly {verdict}"
                yield Violation("verdict_outdated", what)
        if purpose != "payment_session" or claimant not in {None, subject}:
            continue
        credited = any(
            row.name == "onchain_transfer.assigned"
            and look.before <= row.position <= look.until
            and given(row)[1] == subject
            for row in rows
        )
        if not credited:
            what = f"{transfer_id} at {at.position} ({at.name}), rightly of {subject}"
            yield Violation("left_waiting", what)


def _moments(case: Case, rows: list[LogRow]) -> Iterator[tuple[LogRow, str | None]]:
    """Every row at which it is looked at again, with the session that claims it, if one does."""
    said = rows[0].data["sighting"]
    _, first_write = case.span(rows[0])
    for row in rows:
        if row.name in {"onchain_transfer.observed", "onchain_transfer.confirmed"} and (
            row.position > first_write
        ):
            yield row, None
    for opened in case.sessions.values():
        if not opened.shares_wallet or opened.address != said["recipient"]:
            continue
        if opened.network != said["network"]:
            continue
        for row in case.streams[SESSION, opened.session]:
            field = NAMES.get(row.name)
            wanted = said["sender"] if field == "payer" else said["tx_hash"]
            if field and row.data[field] == wanted and row.position > first_write:
                yield row, opened.session


def _waited(case: Case, rows: list[LogRow], at: LogRow) -> bool:
    """Whether it was in the inbox when that was written, and is on chain with it."""
    first, last = case.span(at)
    decided = False
    status_before = status_after = ""
    for row in rows:
        if row.position < first:
            decided = DECIDED.get(row.name, decided)
            status_before = STATES.get(row.name, status_before)
        if row.position <= last:
            status_after = STATES.get(row.name, status_after)
    moved_on = at.stream_type == SESSION or status_before != status_after
    return not decided and status_after in HERE and moved_on


# ---------------------------------------------------------------- what is right


def rightly(case: Case, look: Look) -> tuple[Verdict, str]:
    """Whose it is at that moment, and in one word why."""
    moved = look.moved
    owner = case.owner(moved)
    if owner is None:
        return ("unmatched", None, None), "unknown_address"
    if owner.purpose == "refund_float":
        return ("refund_float", owner.subject, owner.merchant), "refund_wallet"
    if owner.purpose == "payment_session":
        opened = case.sessions[owner.subject]
        why_not = _why_not(case, opened, look)
        if not why_not and moved.time_us < opened.created_us - BIRTH_SLACK_US:
            why_not = "before_session"
        found, word = (None, why_not) if why_not else (opened, "deposit_address")
    else:
        found, word = _by_evidence(case, look, owner.merchant)
    if found is None:
        return ("unmatched", None, owner.merchant), word
    return ("payment_session", found.session, owner.merchant), word


def _why_not(case: Case, opened: Opened, look: Look) -> str:
    moved = look.moved
    if moved.network != opened.network:
        return "wrong_network"
    if moved.asset != opened.asset:
        tokens = case.networks[moved.network].tokens
        taken = any(token.address == moved.token and token.accepted for token in tokens)
        return "wrong_token" if taken else "unsupported_token"
    if _cancelled(case, opened, look.before):
        return "session_cancelled"
    return "" if moved.time_us < opened.credits_until_us else "after_grace"


def _cancelled(case: Case, opened: Opened, before: int) -> bool:
    return any(
        row.name == "payment_session.cancelled" and row.position < before
        for row in case.streams[SESSION, opened.session]
    )


def _by_evidence(case: Case, look: Look, merchant: str) -> tuple[Opened | None, str]:
    by_payer, by_hash = (_claiming(case, look, name) for name in (PROVEN, ANNOUNCED))
    proven = _open_for(case, look, merchant, by_payer)
    lacking = [each for each in proven if _lacks(case, each, look)]
    if lacking:
        return (lacking[0], "payer_proven") if len(lacking) == 1 else (None, "ambiguous_payer")
    announced = _open_for(case, look, merchant, by_hash)
    paid = [each for each in announced if _pays(case, each, look)]
    if len(paid) > 1:
        return None, "ambiguous_hash"
    if paid:
        return (paid[0], "hash_announced") if look.safe else (None, "awaits_confirmation")
    if announced:
        return None, "announced_amount_differs"
    if proven:
        return None, "payer_has_paid"
    return None, _why_nobody(case, look, [*by_payer, *by_hash])


def _lacks(case: Case, opened: Opened, look: Look) -> int:
    return as_of(case, opened.session, look.before, without=look.without).lacking


def _pays(case: Case, opened: Opened, look: Look) -> bool:
    """Just what is missing, or less by no more than may be missing."""
    over = _lacks(case, opened, look) - look.moved.units
    return 0 <= over <= opened.tolerance


def _open_for(case: Case, look: Look, merchant: str, sessions: list[Opened]) -> list[Opened]:
    """Of the wallet's merchant, not younger than the money, and such as would be credited."""
    latest_us = look.moved.time_us + CLOCK_SLACK_US
    return [
        each
        for each in sessions
        if each.merchant == merchant
        and each.created_us <= latest_us
        and not _why_not(case, each, look)
    ]


def _why_nobody(case: Case, look: Look, claiming: list[Opened]) -> str:
    """Where one session alone speaks for itself, what is wrong with it."""
    if len({each.session for each in claiming}) == 1:
        return _why_not(case, claiming[0], look) or "unknown_sender"
    return "unknown_sender"


def _claiming(case: Case, look: Look, name: str) -> list[Opened]:
    """Sessions of that wallet with that evidence, whose time is not over."""
    moved = look.moved
    wanted = moved.sender if name == PROVEN else moved.tx_hash
    return [
        opened
        for opened in case.sessions.values()
        if opened.shares_wallet
        and (opened.address, opened.network) == (moved.recipient, moved.network)
        and moved.time_us < opened.credits_until_us
        and any(
            row.name == name and row.position <= look.until and row.data[NAMES[name]] == wanted
            for row in case.streams[SESSION, opened.session]
        )
    ]

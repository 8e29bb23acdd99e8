"""What merchants set and decided, and what payers claimed: each fact has a request behind it.

Rules   A fact of a merchant names the request that caused it, and says what was asked: whose, of
        which transfer, why. A decision is taken about money that is there and waits, once.
        A wallet is proven only where it signed itself, for that very session.
        A refusal has left nothing at all; "already decided" is said only where it is so.
        A session has the tolerance and the wallet that were set when it was opened.
"""

from collections.abc import Iterator

from simulation.evidence import LogRow, Request, Violation
from simulation.oracle_inbox import (
    ANNOUNCED,
    BY_PERSON,
    DECIDED,
    HERE,
    NAMES,
    PROVEN,
    STATES,
)
from simulation.oracle_truth import MERCHANT, SESSION, TRANSFERS, Case, Opened, plain

ASKED_BY = {
    "onchain_transfer.accepted": "accept",
    "onchain_transfer.dismissed": "dismiss",
    "onchain_transfer.assigned": "assign",
    "onchain_transfer.refund_reserved": "refund_transfer",
}
MICROS_OF_A_CENT = 10_000
TOLERANCE, WALLET = "merchant.tolerance_set", "merchant.receiving_address_set"


def check(case: Case) -> Iterator[Violation]:
    requests = {f"req_{each.number}": each for each in case.evidence.requests}
    for stream_id, rows in case.of_type(TRANSFERS):
        for row in rows:
            person = row.data.get("verdict", BY_PERSON) == BY_PERSON
            if row.name in ASKED_BY and person:
                request = requests.get(str(row.context.get("correlation_id")))
                yield from _asked(case, stream_id, row, request)
                yield from _timely(rows, row)
    for _, rows in case.of_type(SESSION):
        for row in rows:
            if row.name in {PROVEN, ANNOUNCED}:
                yield from _claimed(case, row)
    yield from _answers(case)
    yield from _settings(case, requests)
    for opened in case.sessions.values():
        yield from _terms(case, opened, requests)


# ---------------------------------------------------------------- decisions


def _asked(
    case: Case, stream_id: str, row: LogRow, request: Request | None
) -> Iterator[Violation]:
    where = f"{row.name} of {row.data['transfer_id']}"
    if request is None or request.what != ASKED_BY[row.name]:
        yield Violation("decided_by_nobody", where)
        return
    body = request.body
    said = (stream_id, row.data["transfer_id"], row.data["reason"], row.merchant_id)
    asked = (body["transfer"], body["transfer_id"], body["reason"], request.merchant_id)
    if said != asked:
        yield Violation("decided_otherwise", f"{where}: {said}, asked {asked}")
    if row.name == "onchain_transfer.assigned":
        subject = plain(row.data["subject_id"])
        opened = case.sessions.get(subject)
        if subject != body["session_id"] or opened is None or opened.mode != request.mode:
            yield Violation("decided_otherwise", f"{where}: to {subject}, asked {body}")
    network = _network_of(case, row.data["transfer_id"])
    if network != request.mode:
        yield Violation("decided_otherwise", f"{where}: in {request.mode} mode")


def _network_of(case: Case, transfer_id: str) -> str:
    chain_id = int(transfer_id.partition(":")[0])
    return next(each.mode for each in case.networks.values() if each.chain_id == chain_id)


def _timely(rows: list[LogRow], row: LogRow) -> Iterator[Violation]:
    """It was there and waited; what goes back was safe. (That it waited: oracle_log's edges.)"""
    before = [STATES[each.name] for each in rows if each.version < row.version and _state(each)]
    allowed = ("confirmed",) if row.name.endswith("refund_reserved") else HERE
    if not before or before[-1] not in allowed:
        yield Violation("decided_too_early", f"{row.name} of {row.data['transfer_id']}")


def _state(row: LogRow) -> bool:
    return row.name in STATES


# ---------------------------------------------------------------- claims


def _claimed(case: Case, row: LogRow) -> Iterator[Violation]:
    """Somebody asked for it by then; and a wallet had signed, itself, for this session."""
    rightly = any(
        request.asked_at_us <= (row.written_at_us or request.asked_at_us)
        and request.body.get("session_id") == row.stream_id
        and _says_so(row, request)
        for request in case.evidence.requests
    )
    if not rightly:
        yield Violation("claimed_by_nobody", f"{row.name} of {row.stream_id}@{row.version}")
    first, last = case.span(row)
    noted = any(
        other.name == "payment_claim.made"
        and first <= other.position <= last
        and plain(other.data["session_id"]) == row.stream_id
        for other in case.evidence.log[first - 1 : last]
    )
    if not noted:
        yield Violation("claim_not_noted", f"{row.name} of {row.stream_id}@{row.version}")


def _says_so(row: LogRow, request: Request) -> bool:
    body = request.body
    if row.name == ANNOUNCED:
        return request.what == "announce" and body["tx_hash"] == row.data["tx_hash"]
    return (
        request.what == "prove_payer"
        and body["address"] == body["signed_by"] == row.data["payer"]
        and body["signed_for"] == row.stream_id
    )


# ---------------------------------------------------------------- answers


def _answers(case: Case) -> Iterator[Violation]:
    caused = {str(row.context.get("correlation_id")) for row in case.evidence.log}
    for request in case.evidence.requests:
        if request.outcome == "refused":
            if f"req_{request.number}" in caused:
                what = f"request {request.number} ({request.what}: {request.code})"
                yield Violation("refused_and_done", what)
            yield from _refused_rightly(case, request)
        elif request.outcome == "ok":
            yield from _kept(case, request)


def _refused_rightly(case: Case, request: Request) -> Iterator[Violation]:
    body, code = request.body, request.code
    if code == "payment_session.signature_refused" and (
        body["address"] == body["signed_by"] and body["signed_for"] == body["session_id"]
    ):
        yield Violation("refused_wrongly", f"request {request.number}: it was signed")
    if code == "transfer.unknown" and request.what in ASKED_BY.values():
        owner = next(
            (case.owner(moved) for (known, _), moved in case.ever.items() if _is(known, body)),
            None,
        )
        mode = _network_of(case, body["transfer_id"])
        theirs = owner is not None and (owner.merchant, mode) == (
            request.merchant_id,
            request.mode,
        )
        if theirs:
            yield Violation("refused_wrongly", f"request {request.number}: it is theirs")
    if code == "transfer.not_unmatched":
        rows = case.streams.get((TRANSFERS, body["transfer"]), [])
        decided = any(
            DECIDED.get(row.name) and (row.written_at_us or 0) <= request.answered_at_us
            for row in rows
        )
        if not decided:
            yield Violation("refused_wrongly", f"request {request.number}: it waits")


def _is(transfer_id: str, body: dict[str, object]) -> bool:
    return transfer_id == body["transfer_id"]


def _kept(case: Case, request: Request) -> Iterator[Violation]:
    """What a client was told has happened is in the log."""
    body, answer = request.body, request.answer or {}
    if request.what in {"prove_payer", "announce"}:
        name = PROVEN if request.what == "prove_payer" else ANNOUNCED
        rows = case.streams.get((SESSION, body["session_id"]), [])
        field = "address" if name == PROVEN else "tx_hash"  # who is known need not sign again
        there = any(row.name == name and row.data[NAMES[name]] == body[field] for row in rows)
    elif request.what in {"accept", "dismiss", "assign"}:
        rows = case.streams.get((TRANSFERS, body["transfer"]), [])
        there = any(
            ASKED_BY.get(row.name) == request.what
            and (request.what != "assign" or plain(row.data["subject_id"]) == body["session_id"])
            for row in rows
        )
        told = (answer.get("purpose"), answer.get("resolution"), answer.get("session_id"))
        rightly = {
            "accept": ("unmatched", "accepted", None),
            "dismiss": ("unmatched", "dismissed", None),
            "assign": ("payment_session", None, body.get("session_id")),
        }[request.what]
        there = there and told == rightly
    elif request.what == "set_tolerance":
        there = any(
            row.name == TOLERANCE and _tolerates(row, request)
            for row in case.streams[MERCHANT, request.merchant_id]
        ) or not (body["cents"] or body["basis_points"])
    elif request.what == "set_receiving_address":
        there = any(
            row.name == WALLET and row.data["address"] == body["address"]
            for row in case.streams[MERCHANT, request.merchant_id]
        )
    else:
        return
    if not there:
        yield Violation("answer_not_kept", f"request {request.number} {request.what}: {answer}")


# ---------------------------------------------------------------- settings


def _tolerates(row: LogRow, request: Request) -> bool:
    cents, share = request.body["cents"], request.body["basis_points"]
    said = (int(row.data["absolute_micros"]), int(row.data["basis_points"]), row.data["mode"])
    return said == (cents * MICROS_OF_A_CENT, share, request.mode)


def _settings(case: Case, requests: dict[str, Request]) -> Iterator[Violation]:
    for merchant, rows in case.of_type(MERCHANT):
        for row in rows:
            if row.name not in {TOLERANCE, WALLET}:
                continue
            request = requests.get(str(row.context.get("correlation_id")))
            if request is None or request.merchant_id != merchant:
                yield Violation("set_by_nobody", f"{row.name} at {row.position}")
            elif (row.name == TOLERANCE and not _tolerates(row, request)) or (
                row.name == WALLET and request.body.get("address") != row.data["address"]
            ):
                yield Violation("set_otherwise", f"{row.name} at {row.position}: {request.body}")


def _terms(case: Case, opened: Opened, requests: dict[str, Request]) -> Iterator[Violation]:
    """As set at some moment between the request and the session."""
    rows = case.streams[SESSION, opened.session]
    request = requests.get(str(rows[0].context.get("correlation_id")))
    since_us = request.asked_at_us if request is not None else 0
    allowed = {_missing(opened, row) for row in _in_force(case, opened, TOLERANCE, since_us)}
    if opened.tolerance not in allowed:
        what = f"session {opened.session} tolerates {opened.tolerance}, rightly {allowed}"
        yield Violation("tolerance_wrong", what)
    if opened.shares_wallet:
        wallets = {row.data["address"] for row in _in_force(case, opened, WALLET, since_us) if row}
        if opened.address not in wallets:
            yield Violation("wallet_wrong", f"session {opened.session}: {opened.address}")
    if request is not None and opened.shares_wallet != (
        request.body.get("pay_by") == "merchant_wallet"
    ):
        yield Violation("answer_not_kept", f"session {opened.session}: paid otherwise")


def _in_force(case: Case, opened: Opened, name: str, since_us: int) -> list[LogRow | None]:
    """The setting when it was asked for, and each that was made until it was opened."""
    found: list[LogRow | None] = [None]
    for row in case.streams[MERCHANT, opened.merchant]:
        if row.name != name or row.data["mode"] != opened.mode or row.position > opened.position:
            continue
        if (row.written_at_us or 0) < since_us:
            found.clear()
        found.append(row)
    return found


def _missing(opened: Opened, row: LogRow | None) -> int:
    """The larger of the two, never more than half; all tokens here have millionths."""
    if row is None:
        return 0
    share = opened.due * int(row.data["basis_points"]) // 10_000
    return min(max(int(row.data["absolute_micros"]), share), opened.due // 2)

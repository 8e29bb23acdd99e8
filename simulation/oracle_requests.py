"""What clients were told holds, and what they were refused never happened.

Rules   E5 and the idea of Jepsen: every call is ok, refused or unknown to its client. One key
        makes one thing, whatever was repeated, and gives one answer, byte for byte; an answer
        that was received is true for ever; a refusal has left no trace; an unknown one may
        have worked, once.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal

from simulation.evidence import LogRow, Request, Violation
from simulation.oracle_refunds import refunds_of
from simulation.oracle_tally import as_of
from simulation.oracle_truth import Case, Opened, plain

MADE_BY = {
    "create_session": "payment_session.created",
    "refund": "refund.requested",
    "create_endpoint": "merchant.webhook_endpoint_created",
    "refund_transfer": "refund.requested",
}
ID_OF = {
    "create_session": "session_id",
    "refund": "refund_id",
    "create_endpoint": "endpoint_id",
    "refund_transfer": "refund_id",
}
SECRET = "secret"  # noqa: S105 - a field of an answer, which is never stored in it


def check(case: Case) -> Iterator[Violation]:
    made = _made(case)
    groups: defaultdict[tuple[str, ...], list[Request]] = defaultdict(list)
    for request in case.evidence.requests:
        if request.what in MADE_BY:
            groups[_group(request)].append(request)
        if request.what == "cancel_session" and request.outcome == "ok":
            yield from _cancelled(case, request)
    for requests in groups.values():
        yield from _once(requests, made)
        yield from _kept(requests, made)
        yield from _same(requests)
    for request in case.evidence.requests:
        if request.what == "create_session" and request.outcome == "ok":
            yield from _as_asked(case, request)
        if request.what == "refund" and request.outcome == "ok":
            yield from _refunded_as_asked(case, request)
        if request.what == "refund_transfer" and request.outcome == "ok":
            yield from _given_back_as_asked(case, request)


def _group(request: Request) -> tuple[str, ...]:
    if request.key is None:
        return ("request", str(request.number))
    return ("key", request.merchant_id, request.mode, request.key)


def _correlation(request: Request) -> str:
    return f"req_{request.number}"


def _made(case: Case) -> dict[str, list[LogRow]]:
    """New things by the request that caused them."""
    found: defaultdict[str, list[LogRow]] = defaultdict(list)
    for row in case.evidence.log:
        if row.name in MADE_BY.values():
            found[str(row.context.get("correlation_id"))].append(row)
    return dict(found)


def _id_of(row: LogRow) -> str:
    if row.name == "merchant.webhook_endpoint_created":
        return plain(row.data["endpoint_id"])
    return row.stream_id


def _once(requests: list[Request], made: dict[str, list[LogRow]]) -> Iterator[Violation]:
    things = [row for request in requests for row in made.get(_correlation(request), [])]
    if len(things) > 1:
        names = [f"{row.name} {_id_of(row)}" for row in things]
        yield Violation("key_made_two", f"{_group(requests[0])}: {names}")


def _kept(requests: list[Request], made: dict[str, list[LogRow]]) -> Iterator[Violation]:
    """An answer names the one thing that its key has made."""
    ids = {_id_of(row) for each in requests for row in made.get(_correlation(each), [])}
    for request in requests:
        if request.outcome != "ok" or request.answer is None:
            continue
        if plain(request.answer[ID_OF[request.what]]) not in ids:
            yield Violation("answer_not_kept", f"request {request.number}: {request.answer}")


def _same(requests: list[Request]) -> Iterator[Violation]:
    answered = [request for request in requests if request.outcome == "ok"]
    if len({request.raw for request in answered}) > 1:
        numbers = [request.number for request in answered]
        yield Violation("answer_changed", f"requests {numbers} of {_group(requests[0])}")
    bodies = Counter(tuple(sorted((k, str(v)) for k, v in each.body.items())) for each in answered)
    if len(bodies) > 1:
        yield Violation("key_reused", f"{_group(requests[0])} was answered for two bodies")


def _cancelled(case: Case, request: Request) -> Iterator[Violation]:
    rows = case.streams.get(("payment_session", plain(request.body["session_id"])), [])
    if not any(row.name == "payment_session.cancelled" for row in rows):
        yield Violation("answer_not_kept", f"request {request.number}: not cancelled")


def _as_asked(case: Case, request: Request) -> Iterator[Violation]:
    assert request.answer is not None
    opened = case.sessions.get(plain(request.answer["session_id"]))
    if opened is None:
        yield Violation("answer_not_kept", f"request {request.number}: no such session")
        return
    answer = request.answer
    told = (
        answer["address"].lower(),
        answer["network"],
        answer["asset"],
        int(answer["units"]),
        int(answer["expires_at_us"]),
    )
    agreed = (opened.address, opened.network, opened.asset, opened.due, opened.expires_us)
    if told != agreed:
        yield Violation("answer_not_kept", f"request {request.number}: told {told}, not {agreed}")
    window_us = int(request.body["expires_in"]) * 1_000_000
    if opened.expires_us - opened.created_us != window_us:
        yield Violation("answer_not_kept", f"request {request.number}: another window")
    yield from _terms(case, request, opened)


def _refunded_as_asked(case: Case, request: Request) -> Iterator[Violation]:
    """All that was free where no amount was asked for; to the one payer where nobody was named."""
    assert request.answer is not None
    refund_id = plain(request.answer["refund_id"])
    refund = refunds_of(case).get(refund_id)
    if refund is None or refund.session is None:
        return
    tally = as_of(case, refund.session, refund.position)
    tally.refunds.pop(refund_id, None)
    body = request.body
    if body["amount"] is None:
        units = tally.sum("safe") - tally.refund_sum("held", "paid")
    else:
        _, decimals = case.of_asset(refund.asset)
        units = int(Decimal(body["amount"]).scaleb(decimals))
    payers = {
        moved.sender
        for (transfer_id, _), moved in case.ever.items()
        if transfer_id in tally.transfers and tally.transfers[transfer_id].state == "safe"
    }
    named = body.get("to_address")
    right = refund.destination == str(named).lower() if named else payers == {refund.destination}
    told = (int(request.answer["units"]), request.answer["destination"].lower())
    if refund.units != units or not right or told != (refund.units, refund.destination):
        what = f"request {request.number}: {refund.units} to {refund.destination}, asked {body}"
        yield Violation("refund_not_as_asked", what)


def _given_back_as_asked(case: Case, request: Request) -> Iterator[Violation]:
    """All of the transfer, to its sender where nobody was named."""
    assert request.answer is not None
    refund = refunds_of(case).get(plain(request.answer["refund_id"]))
    body = request.body
    moved = next(
        (each for (id_, _), each in case.ever.items() if id_ == body["transfer_id"]), None
    )
    if refund is None or moved is None:
        return
    named = body.get("to_address")
    rightly = (moved.id, moved.units, (named or moved.sender).lower())
    told = (int(request.answer["units"]), request.answer["destination"].lower())
    if (refund.transfer, *told) != rightly or told != (refund.units, refund.destination):
        what = f"request {request.number}: {told} of {refund.transfer}, asked {body}"
        yield Violation("refund_not_as_asked", what)


def _terms(case: Case, request: Request, opened: Opened) -> Iterator[Violation]:
    body = request.body
    symbol, decimals = case.of_asset(opened.asset)
    units = int(Decimal(body["amount"]).scaleb(decimals))
    asked = (body["network"], body["token"], units, request.merchant_id, request.mode)
    if asked != (opened.network, symbol, opened.due, opened.merchant, opened.mode):
        yield Violation("answer_not_kept", f"request {request.number}: asked {body}")


def addresses(case: Case) -> Iterator[Violation]:
    """No address was given out twice."""
    wallets = [each.refund_wallet for each in case.evidence.merchants]
    own = [opened.address for opened in case.sessions.values() if not opened.shares_wallet]
    counts = Counter(own + wallets)
    for address, count in counts.items():
        if count > 1:
            yield Violation("address_twice", f"{address} was given {count} times")

"""Webhooks: who must hear of what, in which bytes, how often, and signed how.

Rules   D1 to D4 and the guide for merchants. One delivery for each public fact and each endpoint
        that existed when it happened, wants its type and is still there; the same bytes at
        every attempt; four attempts a round, 10, 60 and 600 seconds after the one before, twice
        that at most; then failed. 410 ends a delivery and disables the endpoint.
Units   seconds in headers; base units of the token inside, decimal strings in bodies.
"""

import base64
import hashlib
import hmac
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from simulation.evidence import LogRow, Post, Violation
from simulation.oracle_chain import verdicts
from simulation.oracle_tally import Tally
from simulation.oracle_truth import DELIVERY, MERCHANT, SESSION, Case, plain, us_of

TYPES = {
    "payment_session.created": "payment.created",
    "payment.covered": "payment.confirming",
    "payment.completed": "payment.completed",
    "payment_session.expired": "payment.failed",
    "payment_session.cancelled": "payment.failed",
    "transfer.retracted": "payment.retracted",
    "payment.reversed": "payment.reversed",
    "payment.refunded": "payment.refunded",
    "payment.refund_reserved": "refund.created",
    "payment.refund_released": "refund.failed",
    "payment.refund_reversed": "refund.reversed",
    "transfer.reversed": "payment.reduced",
    "onchain_transfer.unmatched": "transfer.unmatched",
    "onchain_transfer.reversed": "transfer.reversed",
    "onchain_transfer.refunded": "transfer.refunded",
}
REFUND_STATES = {
    "payment.refunded": "completed",
    "payment.refund_reserved": "pending",
    "payment.refund_released": "failed",
    "payment.refund_reversed": "pending",
}
STATES = {"observed": "seen", "confirmed": "safe", "retracted": "gone", "reversed": "lost"}
COUNTED = ("seen", "safe")
DELAYS_SECONDS = (10, 60, 600)
ATTEMPTS = 4
GONE = 410


Addressed = tuple[LogRow | None, str, str]  # fact, merchant, mode
NOBODY: Addressed = (None, "", "")


@dataclass(frozen=True, slots=True)
class Endpoint:
    id: str
    merchant: str
    mode: str
    url: str
    types: frozenset[str]
    since: int  # positions of the log
    until: int | None


def check(case: Case, found: dict[str, Tally]) -> Iterator[Violation]:
    endpoints = _endpoints(case)
    facts = _facts(case)
    opened: Counter[tuple[str, str]] = Counter()
    posts: defaultdict[tuple[str, str], list[Post]] = defaultdict(list)
    for post in case.evidence.posts:
        posts[post.url, _header(post, "webhook-id")].append(post)
    for delivery_id, rows in case.of_type(DELIVERY):
        data = rows[0].data
        fact, merchant, mode = facts.get(data["message_id"].removeprefix("evt_"), NOBODY)
        endpoint = endpoints.get(plain(data["endpoint_id"]))
        if fact is None or endpoint is None:
            yield Violation("delivery_of_nothing", f"{delivery_id}: {data['message_id']}")
            continue
        opened[fact.event_id, endpoint.id] += 1
        yield from _wanted(rows[0], fact, endpoint, theirs=(merchant, mode))
        if fact.stream_type == SESSION:
            yield from _content(case, data["body"], fact, found[fact.stream_id])
        else:
            yield from _transfer_content(case, data["body"], fact)
        yield from _tries(delivery_id, rows)
        made = posts.pop((endpoint.url, data["message_id"]), [])
        yield from _posts(delivery_id, rows, made)
        yield from _signed(case, made)
    for (url, message_id), made in posts.items():
        yield Violation("post_of_nothing", f"{message_id} to {url}, {len(made)} times")
    yield from _complete(facts, endpoints, opened)


def _facts(case: Case) -> dict[str, Addressed]:
    """Public facts by event id; a transfer that is nobody's is told to nobody."""
    told = verdicts(case)
    found: dict[str, Addressed] = {}
    for row in case.evidence.log:
        if row.name not in TYPES or _told_otherwise(case, row):
            continue
        if row.stream_type == SESSION:
            session = case.sessions[row.stream_id]
            found[row.event_id] = (row, session.merchant, session.mode)
        elif merchant := told[row.data["transfer_id"]].merchant:
            chain_id = int(row.data["transfer_id"].partition(":")[0])
            modes = {each.chain_id: each.mode for each in case.networks.values()}
            found[row.event_id] = (row, merchant, modes[chain_id])
    return found


def _told_otherwise(case: Case, row: LogRow) -> bool:
    """What another message says, or what is over within a few blocks."""
    rows = case.streams[row.stream_type, row.stream_id]
    if row.name == "transfer.reversed":  # the whole payment is, then
        return any(
            each.name == "payment.reversed" and each.version == row.version + 1 for each in rows
        )
    if row.name == "onchain_transfer.reversed":  # the session's own message tells it
        return any(
            each.name == "onchain_transfer.assigned" and each.version < row.version
            for each in rows
        )
    waits = row.name == "onchain_transfer.unmatched"
    return waits and row.data.get("verdict") == "awaits_confirmation"


def _endpoints(case: Case) -> dict[str, Endpoint]:
    found: dict[str, Endpoint] = {}
    for merchant, rows in case.of_type(MERCHANT):
        for row in rows:
            if not row.name.startswith("merchant.webhook_endpoint_"):
                continue
            endpoint_id, data = plain(row.data["endpoint_id"]), row.data
            if row.name.endswith("_created"):
                types = frozenset(data["event_types"]) or frozenset(TYPES.values())
                found[endpoint_id] = Endpoint(
                    endpoint_id, merchant, data["mode"], data["url"], types, row.position, None
                )
            else:
                known = found[endpoint_id]
                until = known.until or row.position
                fields = (known.id, known.merchant, known.mode, known.url, known.types)
                found[endpoint_id] = Endpoint(*fields, known.since, until)
    return found


def _complete(
    facts: dict[str, Addressed],
    endpoints: dict[str, Endpoint],
    opened: Counter[tuple[str, str]],
) -> Iterator[Violation]:
    for (event_id, endpoint_id), count in opened.items():
        if count > 1:
            yield Violation("delivery_twice", f"evt_{event_id} for endpoint {endpoint_id}")
    for fact, merchant, mode in facts.values():
        assert fact is not None
        for endpoint in endpoints.values():
            theirs = (endpoint.merchant, endpoint.mode) == (merchant, mode)
            there = endpoint.since < fact.position and endpoint.until is None
            if not theirs or not there or TYPES[fact.name] not in endpoint.types:
                continue
            if not opened[fact.event_id, endpoint.id]:
                what = f"{fact.name} at {fact.position} for endpoint {endpoint.id}"
                yield Violation("delivery_missing", what)


def _wanted(
    opened: LogRow, fact: LogRow, endpoint: Endpoint, *, theirs: tuple[str, str]
) -> Iterator[Violation]:
    right = (
        (endpoint.merchant, endpoint.mode) == theirs
        and TYPES[fact.name] in endpoint.types
        and opened.data["message_type"] == TYPES[fact.name]
        and endpoint.since < fact.position
        and (endpoint.until is None or endpoint.until > fact.position)
    )
    if not right:
        yield Violation("delivery_unwanted", f"{fact.name} at {fact.position} for {endpoint}")


# ---------------------------------------------------------------- what it says


def _content(case: Case, body: str, fact: LogRow, tally: Tally) -> Iterator[Violation]:
    said = json.loads(body)
    data = said["data"]
    session, standing = tally.opened, tally.standings[fact.version]
    symbol, decimals = case.of_asset(session.asset)
    expected: dict[str, Any] = {
        "payment_session_id": f"ps_{session.session}",
        "livemode": session.mode == "live",
        "currency": "USD",
        "status": standing.status,
        "network": session.network,
        "token": symbol,
    }
    amounts = {
        "amount": session.due,
        "amount_received": standing.received,
        "amount_confirmed": standing.confirmed,
        "amount_refunded": standing.refunded,
    }
    shown: dict[str, Any] = {name: data[name] for name in expected}
    shown |= {name: _units(data[name], decimals) for name in amounts}
    shown |= {"exceptions": frozenset(data["exceptions"]), "address": data["address"].lower()}
    expected |= {**amounts, "exceptions": standing.exceptions, "address": session.address}
    shown["transfers"] = frozenset(
        (each["id"], _units(each["amount"], decimals), STATES[each["status"]])
        for each in data["transfers"]
    )
    expected["transfers"] = standing.transfers
    counted = {key.split(":")[1] for key, _, state in standing.transfers if state in COUNTED}
    if (data["tx_hash"] is None) != (not counted) or data["tx_hash"] not in {None, *counted}:
        yield Violation("webhook_wrong", f"{said['id']}: tx_hash {data['tx_hash']}")
    yield from _envelope(said, fact)
    for name, value in expected.items():
        if shown[name] != value:
            what = f"{said['id']} {said['type']}: {name} {shown[name]}, rightly {value}"
            yield Violation("webhook_wrong", what)
    yield from _refund_said(data["refund"], fact, decimals)


def _envelope(said: Any, fact: LogRow) -> Iterator[Violation]:
    envelope = (said["id"], said["type"], said["sequence"], us_of(said["created_at"]))
    rightly = (f"evt_{fact.event_id}", TYPES[fact.name], fact.version, us_of(fact.data["at"]))
    if envelope != rightly:
        yield Violation("webhook_wrong", f"{envelope}, rightly {rightly}")


def _transfer_content(case: Case, body: str, fact: LogRow) -> Iterator[Violation]:
    said = json.loads(body)
    data, transfer_id = said["data"], fact.data["transfer_id"]
    yield from _envelope(said, fact)
    real = next((moved for (known, _), moved in case.ever.items() if known == transfer_id), None)
    if real is None:
        return  # one provider's invention
    symbol, decimals = case.of_asset(real.asset)
    shown = (
        data["chain_transfer_id"],
        data["network"],
        data["token"],
        _units(data["amount"], decimals),
        data["from"].lower(),
        data["to"].lower(),
        data["tx_hash"],
    )
    names = (real.sender, real.recipient, real.tx_hash)
    rightly = (transfer_id, real.network, symbol, real.units, *names)
    if shown != rightly:
        yield Violation("webhook_wrong", f"{shown}, rightly {rightly}")


def _refund_said(said: Any, fact: LogRow, decimals: int) -> Iterator[Violation]:
    status = REFUND_STATES.get(fact.name)
    if status is None:
        if said is not None:
            yield Violation("webhook_wrong", f"{fact.name} at {fact.position} names a refund")
        return
    refund_id, units = plain(fact.data["refund_id"]), int(fact.data["amount"]["units"])
    rightly = (f"rf_{refund_id}", units, status)
    shown = (said["refund_id"], _units(said["amount"], decimals), said["status"])
    if shown != rightly:
        yield Violation("webhook_wrong", f"refund {shown}, rightly {rightly}")


def _units(text: str, decimals: int) -> int | str:
    try:
        units = Decimal(text).scaleb(decimals)
    except (InvalidOperation, TypeError):
        return f"{text!r} is no amount"
    return int(units) if units == int(units) else text


# ---------------------------------------------------------------- how often


def _tries(delivery_id: str, rows: list[LogRow]) -> Iterator[Violation]:
    """Four a round at most, in order, with the delays between; and an end."""
    made = total = 0
    state, status_code = "due", None
    for row in rows[1:]:
        if row.name == "delivery.replayed":
            made, state = 0, "due"
        elif row.name == "delivery.failed":
            state = "failed"
            if made != ATTEMPTS and status_code != GONE:
                yield Violation("delivery_tries", f"{delivery_id} failed after {made} tries")
        else:
            made, total = made + 1, total + 1
            status_code = row.data["status_code"]
            if made > ATTEMPTS or row.data["attempt"] != total:
                yield Violation("delivery_tries", f"{delivery_id}: try {row.data['attempt']}")
            if row.name == "delivery.succeeded":
                state = "delivered"
            else:
                yield from _delay(delivery_id, row, made)
    if state == "due":
        yield Violation("delivery_unfinished", f"{delivery_id} after {total} tries")


def _delay(delivery_id: str, row: LogRow, made: int) -> Iterator[Violation]:
    again_at = row.data["next_attempt_at"]
    if again_at is None:
        return
    delay_us = us_of(again_at) - us_of(row.data["at"])
    wanted_us = DELAYS_SECONDS[min(made, ATTEMPTS - 1) - 1] * 1_000_000
    if not wanted_us <= delay_us <= 2 * wanted_us:
        what = f"{delivery_id}: {delay_us // 1_000_000} s after try {made}"
        yield Violation("delivery_delay", what)


def _posts(delivery_id: str, rows: list[LogRow], made: list[Post]) -> Iterator[Violation]:
    """What was recorded was really sent, and every time the same."""
    body = rows[0].data["body"]
    if any(post.body != body for post in made):
        yield Violation("webhook_bytes", f"{delivery_id} was not sent as it was written")
    answers = Counter(post.answered for post in made)
    recorded: Counter[int] = Counter()
    for row in rows[1:]:
        status_code = row.data.get("status_code")
        if status_code is not None:
            recorded[status_code] += 1
        if row.name == "delivery.succeeded" and not 200 <= row.data["status_code"] < 300:
            yield Violation("delivery_wrong", f"{delivery_id} succeeded by {status_code}")
    for status_code, count in recorded.items():
        if answers[status_code] < count:
            what = f"{delivery_id}: {count} answers {status_code}, really {answers[status_code]}"
            yield Violation("delivery_wrong", what)


def _header(post: Post, name: str) -> str:
    return next((value for key, value in post.headers.items() if key.lower() == name), "")


def _signed(case: Case, made: list[Post]) -> Iterator[Violation]:
    for post in made:
        secrets = [
            request.answer["secret"]
            for request in case.evidence.requests
            if request.what == "create_endpoint"
            and request.answer is not None
            and request.answer["url"] == post.url
        ]
        if secrets and not any(_verifies(post, secret) for secret in secrets):
            yield Violation("webhook_signature", f"{_header(post, 'webhook-id')} to {post.url}")


def _verifies(post: Post, secret: str) -> bool:
    """Both schemes, and both with the same moment, which is the sender's own."""
    stamp = _header(post, "x-webhook-timestamp")
    message_id = _header(post, "webhook-id")
    if stamp != _header(post, "webhook-timestamp") or not stamp.isdigit():
        return False
    if post.sender_at_us is not None and abs(int(stamp) - post.sender_at_us // 1_000_000) > 1:
        return False
    own = hmac.new(secret.encode(), f"{stamp}.{post.body}".encode(), hashlib.sha256).hexdigest()
    key = base64.b64decode(secret.removeprefix("whsec_"))
    standard = hmac.new(key, f"{message_id}.{stamp}.{post.body}".encode(), hashlib.sha256).digest()
    offered = _header(post, "webhook-signature").split()
    return (
        hmac.compare_digest(own, _header(post, "x-webhook-signature"))
        and f"v1,{base64.b64encode(standard).decode()}" in offered
    )

"""Every read of the read models, the log and the books, with what it may cost at a million rows.

Shapes  CASES has the calls of each method of each reader; a method without one fails the test, and
        so does a file with SQL on these tables that is neither here nor in `ELSEWHERE`.
Units   Bound: blocks of 8 KiB touched, rows looked at by scans, rows that go into a sort; each for
        one statement.
"""

import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from adapters.chain_heads import PostgresChainHeads
from adapters.delivery_queue import PostgresDeliveryQueue
from adapters.event_store import PostgresEventStore
from adapters.figures import PostgresFigures
from adapters.ledger_reads import PostgresLedger
from adapters.purge import PostgresStoredAnswers
from adapters.support_reads import PostgresSupportReads
from application.cursors import cursor_of, microseconds_of
from application.deciders import PAYMENT
from application.ports import Stream
from application.reads import SessionQuery, TransferQuery
from projections.delivery_reads import DeliveryReads
from projections.inbox_reads import InboxReads
from projections.journal_reads import JournalReads
from projections.merchant_reads import ApiKeyReads
from projections.payment_reads import PaymentReads
from projections.progress import ProgressReads
from projections.refund_reads import RefundReads
from projections.to_check_reads import ToCheckReads
from projections.watchlist_reads import WatchListReads
from tests.examples import CREATED
from tests.plans.rows import (
    BIG,
    EXCHANGE,
    EXCHANGE_WALLET,
    MIDDLING,
    SECONDS_APART,
    SMALL,
    N,
    address_of,
    hash_of,
    id_of,
)


@dataclass(frozen=True, slots=True)
class Bound:
    blocks: int
    rows: int
    sorted: int = 101  # a page of a hundred, and the one after it
    counts: bool = False  # it may say count(): of a bounded number of rows
    whole: frozenset[str] = frozenset()  # tables it reads from end to end, on purpose


KEY = Bound(blocks=60, rows=40)
PAGE = Bound(blocks=600, rows=260)
LANES = Bound(blocks=1_500, rows=500)
# Up to ROWS_WALKED_MAX rows, with a look into another index for each.
WALK = Bound(blocks=18_000, rows=8_500)
BATCH = Bound(blocks=3_500, rows=2_200)

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = BEGAN + timedelta(seconds=N * SECONDS_APART)
HALF = N // 2
USDT = ("eip155:polygon:usdt", "eip155:base:usdt", "eip155:ethereum:usdt", "eip155:avalanche:usdt")


def moment(number: int) -> datetime:
    return BEGAN + timedelta(seconds=number * SECONDS_APART)


@dataclass(frozen=True, slots=True)
class Case:
    of: type
    method: str
    what: str
    call: Callable[[Any], Awaitable[object]]
    bound: Bound


def _call(method: str, *given: Any, **named: Any) -> Callable[[Any], Awaitable[object]]:
    return lambda reader: getattr(reader, method)(*given, **named)


def _case(of: type, method: str, bound: Bound, *given: Any, what: str = "", **named: Any) -> Case:
    said = what or ", ".join([*map(str, given), *(f"{k}={v}" for k, v in named.items())])
    return Case(of, method, said, _call(method, *given, **named), bound)


# ---------------------------------------------------------------- lists of sessions

OF_LANES: Mapping[str, tuple[object, ...]] = {
    "status": ("completed", "pending", "confirming"),
    "network": ("polygon", "avalanche"),
    "assets": (USDT, USDT[:1]),
}
OTHERS: Mapping[str, tuple[object, ...]] = {
    "merchant_reference": ("order-123457", "till"),
    "tx_hash": (hash_of(500_111), hash_of(17)),
    "payer": (EXCHANGE, address_of(4_711)),
    "address": (EXCHANGE, address_of(123_456)),
    "session_id": (id_of("a", 77_777),),
    "units": (
        (49_900_000, 49_900_000),
        (9_876_543_210, None),
        (2_000_000, 900_000_000),
        (None, 5),
    ),
}
WINDOWS: tuple[dict[str, Any], ...] = (
    {},
    {"created_from": moment(HALF), "created_to": moment(HALF + 30_000)},
    {"cursor": cursor_of(microseconds_of(moment(HALF)), HALF)},
)


def _asked(**filters: Any) -> dict[str, Any]:
    units = filters.pop("units", None)
    return (
        filters
        if units is None
        else filters | dict(zip(("units_min", "units_max"), units, strict=True))
    )


def _combinations() -> Iterator[tuple[dict[str, Any], Bound]]:
    """Every choice of the lanes' filters; every other one alone, and with each of the rest."""
    names = (*OF_LANES, *OTHERS)
    values = {**OF_LANES, **OTHERS}
    yield {}, PAGE
    for size in (1, 2, 3):
        for chosen in itertools.combinations(OF_LANES, size):
            for each in itertools.product(*(OF_LANES[name] for name in chosen)):
                yield dict(zip(chosen, each, strict=True)), LANES
    for name in OTHERS:
        for value in OTHERS[name]:
            wide = name == "units" and value == (2_000_000, 900_000_000)
            yield _asked(**{name: value}), WALK if wide else LANES
    for one, other in itertools.combinations(names, 2):
        if one in OF_LANES and other in OF_LANES:
            continue
        for each in zip(values[one], reversed(values[other]), strict=False):
            yield _asked(**dict(zip((one, other), each, strict=True))), WALK


def _session_pages() -> Iterator[Case]:
    for filters, bound in _combinations():
        for window in WINDOWS:
            query = SessionQuery(merchant_id=BIG, mode="live", **filters, **window)
            what = f"the big merchant, {filters} {sorted(window)}"
            yield _case(PaymentReads, "page", bound, query, what=what)
    for whose, mode in ((SMALL, "live"), (MIDDLING, "live"), (BIG, "test")):
        for filters, bound in _combinations():
            if len(filters) < 2:
                query = SessionQuery(merchant_id=whose, mode=mode, **filters)  # type: ignore[arg-type]  # one of the two
                what = f"{whose.int} in {mode} mode, {filters}"
                yield _case(PaymentReads, "page", bound, query, what=what)
    query = SessionQuery(merchant_id=BIG, mode="live", limit=100)
    yield _case(PaymentReads, "page", PAGE, query, what="a page of a hundred")


def _transfer_pages() -> Iterator[Case]:
    shown: tuple[dict[str, Any], ...] = (
        {},
        {"everything": True},
        *({"resolution": each} for each in ("open", "accepted", "dismissed", "refunded")),
    )
    narrowed: tuple[tuple[dict[str, Any], Bound], ...] = (
        ({}, LANES),
        ({"network": "polygon"}, PAGE),
        ({"network": "avalanche"}, PAGE),
        ({"assets": USDT}, WALK),
        ({"tx_hash": hash_of(123_456)}, KEY),
        ({"sender": EXCHANGE}, WALK),
        ({"sender": address_of(4_711)}, WALK),
        ({"sender": EXCHANGE, "network": "avalanche"}, WALK),
    )
    for whose, mode in ((BIG, "live"), (BIG, "test"), (SMALL, "live")):
        for show, (narrow, bound) in itertools.product(shown, narrowed):
            for cursor in (None, cursor_of(HALF)):
                query = TransferQuery(whose, mode, cursor=cursor, **show, **narrow)  # type: ignore[arg-type]  # one of the two
                what = f"{whose.int} in {mode} mode, {show}, {narrow}, {cursor}"
                yield _case(InboxReads, "page", bound, query, what=what)


# ---------------------------------------------------------------- all the others


def _shared_session(**more: Any) -> Any:
    session = PAYMENT.evolve(None, CREATED)
    own = {"merchant_id": BIG, "mode": "live", "network": "polygon"}
    return session.model_copy(update={**own, **more})


def _payments() -> Iterator[Case]:
    yield _case(PaymentReads, "find", KEY, id_of("a", 5))
    yield _case(PaymentReads, "find", KEY, UUID(int=404))
    for network in ("polygon", "avalanche", "nowhere"):
        for now in (NOW, moment(HALF), BEGAN):
            yield _case(PaymentReads, "due_to_expire", PAGE, now, 256, network=network)
            yield _case(PaymentReads, "opened_since", Bound(900, 8_001), network, now)
        yield _case(PaymentReads, "expects", KEY, network)
        yield _case(ToCheckReads, "awaiting", PAGE, network, 200)
    for position in (0, HALF, 3):
        yield _case(ToCheckReads, "below", BATCH, "polygon", position, 200)
    yield from _session_pages()


def _refunds() -> Iterator[Case]:
    yield _case(RefundReads, "find", KEY, id_of("b", 7))
    yield _case(RefundReads, "unfinished", PAGE, 100)
    late = cursor_of(microseconds_of(moment(HALF)), HALF)
    for cursor in (None, late):
        yield _case(RefundReads, "not_final", PAGE, 100, cursor=cursor)
        yield _case(RefundReads, "failed_on_chain_since", PAGE, BEGAN, 100, cursor=cursor)
    yield _case(RefundReads, "failed_on_chain_since", PAGE, NOW, 100)
    for whose in (BIG, SMALL, MIDDLING):
        for cursor in (None, cursor_of(HALF)):
            yield _case(RefundReads, "page", PAGE, whose, "live", cursor=cursor)
            yield _case(RefundReads, "page", PAGE, whose, "test", cursor=cursor)
            one: dict[str, Any] = {"session_id": id_of("a", 7), "cursor": cursor}
            yield _case(RefundReads, "page", PAGE, whose, "live", **one)
            yield _case(RefundReads, "page", PAGE, whose, "live", **one, transfer_id="t:7")
            yield _case(RefundReads, "page", PAGE, whose, "live", transfer_id="t:11")


def _deliveries() -> Iterator[Case]:
    yield _case(DeliveryReads, "find", KEY, id_of("c", 5))
    yield _case(DeliveryReads, "attempts", KEY, id_of("c", 7))
    for whose, status, cursor, own in itertools.product(
        (BIG, SMALL),
        (None, "due", "delivered", "failed"),
        (None, cursor_of(HALF)),
        (False, True),
    ):
        given: dict[str, Any] = {"status": status, "cursor": cursor}
        given["endpoint_id"] = whose if own else None
        # An endpoint is of one mode: asked in the other, its rows are looked at in vain.
        for mode, bound in (("live", PAGE), ("test", WALK if own else PAGE)):
            yield _case(DeliveryReads, "page", bound, whose, mode, **given)
    claim: dict[str, Any] = {"slots": 50, "per_endpoint": 4, "busy": {BIG: 2}, "lease_seconds": 30}
    # An endpoint with something due is one look into the index; there are some 1,100 here.
    claiming = Bound(blocks=25_000, rows=8_000, sorted=5_000, counts=True)
    yield _case(PostgresDeliveryQueue, "claim", claiming, NOW, **claim)
    yield _case(PostgresDeliveryQueue, "release", KEY, id_of("c", 5))
    yield _case(PostgresDeliveryQueue, "keep_response", KEY, id_of("c", 5), 1, b"ok")


def _transfers() -> Iterator[Case]:
    yield from _transfer_pages()
    yield _case(InboxReads, "newest", PAGE, 100)
    shared = _shared_session(pay_by="merchant_wallet", deposit_address=EXCHANGE_WALLET)
    claimed = {
        "proven_payers": (EXCHANGE, address_of(4_711)),
        "announced": (hash_of(123_456), hash_of(5)),
    }
    for what, session in (
        ("its own address", _shared_session(deposit_address=address_of(123_456))),
        ("a shared wallet without evidence", shared),
        ("a shared wallet with evidence", shared.model_copy(update=claimed)),
    ):
        yield _case(InboxReads, "concerning", WALK, session, 20, what=what)
        yield _case(PostgresSupportReads, "elsewhere", PAGE, session, HALF, what=what)
    for address in (EXCHANGE_WALLET, address_of(31)):
        yield _case(PostgresSupportReads, "strays", WALK, BIG, "polygon", address)
    yield _case(PostgresSupportReads, "terms", KEY, "polygon", "0x", "t:5")


def _watched() -> Iterator[Case]:
    yield _case(ApiKeyReads, "holder", KEY, hash_of(5))
    some = [address_of(number) for number in range(1, 1_000_000, 20_000)]
    yield _case(WatchListReads, "owner_of", KEY, "polygon", some[0])
    yield _case(WatchListReads, "owners_of", PAGE, "polygon", some, what="fifty")
    packing = Bound(blocks=45_000, rows=10_001, sorted=0, counts=True)
    yield _case(WatchListReads, "addresses", packing, "polygon")
    books = Bound(blocks=1_000, rows=30_000, sorted=30_000, whole=frozenset({"balances"}))
    yield _case(JournalReads, "trial_balance", books)
    yield _case(JournalReads, "balances", books)
    yield _case(ProgressReads, "position", KEY, "payments")
    for name in (None, "payments"):
        yield _case(ProgressReads, "wait_for", KEY, 0, timeout_seconds=0.0, projection=name)


def _log() -> Iterator[Case]:
    streams = [Stream("payment_session", id_of("a", 4 * n + 3)) for n in range(100)]
    yield _case(PostgresEventStore, "head", KEY)
    yield _case(PostgresEventStore, "read_stream", KEY, Stream("payment_session", UUID(int=4)))
    yield _case(PostgresEventStore, "read_streams", PAGE, streams, what="a hundred")
    for after in (0, 100_000, 250_000):
        yield _case(PostgresEventStore, "read_log", PAGE, after=after, limit=200)
        yield _case(PostgresEventStore, "read_raw", PAGE, after=after, limit=200)
        yield _case(PostgresEventStore, "read_facts", PAGE, after=after, limit=200)
        span = {"after": after, "upto": after + 200, "skipping": ["delivery.opened"]}
        yield _case(PostgresEventStore, "read_span", PAGE, **span)
    yield _case(PostgresEventStore, "stored_response", KEY, BIG, "live", "key-0000003")
    yield _case(PostgresStoredAnswers, "purge", BATCH, moment(HALF), 100)
    # A month of the merchant with 60 % of everything: what it is about is read, and nothing else.
    month = Bound(blocks=40_000, rows=50_000, sorted=50_000, counts=True)
    accounts = Bound(blocks=2_000, rows=2_000, sorted=101)
    for whose in (BIG, SMALL, MIDDLING):
        yield _case(PostgresLedger, "turnovers", month, whose, 100_000, 120_000)
        yield _case(PostgresLedger, "booked", month, whose, "live", 100_000, 120_000)
        yield _case(PostgresLedger, "completed", month, whose, "live", 100_000, 120_000)
        yield _case(PostgresLedger, "balances_at", accounts, 100_000, whose)
    everybody = Bound(400_000, 100_000, sorted=30_000, whole=frozenset({"accounts", "events"}))
    yield _case(PostgresLedger, "balances_at", everybody, 100_000)
    yield _case(PostgresLedger, "balance_at", KEY, "merchant_payable:" + BIG.hex, "eip155:137", 9)
    yield _case(PostgresLedger, "head", KEY)
    yield _case(PostgresLedger, "position_before", Bound(blocks=200, rows=90), moment(HALF))
    for method in ("head", "passed", "standing"):
        yield _case(PostgresChainHeads, method, PAGE, "polygon")
    yield _case(PostgresFigures, "backlog", replace(BATCH, counts=True), "polygon")


CASES: tuple[Case, ...] = (
    *_payments(),
    *_refunds(),
    *_deliveries(),
    *_transfers(),
    *_watched(),
    *_log(),
)

# Methods that ask nothing of these tables.
UNASKED: Mapping[type, frozenset[str]] = {
    PostgresEventStore: frozenset({"start", "close", "append"}),  # its statements: test_plans.py
    PostgresChainHeads: frozenset({"finality", "keep_finality", "keep_standing"}),
    PostgresFigures: frozenset({"add", "forget", "calls", "readings", "states"}),
}

# Files with SQL on these tables that are not read by cases, and why.
ELSEWHERE: Mapping[str, str] = {
    "adapters/event_store_sql.py": "the statements of the store, which a test of their own explains",
    "adapters/recorder.py": "for the eventsourcing library: the log by position, a stream by key",
    "adapters/reconciling_sql.py": "ARRIVED sums up the whole record, for a person who waits",
    "adapters/ingest_sql.py": "looks into es.inbox by its key, for what the outbox has unsettled",
    "adapters/checkpoints.py": "work.checkpoints has a row a follower",
    "projections/rebuild.py": "reads and compares whole tables, beside the live ones",
    "projections/schema.py": "makes tables",
    "projections/standing.py": "a row a projection; of the log its head, and one event by position",
    "projections/checkpoints.py": "rm_admin has a row a projection, and those of parked streams",
}

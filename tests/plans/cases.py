"""Every read of the read models, the log and the books, with what it may cost at a million rows.

Shapes  CASES has the calls of each method of each reader; a method without one fails the test, and
        so does a file with SQL on these tables that is neither here nor in `ELSEWHERE`.
        A case says whether it finds something: a query that never does shows little about a plan.
        Where two filters of a list meet by chance it does not say; `_meetings` has for every two
        of them a session that both are of.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
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
from tests.plans.case import BATCH, KEY, LANES, PAGE, WALK, Bound, Case, case
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

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = BEGAN + timedelta(seconds=N * SECONDS_APART)
HALF = N // 2
USDT = ("eip155:polygon:usdt", "eip155:base:usdt", "eip155:ethereum:usdt", "eip155:avalanche:usdt")


def moment(number: int) -> datetime:
    return BEGAN + timedelta(seconds=number * SECONDS_APART)


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


# The big merchant has no session of these.
_NOBODYS = ("order-123457", hash_of(500_111), id_of("a", 77_777), (None, 5))


def _combinations() -> Iterator[tuple[dict[str, Any], Bound, bool | None]]:
    """Every choice of the lanes' filters; every other one alone, and with each of the rest.

    With whether the big merchant has sessions like that, where that is no matter of chance.
    """
    names = (*OF_LANES, *OTHERS)
    values = {**OF_LANES, **OTHERS}
    yield {}, PAGE, True
    for size in (1, 2, 3):
        for chosen in itertools.combinations(OF_LANES, size):
            for each in itertools.product(*(OF_LANES[name] for name in chosen)):
                yield dict(zip(chosen, each, strict=True)), LANES, True if size == 1 else None
    for name in OTHERS:
        for value in OTHERS[name]:
            wide = name == "units" and value == (2_000_000, 900_000_000)
            bound = WALK if wide else LANES
            yield _asked(**{name: value}), bound, value not in _NOBODYS
    for one, other in itertools.combinations(names, 2):
        if one in OF_LANES and other in OF_LANES:
            continue
        for each in zip(values[one], reversed(values[other]), strict=False):
            yield _asked(**dict(zip((one, other), each, strict=True))), WALK, None


# One session of the big merchant, by all that can be asked for: see rows.py.
SESSION = 400_333
OF_SESSION: Mapping[str, object] = {
    "status": "completed",
    "network": "polygon",
    "assets": ("eip155:polygon:usdt",),
    "merchant_reference": f"order-{SESSION}",
    "tx_hash": hash_of(SESSION),
    "payer": address_of(SESSION - 300_000),
    "address": address_of(SESSION),
    "session_id": id_of("a", SESSION),
    "units": (371_270_000, 371_270_000),
}


def _meetings() -> Iterator[Case]:
    """Every filter alone, and any two: the page that begins at a session of both."""
    just_above = cursor_of(microseconds_of(moment(SESSION + 1)), SESSION + 1)
    alone = ((name,) for name in OF_SESSION)
    for names in (*alone, *itertools.combinations(OF_SESSION, 2)):
        filters = _asked(**{name: OF_SESSION[name] for name in names})
        query = SessionQuery(merchant_id=BIG, mode="live", cursor=just_above, **filters)
        what = f"a session by its {' and '.join(names)}"
        yield case(PaymentReads, "page", WALK, query, what=what)


def _session_pages() -> Iterator[Case]:
    for filters, bound, finds in _combinations():
        for window in WINDOWS:
            query = SessionQuery(merchant_id=BIG, mode="live", **filters, **window)
            what = f"the big merchant, {filters} {sorted(window)}"
            # In a narrower window there may be none, but not one more.
            found = None if finds and filters and window else finds
            yield case(PaymentReads, "page", bound, query, what=what, finds=found)
    for whose, mode in ((SMALL, "live"), (MIDDLING, "live"), (BIG, "test")):
        for filters, bound, _ in _combinations():
            if len(filters) < 2:
                query = SessionQuery(merchant_id=whose, mode=mode, **filters)  # type: ignore[arg-type]  # one of the two
                what = f"{whose.int} in {mode} mode, {filters}"
                found = None if filters else True
                yield case(PaymentReads, "page", bound, query, what=what, finds=found)
    yield from _meetings()
    query = SessionQuery(merchant_id=BIG, mode="live", limit=100)
    yield case(PaymentReads, "page", PAGE, query, what="a page of a hundred")


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
                plain = (whose, mode, narrow) == (BIG, "live", {})
                finds = _shows(show, cursor) if plain else None
                # The networks there are here are those of live mode.
                asks = mode == "live" or set(narrow) != {"network"}
                yield case(InboxReads, "page", bound, query, what=what, finds=finds, asks=asks)


def _shows(show: Mapping[str, Any], cursor: str | None) -> bool:
    """Of the big merchant's inbox: nothing in it was refunded, and little was dismissed."""
    resolution = show.get("resolution")
    return resolution != "refunded" and not (resolution == "dismissed" and cursor is not None)


# ---------------------------------------------------------------- all the others


def _shared_session(**more: Any) -> Any:
    session = PAYMENT.evolve(None, CREATED)
    own = {"merchant_id": BIG, "mode": "live", "network": "polygon"}
    return session.model_copy(update={**own, **more})


def _payments() -> Iterator[Case]:
    yield case(PaymentReads, "find", KEY, id_of("a", 5))
    yield case(PaymentReads, "find", KEY, UUID(int=404), finds=False)
    for network in ("polygon", "avalanche", "nowhere"):
        for now in (NOW, moment(HALF), BEGAN):
            due = network == "polygon" and now > BEGAN
            given = (now, 256)
            yield case(PaymentReads, "due_to_expire", PAGE, *given, network=network, finds=due)
            yield case(PaymentReads, "opened_since", Bound(900, 8_001), network, now)
        there = network != "nowhere"
        yield case(PaymentReads, "expects", KEY, network, finds=there)
        yield case(ToCheckReads, "awaiting", PAGE, network, 200, finds=there)
    for position in (0, HALF, 3):
        yield case(ToCheckReads, "below", BATCH, "polygon", position, 200)
    yield from _session_pages()


REFUND = 400_135  # of the big merchant, of one transfer


def _refunds() -> Iterator[Case]:
    yield case(RefundReads, "find", KEY, id_of("b", 7))
    yield case(RefundReads, "unfinished", PAGE, 100)
    late = cursor_of(microseconds_of(moment(HALF)), HALF)
    for cursor in (None, late):
        yield case(RefundReads, "not_final", PAGE, 100, cursor=cursor, finds=cursor is None)
        yield case(RefundReads, "failed_on_chain_since", PAGE, BEGAN, 100, cursor=cursor)
    yield case(RefundReads, "failed_on_chain_since", PAGE, NOW, 100, finds=False)
    for whose in (BIG, SMALL, MIDDLING):
        for cursor in (None, cursor_of(HALF)):
            yield case(RefundReads, "page", PAGE, whose, "live", cursor=cursor)
            yield case(
                RefundReads, "page", PAGE, whose, "test", cursor=cursor, finds=whose != SMALL
            )
            for one in ({"session_id": id_of("a", REFUND)}, {"transfer_id": f"t:{REFUND}"}):
                asked: dict[str, Any] = {**one, "cursor": cursor, "finds": whose == BIG}
                yield case(RefundReads, "page", PAGE, whose, "live", **asked)
            both: dict[str, Any] = {"session_id": id_of("a", REFUND), "cursor": cursor}
            both |= {"transfer_id": f"t:{REFUND}", "finds": whose == BIG}
            yield case(RefundReads, "page", PAGE, whose, "live", **both)


def _deliveries() -> Iterator[Case]:
    yield case(DeliveryReads, "find", KEY, id_of("c", 5))
    yield case(DeliveryReads, "attempts", KEY, id_of("c", 7))
    for whose, status, cursor, own in itertools.product(
        (BIG, SMALL),
        (None, "due", "delivered", "failed"),
        (None, cursor_of(HALF)),
        (False, True),
    ):
        given: dict[str, Any] = {"status": status, "cursor": cursor}
        given["endpoint_id"] = whose if own else None
        for mode in ("live", "test"):
            # An endpoint is of one mode, and the small merchant's five deliveries have arrived.
            finds = mode == "live" or (whose == BIG and not own)
            finds = finds and (whose == BIG or status in {None, "delivered"})
            yield case(DeliveryReads, "page", PAGE, whose, mode, **given, finds=finds)
    claim: dict[str, Any] = {"slots": 50, "per_endpoint": 4, "busy": {BIG: 2}, "lease_seconds": 30}
    # An endpoint with something due is one look into the index; there are some 1,100 here.
    claiming = Bound(blocks=25_000, rows=8_000, sorted=5_000, counts=True)
    yield case(PostgresDeliveryQueue, "claim", claiming, NOW, **claim)
    yield case(PostgresDeliveryQueue, "release", KEY, id_of("c", 5))
    yield case(PostgresDeliveryQueue, "keep_response", KEY, id_of("c", 5), 1, b"ok")


# To addresses of the big merchant: one that no session got, and one that its session got.
STRAY, ELSEWHERE_PAID = 400_149, 600_001


def _transfers() -> Iterator[Case]:
    yield from _transfer_pages()
    yield case(InboxReads, "newest", PAGE, 100)
    shared = _shared_session(pay_by="merchant_wallet", deposit_address=EXCHANGE_WALLET)
    claimed = {
        "proven_payers": (EXCHANGE, address_of(4_711)),
        "announced": (hash_of(123_456), hash_of(5)),
    }
    for what, session, finds, asks in (
        ("its own address", _shared_session(deposit_address=address_of(STRAY)), True, True),
        ("a shared wallet without evidence", shared, False, False),
        ("a shared wallet with evidence", shared.model_copy(update=claimed), None, True),
    ):
        given: dict[str, Any] = {"what": what, "finds": finds, "asks": asks}
        yield case(InboxReads, "concerning", WALK, session, 20, **given)
        yield case(PostgresSupportReads, "elsewhere", PAGE, session, HALF, what=what, finds=False)
    theirs = _shared_session(deposit_address=address_of(ELSEWHERE_PAID))
    yield case(PostgresSupportReads, "elsewhere", PAGE, theirs, HALF, what="another's address")
    for address in (EXCHANGE_WALLET, address_of(STRAY)):
        yield case(PostgresSupportReads, "strays", WALK, BIG, "polygon", address)
    yield case(PostgresSupportReads, "terms", KEY, "polygon", "0x", "t:5", finds=False)


def _watched() -> Iterator[Case]:
    yield case(ApiKeyReads, "holder", KEY, hash_of(5))
    some = [address_of(number) for number in range(1, 1_000_000, 20_000)]
    yield case(WatchListReads, "owner_of", KEY, "polygon", some[0])
    yield case(WatchListReads, "owners_of", PAGE, "polygon", some, what="fifty")
    packing = Bound(blocks=45_000, rows=10_001, sorted=0, counts=True)
    yield case(WatchListReads, "addresses", packing, "polygon")
    books = Bound(blocks=1_000, rows=30_000, sorted=30_000, whole=frozenset({"balances"}))
    yield case(JournalReads, "trial_balance", books)
    yield case(JournalReads, "balances", books)
    yield case(ProgressReads, "position", KEY, "payments")
    for name in (None, "payments"):
        yield case(ProgressReads, "wait_for", KEY, 0, timeout_seconds=0.0, projection=name)


def _log() -> Iterator[Case]:
    streams = [Stream("payment_session", id_of("a", 4 * n + 3)) for n in range(100)]
    yield case(PostgresEventStore, "head", KEY)
    yield case(PostgresEventStore, "read_stream", KEY, streams[0])
    nobodys = Stream("payment_session", UUID(int=4))
    yield case(PostgresEventStore, "read_stream", KEY, nobodys, finds=False)
    yield case(PostgresEventStore, "read_streams", PAGE, streams, what="a hundred")
    for after in (0, 100_000, 250_000):
        more = after < N // 4
        for method in ("read_log", "read_raw", "read_facts"):
            yield case(PostgresEventStore, method, PAGE, after=after, limit=200, finds=more)
        skipped = ["delivery.opened"]
        yield case(
            PostgresEventStore,
            "read_span",
            PAGE,
            after=after,
            upto=after + 200,
            skipping=skipped,
            finds=more,
        )
    yield case(PostgresEventStore, "stored_response", KEY, BIG, "live", "key-0000003")
    yield case(PostgresStoredAnswers, "purge", BATCH, moment(HALF), 100)
    # A month of the merchant with 60 % of everything: what it is about is read, and nothing else.
    month = Bound(blocks=40_000, rows=50_000, sorted=50_000, counts=True)
    accounts = Bound(blocks=2_000, rows=2_000, sorted=101)
    for whose in (BIG, SMALL, MIDDLING):
        yield case(PostgresLedger, "turnovers", month, whose, 100_000, 120_000)
        some, span = whose == BIG, (100_000, 120_000)
        yield case(PostgresLedger, "booked", month, whose, "live", *span, finds=some)
        # None of these facts here is of a payment that is complete.
        yield case(PostgresLedger, "completed", month, whose, "live", *span, finds=False)
        yield case(PostgresLedger, "balances_at", accounts, 100_000, whose)
    everybody = Bound(400_000, 100_000, sorted=30_000, whole=frozenset({"accounts", "events"}))
    yield case(PostgresLedger, "balances_at", everybody, 100_000)
    yield case(PostgresLedger, "balance_at", KEY, "merchant_payable:" + BIG.hex, "eip155:137", 9)
    yield case(PostgresLedger, "head", KEY)
    yield case(PostgresLedger, "position_before", Bound(blocks=200, rows=90), moment(HALF))
    for method in ("head", "passed", "standing"):
        yield case(PostgresChainHeads, method, PAGE, "polygon", finds=False)  # a row a network
    yield case(PostgresFigures, "backlog", replace(BATCH, counts=True), "polygon")


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

"""A loaded log is what the domain and the use cases would have written, fact by fact."""

import asyncio
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID

import psycopg
import pytest

from adapters.addresses import checksum_address
from adapters.clock import SystemClock, SystemIds
from adapters.event_store import PostgresEventStore
from adapters.event_store_books import Books
from adapters.event_store_read import RawEvent
from adapters.postgres import Postgres
from application import deciders
from application.deciders import Decider
from application.messages import Messages
from application.ports import Batch, Context, Recorded, Stream, StreamAppend
from bench import load_compiler, load_log, load_templates, load_world
from bench.load import LogNotEmpty, load
from bench.load_log import Log, Plan
from bench.load_stories import paid
from domain import events as e
from domain.journal import postings_for, postings_for_transfer
from domain.values import derived_id
from projections.catalogue import PROJECTIONS
from projections.renewal import rebuild
from projections.schema import ensure_schemas
from tests.conftest import Migrated
from workers.dispatcher import delivery_id_of

pytestmark = pytest.mark.services

# Few sessions a second: in so few events the longest stories come to their end.
PLAN = Plan(events=9_000, seed=3, shops=4, sessions_per_second=0.15, prices=1)
DECIDERS: dict[str, Decider[Any, Any]] = {
    each.stream_type: each
    for each in (
        deciders.PAYMENT,
        deciders.REFUND,
        deciders.REFUND_FLOAT,
        deciders.TRANSFER,
        deciders.MERCHANT,
        deciders.DELIVERY,
    )
}
TOPICS_LOADED_MIN = 28


@dataclass
class Loaded:
    dsn: str
    owner_dsn: str
    store: PostgresEventStore
    raw: list[RawEvent]
    log: list[Recorded[e.Event]]


@pytest.fixture
async def loaded(migrated: Migrated) -> AsyncIterator[Loaded]:
    await asyncio.to_thread(load, migrated.owner_dsn, PLAN)
    async with (
        Postgres(migrated.app_dsn, name="test-load") as postgres,
        PostgresEventStore(postgres, ids=SystemIds()) as store,
    ):
        raw = await store.read_raw(after=0, limit=2 * PLAN.events)
        log = [row.decoded() for row in raw]
        yield Loaded(migrated.app_dsn, migrated.owner_dsn, store, raw, log)


async def test_a_loaded_log_is_what_the_real_domain_writes(loaded: Loaded) -> None:
    """One database for all of it: loading is the dear part."""
    _order_is_whole(loaded.raw)
    _bytes_are_those_of_the_facts(loaded.raw)
    _streams_fold_and_are_booked(loaded.log)
    await _legs_are_those_of_the_books(loaded)
    await _messages_are_those_of_their_facts(loaded)
    await _nothing_is_parked_and_the_books_balance(loaded)
    await _the_log_goes_on(loaded)
    topics = {row.topic for row in loaded.raw}
    assert len(topics) >= TOPICS_LOADED_MIN, sorted(topics)


def _order_is_whole(raw: list[RawEvent]) -> None:
    assert PLAN.events <= len(raw) < PLAN.events + 1_000
    assert [row.position for row in raw] == list(range(1, len(raw) + 1))
    assert all(a.recorded_at <= b.recorded_at for a, b in itertools.pairwise(raw))
    versions: Counter[UUID] = Counter()
    for row in raw:
        versions[row.stream_id] += 1
        assert row.version == versions[row.stream_id]
        milliseconds = row.event_id.int >> 80
        assert row.event_id.version == 7
        assert abs(milliseconds - row.occurred_at.timestamp() * 1000) <= 1
    assert len({row.event_id for row in raw}) == len(raw)


def _bytes_are_those_of_the_facts(raw: list[RawEvent]) -> None:
    for row in raw:
        event = row.decoded().event
        assert event.encoded() == row.state
        assert (type(event).version, event.at) == (row.schema_version, row.occurred_at)


def _streams_fold_and_are_booked(log: list[Recorded[e.Event]]) -> None:
    """Each fact that posts has its entry, under its own name, and nothing else has one."""
    states: dict[Stream, Any] = {}
    owed: dict[UUID, e.JournalEntryPosted] = {}
    found: dict[UUID, e.JournalEntryPosted] = {}
    for recorded in log:
        stream, event = recorded.stream, recorded.event
        if isinstance(event, e.JournalEntryPosted):
            assert stream == Stream("journal_entry", event.entry_id)
            found[event.entry_id] = event
            continue
        state = states[stream] = DECIDERS[stream.type].evolve(states.get(stream), event)
        merchant_id = recorded.context.merchant_id
        if stream.type == deciders.TRANSFER.stream_type:
            assert stream.id == deciders.transfer_stream_id(state.sighting.transfer_id)
            postings = postings_for_transfer(event, state)
        elif merchant_id is not None:
            postings = postings_for(event, merchant_id)
        if postings:
            assert merchant_id is not None
            entry = _entry(recorded, merchant_id, postings)
            owed[entry.entry_id] = entry
    assert found == owed
    assert {stream.type for stream in states} == set(DECIDERS)


def _entry(
    recorded: Recorded[e.Event], merchant_id: UUID, postings: tuple[e.Posting, ...]
) -> e.JournalEntryPosted:
    stream, version = recorded.stream, recorded.version
    return e.JournalEntryPosted(
        at=recorded.event.at,
        entry_id=derived_id("journal_entry", stream.type, stream.id.hex, str(version)),
        cause=f"{recorded.event.name} {stream.type}/{stream.id.hex}@{version}",
        merchant_id=merchant_id,
        postings=postings,
    )


async def _legs_are_those_of_the_books(loaded: Loaded) -> None:
    books = Books({})
    expected: list[tuple[object, ...]] = []
    for recorded in loaded.log:
        if isinstance(recorded.event, e.JournalEntryPosted):
            (legs,) = books.book([recorded.event])
            expected.extend((recorded.position, *leg) for leg in legs)
    async with await psycopg.AsyncConnection.connect(loaded.dsn) as connection:
        cursor = await connection.execute(
            "SELECT position, leg, entry_id, merchant_id, account, asset, units, account_version, "
            "balance_after FROM ledger.postings ORDER BY position, leg"
        )
        assert await cursor.fetchall() == expected
        cursor = await connection.execute(
            "SELECT account, asset, debits, credits, version FROM ledger.accounts "
            'ORDER BY account COLLATE "C", asset COLLATE "C"'
        )
        accounts = [
            (*key, account.debits, account.credits, account.version)
            for key, account in books.touched()
        ]
        assert await cursor.fetchall() == accounts


async def _messages_are_those_of_their_facts(loaded: Loaded) -> None:
    messages = Messages(loaded.store, load_world.BOOK, checksum_address)
    facts = {recorded.event_id: recorded for recorded in loaded.log}
    opened = [each for each in loaded.log if isinstance(each.event, e.DeliveryOpened)]
    assert opened
    kinds: defaultdict[str, int] = defaultdict(int)
    for recorded in opened:
        delivery = recorded.event
        assert isinstance(delivery, e.DeliveryOpened)
        kinds[delivery.message_type] += 1
        if kinds[delivery.message_type] > 20:
            continue
        fact = facts[UUID(recorded.context.causation_id)]
        message = await messages.message_for(fact)
        assert message is not None
        assert message.body.decode() == delivery.body
        assert recorded.stream.id == delivery_id_of(message.id, delivery.endpoint_id)
        assert delivery.delivery_id == recorded.stream.id
    assert len(kinds) >= 4


async def _nothing_is_parked_and_the_books_balance(loaded: Loaded) -> None:
    await asyncio.to_thread(ensure_schemas, loaded.owner_dsn)
    async with Postgres(loaded.owner_dsn, name="test-owner", max_size=2) as owner:
        rebuilt = await rebuild(owner, loaded.store, PROJECTIONS, SystemClock())
        assert [each.parked for each in rebuilt] == [0] * len(PROJECTIONS)
        (journal,) = [each for each in rebuilt if each.projection.name == "journal"]
        async with owner.connection() as connection:
            cursor = await connection.execute(
                f"SELECT asset, sum(debits) - sum(credits) FROM {journal.schema}.balances "
                "GROUP BY asset"
            )
            sums = await cursor.fetchall()
    assert len(sums) >= 3
    assert all(difference == 0 for _, difference in sums)


async def _the_log_goes_on(loaded: Loaded) -> None:
    created = next(each for each in loaded.log if isinstance(each.event, e.SessionCreated))
    fresh = SystemIds().new()
    event = created.event.changed(session_id=fresh)
    append = StreamAppend(Stream("payment_session", fresh), 0, (event,))
    context = Context("system", created.context.merchant_id, created.context.mode)
    assert await loaded.store.append(Batch((append,), context)) == len(loaded.log) + 1
    with pytest.raises(LogNotEmpty):
        await asyncio.to_thread(load, loaded.dsn, PLAN)


async def test_the_same_seed_gives_the_same_log() -> None:
    one, again, other = [await _text(seed) for seed in (1, 1, 2)]
    assert one == again
    assert one != other


async def _text(seed: int) -> str:
    log = Log(Plan(events=500, seed=seed, shops=3, prices=1))
    await log.prepare()
    return "".join(row for chunk in log.chunks() for row in chunk.rows)


async def test_no_id_address_or_moment_is_told_twice() -> None:
    log = Log(Plan(events=20_000, shops=3, prices=1))
    await log.prepare()
    sessions = Counter[str]()
    addresses = Counter[str]()
    for chunk in log.chunks():
        for row in "".join(chunk.rows).splitlines():
            if "\tpayment_session.created\t" in row:
                sessions[row.split("\t")[2]] += 1
                addresses.update(re.findall('"deposit_address":"([^"]+)"', row))
    assert len(sessions) > 500
    assert set(sessions.values()) == set(addresses.values()) == {1}


async def test_what_nothing_says_how_to_make_anew_is_refused() -> None:
    library = load_log.Library(Plan(events=1, prices=1))
    world = load_world.World(load_log.BEGUN_AT)
    shop = await world.open_shop("Shop", 1, ())
    (scene, *_) = library.scenes(world, shop, load_world.BOOK.get("polygon"))
    world.begin()
    await paid(scene)
    compiler = load_compiler.Compiler(world, load_templates.shop_values(shop))
    world.tokens.clear()
    with pytest.raises(LookupError, match="nothing says how"):
        compiler.template(world.store.written)


def test_moments_are_written_as_pydantic_writes_them() -> None:
    for at in (
        datetime(2026, 11, 2, 8, 0, 0, 1, tzinfo=UTC),
        datetime(2026, 11, 2, 8, 59, 59, 120_000, tzinfo=UTC),
        datetime(2027, 2, 28, 23, 59, 59, tzinfo=UTC),
    ):
        text = load_templates.text_of((at - load_templates.EPOCH) // load_templates.MICROSECOND)
        assert e.SessionCancelled(at=at).model_dump_json() == f'{{"at":"{text}"}}'


def test_ids_are_derived_as_the_domain_derives_them() -> None:
    for number in range(200):
        parts = ("onchain_transfer", f"31337:0x{number:064x}:1")
        found = load_templates.derived_hex(*parts)
        assert found == derived_id(*parts).hex
        assert load_templates.dashed(found) == str(derived_id(*parts))


def test_what_is_picked_is_picked_as_often_as_its_share() -> None:
    shares = [6, 9, 10]
    one, two = Random(1), Random(1)
    for _ in range(1_000):
        (expected,) = one.choices("abc", cum_weights=shares)
        assert load_log.chosen(two, "abc", shares) == expected

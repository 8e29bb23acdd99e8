"""One suite for the event store: on PostgreSQL, and on its twin."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import psycopg
import pytest

from adapters.clock import SystemIds
from adapters.event_store import PostgresEventStore
from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.store import MemoryEventStore
from adapters.postgres import Postgres
from application.ports import (
    STREAMS_MAX,
    AlreadyProcessed,
    Batch,
    Context,
    IdempotencyRecord,
    KeyAlreadyUsed,
    Overdraft,
    StoreBusy,
    StoredResponse,
    Stream,
    StreamAppend,
    StreamConflict,
)
from domain.journal import account
from domain.money import UINT256_MAX
from tests.conftest import Migrated
from tests.ports.event_store_facts import (
    ASSET,
    AT,
    CONTEXT,
    MERCHANT,
    Place,
    Store,
    answer,
    batch,
    entry,
    expired,
    new_stream,
    on,
)

READER_POLL_SECONDS = 0.001
FLOAT = account("refund_float", MERCHANT)
PENDING = account("refunds_pending", MERCHANT)
WALLET = account("hot_wallet", MERCHANT)


async def outcomes(store: Store, *batches: Batch) -> list[int | BaseException]:
    """All at once; an exception is an outcome too."""
    appends = (store.append(each) for each in batches)
    return list(await asyncio.gather(*appends, return_exceptions=True))


class EventStoreSuite:
    async def test_what_is_appended_is_read_back_with_its_envelope(self, place: Place) -> None:
        stream = new_stream()
        position = await place.store.append(batch(on(stream, count=2)))
        first, second = await place.store.read_stream(stream)
        assert (first.position, second.position) == (position - 1, position)
        assert (first.version, second.version) == (1, 2)
        assert (first.event, second.event) == (expired(0), expired(1))
        assert first.context == CONTEXT
        assert first.stream == stream
        assert first.event_id.version == 7
        assert first.event_id < second.event_id
        assert first.recorded_at.tzinfo is not None
        assert list(await place.store.read_log(after=position - 2, limit=9)) == [first, second]

    async def test_an_empty_log_has_head_zero_and_no_streams(self, place: Place) -> None:
        assert await place.store.head() == 0
        assert list(await place.store.read_stream(new_stream())) == []
        assert list(await place.store.read_log(after=0, limit=5)) == []

    async def test_a_span_has_the_facts_between_two_places_less_those_of_some_names(
        self, place: Place
    ) -> None:
        stream = new_stream()
        position = await place.store.append(batch(on(stream, count=5)))
        between = {"after": position - 4, "upto": position - 1}
        some, size = await place.store.read_span(**between, skipping=("payment.completed",))
        assert [(each.position, each.stream, each.stream_id) for each in some] == [
            (at, stream, stream.id) for at in range(position - 3, position)
        ]
        written = [expired(number) for number in (1, 2, 3)]
        assert [(each.version, each.event) for each in some] == list(enumerate(written, 2))
        assert size == sum(len(each.encoded()) for each in written)
        assert await place.store.read_span(**between, skipping={expired(0).name}) == ([], 0)

    async def test_many_streams_are_read_as_each_of_them_alone(self, place: Place) -> None:
        two, three, none, other = new_stream(), new_stream("refund"), new_stream(), new_stream()
        await place.store.append(batch(on(two)))
        await place.store.append(batch(on(three, count=3), on(other)))
        await place.store.append(batch(on(two, after_version=1)))
        asked = {two, none, three}
        found = await place.store.read_streams(asked)
        assert set(found) == asked
        for stream in asked:
            assert list(found[stream]) == list(await place.store.read_stream(stream))
        assert [len(found[stream]) for stream in (two, three, none)] == [2, 3, 0]
        assert dict(await place.store.read_streams(())) == {}

    async def test_a_stream_asked_for_as_another_kind_is_a_bug(self, place: Place) -> None:
        stream = new_stream()
        await place.store.append(batch(on(stream)))
        with pytest.raises(AssertionError, match="two kinds"):
            await place.store.read_streams([Stream("refund", stream.id)])

    async def test_more_streams_than_the_bound_are_not_asked_for(self, place: Place) -> None:
        with pytest.raises(AssertionError, match="at most"):
            await place.store.read_streams([new_stream() for _ in range(STREAMS_MAX + 1)])

    async def test_the_owner_of_a_fact_may_differ_from_the_actor(self, place: Place) -> None:
        stream = new_stream()
        theirs = StreamAppend(stream, 0, (expired(),), merchant_id=MERCHANT, mode="live")
        chain = Context(actor="chain:137")
        await place.store.append(Batch((theirs,), chain))
        (recorded,) = await place.store.read_stream(stream)
        assert recorded.context == Context(actor="chain:137", merchant_id=MERCHANT, mode="live")

    async def test_a_stale_version_refuses_only_its_own_batch(self, place: Place) -> None:
        taken = new_stream()
        await place.store.append(batch(on(taken)))
        free = [new_stream() for _ in range(20)]
        got = await outcomes(
            place.store,
            *(batch(on(stream)) for stream in free[:10]),
            batch(on(taken, after_version=0)),
            batch(on(taken, after_version=7)),
            *(batch(on(stream)) for stream in free[10:]),
        )
        assert [type(each) for each in got[10:12]] == [StreamConflict, StreamConflict]
        assert [each for each in got if isinstance(each, int)] == list(range(2, 22))
        assert len(await place.store.read_stream(taken)) == 1

    async def test_a_batch_is_written_whole_or_not_at_all(self, place: Place) -> None:
        taken, untouched = new_stream(), new_stream()
        await place.store.append(batch(on(taken)))
        refused = batch(
            on(untouched),
            entry("hot_wallet", "refund_float", 5),
            on(taken),
            key=answer("key-1"),
            message="message-1",
        )
        with pytest.raises(StreamConflict):
            await place.store.append(refused)
        assert list(await place.store.read_stream(untouched)) == []
        assert await place.store.stored_response(MERCHANT, "test", "key-1") is None
        assert await place.accounts() == {}
        # The message was not marked either: it can be processed now.
        assert await place.store.append(batch(on(untouched), message="message-1")) == 2

    async def test_two_hundred_appends_with_ten_keys_leave_ten_answers(self, place: Place) -> None:
        got = await outcomes(
            place.store,
            *(
                batch(on(new_stream()), key=answer(f"key-{n % 10}", body=b"%d" % n))
                for n in range(200)
            ),
        )
        written = {n % 10: b"%d" % n for n, each in enumerate(got) if isinstance(each, int)}
        assert len(written) == 10
        assert await place.store.head() == 10
        for n, each in enumerate(got):
            if isinstance(each, KeyAlreadyUsed):
                assert each.stored == StoredResponse(201, written[n % 10], "f" * 64)
        assert Counter(type(each) for each in got) == {int: 10, KeyAlreadyUsed: 190}

    async def test_keys_of_two_modes_do_not_meet(self, place: Place) -> None:
        live = IdempotencyRecord(MERCHANT, "live", "key-1", "f" * 64, 201, b"live")
        await place.store.append(batch(on(new_stream()), key=answer("key-1", b"test")))
        await place.store.append(batch(on(new_stream()), key=live))
        stored = await place.store.stored_response(MERCHANT, "live", "key-1")
        assert stored == StoredResponse(201, b"live", "f" * 64)

    async def test_a_repeated_request_is_answered_even_when_its_stream_moved(
        self, place: Place
    ) -> None:
        stream = new_stream()
        request = batch(on(stream), key=answer("key-1"))
        await place.store.append(request)
        with pytest.raises(KeyAlreadyUsed):
            await place.store.append(request)

    async def test_a_message_takes_effect_once(self, place: Place) -> None:
        got = await outcomes(
            place.store, *(batch(on(new_stream()), message="message-1") for _ in range(50))
        )
        assert Counter(type(each) for each in got) == {int: 1, AlreadyProcessed: 49}
        assert await place.store.head() == 1

    async def test_a_message_without_effect_is_marked_too(self, place: Place) -> None:
        assert await place.store.append(batch(message="message-1")) == 0
        with pytest.raises(AlreadyProcessed):
            await place.store.append(batch(on(new_stream()), message="message-1"))
        assert await place.store.head() == 0

    async def test_a_batch_of_nothing_is_nothing(self, place: Place) -> None:
        assert await place.store.append(batch()) == 0

    async def test_an_append_without_events_still_insists_on_its_version(
        self, place: Place
    ) -> None:
        seen = new_stream()
        await place.store.append(batch(on(seen)))
        assert await place.store.append(batch(StreamAppend(seen, 1, ()))) == 0
        with pytest.raises(StreamConflict):
            await place.store.append(batch(StreamAppend(seen, 0, ()), on(new_stream())))

    async def test_a_batch_that_builds_on_one_under_way_waits_for_it(self, place: Place) -> None:
        stream = new_stream()
        got = await outcomes(place.store, *(batch(on(stream, after_version=n)) for n in range(5)))
        assert got == [1, 2, 3, 4, 5]

    async def test_of_two_rivals_for_a_stream_one_wins(self, place: Place) -> None:
        stream = new_stream()
        got = await outcomes(place.store, *(batch(on(stream)) for _ in range(10)))
        assert Counter(type(each) for each in got) == {int: 1, StreamConflict: 9}

    async def test_journal_entries_reach_the_accounts(self, place: Place) -> None:
        await outcomes(
            place.store, *(batch(entry("hot_wallet", "refund_float", 10)) for _ in range(7))
        )
        await place.store.append(batch(entry("refund_float", "refunds_pending", 30)))
        assert await place.accounts() == {
            (WALLET, ASSET): (70, 0),
            (FLOAT, ASSET): (30, 70),
            (PENDING, ASSET): (0, 30),
        }
        legs = await place.legs()
        assert legs[-2:] == [(8, FLOAT, 30, -40), (8, PENDING, -30, -30)]
        assert sum(units for _, _, units, _ in legs) == 0

    async def test_units_wider_than_any_integer_type_survive(self, place: Place) -> None:
        units = UINT256_MAX // 4
        await outcomes(
            place.store,
            batch(entry("customer_receipts", "merchant_payable", units)),
            batch(entry("customer_receipts", "merchant_payable", 1)),
        )
        receipts = await place.accounts()
        assert receipts[account("customer_receipts", MERCHANT), ASSET] == (units + 1, 0)

    async def test_nobody_reserves_more_than_the_float_holds(self, place: Place) -> None:
        await place.store.append(batch(entry("hot_wallet", "refund_float", 100)))
        got = await outcomes(
            place.store, *(batch(entry("refund_float", "refunds_pending", 30)) for _ in range(10))
        )
        assert Counter(type(each) for each in got) == {int: 3, Overdraft: 7}
        accounts = await place.accounts()
        assert accounts[FLOAT, ASSET] == (90, 100)
        assert await place.store.head() == 4

    async def test_an_overdraft_harms_nobody_else(self, place: Place) -> None:
        got = await outcomes(
            place.store,
            batch(on(new_stream())),
            batch(entry("refund_float", "refunds_pending", 1), key=answer("key-1")),
            batch(entry("hot_wallet", "refund_float", 5)),
            batch(entry("refund_float", "refunds_pending", 4)),
            batch(on(new_stream())),
        )
        assert [type(each) for each in got] == [int, Overdraft, int, int, int]
        assert await place.store.stored_response(MERCHANT, "test", "key-1") is None

    async def test_a_tailing_reader_sees_every_event_once_in_order(self, place: Place) -> None:
        rival = place.another()
        await rival.start()
        done = asyncio.Event()
        reader = asyncio.create_task(_tail(place.store, done))
        shared = new_stream()

        async def write(store: Store, number: int) -> int:
            written = 0
            for n in range(20):
                rivals = [batch(on(new_stream(), count=number % 3 + 1)), batch(on(shared, n))]
                got = await outcomes(store, *rivals)
                written += sum(isinstance(each, int) for each in got)
            return written

        stores = [place.store, rival] * 4
        await asyncio.gather(*(write(store, n) for n, store in enumerate(stores)))
        done.set()
        seen = await reader
        await rival.close()
        assert seen == list(range(1, await place.store.head() + 1))
        versions = [each.version for each in await place.store.read_stream(shared)]
        assert versions == list(range(1, len(versions) + 1))
        assert len(versions) == 20

    async def test_who_finds_the_queue_full_is_told_when_to_come_back(self, place: Place) -> None:
        small = place.another(waiting_max=8)
        await small.start()
        got = await outcomes(small, *(batch(on(new_stream())) for _ in range(20)))
        assert Counter(type(each) for each in got) == {int: 8, StoreBusy: 12}
        assert [each.retry_after_seconds for each in got if isinstance(each, StoreBusy)] == [
            1
        ] * 12
        assert await small.append(batch(on(new_stream()))) == 9
        await small.close()

    async def test_a_caller_that_gives_up_does_not_disturb_the_others(self, place: Place) -> None:
        streams = [new_stream() for _ in range(3)]
        tasks = [asyncio.create_task(place.store.append(batch(on(s)))) for s in streams]
        await asyncio.sleep(0)
        tasks[1].cancel()
        got = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(got[1], asyncio.CancelledError)
        assert len(await place.store.read_stream(streams[0])) == 1
        assert len(await place.store.read_stream(streams[2])) == 1

    async def test_each_new_head_is_announced(self, place: Place) -> None:
        await outcomes(place.store, *(batch(on(new_stream(), count=2)) for _ in range(10)))
        assert place.heads[-1] == 20
        assert place.heads == sorted(set(place.heads))
        await place.store.append(batch(message="message-1"))
        assert place.heads[-1] == 20


async def _tail(store: Store, done: asyncio.Event) -> list[int]:
    """Follow the log as a projection does, until the writers are done and nothing is left."""
    seen: list[int] = []
    while True:
        finished = done.is_set()
        page = await store.read_log(after=seen[-1] if seen else 0, limit=50)
        seen.extend(each.position for each in page)
        if finished and not page:
            return seen
        await asyncio.sleep(READER_POLL_SECONDS)


class TwinPlace:
    def __init__(self) -> None:
        self.heads: list[int] = []
        self.store = MemoryEventStore(
            ids=SeededIds(1), clock=FakeClock(AT), on_append=self.heads.append
        )

    def another(self, *, waiting_max: int = 4_096) -> Store:
        return MemoryEventStore(
            ids=SeededIds(2), clock=FakeClock(AT), waiting_max=waiting_max, log=self.store.log
        )

    async def accounts(self) -> dict[tuple[str, str], tuple[int, int]]:
        return {key: (each.debits, each.credits) for key, each in self.store.log.accounts.items()}

    async def legs(self) -> list[tuple[int, str, int, int]]:
        return [
            (each.position, each.leg.account, each.leg.units, each.leg.balance_after)
            for each in self.store.log.postings
        ]


class TestTheTwin(EventStoreSuite):
    @pytest.fixture
    async def place(self) -> TwinPlace:
        return TwinPlace()


class PostgresPlace:
    def __init__(self, postgres: Postgres, dsn: str) -> None:
        self.heads: list[int] = []
        self.dsn = dsn
        self.store = PostgresEventStore(postgres, ids=SystemIds(), on_append=self.heads.append)
        self._postgres = postgres

    def another(self, *, waiting_max: int = 4_096) -> Store:
        return PostgresEventStore(self._postgres, ids=SystemIds(), waiting_max=waiting_max)

    async def accounts(self) -> dict[tuple[str, str], tuple[int, int]]:
        async with await psycopg.AsyncConnection.connect(self.dsn) as connection:
            cursor = await connection.execute(
                "SELECT account, asset, debits, credits FROM ledger.accounts"
            )
            rows = await cursor.fetchall()
        return {(name, asset): (int(d), int(c)) for name, asset, d, c in rows}

    async def legs(self) -> list[tuple[int, str, int, int]]:
        async with await psycopg.AsyncConnection.connect(self.dsn) as connection:
            cursor = await connection.execute(
                "SELECT position, account, units, balance_after FROM ledger.postings"
                " ORDER BY position, leg"
            )
            rows = await cursor.fetchall()
        return [(position, name, int(u), int(b)) for position, name, u, b in rows]


@pytest.mark.services
class TestPostgres(EventStoreSuite):
    @pytest.fixture
    async def place(self, migrated: Migrated) -> AsyncIterator[PostgresPlace]:
        async with Postgres(migrated.app_dsn, name="test") as postgres:
            place = PostgresPlace(postgres, migrated.app_dsn)
            async with place.store:
                yield place

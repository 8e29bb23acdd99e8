"""One suite for the books at any position: on PostgreSQL, and on its twin."""

import random
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from adapters.clock import SystemIds
from adapters.event_store import PostgresEventStore
from adapters.ledger_reads import PostgresLedger
from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.ledger import MemoryLedger
from adapters.memory.store import MemoryEventStore
from adapters.postgres import Postgres
from application.handling import Handler
from application.ports import EventStore, Recorded
from application.statements import OF_ACCEPTED, Balance, Booked, Ledger, Statements, Turnover
from domain.events import Event, JournalEntryPosted, PaymentCompleted
from domain.values import Mode
from tests.application.shop import Shop
from tests.conftest import Migrated
from tests.examples import AT, BOOK, MERCHANT_ID, usd
from tests.projections.history import History

STEPS = 250
GUIDE = (Path(__file__).resolve().parents[2] / "docs/guides/books.md").read_text("utf-8")
MODES: tuple[Mode, ...] = ("test", "live")


@dataclass
class Given:
    store: EventStore
    ledger: Ledger
    merchants: list[UUID]
    facts: list[Recorded[Event]]


async def _given(store: EventStore, ledger: Ledger, seed: int) -> Given:
    clock = FakeClock(AT)
    history = History(Handler(store, clock), clock, seed)
    await history.write(STEPS)
    facts = list(await store.read_log(after=0, limit=100_000))
    return Given(store, ledger, list(history.merchants), facts)


@pytest.fixture
async def twin() -> Given:
    store = MemoryEventStore(ids=SeededIds(1), clock=FakeClock(AT))
    return await _given(store, MemoryLedger(store.log), 5)


@pytest.fixture
async def postgres(migrated: Migrated) -> AsyncIterator[Given]:
    async with (
        Postgres(migrated.app_dsn, name="test-ledger", max_size=4) as pg,
        PostgresEventStore(pg, ids=SystemIds()) as store,
    ):
        yield await _given(store, PostgresLedger(pg), 5)


@pytest.fixture(params=["twin", pytest.param("postgres", marks=pytest.mark.services)])
def given(request: pytest.FixtureRequest) -> Given:
    found: Given = request.getfixturevalue(request.param)
    return found


def _fold(facts: list[Recorded[Event]]) -> list[dict[tuple[str, str], tuple[int, Mode]]]:
    """Balances after each position, from the first, each with the mode of its newest entry."""
    sums: defaultdict[tuple[str, str], int] = defaultdict(int)
    modes: dict[tuple[str, str], Mode] = {}
    found: list[dict[tuple[str, str], tuple[int, Mode]]] = [{}]
    for fact in facts:
        if isinstance(fact.event, JournalEntryPosted):
            for posting in fact.event.postings:
                sums[posting.debit, posting.amount.asset] += posting.amount.units
                sums[posting.credit, posting.amount.asset] -= posting.amount.units
                assert fact.context.mode is not None, "every entry is live or test money"
                for side in (posting.debit, posting.credit):
                    modes[side, posting.amount.asset] = fact.context.mode
        found.append({key: (units, modes[key]) for key, units in sums.items()})
    return found


def _booked(
    facts: list[Recorded[Event]], merchant: UUID, mode: Mode | None = None
) -> list[Booked]:
    """Entries of one posting each, or of several that count once."""
    sums: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for fact in facts:
        event, context = fact.event, fact.context
        if not isinstance(event, JournalEntryPosted) or context.merchant_id != merchant:
            continue
        if mode not in {None, context.mode}:
            continue
        for number, posting in enumerate(event.postings):
            cause = event.cause.partition(" ")[0]
            if any(s.startswith("merchant_payable:") for s in (posting.debit, posting.credit)):
                cause = OF_ACCEPTED.get(cause, cause)
            sums[cause, posting.amount.asset][0] += number == 0
            sums[cause, posting.amount.asset][1] += posting.amount.units
    return [Booked(*key, *row) for key, row in sorted(sums.items())]


async def test_balances_at_every_position_are_the_fold_of_the_entries_up_to_it(
    given: Given,
) -> None:
    expected = _fold(given.facts)
    assert len(expected[-1]) > 10
    assert await given.ledger.head() == len(given.facts) > STEPS
    assert {mode for _, mode in expected[-1].values()} <= set(MODES)
    for position, balances in enumerate(expected):
        wanted = [Balance(*key, *held) for key, held in sorted(balances.items())]
        assert list(await given.ledger.balances_at(position)) == wanted
        assert sum(each.units for each in wanted) == 0


async def test_one_account_at_every_position_is_the_fold_too(given: Given) -> None:
    expected = _fold(given.facts)
    for name, asset in expected[-1]:
        for position in range(0, len(expected), 7):
            found = await given.ledger.balance_at(name, asset, position)
            assert found == expected[position].get((name, asset), (0, None))[0]
    assert await given.ledger.balance_at("hot_wallet:nobody", "asset", 10) == 0


async def test_a_merchant_sees_its_own_accounts_only(given: Given) -> None:
    everything = list(await given.ledger.balances_at(len(given.facts)))
    parts = [
        list(await given.ledger.balances_at(len(given.facts), merchant))
        for merchant in given.merchants
    ]
    assert {each for part in parts for each in part} == set(everything)
    assert sum(len(part) for part in parts) == len(everything)
    assert all(parts)


async def test_what_moved_between_two_positions_is_counted_once_in_any_cut(given: Given) -> None:
    chance = random.Random(3)
    head = len(given.facts)
    for merchant in given.merchants:
        cuts = sorted({0, head, *(chance.randrange(head) for _ in range(3))})
        turned: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        booked: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        for after, upto in pairwise(cuts):
            for turnover in await given.ledger.turnovers(merchant, after, upto):
                row = turned[turnover.account, turnover.asset]
                row[0] += turnover.debits
                row[1] += turnover.credits
            for mode in MODES:
                for each in await given.ledger.booked(merchant, mode, after, upto):
                    booked[each.cause, each.asset][0] += each.count
                    booked[each.cause, each.asset][1] += each.units
        whole = await given.ledger.turnovers(merchant, 0, head)
        assert [Turnover(*key, *row) for key, row in sorted(turned.items())] == list(whole)
        posted = _booked(given.facts, merchant)
        assert [Booked(*key, *row) for key, row in sorted(booked.items())] == posted
        for mode in MODES:
            of_mode = await given.ledger.booked(merchant, mode, 0, head)
            assert list(of_mode) == _booked(given.facts, merchant, mode)
        balances = {
            (each.account, each.asset): each.units
            for each in await given.ledger.balances_at(head, merchant)
        }
        assert {(t.account, t.asset): t.debits - t.credits for t in whole} == balances


async def test_completed_payments_are_counted_with_their_gross(given: Given) -> None:
    facts = [f for f in given.facts if isinstance(f.event, PaymentCompleted)]
    assert facts
    for merchant in given.merchants:
        for mode in MODES:
            whose = (merchant, mode)
            mine = [
                f.event.amount.units  # type: ignore[attr-defined]  # filtered above
                for f in facts
                if (f.context.merchant_id, f.context.mode) == whose
            ]
            found = await given.ledger.completed(merchant, mode, 0, len(given.facts))
            assert [(each.count, each.units) for each in found] == (
                [(len(mine), sum(mine))] if mine else []
            )


async def test_a_moment_is_found_between_the_positions_it_divides(given: Given) -> None:
    moments = [fact.recorded_at for fact in given.facts]
    assert moments == sorted(moments)
    long_ago, ahead = datetime(2000, 1, 1, tzinfo=UTC), moments[-1] + timedelta(days=1)
    for moment in (long_ago, moments[0], *moments[1::40], moments[-1], ahead):
        for wanted in (moment, moment + timedelta(microseconds=1)):
            expected = sum(each < wanted for each in moments)
            assert await given.ledger.position_before(wanted) == expected


@pytest.mark.services
async def test_recorded_moments_never_go_back_even_if_the_clock_does(migrated: Migrated) -> None:
    """The newest fact was recorded by a clock that ran an hour ahead."""
    async with await psycopg.AsyncConnection.connect(migrated.owner_dsn) as connection:
        await connection.execute(
            "INSERT INTO es.events (position, stream_type, stream_id, version, topic, "
            "schema_version, event_id, occurred_at, recorded_at, state, meta) VALUES "
            "(1, 'test', gen_random_uuid(), 1, 'payment_session.expired', 1, gen_random_uuid(), "
            "now(), now() + interval '1 hour', '{}', '{}')"
        )
    async with (
        Postgres(migrated.app_dsn, name="test-ledger", max_size=2) as pg,
        PostgresEventStore(pg, ids=SystemIds()) as store,
    ):
        clock = FakeClock(AT)
        await History(Handler(store, clock), clock, 1).write(1)
        async with pg.reading() as connection:
            cursor = await connection.execute(
                "SELECT bool_and(recorded_at >= (SELECT recorded_at FROM es.events "
                "WHERE position = 1)), count(*) FROM es.events"
            )
            row = await cursor.fetchone()
    assert row is not None
    assert row[0]
    assert row[1] > 5


@pytest.mark.services
async def test_the_recovery_from_a_wrong_clock_is_what_the_guide_says(migrated: Migrated) -> None:
    _, rest = GUIDE.split("## A clock that was wrong")
    sql = rest.split("```sql\n")[1].split("```")[0]
    clock = FakeClock(AT)
    async with (
        Postgres(migrated.app_dsn, name="test-ledger", max_size=2) as pg,
        PostgresEventStore(pg, ids=SystemIds()) as store,
    ):
        await History(Handler(store, clock), clock, 1).write(3)
        before = await store.read_log(after=0, limit=1000)
        wrong = sql.replace("now() WHERE recorded_at > now()", "now() + interval '40 days'")
        assert wrong != sql
        async with await psycopg.AsyncConnection.connect(
            migrated.owner_dsn, autocommit=True
        ) as owner:
            for text in (wrong, sql):
                await owner.execute(text.encode())
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await owner.execute("UPDATE es.events SET recorded_at = now()")
        after = await store.read_log(after=0, limit=1000)
        assert [fact.event for fact in after] == [fact.event for fact in before]
        assert len({fact.recorded_at for fact in after}) == 1
        shop = Shop(clock, Handler(store, clock), Statements(PostgresLedger(pg), BOOK, clock))
        await shop.pay(99, usd("1.00"))
        moments = [fact.recorded_at for fact in await store.read_log(after=0, limit=1000)]
    assert moments == sorted(moments)
    assert moments[-1] - moments[0] < timedelta(days=1)


async def test_the_twin_s_moments_never_go_back_either() -> None:
    clock = FakeClock(AT)
    store = MemoryEventStore(ids=SeededIds(1), clock=clock)
    history = History(Handler(store, clock), clock, 1)
    await history.write(1)
    clock.advance(-3600)
    await history.write(3)
    moments = [fact.recorded_at for fact in await store.read_log(after=0, limit=1000)]
    assert moments == sorted(moments)


async def _accepted(store: EventStore, ledger: Ledger) -> list[Booked]:
    """Two strays: one accepted once it was safe, one before, and both taken by a reorg."""
    clock = FakeClock(AT)
    shop = Shop(clock, Handler(store, clock), Statements(ledger, BOOK, clock))
    for number, kinds in ((1, ("confirmed",)), (2, ("observed",))):
        for kind in kinds:
            await shop.stray(number, kind)
        await shop.accept(number)
    await shop.stray(2)
    await shop.stray(1, "retracted")
    return list(await ledger.booked(MERCHANT_ID, "test", 0, await store.head()))


@pytest.mark.services
async def test_what_was_accepted_before_it_was_safe_is_a_cause_of_its_own_on_both(
    migrated: Migrated,
) -> None:
    twin = MemoryEventStore(ids=SeededIds(1), clock=FakeClock(AT))
    on_twin = await _accepted(twin, MemoryLedger(twin.log))
    async with (
        Postgres(migrated.app_dsn, name="test-ledger", max_size=2) as pg,
        PostgresEventStore(pg, ids=SystemIds()) as store,
    ):
        on_postgres = await _accepted(store, PostgresLedger(pg))
    assert on_postgres == on_twin
    assert {each.cause: each.count for each in on_twin} == {
        "onchain_transfer.accepted": 1,
        "onchain_transfer.confirmed": 1,
        "onchain_transfer.confirmed, accepted": 1,
        "onchain_transfer.reversed, accepted": 1,
    }

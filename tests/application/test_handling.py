"""Load, decide, append: conflicts are decided again, journal entries come with their cause."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.store import MemoryEventStore
from application.deciders import PAYMENT
from application.handling import TRIES_MAX, Ahead, Handler, TooManyConflicts, UnitOfWork
from application.ports import (
    AlreadyProcessed,
    Context,
    InboxMessage,
    Recorded,
    StoreUnavailable,
    Stream,
)
from domain import commands as c
from domain.events import Event, JournalEntryPosted
from tests.examples import AT, CREATED, SEEN, SESSION_ID

CONTEXT = Context(actor="test")
CREATE = c.CreateSession(**dict(CREATED))
CONFIRM = c.ConfirmTransfer(
    at=AT,
    transfer_id=SEEN.transfer_id,
    block_hash=SEEN.block_hash,
    confirmations=3,
    policy_version=1,
    rule="3 confirmations",
)


@pytest.fixture
def handler() -> Handler:
    clock = FakeClock(AT)
    return Handler(MemoryEventStore(ids=SeededIds(1), clock=clock), clock)


async def create(unit: UnitOfWork) -> None:
    await unit.decide(PAYMENT, SESSION_ID, CREATE)


async def pay(unit: UnitOfWork) -> None:
    await unit.decide(PAYMENT, SESSION_ID, c.ObserveTransfer(at=AT, sighting=SEEN))
    await unit.decide(PAYMENT, SESSION_ID, CONFIRM)


async def test_facts_and_journal_entries_are_one_write(handler: Handler) -> None:
    await handler.execute(CONTEXT, create)
    await handler.execute(CONTEXT, pay)
    log = await handler.store.read_log(after=0, limit=100)
    entries = [r.event for r in log if isinstance(r.event, JournalEntryPosted)]
    assert [entry.cause.split()[0] for entry in entries] == [
        "transfer.confirmed",
        "payment.completed",
    ]
    versions = {entry.cause.rpartition("@")[2] for entry in entries}
    named = {
        str(r.version): r.event.name
        for r in await handler.store.read_stream(Stream("payment_session", SESSION_ID))
    }
    assert {named[version] for version in versions} == {"transfer.confirmed", "payment.completed"}


async def test_a_conflict_is_decided_again_on_what_is_there_now(handler: Handler) -> None:
    await handler.execute(CONTEXT, create)
    rounds = 0

    async def slow(unit: UnitOfWork) -> None:
        nonlocal rounds
        await unit.load(PAYMENT, SESSION_ID)
        rounds += 1
        if rounds == 1:
            await handler.execute(CONTEXT, pay)  # somebody is quicker
        await pay(unit)

    await handler.execute(CONTEXT, slow)
    assert rounds == 2
    session = await handler.load(PAYMENT, SESSION_ID)
    assert session is not None
    assert session.confirmed == SEEN.amount


async def test_a_stream_that_never_comes_to_rest_is_given_up(handler: Handler) -> None:
    await handler.execute(CONTEXT, create)
    rounds = 0

    async def always_late(unit: UnitOfWork) -> None:
        nonlocal rounds
        rounds += 1
        await unit.load(PAYMENT, SESSION_ID)
        tx = f"{rounds:064x}"
        other = SEEN.model_copy(update={"tx_hash": f"0x{tx}", "transfer_id": f"31337:0x{tx}:0"})

        async def quicker(inner: UnitOfWork) -> None:
            await inner.decide(PAYMENT, SESSION_ID, c.ObserveTransfer(at=AT, sighting=other))

        await handler.execute(CONTEXT, quicker)
        await unit.decide(PAYMENT, SESSION_ID, c.ObserveTransfer(at=AT, sighting=SEEN))

    with pytest.raises(TooManyConflicts):
        await handler.execute(CONTEXT, always_late)
    assert rounds == TRIES_MAX


async def test_a_message_is_processed_once_even_when_it_changes_nothing(handler: Handler) -> None:
    async def nothing(_: UnitOfWork) -> None:
        return None

    message = InboxMessage("chain", "m-1")
    await handler.execute(CONTEXT, nothing, inbox=message)
    with pytest.raises(AlreadyProcessed):
        await handler.execute(CONTEXT, nothing, inbox=message)


class Reading(MemoryEventStore):
    """Writes down which streams were read one by one."""

    def __init__(self) -> None:
        super().__init__(ids=SeededIds(1), clock=FakeClock(AT))
        self.alone: list[Stream] = []

    async def read_stream(self, stream: Stream) -> Sequence[Recorded[Event]]:
        self.alone.append(stream)
        return await super().read_stream(stream)


HERE = Stream(PAYMENT.stream_type, SESSION_ID)
THERE = Stream(PAYMENT.stream_type, UUID(int=0x7E))


@pytest.fixture
def reading() -> Handler:
    return Handler(Reading(), FakeClock(AT))


def alone(handler: Handler) -> list[Stream]:
    assert isinstance(handler.store, Reading)
    return handler.store.alone


async def ahead_of(handler: Handler, *streams: Stream) -> Ahead:
    return Ahead(await handler.store.read_streams(streams))


async def observe(unit: UnitOfWork) -> None:
    await unit.decide(PAYMENT, SESSION_ID, c.ObserveTransfer(at=AT, sighting=SEEN))


async def confirm(unit: UnitOfWork) -> None:
    await unit.decide(PAYMENT, SESSION_ID, CONFIRM)


async def test_units_that_follow_each_other_build_on_what_was_read_ahead(
    reading: Handler,
) -> None:
    await reading.execute(CONTEXT, create)
    ahead = await ahead_of(reading, HERE)
    alone(reading).clear()
    await reading.execute(CONTEXT, observe, ahead=ahead)
    await reading.execute(CONTEXT, confirm, ahead=ahead)
    assert alone(reading) == []
    session = await reading.load(PAYMENT, SESSION_ID)
    assert session is not None
    assert session.confirmed == SEEN.amount


async def test_what_was_read_ahead_and_has_moved_is_read_again(reading: Handler) -> None:
    await reading.execute(CONTEXT, create)
    ahead = await ahead_of(reading, HERE)
    await reading.execute(CONTEXT, observe)  # somebody is quicker
    alone(reading).clear()
    await reading.execute(CONTEXT, pay, ahead=ahead)
    assert alone(reading) == [HERE]
    session = await reading.load(PAYMENT, SESSION_ID)
    assert session is not None
    assert session.confirmed == SEEN.amount


async def test_deciding_nothing_is_not_believed_of_what_was_read_ahead(reading: Handler) -> None:
    """There would be no write to conflict: so the store is asked."""
    await reading.execute(CONTEXT, create)
    ahead = await ahead_of(reading, HERE)
    await reading.execute(CONTEXT, observe)
    alone(reading).clear()
    message = InboxMessage("chain", "m-1")
    await reading.execute(CONTEXT, confirm, inbox=message, ahead=ahead)
    assert alone(reading) == [HERE]
    session = await reading.load(PAYMENT, SESSION_ID)
    assert session is not None
    assert session.confirmed == SEEN.amount


async def test_a_stream_only_looked_at_is_seen_as_it_is_now(reading: Handler) -> None:
    """What else the unit writes says nothing about this one."""
    other = c.CreateSession(**{**dict(CREATED), "session_id": THERE.id})
    await reading.execute(CONTEXT, create)
    ahead = await ahead_of(reading, HERE, THERE)
    await reading.execute(CONTEXT, pay)
    seen: list[bool] = []

    async def look(unit: UnitOfWork) -> None:
        session = await unit.load(PAYMENT, SESSION_ID)
        assert session is not None
        seen.append(SEEN.transfer_id in session.transfers)
        await unit.decide(PAYMENT, THERE.id, other)

    await reading.execute(CONTEXT, look, ahead=ahead)
    assert seen == [False, True]
    assert len(await reading.store.read_stream(THERE)) == 1


async def test_a_write_whose_answer_was_lost_is_not_built_upon(reading: Handler) -> None:
    await reading.execute(CONTEXT, create)
    ahead = await ahead_of(reading, HERE)
    assert isinstance(reading.store, Reading)
    reading.store.lose_answers = 1
    with pytest.raises(StoreUnavailable):
        await reading.execute(CONTEXT, observe, ahead=ahead)
    await reading.execute(CONTEXT, pay, ahead=ahead)
    facts = await reading.store.read_stream(HERE)
    assert [each.version for each in facts] == list(range(1, len(facts) + 1))
    session = await reading.load(PAYMENT, SESSION_ID)
    assert session is not None
    assert session.confirmed == SEEN.amount

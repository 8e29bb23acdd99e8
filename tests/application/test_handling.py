"""Load, decide, append: conflicts are decided again, journal entries come with their cause."""

import pytest

from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.store import MemoryEventStore
from application.deciders import PAYMENT
from application.handling import TRIES_MAX, Handler, TooManyConflicts, UnitOfWork
from application.ports import AlreadyProcessed, Context, InboxMessage, Stream
from domain import commands as c
from domain.events import JournalEntryPosted
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

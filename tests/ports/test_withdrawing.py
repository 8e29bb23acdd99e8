"""A refund is taken back from the signer, or the signer gives it a nonce: never both."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import psycopg
import pytest

from adapters.memory.outgoing import MemoryOutgoing
from adapters.postgres import Postgres
from application.outside import Outgoing
from application.paying_out import Approved, Refused, Verdict
from tests.conftest import Migrated
from tests.examples import AT
from tests.ports.outgoing_books import (
    REFUNDS_AT_ONCE,
    TERMS,
    Books,
    books_on,
    bytes_of,
    payout,
)

WAITING_SECONDS = 0.1  # long enough for what does not wait to be done


@pytest.fixture
def twin() -> Books:
    memory = MemoryOutgoing()
    return Books(memory, memory, memory)


@pytest.fixture
async def postgres(migrated: Migrated) -> AsyncIterator[Books]:
    async with (
        Postgres(migrated.app_dsn, name="sender") as app,
        Postgres(migrated.signer_dsn, name="signer") as signer,
    ):
        yield books_on(app, signer, migrated)


@pytest.fixture(params=["twin", pytest.param("postgres", marks=pytest.mark.services)])
def books(request: pytest.FixtureRequest) -> Books:
    books: Books = request.getfixturevalue(request.param)
    return books


async def test_what_is_not_approved_yet_can_be_withdrawn_and_stays_so(books: Books) -> None:
    await books.sender.reserve(payout(1))
    withdrawn = await books.sender.withdraw(UUID(int=1), "reversed")
    assert (withdrawn.state, withdrawn.refusal) == ("refused", "reversed")
    assert (withdrawn.nonce, withdrawn.raw) == (None, None)
    assert await books.sender.withdraw(UUID(int=1), "again") == withdrawn
    assert await books.sender.reserve(payout(1)) == withdrawn
    assert await books.signer.unsigned(10) == []
    assert await books.signer.approve(UUID(int=1), TERMS, AT) == Refused("reversed")
    assert await books.signer.refuse(UUID(int=1), "reversed", AT)
    assert await books.sign(2) == 0


async def test_what_has_a_nonce_cannot_be_withdrawn(books: Books) -> None:
    await books.sender.reserve(payout(1))
    assert await books.signer.approve(UUID(int=1), TERMS, AT) == Approved(0)
    approved = await books.sender.withdraw(UUID(int=1), "reversed")
    assert (approved.state, approved.nonce, approved.refusal) == ("reserved", 0, None)
    await books.signer.store(UUID(int=1), bytes_of(1), AT)
    signed = await books.sender.withdraw(UUID(int=1), "reversed")
    assert (signed.state, signed.nonce, signed.raw) == ("signed", 0, bytes_of(1).raw)


async def test_of_a_withdrawal_and_an_approval_at_once_exactly_one_happens(books: Books) -> None:
    numbers = range(1, REFUNDS_AT_ONCE + 1)
    for number in numbers:
        await books.sender.reserve(payout(number))

    async def contend(number: int) -> tuple[Outgoing, Verdict]:
        withdrawal = books.sender.withdraw(UUID(int=number), "reversed")
        approval = books.signer.approve(UUID(int=number), TERMS, AT)
        if number % 2:
            return await asyncio.gather(withdrawal, approval)
        verdict, row = await asyncio.gather(approval, withdrawal)
        return row, verdict

    nonces = []
    for row, verdict in await asyncio.gather(*map(contend, numbers)):
        if isinstance(verdict, Approved):
            assert (row.state, row.nonce) == ("reserved", verdict.nonce)
            nonces.append(verdict.nonce)
        else:
            assert verdict == Refused("reversed")
            assert (row.state, row.nonce) == ("refused", None)
    assert sorted(nonces) == list(range(len(nonces)))


@pytest.mark.services
async def test_a_withdrawal_waits_for_an_approval_under_way_and_gives_in(
    postgres: Books, migrated: Migrated
) -> None:
    await postgres.sender.reserve(payout(1))
    async with await psycopg.AsyncConnection.connect(migrated.signer_dsn) as approval:
        await approval.execute(
            "UPDATE signer.outgoing SET nonce = 0, micros = 1, approved_at = now()"
        )
        withdrawal = asyncio.create_task(postgres.sender.withdraw(UUID(int=1), "reversed"))
        await asyncio.sleep(WAITING_SECONDS)
        assert not withdrawal.done()
        await approval.commit()
    row = await withdrawal
    assert (row.state, row.nonce) == ("reserved", 0)


@pytest.mark.services
async def test_an_approval_waits_for_a_withdrawal_under_way_and_gives_in(
    postgres: Books, migrated: Migrated
) -> None:
    await postgres.sender.reserve(payout(1))
    async with await psycopg.AsyncConnection.connect(migrated.app_dsn) as withdrawal:
        await withdrawal.execute("SELECT signer.withdraw(%s, 'reversed')", (UUID(int=1),))
        approval = asyncio.create_task(postgres.signer.approve(UUID(int=1), TERMS, AT))
        await asyncio.sleep(WAITING_SECONDS)
        assert not approval.done()
        await withdrawal.commit()
    assert await approval == Refused("reversed")
    assert await postgres.sign(2) == 0


@pytest.mark.services
async def test_only_the_gateway_withdraws(postgres: Books, migrated: Migrated) -> None:
    await postgres.sender.reserve(payout(1))
    for dsn in (migrated.signer_dsn, migrated.readonly_dsn):
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute("SELECT signer.withdraw(%s, 'x')", (UUID(int=1),))
            await connection.rollback()
    row = await postgres.sender.find(UUID(int=1))
    assert row is not None
    assert row.state == "reserved"

"""One suite for the outgoing transactions, both sides of them: on PostgreSQL, and on the twin."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest

from adapters.memory.outgoing import MemoryOutgoing
from adapters.postgres import Postgres
from application.paying_out import Approved, Caps, Held, Refused, SignedTransfer
from tests.conftest import Migrated
from tests.examples import AT, PAYER, WALLET
from tests.ports.outgoing_books import (
    OTHER_MERCHANT,
    OTHER_WALLET,
    PLENTY,
    REFUNDS_AT_ONCE,
    TERMS,
    Books,
    books_on,
    bytes_of,
    payout,
)


class OutgoingSuite:
    async def test_a_refund_is_reserved_once_whatever_is_asked_later(self, books: Books) -> None:
        first = await books.sender.reserve(payout(1))
        again = await books.sender.reserve(replace(payout(1), units=5, destination=WALLET))
        assert first == again == await books.sender.find(UUID(int=1))
        assert (first.state, first.nonce, first.raw) == ("reserved", None, None)
        (unsigned,) = await books.signer.unsigned(10)
        assert (unsigned.units, unsigned.destination) == (1_000_000, PAYER)

    async def test_an_unknown_refund_is_not_found(self, books: Books) -> None:
        assert await books.sender.find(UUID(int=9)) is None

    async def test_nonces_follow_each_other_without_a_gap(self, books: Books) -> None:
        assert [await books.sign(number) for number in (1, 2, 3)] == [0, 1, 2]

    async def test_each_wallet_counts_for_itself_from_what_the_chain_has(
        self, books: Books
    ) -> None:
        assert await books.sign(1) == 0
        assert await books.sign(2, OTHER_WALLET, chain_nonce=7) == 7
        assert await books.sign(3) == 1
        assert await books.sign(4, OTHER_WALLET, chain_nonce=8) == 8

    async def test_approving_again_gives_the_same_nonce(self, books: Books) -> None:
        await books.sender.reserve(payout(1))
        first = await books.signer.approve(UUID(int=1), TERMS, AT)
        again = await books.signer.approve(UUID(int=1), TERMS, AT + timedelta(days=2))
        assert first == again == Approved(0)

    async def test_many_approvals_at_once_give_each_nonce_once(self, books: Books) -> None:
        numbers = range(1, REFUNDS_AT_ONCE + 1)
        for number in numbers:
            await books.sender.reserve(payout(number))
        verdicts = await asyncio.gather(
            *(books.signer.approve(UUID(int=number), TERMS, AT) for number in numbers)
        )
        nonces = [v.nonce for v in verdicts if isinstance(v, Approved)]
        assert sorted(nonces) == list(range(REFUNDS_AT_ONCE))

    async def test_signed_bytes_are_stored_and_leave_the_queue(self, books: Books) -> None:
        await books.sign(1)
        found = await books.sender.find(UUID(int=1))
        assert found is not None
        assert (found.state, found.nonce) == ("signed", 0)
        assert SignedTransfer(found.raw or b"", found.tx_hash or "") == bytes_of(1)
        assert await books.signer.unsigned(10) == []

    async def test_the_first_bytes_to_be_stored_are_the_only_ones(self, books: Books) -> None:
        await books.sign(1)
        await books.signer.store(UUID(int=1), bytes_of(77), AT)
        found = await books.sender.find(UUID(int=1))
        assert found is not None
        assert found.raw == bytes_of(1).raw

    async def test_bytes_without_an_approval_are_not_stored(self, books: Books) -> None:
        await books.sender.reserve(payout(1))
        await books.signer.store(UUID(int=1), bytes_of(1), AT)
        found = await books.sender.find(UUID(int=1))
        assert found is not None
        assert (found.state, found.raw) == ("reserved", None)

    async def test_a_refusal_is_final_and_takes_no_nonce(self, books: Books) -> None:
        await books.sender.reserve(payout(1))
        assert await books.signer.refuse(UUID(int=1), "not this one", AT)
        found = await books.sender.find(UUID(int=1))
        assert found is not None
        assert (found.state, found.refusal, found.nonce) == ("refused", "not this one", None)
        assert await books.signer.approve(UUID(int=1), TERMS, AT) == Refused("not this one")
        assert await books.sign(2) == 0

    async def test_what_is_approved_cannot_be_refused(self, books: Books) -> None:
        await books.sender.reserve(payout(1))
        await books.signer.approve(UUID(int=1), TERMS, AT)
        assert not await books.signer.refuse(UUID(int=1), "too late", AT)
        assert [row.refund_id for row in await books.signer.unsigned(10)] == [UUID(int=1)]

    async def test_a_declined_refund_can_never_be_reserved(self, books: Books) -> None:
        declined = await books.sender.decline(payout(1), "frozen")
        assert (declined.state, declined.refusal) == ("refused", "frozen")
        assert await books.sender.reserve(payout(1)) == declined
        assert await books.signer.unsigned(10) == []

    async def test_a_reserved_refund_cannot_be_declined(self, books: Books) -> None:
        reserved = await books.sender.reserve(payout(1))
        assert await books.sender.decline(payout(1), "frozen") == reserved
        assert reserved.state == "reserved"

    async def test_a_cap_per_transaction_holds(self, books: Books) -> None:
        await books.sender.reserve(payout(1))
        terms = replace(TERMS, caps=Caps(999_999, PLENTY, PLENTY))
        verdict = await books.signer.approve(UUID(int=1), terms, AT)
        assert verdict == Refused("more than may leave in one refund")

    async def test_a_cap_per_merchant_holds_for_a_day_and_for_nobody_else(
        self, books: Books
    ) -> None:
        terms = replace(TERMS, caps=Caps(PLENTY, 1_999_999, PLENTY))
        await books.sender.reserve(payout(1))
        await books.sender.reserve(payout(2))
        await books.sender.reserve(replace(payout(3), merchant_id=OTHER_MERCHANT))
        assert await books.signer.approve(UUID(int=1), terms, AT) == Approved(0)
        almost = AT + timedelta(days=1, microseconds=-1)
        assert isinstance(await books.signer.approve(UUID(int=2), terms, almost), Refused)
        assert await books.signer.approve(UUID(int=3), terms, almost) == Approved(1)
        after = AT + timedelta(days=1)
        assert await books.signer.approve(UUID(int=2), terms, after) == Approved(2)

    async def test_a_cap_for_all_holds_however_many_ask_at_once(self, books: Books) -> None:
        terms = replace(TERMS, caps=Caps(PLENTY, PLENTY, 5_500_000))
        numbers = range(1, REFUNDS_AT_ONCE + 1)
        for number in numbers:
            await books.sender.reserve(payout(number))
        verdicts = await asyncio.gather(
            *(books.signer.approve(UUID(int=number), terms, AT) for number in numbers)
        )
        assert sum(isinstance(verdict, Approved) for verdict in verdicts) == 5

    async def test_other_chains_have_a_day_of_their_own(self, books: Books) -> None:
        await books.sign(1)
        terms = replace(TERMS, caps=Caps(PLENTY, PLENTY, 1_500_000), chain_ids=(137,))
        await books.sender.reserve(payout(2))
        assert await books.signer.approve(UUID(int=2), terms, AT) == Approved(1)

    async def test_the_database_may_tighten_a_cap_and_never_loosen_it(self, books: Books) -> None:
        await books.sender.reserve(payout(1))
        await books.tighten(Caps(999_999, PLENTY, PLENTY))
        assert isinstance(await books.signer.approve(UUID(int=1), TERMS, AT), Refused)
        await books.tighten(Caps(PLENTY, PLENTY, PLENTY))
        strict = replace(TERMS, caps=Caps(999_999, PLENTY, PLENTY))
        assert isinstance(await books.signer.approve(UUID(int=1), strict, AT), Refused)

    async def test_the_kill_switch_holds_everything_until_it_is_released(
        self, books: Books
    ) -> None:
        await books.sender.reserve(payout(1))
        await books.sender.reserve(payout(2))
        assert await books.signer.approve(UUID(int=1), TERMS, AT) == Approved(0)
        await books.stop_signing("a stolen key")
        held = Held("signing is stopped: a stolen key", everything=True)
        assert await books.signer.approve(UUID(int=1), TERMS, AT) == held
        assert await books.signer.approve(UUID(int=2), TERMS, AT) == held
        await books.allow_signing()
        assert await books.signer.approve(UUID(int=2), TERMS, AT) == Approved(1)

    async def test_a_wallet_the_chain_knows_better_is_locked(self, books: Books) -> None:
        await books.sign(1)
        await books.sender.reserve(payout(2, chain_nonce=3))
        await books.sender.reserve(payout(3, chain_nonce=1))
        held = await books.signer.approve(UUID(int=2), TERMS, AT)
        assert isinstance(held, Held)
        assert not held.everything
        assert await books.signer.approve(UUID(int=3), TERMS, AT) == held
        assert await books.signer.unsigned(10) == []
        assert await books.sign(4, OTHER_WALLET) == 0

    async def test_a_wallet_new_to_us_but_not_to_the_chain_is_locked_where_it_counts(
        self, books: Books
    ) -> None:
        await books.sender.reserve(payout(1, chain_nonce=2))
        live = replace(TERMS, known_wallets_only=True)
        assert isinstance(await books.signer.approve(UUID(int=1), live, AT), Held)
        assert isinstance(await books.signer.approve(UUID(int=1), TERMS, AT), Held)

    async def test_nothing_is_paid_to_a_wallet_of_ours(self, books: Books) -> None:
        await books.sign(1, OTHER_WALLET)
        await books.sender.reserve(replace(payout(2), destination=OTHER_WALLET))
        assert isinstance(await books.signer.approve(UUID(int=2), TERMS, AT), Refused)

    async def test_bytes_before_a_nonce_are_given_in_order(self, books: Books) -> None:
        for number in (1, 2, 3, 4):
            await books.sign(number)
        await books.sign(5, OTHER_WALLET)
        last = await books.sender.find(UUID(int=4))
        assert last is not None
        sent = await books.sender.signed_before(last, 1)
        assert sent == [bytes_of(2).raw, bytes_of(3).raw]
        assert await books.sender.signed_before(last, 3) == []


class TestMemory(OutgoingSuite):
    @pytest.fixture
    def books(self) -> Books:
        memory = MemoryOutgoing()
        return Books(memory, memory, memory)


@pytest.mark.services
class TestPostgres(OutgoingSuite):
    @pytest.fixture
    async def books(self, migrated: Migrated) -> AsyncIterator[Books]:
        async with (
            Postgres(migrated.app_dsn, name="sender") as app,
            Postgres(migrated.signer_dsn, name="signer") as signer,
        ):
            yield books_on(app, signer, migrated)

    async def refused(self, dsn: str, statement: str) -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(statement.encode())
            await connection.rollback()

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO signer.outgoing_attempts VALUES (gen_random_uuid(), 1, 1, 1, 'a', 'b', now())",
            "UPDATE signer.outgoing_attempts SET raw = 'other'",
            "UPDATE signer.outgoing SET state = 'signed'",
            "UPDATE signer.outgoing SET destination = wallet",
            "UPDATE signer.outgoing SET nonce = 5",
            "DELETE FROM signer.outgoing",
            "TRUNCATE signer.outgoing_attempts",
            "UPDATE signer.wallets SET next_nonce = 99",
            "UPDATE signer.controls SET signing_enabled = true",
            "SELECT signer.allow_signing('please')",
            "ALTER TABLE signer.outgoing DISABLE TRIGGER ALL",
            "INSERT INTO signer.outgoing (refund_id, nonce) VALUES (gen_random_uuid(), 1)",
        ],
    )
    async def test_the_gateway_can_neither_sign_nor_change_what_is_signed(
        self, books: Books, migrated: Migrated, statement: str
    ) -> None:
        await books.sign(1)
        await self.refused(migrated.app_dsn, statement)

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT * FROM es.events",
            "SELECT * FROM ledger.accounts",
            "SELECT * FROM vault.secrets",
            "SELECT * FROM work.deposit_counters",
            "INSERT INTO signer.outgoing (refund_id) VALUES (gen_random_uuid())",
            "UPDATE signer.outgoing SET destination = wallet",
            "UPDATE signer.outgoing SET units = units + 1",
            "DELETE FROM signer.outgoing",
            "UPDATE signer.outgoing_attempts SET raw = 'other'",
            "UPDATE signer.outgoing SET state = 'reserved'",
            "UPDATE signer.wallets SET next_nonce = 0",
            "UPDATE signer.controls SET per_day_micros = 10",
            "SELECT signer.allow_signing('please')",
        ],
    )
    async def test_the_signer_sees_its_own_schema_and_changes_only_what_it_decides(
        self, books: Books, migrated: Migrated, statement: str
    ) -> None:
        await books.sign(1)
        await self.refused(migrated.signer_dsn, statement)

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE signer.outgoing SET destination = wallet",
            "UPDATE signer.outgoing SET state = 'reserved', decided_at = NULL",
            "UPDATE signer.outgoing_attempts SET raw = 'other'",
            "DELETE FROM signer.outgoing_attempts",
            "DELETE FROM signer.outgoing",
            "TRUNCATE signer.outgoing CASCADE",
        ],
    )
    async def test_not_even_the_owner_changes_what_is_signed(
        self, books: Books, migrated: Migrated, statement: str
    ) -> None:
        await books.sign(1)
        await self.refused(migrated.owner_dsn, statement)

    async def test_the_signer_locks_a_wallet_and_only_the_owner_unlocks_it(
        self, books: Books, migrated: Migrated
    ) -> None:
        await books.sign(1)
        await books.sender.reserve(payout(2, chain_nonce=3))
        assert isinstance(await books.signer.approve(UUID(int=2), TERMS, AT), Held)
        await self.refused(migrated.signer_dsn, "UPDATE signer.wallets SET locked = NULL")
        await books.sql("UPDATE signer.wallets SET locked = NULL, next_nonce = 3")
        assert await books.signer.approve(UUID(int=2), TERMS, AT) == Approved(3)
        await self.refused(migrated.owner_dsn, "UPDATE signer.wallets SET next_nonce = 1")

    async def test_the_gateway_may_stop_signing(self, books: Books, migrated: Migrated) -> None:
        await books.sender.reserve(payout(1))
        async with await psycopg.AsyncConnection.connect(migrated.app_dsn) as connection:
            await connection.execute("SELECT signer.stop_signing('alarm')")
        assert isinstance(await books.signer.approve(UUID(int=1), TERMS, AT), Held)

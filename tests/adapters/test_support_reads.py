"""What a support desk asks the database, on the tables as they are."""

import asyncio
from itertools import count
from uuid import UUID

import psycopg
import pytest

from adapters.postgres import Postgres
from adapters.support_reads import STRAYS_MAX, PostgresSupportReads
from application.deciders import transfer_stream_id
from application.ports import Stream
from domain import events as e
from domain import payment
from projections.schema import ensure_schemas
from tests.conftest import Migrated
from tests.examples import (
    CREATED,
    DEPOSIT,
    LATER,
    MERCHANT_ID,
    RECEIVING,
    SEEN,
    SESSION_ID,
    sighting,
)
from tests.ports.reads.conftest import postgres_reads

pytestmark = pytest.mark.services
SIGHTING = """
INSERT INTO ingest.sightings (network, block_hash, transfer_id, block_number, state, attested,
                              sighting, seen_at, changed_at, policy_version, rule_blocks, rule_tag)
VALUES ('local', %s, 't', 1, 'observed', true, %s, now(), now(), %s, %s, %s)
"""


async def test_terms_are_those_of_the_sighting_in_this_block(migrated: Migrated) -> None:
    async with await psycopg.AsyncConnection.connect(migrated.app_dsn) as connection:
        text = SEEN.model_dump_json()
        await connection.execute(SIGHTING, ("0xa", text, 2, 12, None))
        await connection.execute(SIGHTING, ("0xb", text, 3, 1, "finalized"))
    async with Postgres(migrated.app_dsn, name="test-support", max_size=2) as pg:
        reads = PostgresSupportReads(pg)
        first = await reads.terms("local", "0xa", "t")
        second = await reads.terms("local", "0xb", "t")
        assert first is not None
        assert second is not None
        assert (first.policy_version, first.rule.text) == (2, "12 confirmations")
        assert (second.policy_version, second.rule.text) == (3, "a finalized block")
        assert await reads.terms("local", "0xc", "t") is None


async def test_strays_are_the_merchants_own_unmatched_ones_at_the_address(
    migrated: Migrated,
) -> None:
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn)
    async with Postgres(migrated.app_dsn, name="test-support", max_size=4) as pg:
        given = postgres_reads(pg)
        numbers = count(1)

        async def arrive(
            recipient: str,
            merchant_id: UUID | None,
            purpose: str,
            session_id: UUID = SESSION_ID,
        ) -> UUID:
            seen = sighting(log_index=next(numbers), recipient=recipient)
            observed = e.OnchainTransferObserved(at=LATER, report_number=1, sighting=seen)
            whose: e.Event = e.OnchainTransferUnmatched(
                at=LATER,
                transfer_id=seen.transfer_id,
                merchant_id=merchant_id,
                verdict="wrong_token",
                reason="another token",
            )
            if purpose == "payment_session":
                whose = e.OnchainTransferAssigned(
                    at=LATER,
                    transfer_id=seen.transfer_id,
                    purpose="payment_session",
                    subject_id=session_id,
                    merchant_id=MERCHANT_ID,
                    verdict="deposit_address",
                    reason="its own address",
                )
            stream_id = transfer_stream_id(seen.transfer_id)
            await given.append(Stream("onchain_transfer", stream_id), observed, whose)
            return stream_id

        mine = [await arrive(DEPOSIT, MERCHANT_ID, "unmatched") for _ in range(2)]
        await arrive(DEPOSIT, MERCHANT_ID, "payment_session")
        await arrive(DEPOSIT, UUID(int=8), "unmatched")
        await arrive(DEPOSIT, None, "unmatched")
        for _ in range(STRAYS_MAX + 1):
            await arrive(RECEIVING, MERCHANT_ID, "unmatched")
        reads = PostgresSupportReads(pg)
        assert list(await reads.strays(MERCHANT_ID, "local", DEPOSIT)) == mine
        assert await reads.strays(MERCHANT_ID, "other", DEPOSIT) == []
        assert len(await reads.strays(MERCHANT_ID, "local", RECEIVING)) == STRAYS_MAX
        other = UUID(int=9)
        got = [await arrive(DEPOSIT, MERCHANT_ID, "payment_session", other) for _ in range(2)]
        await arrive(RECEIVING, MERCHANT_ID, "payment_session", other)
        session = payment.evolve(None, CREATED)
        assert session.deposit_address == DEPOSIT
        assert list(await reads.elsewhere(session, 0)) == got
        (first, *_) = await given.store.read_stream(Stream("onchain_transfer", got[0]))
        assert list(await reads.elsewhere(session, first.position)) == got[1:]
        assert await reads.elsewhere(session.changed(network="other"), 0) == []
        assert await reads.elsewhere(session.changed(merchant_id=UUID(int=8)), 0) == []

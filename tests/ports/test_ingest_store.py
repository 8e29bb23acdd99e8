"""One suite for the ingester's store: on PostgreSQL, and on its twin."""

import asyncio
from datetime import timedelta

import psycopg
import pytest

from adapters.ingest_store import REPUBLISH_SECONDS_MAX, PostgresIngestStore
from adapters.postgres import Postgres
from application.ingest import Cursor, CursorMoved, Reexamination, Sighted
from application.outside import BusMessage
from application.ports import StoreUnavailable
from tests.conftest import Migrated
from tests.ports.ingesting import (  # the fixtures among them
    AT,
    NETWORK,
    Kit,
    begun,
    database_or_none,
    hash_at,
    header,
    kit,
    orphaning,
    passage,
    reports,
    seen,
)

__all__ = ["database_or_none", "kit"]


async def test_before_the_first_block_there_is_nothing(kit: Kit) -> None:
    assert await kit.store.cursor(NETWORK) is None
    assert await kit.heads.head(NETWORK) is None
    assert list(await kit.store.coverage(NETWORK)) == []
    assert list(await kit.store.unpublished(NETWORK, 10)) == []


async def test_beginning_twice_keeps_the_first_beginning(kit: Kit) -> None:
    assert await begun(kit) == Cursor(9, hash_at(9), 0, 9)
    assert await kit.store.begin(NETWORK, header(50), AT) == Cursor(9, hash_at(9), 0, 9)
    assert await kit.store.header_at(NETWORK, 9) == header(9)


async def test_a_passage_moves_cursor_head_and_coverage_and_keeps_what_was_seen(kit: Kit) -> None:
    cursor = await kit.store.pass_blocks(passage(await begun(kit), header(10), seen(10)))
    assert cursor == Cursor(10, hash_at(10), 1, 9)
    assert await kit.store.cursor(NETWORK) == cursor
    assert await kit.heads.head(NETWORK) == 10
    assert await kit.store.header_at(NETWORK, 10) == header(10)
    assert list(await kit.store.sightings_above(NETWORK, 9)) == [seen(10)]
    assert list(await kit.store.sightings_in(NETWORK, hash_at(10))) == [seen(10)]
    assert list(await kit.store.unpublished(NETWORK, 10)) == list(
        reports(Cursor(9, hash_at(9), 0, 9), 1)
    )


async def test_a_write_decided_upon_an_older_cursor_is_refused_whole(kit: Kit) -> None:
    old = await begun(kit)
    new = await kit.store.pass_blocks(passage(old, header(10)))
    with pytest.raises(CursorMoved):
        await kit.store.pass_blocks(passage(old, header(10, "b"), seen(10, branch="b")))
    with pytest.raises(CursorMoved):
        await kit.store.orphan(orphaning(old, 9))
    assert await kit.store.cursor(NETWORK) == new
    assert list(await kit.store.unpublished(NETWORK, 10)) == []
    assert await kit.store.header_at(NETWORK, 10) == header(10)


async def test_only_deep_enough_and_attested_sightings_wait_for_confirmation(kit: Kit) -> None:
    cursor = await kit.store.pass_blocks(passage(await begun(kit), header(10), seen(10)))
    cursor = await kit.store.pass_blocks(
        passage(cursor, header(11), seen(11, tx="22", attested=False))
    )
    cursor = await kit.store.pass_blocks(passage(cursor, header(12), seen(12, tx="33")))

    async def waiting(up_to: int, *, attested_only: bool, limit: int = 10) -> list[int]:
        found = await kit.store.unconfirmed(
            NETWORK, head=up_to + 2, attested_only=attested_only, limit=limit
        )
        return [each.sighting.block_number for each in found]

    assert await waiting(11, attested_only=True) == [10]
    assert await waiting(11, attested_only=False) == [10, 11]
    assert await waiting(12, attested_only=False, limit=2) == [10, 11]
    await kit.store.pass_blocks(passage(cursor, header(13), confirmed=(seen(10),)))
    assert await waiting(12, attested_only=False) == [11, 12]


async def test_a_sighting_can_be_confirmed_by_its_own_block(kit: Kit) -> None:
    await kit.store.pass_blocks(
        passage(await begun(kit), header(10), seen(10), confirmed=(seen(10),))
    )
    assert not await kit.store.unconfirmed(NETWORK, head=99, attested_only=False, limit=9)


async def test_orphaned_blocks_and_sightings_are_off_the_chain_but_come_back(kit: Kit) -> None:
    cursor = await kit.store.pass_blocks(
        passage(await begun(kit), header(10), seen(10), confirmed=(seen(10),))
    )
    cursor = await kit.store.pass_blocks(passage(cursor, header(11), seen(11, tx="22")))
    cursor = await kit.store.orphan(orphaning(cursor, 9))
    assert cursor == Cursor(9, hash_at(9), 4, 9)
    assert await kit.store.header_at(NETWORK, 10) is None
    assert not await kit.store.sightings_above(NETWORK, 0)
    assert not await kit.store.coverage(NETWORK)
    await kit.store.pass_blocks(passage(cursor, header(10), seen(10)))
    assert await kit.store.header_at(NETWORK, 10) == header(10)
    waiting = await kit.store.unconfirmed(NETWORK, head=12, attested_only=True, limit=9)
    assert list(waiting) == [seen(10)], "once confirmed, then orphaned: to be confirmed again"


async def test_another_block_may_take_the_place_of_an_orphaned_one(kit: Kit) -> None:
    cursor = await kit.store.pass_blocks(passage(await begun(kit), header(10)))
    cursor = await kit.store.orphan(orphaning(cursor, 9))
    await kit.store.pass_blocks(passage(cursor, header(10, "b")))
    assert await kit.store.header_at(NETWORK, 10) == header(10, "b")


async def test_coverage_grows_while_the_same_providers_vouch_and_a_reorg_cuts_it(kit: Kit) -> None:
    cursor = await begun(kit)
    for number in (10, 11, 12):
        cursor = await kit.store.pass_blocks(passage(cursor, header(number)))
    for number in (13, 14):
        cursor = await kit.store.pass_blocks(passage(cursor, header(number, attested=False)))
    ranges = await kit.store.coverage(NETWORK)
    assert [(each.first, each.last, each.attested) for each in ranges] == [
        (10, 12, True),
        (13, 14, False),
    ]
    assert ranges[1].parent_hash == ranges[0].last_hash == hash_at(12)
    cursor = await kit.store.orphan(orphaning(cursor, 11))
    (left,) = await kit.store.coverage(NETWORK)
    assert (left.first, left.last, left.last_hash) == (10, 11, hash_at(11))
    await kit.store.pass_blocks(passage(cursor, header(12, "b")))
    (grown,) = await kit.store.coverage(NETWORK)
    assert (grown.first, grown.last, grown.last_hash) == (10, 12, hash_at(12, "b"))


async def test_a_range_of_blocks_is_one_passage(kit: Kit) -> None:
    end = header(500)
    await kit.store.pass_blocks(passage(await begun(kit), end, seen(77), seen(301, tx="22")))
    (covered,) = await kit.store.coverage(NETWORK)
    assert (covered.first, covered.last, covered.parent_hash) == (10, 500, hash_at(9))
    assert await kit.heads.head(NETWORK) == 500
    assert await kit.store.header_at(NETWORK, 77) is None


async def test_a_block_read_again_through_a_quorum_becomes_attested(kit: Kit) -> None:
    cursor = await kit.store.pass_blocks(
        passage(await begun(kit), header(10, attested=False), seen(10, attested=False))
    )
    assert [each.ref.number for each in await kit.store.unattested(NETWORK, 5)] == [10]
    again = Reexamination(
        network=NETWORK,
        cursor=cursor,
        header=header(10),
        sightings=(seen(10), seen(10, tx="22")),
        reports=reports(cursor, 1),
        at=AT,
    )
    moved = await kit.store.reexamine(again)
    assert moved == Cursor(10, hash_at(10), 2, 9)
    assert not await kit.store.unattested(NETWORK, 5)
    assert await kit.store.header_at(NETWORK, 10) == header(10)
    waiting = await kit.store.unconfirmed(NETWORK, head=12, attested_only=True, limit=9)
    assert list(waiting) == [seen(10), seen(10, tx="22")]
    assert [each.attested for each in await kit.store.coverage(NETWORK)] == [True]


async def test_what_the_block_does_not_hold_after_all_is_orphaned_and_may_be_sighted_anew(
    kit: Kit,
) -> None:
    true, phantom = seen(10, attested=False), seen(10, tx="22", attested=False)
    other = seen(10, tx="33", attested=False)
    cursor = await kit.store.pass_blocks(
        passage(await begun(kit), header(10, attested=False), true, phantom, other)
    )
    again = Reexamination(
        network=NETWORK,
        cursor=cursor,
        header=header(10),
        sightings=(seen(10), changed(seen(10, tx="33"))),
        reports=reports(cursor, 3),
        at=AT,
        unproved=(phantom, other),
    )
    await kit.store.reexamine(again)
    assert list(await kit.store.sightings_in(NETWORK, hash_at(10))) == [
        seen(10),
        changed(seen(10, tx="33")),
    ]
    sighting = phantom.sighting
    purse = (sighting.recipient, sighting.amount.asset)
    received = await kit.store.received(NETWORK, {purse}, above=0)
    assert received[purse] == 2 * sighting.amount.units + 1
    assert phantom.sighting.transfer_id in await kit.store.first_terms(
        NETWORK, [phantom.sighting.transfer_id]
    ), "marked, not deleted"


def changed(one: Sighted) -> Sighted:
    amount = one.sighting.amount.model_copy(update={"units": one.sighting.amount.units + 1})
    return Sighted(one.sighting.model_copy(update={"amount": amount}), one.terms)


async def test_the_newest_block_that_two_vouch_for_is_found_below_those_of_one(kit: Kit) -> None:
    cursor = await begun(kit)
    assert await kit.store.newest_attested(NETWORK, above=8) == header(9)
    cursor = await kit.store.pass_blocks(passage(cursor, header(10)))
    for number in (11, 12):
        cursor = await kit.store.pass_blocks(passage(cursor, header(number, attested=False)))
    assert await kit.store.newest_attested(NETWORK, above=8) == header(10)
    assert await kit.store.newest_attested(NETWORK, above=10) is None
    await kit.store.orphan(orphaning(cursor, 9))
    assert await kit.store.newest_attested(NETWORK, above=8) == header(9)
    assert await kit.store.newest_attested("polygon", above=8) is None


async def test_a_block_that_comes_back_on_one_word_is_to_be_read_again(kit: Kit) -> None:
    cursor = await kit.store.pass_blocks(passage(await begun(kit), header(10), seen(10)))
    cursor = await kit.store.orphan(orphaning(cursor, 9))
    await kit.store.pass_blocks(passage(cursor, header(10, attested=False)))
    assert [each.ref.number for each in await kit.store.unattested(NETWORK, 5)] == [10]


async def test_reports_are_published_once_in_order(kit: Kit) -> None:
    await kit.store.pass_blocks(passage(await begun(kit), header(10), count=5))
    waiting = await kit.store.unpublished(NETWORK, 3)
    assert [report.report_number for report in waiting] == [1, 2, 3]
    assert (waiting[0].message_id, waiting[0].subject, waiting[0].data) == (
        "id-1",
        "chain.local.1",
        b"1",
    )
    await kit.store.mark_published(NETWORK, [1, 2], AT)
    left = await kit.store.unpublished(NETWORK, 10)
    assert [report.report_number for report in left] == [3, 4, 5]


async def test_reports_nobody_recorded_or_parked_become_overdue(kit: Kit) -> None:
    await kit.store.pass_blocks(passage(await begun(kit), header(10), count=4))
    await kit.store.mark_published(NETWORK, [1, 2, 3], AT)

    async def overdue(after: timedelta, limit: int = 10) -> list[int]:
        found = await kit.store.overdue(NETWORK, AT + after, after_seconds=20, limit=limit)
        return [report.report_number for report in found]

    assert await overdue(timedelta(seconds=19)) == []
    await kit.settle("id-1")
    await kit.parked.park("chain", BusMessage("chain.local.2", b"", 5, None, "id-2"), "bad")
    assert await overdue(timedelta(seconds=20)) == [3]
    await kit.store.mark_published(NETWORK, [3], AT + timedelta(seconds=20))
    assert await overdue(timedelta(seconds=59)) == [], "twice as long after the second time"
    assert await overdue(timedelta(seconds=60)) == [3]
    for _ in range(30):
        await kit.store.mark_published(NETWORK, [3], AT)
    assert await overdue(timedelta(seconds=REPUBLISH_SECONDS_MAX)) == [3], "the pause is bounded"


async def test_one_network_does_not_see_anothers_reports(kit: Kit) -> None:
    await kit.store.pass_blocks(passage(await begun(kit), header(10), seen(10)))
    await kit.store.begin("polygon", header(9), AT)
    assert not await kit.store.unpublished("polygon", 10)
    assert not await kit.store.sightings_above("polygon", 0)
    assert await kit.heads.head("polygon") == 9


async def test_one_leads_a_network_and_another_may_follow_it(kit: Kit) -> None:
    lease = await kit.store.lead(NETWORK)
    assert lease is not None
    assert await lease.held()
    assert await kit.store.lead(NETWORK) is None
    elsewhere = await kit.store.lead("polygon")
    assert elsewhere is not None
    await elsewhere.release()
    await lease.release()
    assert not await lease.held()
    again = await kit.store.lead(NETWORK)
    assert again is not None
    await again.release()


async def test_parked_messages_are_kept_once_newest_first(kit: Kit) -> None:
    unnamed = BusMessage("chain.local.odd", b"\x00\xff", 5, None)
    for _ in range(2):
        await kit.parked.park("chain", unnamed, "no report: \x00 in it")
    await kit.parked.park("chain", BusMessage("chain.local.x", b"b", 5, None, "named"), "why")
    kept = {message.message_id: message for message in await kit.parked.list(10)}
    assert len(kept) == 2
    assert kept["named"].error == "why"
    (odd,) = (message for message in kept.values() if message.message_id != "named")
    assert (odd.subject, odd.data) == ("chain.local.odd", b"\x00\xff")
    assert odd.message_id.startswith("sha256:")
    assert len(await kit.parked.list(1)) == 1


# ---------------------------------------------------------------- PostgreSQL only


async def test_a_leader_whose_connection_died_has_lost_the_lease(migrated: Migrated) -> None:
    async with Postgres(migrated.app_dsn, name="test-lease") as postgres:
        store = PostgresIngestStore(postgres)
        lease = await store.lead(NETWORK)
        assert lease is not None
        async with await psycopg.AsyncConnection.connect(migrated.admin_dsn) as admin:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON oid = database "
                "WHERE locktype = 'advisory' AND datname = current_database()"
            )
        async with asyncio.timeout(5):
            while await lease.held():
                await asyncio.sleep(0.01)
        await lease.release()
        again = await store.lead(NETWORK)
        assert again is not None
        await again.release()


async def test_a_database_that_is_away_is_an_outage_and_not_a_crash() -> None:
    async with Postgres("postgresql://nobody@127.0.0.1:9/none", name="test") as postgres:
        store = PostgresIngestStore(postgres)
        with pytest.raises(StoreUnavailable):
            await store.cursor(NETWORK)
        with pytest.raises(StoreUnavailable):
            await store.lead(NETWORK)


async def test_nothing_of_the_record_can_be_deleted_by_the_application(
    migrated: Migrated,
) -> None:
    for table in ("headers", "sightings", "outbox", "coverage", "cursors", "parked"):
        async with await psycopg.AsyncConnection.connect(migrated.app_dsn) as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(f"DELETE FROM ingest.{table}")

"""Policy versions and rules of sightings: on PostgreSQL, and on its twin."""

from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from adapters import migrate
from application.chain_messages import TransferReport, encode_report
from application.ingest import CursorMoved, Sighted, Terms
from domain.money import UINT256_MAX, Amount
from domain.networks import ConfirmationRule, Finality
from tests import examples
from tests.conftest import Migrated
from tests.ports.ingesting import (  # the fixtures among them
    AT,
    NETWORK,
    THREE_BLOCKS,
    Kit,
    begun,
    database_or_none,
    hash_at,
    header,
    kit,
    orphaning,
    passage,
    ripening,
    seen,
    sighting,
)

__all__ = ["database_or_none", "kit"]

TWELVE_BLOCKS = Terms(2, ConfirmationRule(blocks=12))
FINALIZED = Terms(2, ConfirmationRule(tag="finalized"))
SAFE = Terms(3, ConfirmationRule(tag="safe"))


async def waiting(
    kit: Kit, head: int, tag: Finality | None = None, *, attested_only: bool = True
) -> list[Sighted]:
    found = await kit.store.unconfirmed(
        NETWORK, head=head, tag=tag, attested_only=attested_only, limit=10
    )
    return list(found)


async def test_each_sighting_waits_for_as_many_blocks_as_its_own_rule_asks(kit: Kit) -> None:
    quick, slow = seen(10), seen(10, tx="22", terms=TWELVE_BLOCKS)
    await kit.store.pass_blocks(passage(await begun(kit), header(10), quick, slow))
    assert await waiting(kit, 11) == []
    assert await waiting(kit, 12) == [quick]
    assert await waiting(kit, 20) == [quick]
    assert await waiting(kit, 21) == [quick, slow]


async def test_a_sighting_that_waits_for_a_tag_waits_for_no_number_of_blocks(kit: Kit) -> None:
    final, safe = seen(10, terms=FINALIZED), seen(10, tx="22", terms=SAFE)
    await kit.store.pass_blocks(passage(await begun(kit), header(10), final, safe))
    assert await waiting(kit, 10_000) == []
    assert await waiting(kit, 9, "finalized") == []
    assert await waiting(kit, 10, "finalized") == [final]
    assert await waiting(kit, 10, "safe") == [safe]


async def test_tags_are_awaited_from_the_lowest_block_that_needs_them(kit: Kit) -> None:
    async def awaited(*, attested_only: bool) -> dict[Finality, int]:
        return dict(await kit.store.awaited_tags(NETWORK, attested_only=attested_only))

    assert await awaited(attested_only=False) == {}
    doubtful = seen(10, attested=False, terms=FINALIZED)
    cursor = await kit.store.pass_blocks(
        passage(await begun(kit), header(10), doubtful, seen(10, tx="22"))
    )
    sure, safe = seen(11, tx="33", terms=FINALIZED), seen(11, tx="44", terms=SAFE)
    cursor = await kit.store.pass_blocks(passage(cursor, header(11), sure, safe))
    assert await awaited(attested_only=True) == {"finalized": 11, "safe": 11}
    assert await awaited(attested_only=False) == {"finalized": 10, "safe": 11}
    await kit.store.confirm(ripening(cursor, doubtful, sure, safe))
    assert await awaited(attested_only=False) == {}


async def test_what_the_chain_has_made_safe_is_confirmed_once_and_reported(kit: Kit) -> None:
    final = seen(10, terms=FINALIZED)
    before = await kit.store.pass_blocks(passage(await begun(kit), header(10), final))
    after = await kit.store.confirm(ripening(before, final))
    assert (after.number, after.hash, after.report_number) == (10, hash_at(10), 2)
    assert await waiting(kit, 99, "finalized") == []
    assert [each.report_number for each in await kit.store.unpublished(NETWORK, 9)] == [1, 2]
    with pytest.raises(CursorMoved):
        await kit.store.confirm(ripening(before, final))


async def test_it_is_told_which_of_the_orphaned_had_been_confirmed(kit: Kit) -> None:
    safe, fresh = seen(10), seen(10, tx="22")
    await kit.store.pass_blocks(
        passage(await begun(kit), header(10), safe, fresh, confirmed=(safe,))
    )
    above = await kit.store.sightings_above(NETWORK, 9)
    assert list(above) == [replace(safe, confirmed=True), fresh]


async def test_a_transfer_mined_again_finds_the_terms_of_its_first_sighting(kit: Kit) -> None:
    cursor = await kit.store.pass_blocks(passage(await begun(kit), header(10)))
    cursor = await kit.store.pass_blocks(passage(cursor, header(11), seen(11)))
    cursor = await kit.store.orphan(orphaning(cursor, 9))
    transfer = seen(11).sighting.transfer_id
    assert await kit.store.first_terms(NETWORK, {transfer, "unknown"}) == {transfer: THREE_BLOCKS}
    again = seen(10, branch="b", terms=TWELVE_BLOCKS)
    later = replace(passage(cursor, header(10, "b"), again), at=AT + timedelta(seconds=1))
    await kit.store.pass_blocks(later)
    assert await kit.store.first_terms(NETWORK, [transfer]) == {transfer: THREE_BLOCKS}
    assert list(await kit.store.sightings_in(NETWORK, hash_at(10, "b"))) == [again]


async def test_a_block_that_comes_back_keeps_the_version_and_takes_the_new_rule(kit: Kit) -> None:
    cursor = await kit.store.pass_blocks(passage(await begun(kit), header(10), seen(10)))
    cursor = await kit.store.orphan(orphaning(cursor, 9))
    back = Terms(1, ConfirmationRule(tag="finalized"))
    cursor = await kit.store.pass_blocks(passage(cursor, header(10), seen(10, terms=back)))
    assert await waiting(kit, 99, "finalized") == [seen(10, terms=back)]


async def test_all_that_is_canonical_counts_as_received_and_nothing_else(kit: Kit) -> None:
    def of(units: int, number: int, tx: str, branch: str = "a", recipient: str = "dd") -> Sighted:
        found = sighting(number, tx=tx, branch=branch)
        changes = {
            "amount": Amount(units=units, asset=examples.ASSET),
            "recipient": "0x" + recipient * 20,
        }
        return Sighted(found.model_copy(update=changes), THREE_BLOCKS)

    whole, other = ("0x" + "dd" * 20, examples.ASSET), ("0x" + "d0" * 20, examples.ASSET)
    elsewhere = ("0x" + "dd" * 20, examples.OTHER_ASSET)
    first = of(UINT256_MAX, 10, "11")
    cursor = await kit.store.pass_blocks(
        passage(await begun(kit), header(10), first, of(5, 10, "22", recipient="d0"))
    )
    cursor = await kit.store.pass_blocks(
        passage(cursor, header(11), of(7, 11, "33"), confirmed=(first,))
    )
    assert await kit.store.received(NETWORK, {whole, other, elsewhere}, above=0) == {
        whole: UINT256_MAX + 7,
        other: 5,
        elsewhere: 0,
    }
    assert await kit.store.received("polygon", {whole}, above=0) == {whole: 0}
    assert await kit.store.received(NETWORK, {whole}, above=10) == {whole: 7}
    assert await kit.store.received(NETWORK, {whole}, above=11) == {whole: 0}
    await kit.store.orphan(orphaning(cursor, 10))
    assert await kit.store.received(NETWORK, {whole}, above=0) == {whole: UINT256_MAX}


async def test_the_newest_header_at_or_below_a_height_is_found_over_a_range(kit: Kit) -> None:
    assert await kit.store.newest_header(NETWORK, 99) is None
    cursor = await kit.store.pass_blocks(passage(await begun(kit), header(500)))
    await kit.store.pass_blocks(passage(cursor, header(501)))
    assert await kit.store.newest_header(NETWORK, 8) is None
    assert await kit.store.newest_header(NETWORK, 499) == header(9)
    assert await kit.store.newest_header(NETWORK, 500) == header(500)
    assert await kit.store.newest_header(NETWORK, 10_000) == header(501)


# ---------------------------------------------------------------- PostgreSQL only

_BEFORE = """
DROP INDEX ingest.sightings_due, ingest.sightings_awaiting, ingest.sightings_received;
ALTER TABLE ingest.sightings
    DROP COLUMN policy_version, DROP COLUMN rule_blocks, DROP COLUMN rule_tag,
    DROP COLUMN recipient, DROP COLUMN asset, DROP COLUMN units;
CREATE INDEX sightings_unconfirmed ON ingest.sightings (network, block_number)
    WHERE state = 'observed';
"""
_SIGHTING = """
INSERT INTO ingest.sightings (network, block_hash, transfer_id, block_number, state, attested,
    sighting, seen_at, changed_at)
VALUES (%s, %s, %s, %s, 'observed', true, %s, now(), now())
"""
_REPORT = """
INSERT INTO ingest.outbox (network, report_number, message_id, subject, data, created_at)
VALUES (%s, %s, %s, 'x', %s, now())
"""


async def test_rows_from_before_get_the_rule_their_reports_speak_of(migrated: Migrated) -> None:
    """The table as revision 0004 left it, with rows in it; then 0005 once more."""
    module = "adapters.migrations.versions.v0005_confirmation_rules"
    revision = __import__(module, fromlist=["COLUMNS"])
    rows = [("polygon", 1, 64), ("ethereum", 1, 3), ("local", 1, 3), ("local", 1_000_012, 12)]
    async with await psycopg.AsyncConnection.connect(migrated.admin_dsn) as connection:
        await connection.execute(f"SET ROLE {migrate.OWNER}")
        await connection.execute(_BEFORE)
        for number, (network, version, _) in enumerate(rows, start=10):
            old = sighting(number, tx=str(number)).model_copy(update={"network": network})
            place = (network, old.block_hash, old.transfer_id, old.block_number)
            await connection.execute(_SIGHTING, (*place, old.model_dump_json()))
            told = TransferReport(
                kind="observed",
                message_id=f"id-{number}",
                report_number=number,
                at=AT,
                sighting=old,
                confirmations=1,
                policy_version=version,
            )
            report = (network, number, told.message_id, encode_report(told))
            await connection.execute(_REPORT, report)
        for part in (revision.COLUMNS, revision.BACKFILL, revision.INDEXES):
            await connection.execute(part)
        found = await connection.execute(
            "SELECT network, policy_version, rule_blocks FROM ingest.sightings "
            "WHERE rule_tag IS NULL AND recipient = %s AND units = 10000000 ORDER BY block_number",
            (examples.DEPOSIT,),
        )
        assert await found.fetchall() == rows


async def test_an_ingester_of_the_release_before_can_guess_no_rule(migrated: Migrated) -> None:
    old = sighting(10)
    place = (NETWORK, old.block_hash, old.transfer_id, old.block_number)
    async with await psycopg.AsyncConnection.connect(migrated.app_dsn) as connection:
        with pytest.raises(psycopg.errors.NotNullViolation):
            await connection.execute(_SIGHTING, (*place, old.model_dump_json()))


async def test_the_questions_of_every_block_are_answered_from_indexes(migrated: Migrated) -> None:
    plans = {
        "sightings_due": "state = 'observed' AND rule_tag IS NULL "
        "AND network = 'local' AND block_number + rule_blocks <= 13",
        "sightings_awaiting": "state = 'observed' AND network = 'local' "
        "AND rule_tag = 'finalized' AND block_number <= 12",
        "sightings_received": "state <> 'orphaned' AND network = 'local' "
        "AND recipient = 'a' AND asset = 'b'",
        "sightings_transfer": "network = 'local' AND transfer_id = ANY('{a}')",
    }
    async with await psycopg.AsyncConnection.connect(migrated.owner_dsn) as connection:
        await connection.execute("SET LOCAL enable_seqscan = off")
        for index, condition in plans.items():
            query = f"EXPLAIN SELECT FROM ingest.sightings WHERE {condition}"
            lines = await (await connection.execute(query)).fetchall()
            plan = " ".join(line[0] for line in lines)
            assert index in plan, plan

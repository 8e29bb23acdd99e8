"""How far a chain has been read and recorded, as PostgreSQL and its twin tell it."""

from datetime import datetime, timedelta
from typing import Literal

from application.chain_messages import TransferReport, encode_report, subject_of
from application.ingest import Cursor, StoredReport
from application.outside import BusMessage
from application.reads import Passed
from domain.events import Sighting
from tests.ports.ingesting import (  # the fixtures among them
    AT,
    NETWORK,
    Kit,
    begun,
    database_or_none,
    header,
    kit,
    orphaning,
    passage,
    sighting,
)

__all__ = ["database_or_none", "kit"]
SOURCE = "chain"


def mined(number: int) -> datetime:
    return AT + timedelta(seconds=number)


def sighted(number: int, tx: str = "11") -> Sighting:
    return sighting(number, tx=tx).model_copy(update={"block_time": mined(number)})


def report(
    number: int, sighting: Sighting, kind: Literal["observed", "confirmed"] = "observed"
) -> StoredReport:
    told = TransferReport(
        kind=kind,
        message_id=f"id-{number}",
        report_number=number,
        at=AT,
        sighting=sighting,
        confirmations=1,
        policy_version=1,
    )
    return StoredReport(number, told.message_id, subject_of(told), encode_report(told))


async def pass_one(kit: Kit, cursor: Cursor, number: int, *reports: StoredReport) -> Cursor:
    bare = passage(cursor, header(number), count=0)
    values = {name: getattr(bare, name) for name in bare.__slots__}
    return await kit.store.pass_blocks(type(bare)(**{**values, "reports": reports}))


async def test_before_the_first_block_nothing_is_passed(kit: Kit) -> None:
    assert await kit.heads.passed(NETWORK) is None


async def test_blocks_without_payments_move_the_time_of_the_chain(kit: Kit) -> None:
    cursor = await begun(kit)
    assert await kit.heads.passed(NETWORK) == Passed(9, header(9).ref.hash, mined(9), None)
    await pass_one(kit, cursor, 10)
    assert await kit.heads.passed(NETWORK) == Passed(10, header(10).ref.hash, mined(10), None)


async def test_a_reorg_takes_the_time_back(kit: Kit) -> None:
    cursor = await pass_one(kit, await begun(kit), 10)
    await kit.store.orphan(orphaning(cursor, 9))
    assert await kit.heads.passed(NETWORK) == Passed(9, header(9).ref.hash, mined(9), None)


async def test_a_payment_is_on_its_way_until_its_report_is_recorded(kit: Kit) -> None:
    cursor = await begun(kit)
    cursor = await pass_one(kit, cursor, 10, report(1, sighted(10)), report(2, sighted(10, "22")))
    await pass_one(kit, cursor, 11, report(3, sighted(11, "33")))
    assert await kit.heads.passed(NETWORK) == Passed(11, header(11).ref.hash, mined(11), mined(10))
    await kit.store.mark_published(NETWORK, [1, 2, 3], AT)
    assert await kit.heads.passed(NETWORK) == Passed(11, header(11).ref.hash, mined(11), mined(10))
    await kit.settle("id-1")
    await kit.settle("id-2")
    assert await kit.heads.passed(NETWORK) == Passed(11, header(11).ref.hash, mined(11), mined(11))
    await kit.settle("id-3")
    assert await kit.heads.passed(NETWORK) == Passed(11, header(11).ref.hash, mined(11), None)
    await kit.store.overdue(NETWORK, AT, after_seconds=1, limit=1)  # marks what is settled
    assert await kit.heads.passed(NETWORK) == Passed(11, header(11).ref.hash, mined(11), None)


async def test_a_parked_report_holds_nothing_up_any_more(kit: Kit) -> None:
    told = report(1, sighted(10))
    await pass_one(kit, await begun(kit), 10, told)
    message = BusMessage(told.subject, told.data, 5, None, told.message_id)
    await kit.parked.park(SOURCE, message, "no number of tries")
    assert await kit.heads.passed(NETWORK) == Passed(10, header(10).ref.hash, mined(10), None)


async def test_only_first_sightings_count_as_payments_on_their_way(kit: Kit) -> None:
    unreadable = StoredReport(2, "id-2", "chain.local.transfer.observed", b"\xff")
    confirmed = report(1, sighted(10), "confirmed")
    await pass_one(kit, await begun(kit), 10, confirmed, unreadable)
    assert await kit.heads.passed(NETWORK) == Passed(10, header(10).ref.hash, mined(10), None)


async def test_a_block_passed_on_one_word_is_named_until_a_quorum_has_read_it(kit: Kit) -> None:
    cursor = await begun(kit)
    cursor = await kit.store.pass_blocks(passage(cursor, header(10, attested=False), count=0))
    await kit.store.pass_blocks(passage(cursor, header(11), count=0))
    assert await kit.heads.passed(NETWORK) == Passed(
        11, header(11).ref.hash, mined(11), None, mined(10)
    )

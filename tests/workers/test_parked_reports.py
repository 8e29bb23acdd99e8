"""A report that cannot be applied is set aside, holds up nobody, and is settled once it can be."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import pytest

from adapters.memory.parked import MemoryParkedMessages
from application.chain_messages import (
    PARKED_AFTER_DELIVERIES,
    SOURCE,
    ChainReport,
    TransferReport,
    encode_report,
    subject_of,
)
from application.parked import RETRIED_MAX, ParkedReports, ParkedUnknown
from application.ports import Unavailable
from application.settlement import Foreseen
from domain.errors import ReasonMissing
from tests.application.test_settlement import Shop, report
from workers.settlement import SettlementWorker

ROUNDS = 40
ROUND_SECONDS = 1.0


class Poisoned:
    """Settlement with a bug that some reports run into, until it is mended."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.poison: set[str] = set()
        self.away = False
        self.settled: dict[str, datetime] = {}

    async def look_ahead(
        self, network: str, reports: Sequence[TransferReport]
    ) -> Mapping[str, Foreseen]:
        return await self._shop.settlement.look_ahead(network, reports)

    async def apply(self, told: ChainReport, foreseen: Foreseen | None = None) -> bool:
        if self.away:
            raise Unavailable("postgresql", "away")
        if told.message_id in self.poison:
            raise KeyError("a bug")
        first = await self._shop.settlement.apply(told, foreseen)
        self.settled[told.message_id] = self._shop.world.clock.now()
        return first


class Place:
    def __init__(self) -> None:
        self.shop = Shop()
        self.clock = self.shop.world.clock
        self.bus = self.shop.world.bus
        self.settlement = Poisoned(self.shop)
        self.parked = MemoryParkedMessages(self.clock)
        self.worker = SettlementWorker(
            "local",
            self.bus,
            self.settlement,  # type: ignore[arg-type]  # these two are all that is used
            self.parked,
            self.clock,
        )
        self.reports = ParkedReports(self.parked, self.settlement, self.clock)

    async def paid(self, number: int) -> TransferReport:
        session = await self.shop.open()
        seen = self.shop.seen(
            session, transfer_id=f"31337:0x{number:064x}:0", tx_hash=f"0x{number:064x}"
        )
        return report("confirmed", number, seen)

    async def tell(self, *told: TransferReport) -> None:
        for each in told:
            data = encode_report(each)
            await self.bus.publish(subject_of(each), data, message_id=each.message_id)

    async def work(self, rounds: int = ROUNDS) -> None:
        for _ in range(rounds):
            pulled = await self.bus.pull("chain.>", "settle", limit=100, wait_seconds=0.001)
            await self.worker.settle(pulled)
            self.clock.advance(ROUND_SECONDS)

    async def waiting(self) -> Sequence[str]:
        return [each.message_id for each in await self.parked.list(10)]


@pytest.fixture
def place() -> Place:
    return Place()


async def test_a_poison_report_is_parked_and_its_neighbours_wait_no_longer_than_without_it() -> (
    None
):
    async def moments(poisoned: int) -> dict[str, float]:
        fresh = Place()
        told = [await fresh.paid(number) for number in range(1, 8)]
        fresh.settlement.poison = {each.message_id for each in told[:poisoned]}
        began = fresh.clock.now()
        await fresh.tell(*told)
        await fresh.work()
        assert len(await fresh.waiting()) == poisoned
        settled = fresh.settlement.settled
        return {
            each.message_id: (settled[each.message_id] - began).total_seconds()
            for each in told[1:]
        }

    assert await moments(poisoned=1) == await moments(poisoned=0)


async def test_it_is_parked_after_five_tries_and_not_before(place: Place) -> None:
    told = await place.paid(1)
    place.settlement.poison = {told.message_id}
    await place.tell(told)
    tries = 0
    while not await place.waiting():
        pulled = await place.bus.pull("chain.>", "settle", limit=100, wait_seconds=0.001)
        tries += len(pulled)
        await place.worker.settle(pulled)
        place.clock.advance(ROUND_SECONDS)
    assert tries == PARKED_AFTER_DELIVERIES


async def test_once_mended_a_retry_settles_it_and_a_second_one_adds_nothing(place: Place) -> None:
    told = await place.paid(1)
    place.settlement.poison = {told.message_id}
    await place.tell(told)
    await place.work()
    place.settlement.poison.clear()
    message = await place.reports.retry(told.message_id, "release 7 knows this token")
    assert (message.outcome, message.retries, message.settled) == ("settled", 1, True)
    assert (message.retry_reason, message.retried_at) == (
        "release 7 knows this token",
        place.clock.now(),
    )
    assert message.error.startswith("KeyError"), "why it was parked is not forgotten"
    assert await place.waiting() == []
    before = await place.shop.world.store.head()
    assert await place.reports.retry(told.message_id, "again") == message
    assert await place.shop.world.store.head() == before
    kept = await place.parked.list(10, settled=True)
    assert [each.message_id for each in kept] == [told.message_id]
    assert (await place.shop.balances())["merchant_payable"] < 0, "the money is booked"


async def test_one_that_is_still_poison_stays_parked_with_the_new_reason(place: Place) -> None:
    told = await place.paid(1)
    place.settlement.poison = {told.message_id}
    await place.tell(told)
    await place.work()
    for retries in (1, 2):
        message = await place.reports.retry(told.message_id, "perhaps now")
        assert (message.outcome, message.retries) == ("failed", retries)
        assert message.retry_error == "KeyError: 'a bug'"
        assert await place.waiting() == [told.message_id]


async def test_bytes_that_are_no_report_cannot_be_retried_into_one(place: Place) -> None:
    await place.bus.publish("chain.local.transfer.observed", b"junk", message_id="junk")
    await place.work(1)
    message = await place.reports.retry("junk", "hope")
    assert message.outcome == "failed"
    assert message.retry_error is not None
    assert message.retry_error.startswith("MessageMalformed")


async def test_a_redelivery_that_settled_it_meanwhile_is_seen(place: Place) -> None:
    told = await place.paid(1)
    place.settlement.poison = {told.message_id}
    await place.tell(told)
    await place.work()
    place.settlement.poison.clear()
    place.bus.wipe()  # a consumer made anew reads the stream from its beginning
    await place.tell(told)
    await place.work(1)
    message = await place.reports.retry(told.message_id, "mended")
    assert message.outcome == "already_settled"


async def test_all_are_retried_oldest_first_and_only_those_that_wait(place: Place) -> None:
    told = [await place.paid(number) for number in (1, 2, 3)]
    place.settlement.poison = {each.message_id for each in told}
    for each in told:
        await place.tell(each)
        await place.work()
    place.settlement.poison = {told[1].message_id}
    done = [each async for each in place.reports.retry_all("mended")]
    assert [each.message_id for each in done] == [each.message_id for each in told]
    assert [each.outcome for each in done] == ["settled", "failed", "settled"]
    done = [each async for each in place.reports.retry_all("mended more")]
    assert [each.message_id for each in done] == [told[1].message_id]
    assert len(told) <= RETRIED_MAX


async def test_an_outage_is_no_try_and_writes_nothing_down(place: Place) -> None:
    told = await place.paid(1)
    place.settlement.poison = {told.message_id}
    await place.tell(told)
    await place.work()
    place.settlement.away = True
    with pytest.raises(Unavailable):
        await place.reports.retry(told.message_id, "mended")
    found = await place.parked.find(SOURCE, told.message_id)
    assert found is not None
    assert (found.retries, found.outcome) == (0, None)


async def test_a_retry_needs_a_reason_and_something_parked(place: Place) -> None:
    with pytest.raises(ParkedUnknown, match="nothing"):
        await place.reports.retry("nothing", "why not")
    await place.bus.publish("chain.local.transfer.observed", b"junk", message_id="junk")
    await place.work(1)
    with pytest.raises(ReasonMissing):
        await place.reports.retry("junk", "  ")
    with pytest.raises(ReasonMissing):
        assert [each async for each in place.reports.retry_all(" ")] == []

"""The settlement worker: acks after the commit, waits through outages, parks what is no report."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from adapters.memory.clock import FakeClock
from application.chain_messages import (
    PARKED_AFTER_DELIVERIES,
    TransferReport,
    encode_report,
    subject_of,
)
from application.outside import BusMessage
from application.ports import Unavailable
from application.settlement import Foreseen
from tests.examples import AT, sighting
from workers.settlement import SettlementWorker

REPORT = TransferReport(
    kind="observed",
    message_id="m-1",
    report_number=1,
    at=AT,
    sighting=sighting(),
    confirmations=1,
    policy_version=1,
)


@dataclass
class Desk:
    """Stands in for bus, settlement and parked messages, and writes down what happened."""

    log: list[str] = field(default_factory=list)
    failure: Exception | None = None
    blind: Exception | None = None  # what looking ahead fails with

    async def look_ahead(
        self, network: str, reports: Sequence[TransferReport]
    ) -> dict[str, Foreseen]:
        self.log.append(f"look ahead {network} {len(reports)}")
        if self.blind is not None:
            raise self.blind
        return {}

    async def apply(self, report: TransferReport, foreseen: Foreseen | None) -> bool:
        assert foreseen is None
        self.log.append(f"apply {report.message_id}")
        if self.failure is not None:
            raise self.failure
        return True

    async def ack(self, _: BusMessage) -> None:
        self.log.append("ack")

    async def retry_later(self, _: BusMessage, delay_seconds: float) -> None:
        self.log.append(f"retry in {delay_seconds:g}")

    async def give_up(self, _: BusMessage) -> None:
        self.log.append("give up")

    async def park(self, source: str, _: BusMessage, error: str) -> None:
        self.log.append(f"park {source}: {error.split(':', maxsplit=1)[0]}")

    async def pull(self, *_: object, **__: object) -> Sequence[BusMessage]:
        self.log.append("pull")
        raise Unavailable("nats", "away")


def worker(desk: Desk, clock: FakeClock | None = None) -> SettlementWorker:
    return SettlementWorker("local", desk, desk, desk, clock or FakeClock(AT))  # type: ignore[arg-type]  # one desk for all


def message(data: bytes = encode_report(REPORT), deliveries: int = 1) -> BusMessage:
    return BusMessage(subject_of(REPORT), data, deliveries, None)


async def test_a_report_is_acked_after_it_is_applied() -> None:
    desk = Desk()
    await worker(desk).settle([message()])
    assert desk.log == ["apply m-1", "ack"]


async def test_an_outage_puts_the_report_back_and_is_passed_on() -> None:
    desk = Desk(failure=Unavailable("postgresql", "away"))
    with pytest.raises(Unavailable):
        await worker(desk).settle([message(deliveries=PARKED_AFTER_DELIVERIES + 10)])
    assert desk.log == ["apply m-1", "retry in 1"]


async def test_a_report_that_keeps_failing_is_parked_and_then_given_up() -> None:
    desk = Desk(failure=KeyError("a bug"))
    await worker(desk).settle([message(deliveries=2)])
    assert desk.log == ["apply m-1", "retry in 2"]
    desk.log.clear()
    await worker(desk).settle([message(deliveries=PARKED_AFTER_DELIVERIES)])
    assert desk.log == ["apply m-1", "park chain: KeyError", "give up"]


async def test_bytes_that_are_no_report_are_parked_at_once_and_hold_up_nobody() -> None:
    desk = Desk()
    await worker(desk).settle([message(b"\x00junk"), message()])
    assert desk.log == ["park chain: chain.local.transfer.observed", "give up", "apply m-1", "ack"]


async def test_the_worker_waits_for_the_bus_and_stops_when_told() -> None:
    desk, clock, stop = Desk(), FakeClock(AT), asyncio.Event()
    running = asyncio.create_task(worker(desk, clock).run(stop))
    for _ in range(3):
        for _ in range(5):
            await asyncio.sleep(0)
        clock.advance(1)
    stop.set()
    for _ in range(5):
        await asyncio.sleep(0)
    clock.advance(1)
    await running
    assert desk.log.count("pull") >= 3


async def test_a_pull_is_looked_at_beforehand_as_one_and_each_report_acked_after_its_own() -> None:
    desk = Desk()
    await worker(desk).settle([message(), message()])
    assert desk.log == ["look ahead local 2", "apply m-1", "ack", "apply m-1", "ack"]


@pytest.mark.parametrize("blind", [Unavailable("postgresql", "away"), KeyError("a bug")])
async def test_reports_are_applied_where_looking_ahead_fails(blind: Exception) -> None:
    desk = Desk(blind=blind)
    await worker(desk).settle([message(), message()])
    assert desk.log[1:] == ["apply m-1", "ack", "apply m-1", "ack"]

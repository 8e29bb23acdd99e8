"""One merchant of twins, whose payments, refunds and inbox a test writes by the moment."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.ledger import MemoryLedger
from adapters.memory.store import MemoryEventStore
from application.deciders import (
    PAYMENT,
    REFUND,
    REFUND_FLOAT,
    TRANSFER,
    float_id,
    transfer_stream_id,
)
from application.handling import Handler, UnitOfWork
from application.ports import Context
from application.statements import (
    Month,
    Statement,
    Statements,
)
from domain import commands as c
from domain.money import Amount
from domain.networks import KNOWN_NETWORKS, NetworkBook
from domain.values import Mode
from tests.examples import (
    ASSET,
    BOOK,
    GAS,
    MERCHANT_ID,
    WALLET,
    block_hash,
    sighting,
)

REFUND_ID = UUID(int=0xC3)


def at(month: int, day: int, hour: int = 12, second: int = 0) -> datetime:
    return datetime(2026, month, day, hour, 0, second, tzinfo=UTC)


@dataclass
class Shop:
    """One merchant of twins whose clock is set by the test."""

    clock: FakeClock
    handler: Handler
    statements: Statements
    reports: int = 0

    def go(self, moment: datetime) -> None:
        self.clock.advance((moment - self.clock.now()).total_seconds())

    async def do(self, work: Callable[[UnitOfWork], Awaitable[None]], mode: Mode = "test") -> None:
        context = Context(actor="system", merchant_id=MERCHANT_ID, mode=mode)
        await self.handler.execute(context, work)

    async def pay(
        self, number: int, amount: Amount, due: Amount | None = None, mode: Mode = "test"
    ) -> None:
        """A session and one transfer for it, observed and confirmed now."""
        seen = sighting(amount, tx=f"{number:02x}", block_time=self.clock.now())

        async def work(unit: UnitOfWork) -> None:
            create = c.CreateSession(
                at=unit.now,
                session_id=UUID(int=number),
                merchant_id=MERCHANT_ID,
                mode=mode,
                network="local",
                due=due or amount,
                pay_by="deposit_address",
                tolerance=amount.model_copy(update={"units": 0}),
                deposit_address=f"0x{number:040x}",
                deposit_index=number,
                expires_at=unit.now + timedelta(hours=1),
                grace_seconds=3600,
                metadata={},
            )
            await unit.decide(PAYMENT, UUID(int=number), create)
            await unit.decide(
                PAYMENT, UUID(int=number), c.ObserveTransfer(at=unit.now, sighting=seen)
            )
            confirm = c.ConfirmTransfer(
                at=unit.now,
                transfer_id=seen.transfer_id,
                block_hash=seen.block_hash,
                confirmations=3,
                policy_version=1,
                rule="3 confirmations",
            )
            await unit.decide(PAYMENT, UUID(int=number), confirm)

        await self.do(work, mode)

    async def reverse(self, number: int) -> None:
        seen = sighting(tx=f"{number:02x}")

        async def work(unit: UnitOfWork) -> None:
            command = c.RetractTransfer(
                at=unit.now, transfer_id=seen.transfer_id, block_hash=seen.block_hash
            )
            await unit.decide(PAYMENT, UUID(int=number), command)

        await self.do(work)

    async def top_up(self, amount: Amount, mode: Mode = "test") -> None:
        async def work(unit: UnitOfWork) -> None:
            command = c.TopUpFloat(at=unit.now, transfer_id="top-up", amount=amount)
            stream = float_id(MERCHANT_ID, mode, amount.asset)
            await unit.decide(REFUND_FLOAT, stream, command, merchant_id=MERCHANT_ID, mode=mode)

        await self.do(work, mode)

    async def request_refund(self, number: int, amount: Amount) -> None:
        async def work(unit: UnitOfWork) -> None:
            reserve = c.ReserveRefund(at=unit.now, refund_id=REFUND_ID, amount=amount)
            await unit.decide(PAYMENT, UUID(int=number), reserve)
            stream = float_id(MERCHANT_ID, "test", amount.asset)
            held = c.ReserveFloat(at=unit.now, refund_id=REFUND_ID, amount=amount)
            await unit.decide(REFUND_FLOAT, stream, held, merchant_id=MERCHANT_ID, mode="test")
            request = c.RequestRefund(
                at=unit.now,
                refund_id=REFUND_ID,
                session_id=UUID(int=number),
                transfer_id=None,
                merchant_id=MERCHANT_ID,
                mode="test",
                network="local",
                amount=amount,
                destination="0x" + "ff" * 20,
                wallet=WALLET,
                wallet_index=1,
            )
            await unit.decide(REFUND, REFUND_ID, request)

        await self.do(work)

    async def finish_refund(self, number: int, asset: str = ASSET) -> None:
        tx_hash = "0x" + "22" * 32

        async def work(unit: UnitOfWork) -> None:
            mined = c.RecordRefundMined(
                at=unit.now,
                tx_hash=tx_hash,
                block_number=110,
                block_hash=block_hash(110),
                confirmations=3,
                gas=GAS,
            )
            await unit.decide(REFUND, REFUND_ID, mined)
            settle = c.SettleRefund(at=unit.now, refund_id=REFUND_ID, tx_hash=tx_hash)
            await unit.decide(PAYMENT, UUID(int=number), settle)
            stream = float_id(MERCHANT_ID, "test", asset)
            spend = c.SpendFloat(at=unit.now, refund_id=REFUND_ID)
            await unit.decide(REFUND_FLOAT, stream, spend, merchant_id=MERCHANT_ID, mode="test")

        await self.do(work)

    async def stray(self, number: int, kind: str = "confirmed") -> None:
        """A transfer that is nobody's yet, or the next report of it."""
        seen = sighting(tx=f"{number:02x}", recipient="0x" + "cc" * 20)
        self.reports += 1
        given: dict[str, Any] = {
            "at": self.clock.now(),
            "report_number": self.reports,
            "sighting": seen,
            "attribution": c.Attribution(
                purpose="unmatched",
                subject_id=None,
                merchant_id=MERCHANT_ID,
                verdict="unknown_sender",
                reason="sent by somebody no session knows",
            ),
        }
        report: c.TransferCommand
        match kind:
            case "observed":
                report = c.ReportObserved(**given)
            case "retracted":
                report = c.ReportRetracted(**given)
            case _:
                report = c.ReportConfirmed(
                    **given, confirmations=3, policy_version=1, rule="3 confirmations"
                )

        async def work(unit: UnitOfWork) -> None:
            await unit.decide(TRANSFER, transfer_stream_id(seen.transfer_id), report, mode="test")

        await self.do(work)

    async def accept(self, number: int) -> None:
        stream_id = transfer_stream_id(sighting(tx=f"{number:02x}").transfer_id)

        async def work(unit: UnitOfWork) -> None:
            command = c.AcceptTransfer(at=unit.now, reason="a tip")
            await unit.decide(TRANSFER, stream_id, command, mode="test")

        await self.do(work)

    async def month(self, month: Month) -> Statement:
        return await self.statements.statement(MERCHANT_ID, "test", month)


def new_shop() -> Shop:
    clock = FakeClock(at(11, 2))
    store = MemoryEventStore(ids=SeededIds(1), clock=clock)
    networks = NetworkBook(networks=(*BOOK.networks, *KNOWN_NETWORKS))
    statements = Statements(MemoryLedger(store.log), networks, clock)
    return Shop(clock, Handler(store, clock), statements)

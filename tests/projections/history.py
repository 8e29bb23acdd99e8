"""A seeded history of merchants, payments, refunds and deliveries, decided by the real domain.

Shapes  Every step is one unit of work through application.handling, so journal entries, floats
        and streams are those of production. The same seed gives the same facts.
"""

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

from adapters.memory.clock import FakeClock
from application.deciders import (
    DELIVERY,
    MERCHANT,
    PAYMENT,
    REFUND,
    REFUND_FLOAT,
    TRANSFER,
    float_id,
    transfer_stream_id,
)
from application.handling import Handler, UnitOfWork
from application.ports import Context
from domain import commands as c
from domain.events import Sighting
from domain.values import Mode, derived_id
from tests.examples import ASSET, GAS, LOCAL, block_hash, sighting, usd

MERCHANTS = 3
REFERENCES = ("order-1", "order-2", None)
Work = Callable[[UnitOfWork], Awaitable[None]]


class History:
    def __init__(self, handler: Handler, clock: FakeClock, seed: int) -> None:
        self._handler = handler
        self._clock = clock
        self._random = random.Random(seed)
        self._seed = seed
        self._count = 0
        self.merchants: list[UUID] = []
        self.sessions: list[tuple[UUID, UUID, Mode, Sighting | None]] = []
        self.refunds: list[UUID] = []
        self.deliveries: list[UUID] = []

    async def write(self, steps: int) -> None:
        for _ in range(MERCHANTS if not self.merchants else 0):
            await self._merchant()
        choices: tuple[tuple[Callable[[], Awaitable[None]], int], ...] = (
            (self._session, 5),
            (self._observe, 5),
            (self._confirm, 4),
            (self._retract, 1),
            (self._end, 1),
            (self._refund, 2),
            (self._advance_refund, 3),
            (self._deliver, 2),
            (self._attempt, 3),
            (self._stray_transfer, 1),
        )
        kinds, weights = zip(*choices, strict=True)
        for _ in range(steps):
            self._clock.advance(1)
            await self._random.choices(kinds, weights)[0]()

    def _id(self, kind: str) -> UUID:
        self._count += 1
        return derived_id(kind, str(self._seed), str(self._count))

    def _address(self) -> str:
        return "0x" + self._random.randbytes(20).hex()

    async def _do(self, work: Work, merchant_id: UUID, mode: Mode = "test") -> None:
        context = Context(actor="system", merchant_id=merchant_id, mode=mode)
        await self._handler.execute(context, work)

    async def _merchant(self) -> None:
        merchant_id = self._id("merchant")
        address, number = self._address(), self._count

        async def work(unit: UnitOfWork) -> None:
            at = unit.now
            keys = [derived_id("key", merchant_id.hex, str(each)) for each in range(2)]
            endpoints = [derived_id("endpoint", merchant_id.hex, str(each)) for each in range(3)]
            commands: list[c.MerchantCommand] = [
                c.RegisterMerchant(at=at, merchant_id=merchant_id, display_name=f"Shop {number}"),
                c.ConfigureWallet(at=at, mode="test", extended_public_key=f"xpub{number}"),
                c.AssignRefundWallet(at=at, mode="test", index=number, address=address),
            ]
            commands.extend(
                c.CreateApiKey(
                    at=at,
                    key_id=key_id,
                    mode="test",
                    key_hash=key_id.hex * 2,
                    last4="abcd",
                    scopes=("read", "write"),
                    label="till",
                )
                for key_id in keys
            )
            commands.extend(
                c.CreateEndpoint(
                    at=at,
                    endpoint_id=endpoint_id,
                    mode="test",
                    url="https://shop.example/hooks",
                    event_types=("payment.completed",),
                    secret_id=endpoint_id,
                )
                for endpoint_id in endpoints
            )
            commands += [
                c.RevokeApiKey(at=at, key_id=keys[0]),
                c.DeleteEndpoint(at=at, endpoint_id=endpoints[0]),
                c.DisableEndpoint(at=at, endpoint_id=endpoints[1], reason="answered 410"),
            ]
            for command in commands:
                await unit.decide(MERCHANT, merchant_id, command)
            stream_id = float_id(merchant_id, "test", ASSET)
            top_up = c.TopUpFloat(at=at, transfer_id=f"top-up-{number}", amount=usd("100000.00"))
            await unit.decide(
                REFUND_FLOAT, stream_id, top_up, merchant_id=merchant_id, mode="test"
            )

        await self._do(work, merchant_id)
        self.merchants.append(merchant_id)

    async def _session(self) -> None:
        session_id, address = self._id("session"), self._address()
        merchant_id = self._random.choice(self.merchants)
        mode: Mode = self._random.choice(("test", "test", "live"))
        reference = self._random.choice(REFERENCES)
        index = self._count

        async def work(unit: UnitOfWork) -> None:
            command = c.CreateSession(
                at=unit.now,
                session_id=session_id,
                merchant_id=merchant_id,
                mode=mode,
                network="local",
                due=usd("10.00"),
                pay_by="deposit_address",
                tolerance=usd("0"),
                deposit_address=address,
                deposit_index=index,
                expires_at=unit.now + timedelta(hours=1),
                grace_seconds=3600,
                merchant_reference=reference,
                metadata={"table": str(index)},
            )
            await unit.decide(PAYMENT, session_id, command)

        await self._do(work, merchant_id, mode)
        self.sessions.append((session_id, merchant_id, mode, None))

    async def _observe(self) -> None:
        if not self.sessions:
            return
        place = self._random.randrange(len(self.sessions))
        session_id, merchant_id, mode, seen = self.sessions[place]
        tx = f"{self._count % 0x100:02x}"
        found = seen or sighting(
            usd(self._random.choice(("4.00", "10.00", "12.50"))), tx=tx, log_index=self._count
        )
        self._count += 1
        found = found.model_copy(update={"block_hash": block_hash(self._count)})
        if seen and self._random.random() < 0.3:  # mined again, as somebody else's
            found = found.model_copy(update={"sender": self._address()})

        async def work(unit: UnitOfWork) -> None:
            command = c.ObserveTransfer(at=unit.now, sighting=found)
            await unit.decide(PAYMENT, session_id, command)

        await self._do(work, merchant_id, mode)
        if seen is None or self._random.random() < 0.5:
            self.sessions[place] = (session_id, merchant_id, mode, found)

    async def _on_seen(self, command: Callable[[UnitOfWork, Sighting], c.SessionCommand]) -> None:
        paid = [each for each in self.sessions if each[3] is not None]
        if not paid:
            return
        session_id, merchant_id, mode, seen = self._random.choice(paid)
        assert seen is not None

        async def work(unit: UnitOfWork) -> None:
            await unit.decide(PAYMENT, session_id, command(unit, seen))

        await self._do(work, merchant_id, mode)

    async def _confirm(self) -> None:
        await self._on_seen(
            lambda unit, seen: c.ConfirmTransfer(
                at=unit.now,
                transfer_id=seen.transfer_id,
                block_hash=seen.block_hash,
                confirmations=3,
                policy_version=1,
                rule="3 confirmations",
            )
        )

    async def _retract(self) -> None:
        await self._on_seen(
            lambda unit, seen: c.RetractTransfer(
                at=unit.now, transfer_id=seen.transfer_id, block_hash=seen.block_hash
            )
        )

    async def _end(self) -> None:
        open_ = [each for each in self.sessions if each[3] is None]
        if not open_:
            return
        session_id, merchant_id, mode, _ = self._random.choice(open_)
        late = self._random.random() < 0.5

        async def work(unit: UnitOfWork) -> None:
            session = await unit.load(PAYMENT, session_id)
            assert session is not None
            command: c.SessionCommand = c.CancelSession(at=unit.now)
            if late or session.transfers or session.ended:
                command = c.ExpireSession(at=session.expires_at)
            await unit.decide(PAYMENT, session_id, command)

        await self._do(work, merchant_id, mode)

    async def _refund(self) -> None:
        paid = [each for each in self.sessions if each[2] == "test" and each[3] is not None]
        if not paid:
            return
        refund_id = self._id("refund")
        session_id, merchant_id, mode, _ = self._random.choice(paid)

        async def work(unit: UnitOfWork) -> None:
            session = await unit.load(PAYMENT, session_id)
            if session is None or session.refundable.units < 10**6:
                return
            amount = usd("1.00")
            reserve = c.ReserveRefund(at=unit.now, refund_id=refund_id, amount=amount)
            await unit.decide(PAYMENT, session_id, reserve)
            await unit.decide(
                REFUND_FLOAT,
                float_id(merchant_id, mode, ASSET),
                c.ReserveFloat(at=unit.now, refund_id=refund_id, amount=amount),
                merchant_id=merchant_id,
                mode=mode,
            )
            request = c.RequestRefund(
                at=unit.now,
                refund_id=refund_id,
                session_id=session_id,
                transfer_id=None,
                merchant_id=merchant_id,
                mode=mode,
                network="local",
                amount=amount,
                destination="0x" + "ff" * 20,
                wallet="0x" + "ee" * 20,
                wallet_index=1,
            )
            await unit.decide(REFUND, refund_id, request)

        await self._do(work, merchant_id, mode)
        if await self._handler.load(REFUND, refund_id) is not None:
            self.refunds.append(refund_id)

    async def _advance_refund(self) -> None:
        if not self.refunds:
            return
        refund_id = self._random.choice(self.refunds)
        failing = self._random.random() < 0.1
        reorged = self._random.random() < 0.25
        final = self._random.random() < 0.5

        async def work(unit: UnitOfWork) -> None:
            refund = await unit.load(REFUND, refund_id)
            assert refund is not None
            at, tx_hash = unit.now, "0x" + refund_id.hex * 2
            command: c.RefundCommand = c.RecordSigned(at=at, tx_hash=tx_hash, nonce=1)
            if failing:
                command = c.FailRefund(at=at, reason="recipient is frozen")
            elif refund.status == "signed":
                command = c.RecordBroadcast(at=at, tx_hash=tx_hash)
            elif refund.status == "broadcast":
                command = c.RecordRefundMined(
                    at=at,
                    tx_hash=tx_hash,
                    block_number=110,
                    block_hash=block_hash(110),
                    confirmations=3,
                    gas=GAS,
                )
                settle = c.SettleRefund(at=at, refund_id=refund_id, tx_hash=tx_hash)
                assert refund.session_id is not None
                await unit.decide(PAYMENT, refund.session_id, settle)
            elif refund.status == "completed" and reorged and refund.final_at is None:
                command = c.RecordRefundLost(at=at, tx_hash=tx_hash)
                undo = c.UnsettleRefund(at=at, refund_id=refund_id, tx_hash=tx_hash)
                assert refund.session_id is not None
                await unit.decide(PAYMENT, refund.session_id, undo)
            elif refund.status == "completed" and final:
                command = c.RecordRefundFinal(
                    at=at, tx_hash=tx_hash, block_number=110, block_hash=block_hash(110)
                )
            await unit.decide(REFUND, refund_id, command)

        await self._do(work, self.merchants[0])

    async def _deliver(self) -> None:
        delivery_id = self._id("delivery")
        merchant_id = self._random.choice(self.merchants)

        async def work(unit: UnitOfWork) -> None:
            command = c.OpenDelivery(
                at=unit.now,
                delivery_id=delivery_id,
                merchant_id=merchant_id,
                mode="test",
                endpoint_id=derived_id("endpoint", merchant_id.hex, "2"),
                message_id="evt_" + delivery_id.hex,
                message_type="payment.completed",
                body='{"id":"evt"}',
            )
            await unit.decide(DELIVERY, delivery_id, command)

        await self._do(work, merchant_id)
        self.deliveries.append(delivery_id)

    async def _attempt(self) -> None:
        if not self.deliveries:
            return
        delivery_id = self._random.choice(self.deliveries)
        kind = self._random.randrange(4)

        async def work(unit: UnitOfWork) -> None:
            command: c.DeliveryCommand = c.ReplayDelivery(at=unit.now)
            if kind == 1:
                command = c.RecordAttempt(at=unit.now, status_code=204, latency_ms=12, error=None)
            elif kind > 1:
                command = c.RecordAttempt(
                    at=unit.now, status_code=None, latency_ms=40, error="no answer"
                )
            await unit.decide(DELIVERY, delivery_id, command)

        await self._do(work, self.merchants[0])

    async def _stray_transfer(self) -> None:
        self._count += 1
        seen = sighting(tx="77", log_index=self._count, recipient=self._address())
        merchant_id = self._random.choice(self.merchants)
        known = self._random.random() < 0.7
        attribution = c.Attribution(
            purpose="unmatched",
            subject_id=None,
            merchant_id=merchant_id if known else None,
            verdict="unknown_address",
            reason="nobody has been given this address",
        )

        async def work(unit: UnitOfWork) -> None:
            command = c.ReportConfirmed(
                at=unit.now,
                report_number=self._count,
                sighting=seen,
                attribution=attribution,
                confirmations=3,
                policy_version=LOCAL.policy.version,
                rule="3 confirmations",
            )
            stream_id = transfer_stream_id(seen.transfer_id)
            await unit.decide(TRANSFER, stream_id, command, mode="test")

        await self._do(work, merchant_id)

"""One merchant's settlement, claims, inbox and refunds on twins, with others at work in between.

Shapes  A Desk has the use cases over one in-memory store. `wander` lets other tasks run before
        each read and each write, so often as a seed says: what is gathered then interleaves as it
        may with a server. `watched` is the watch list; nothing lags.
"""

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from adapters.addresses import checksum_address, parse_address
from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.store import MemoryEventStore
from application.callers import Caller
from application.chain_messages import TransferReport
from application.claims import Claims, ProofWords
from application.deciders import MERCHANT, PAYMENT, TRANSFER, transfer_stream_id
from application.handling import Handler, UnitOfWork
from application.inbox import Inbox
from application.ports import Batch, Context, Recorded, Stream
from application.reads import WATCH_LIST_MODEL
from application.refunds import Refunds
from application.settlement import Settlement
from domain import commands as c
from domain import events as e
from domain.matching import AddressOwner
from domain.networks import POLYGON, Network, NetworkBook
from domain.payment import PaymentSession
from domain.transfer import OnchainTransfer
from domain.values import Mode
from tests.domain.steps import AT_WALLET, Books
from tests.examples import AT, CREATED, LOCAL, MERCHANT_ID, RECEIVING, WALLET, sighting, usd

YIELDS_MAX = 4
BOOK = NetworkBook(networks=(LOCAL, POLYGON))
CALLER = Caller(MERCHANT_ID, "test", UUID(int=1), ("read", "write", "refund"), "req_test")
STRANGER = Caller(UUID(int=0xBAD), "test", UUID(int=2), ("write",), "req_test")


class BusyStore(MemoryEventStore):
    """The in-memory store beside which others are busy."""

    def __init__(self, seed: int) -> None:
        clock = FakeClock(AT)
        super().__init__(ids=SeededIds(seed), clock=clock)
        self.clock = clock
        self._dice = random.Random(seed)

    async def _wander(self) -> None:
        for _ in range(self._dice.randint(0, YIELDS_MAX)):
            await asyncio.sleep(0)

    async def read_stream(self, stream: Stream) -> Sequence[Recorded[e.Event]]:
        await self._wander()
        return await super().read_stream(stream)

    async def append(self, batch: Batch) -> int:
        await self._wander()
        return await super().append(batch)


class Watched(dict[str, AddressOwner]):
    """The watch list and its progress, both always up to date."""

    async def owner_of(self, network: str, address: str) -> AddressOwner | None:
        assert BOOK.get(network)
        return self.get(address)

    async def owners_of(
        self, network: str, addresses: Collection[str]
    ) -> Mapping[str, AddressOwner]:
        assert BOOK.get(network)
        return {each: self[each] for each in addresses if each in self}

    async def position(self, projection: str) -> int:
        assert projection
        return 0

    async def wait_for(
        self, position: int, *, timeout_seconds: float, projection: str | None = None
    ) -> bool:
        assert position >= 0
        assert projection == WATCH_LIST_MODEL
        return timeout_seconds > 0


class Wallets:
    """A wallet has signed where its signature is its own address."""

    async def scheme_of(
        self, network: Network, payer: str, words: ProofWords, signature: bytes
    ) -> e.SignatureScheme | None:
        assert network.name == "local"
        assert "Payment session: ps_" in words.text
        return "eip191" if signature == bytes.fromhex(payer.removeprefix("0x")) else None


class Desk:
    def __init__(self, seed: int = 0) -> None:
        self.store = BusyStore(seed)
        self.handler = Handler(self.store, self.store.clock)
        self.watched = Watched()
        self.settlement = Settlement(self.handler, self.watched, BOOK, self.watched)
        self.claims = Claims(self.handler, BOOK, Wallets(), parse_address, checksum_address)
        self.inbox = Inbox(self.handler, BOOK)
        self.refunds = Refunds(
            self.handler, BOOK, self.watched, SeededIds(seed + 1), parse_address
        )
        for address, purpose in ((RECEIVING, "merchant_wallet"), (WALLET, "refund_float")):
            self.watched[address] = AddressOwner(
                purpose=purpose,  # type: ignore[arg-type]  # two of the three
                subject_id=MERCHANT_ID,
                merchant_id=MERCHANT_ID,
            )
        self._reports = 0

    # ------------------------------------------------------------ people

    async def merchant(self) -> None:
        """Registered, with a refund wallet that holds 100 USDC."""

        async def work(unit: UnitOfWork) -> None:
            register = c.RegisterMerchant(
                at=unit.now, merchant_id=MERCHANT_ID, display_name="Shop"
            )
            await unit.decide(MERCHANT, MERCHANT_ID, register)
            wallet = c.AssignRefundWallet(at=unit.now, mode="test", index=1, address=WALLET)
            await unit.decide(MERCHANT, MERCHANT_ID, wallet)

        await self.handler.execute(Context(actor="test"), work)
        await self.pay(sighting(usd("100.00"), tx="f0", recipient=WALLET))

    async def open(
        self, number: int, *, own_address: bool = False, **changed: object
    ) -> PaymentSession:
        """A session at the merchant's wallet, or at an address of its own."""
        session_id = UUID(int=number)
        create = c.CreateSession(**dict(CREATED if own_address else AT_WALLET)).model_copy(
            update={"session_id": session_id, **changed}
        )
        if own_address:
            create = create.model_copy(update={"deposit_address": f"0x{number:040x}"})
            self.watched[create.deposit_address] = AddressOwner(
                purpose="payment_session", subject_id=session_id, merchant_id=MERCHANT_ID
            )

        async def work(unit: UnitOfWork) -> PaymentSession:
            session = await unit.decide(PAYMENT, session_id, create)
            assert session is not None
            return session

        return await self.handler.execute(Context(actor="test"), work)

    async def cancel(self, session: PaymentSession) -> None:
        async def work(unit: UnitOfWork) -> None:
            await unit.decide(PAYMENT, session.session_id, c.CancelSession(at=unit.now))

        await self.handler.execute(Context(actor="test"), work)

    # ------------------------------------------------------------ the chain

    def report(self, kind: str, seen: e.Sighting, number: int | None = None) -> TransferReport:
        self._reports += 1
        return TransferReport(
            kind=kind,  # type: ignore[arg-type]  # one of the three
            message_id=f"{kind}:{self._reports}",
            report_number=self._reports if number is None else number,
            at=AT,
            sighting=seen,
            confirmations=3,
            policy_version=1,
            rule="3 confirmations",
        )

    async def tell(self, kind: str, seen: e.Sighting, number: int | None = None) -> None:
        await self.settlement.apply(self.report(kind, seen, number))

    async def pay(self, seen: e.Sighting) -> None:
        await self.tell("observed", seen)
        await self.tell("confirmed", seen)

    # ------------------------------------------------------------ what has become of it

    async def session(self, session: PaymentSession) -> PaymentSession:
        found = await self.handler.load(PAYMENT, session.session_id)
        assert found is not None
        return found

    async def transfer(self, seen: e.Sighting) -> OnchainTransfer:
        found = await self.handler.load(TRANSFER, transfer_stream_id(seen.transfer_id))
        assert found is not None
        return found

    async def facts(self, kind: type[e.Event]) -> list[Recorded[e.Event]]:
        log = await self.store.read_log(after=0, limit=100_000)
        return [recorded for recorded in log if isinstance(recorded.event, kind)]

    async def books(self) -> Books:
        books = Books()
        for recorded in await self.facts(e.JournalEntryPosted):
            assert isinstance(recorded.event, e.JournalEntryPosted)
            books.post(recorded.event.postings)
        assert books.balance()
        return books


def at_wallet(
    units: str = "10.00", tx: str = "11", *, sender: str | None = None, minutes: int = 5
) -> e.Sighting:
    """A transfer to the merchant's own wallet."""
    seen = sighting(
        usd(units), tx=tx, recipient=RECEIVING, block_time=AT + timedelta(minutes=minutes)
    )
    return seen if sender is None else seen.model_copy(update={"sender": sender})


def in_mode(mode: Mode) -> Caller:
    return Caller(MERCHANT_ID, mode, UUID(int=1), ("write",), "req_test")

"""A gateway's webhook side in memory: merchants, endpoints, facts, dispatcher and worker."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from adapters.addresses import checksum_address
from adapters.memory.bus import MemoryBus
from adapters.memory.checkpoints import MemoryCheckpoints
from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.delivery_queue import MemoryDeliveryQueue, MemoryEndpointHealth
from adapters.memory.poster import MemoryPoster
from adapters.memory.store import MemoryEventStore
from adapters.memory.vault import MemoryVault
from application.callers import Caller
from application.deciders import DELIVERY, MERCHANT, PAYMENT
from application.handling import Handler, UnitOfWork
from application.messages import Messages
from application.outside import WebhookPoster
from application.ports import Clock, Context, Recorded
from application.webhooks import Webhooks
from domain import commands as c
from domain.delivery import WebhookDelivery
from domain.events import Event
from domain.merchant import Endpoint
from domain.values import Mode
from tests.examples import AT, BOOK, DEPOSIT, KEY_ID, LOCAL, MERCHANT_ID, usd
from workers.dispatcher import Dispatcher
from workers.webhook_attempt import Attempts
from workers.webhook_delivery import WebhookWorker

MASTER_KEY = bytes(range(32))
URL = "https://shop.example/hook"


def caller(mode: Mode = "test", merchant_id: UUID = MERCHANT_ID) -> Caller:
    return Caller(merchant_id, mode, KEY_ID, ("write",), "req_1")


@dataclass
class Rig:
    clock: Clock = field(default_factory=lambda: FakeClock(AT))
    poster: WebhookPoster = field(default_factory=MemoryPoster)

    def __post_init__(self) -> None:
        self.ids = SeededIds(1)
        self.store = MemoryEventStore(ids=self.ids, clock=self.clock)
        self.handler = Handler(self.store, self.clock)
        self.bus = MemoryBus(self.clock)
        self.vault = MemoryVault(MASTER_KEY, self.ids)
        self.queue = MemoryDeliveryQueue(self.store, self.clock)
        self.health = MemoryEndpointHealth()
        self.checkpoints = MemoryCheckpoints()
        self.webhooks = Webhooks(self.handler, self.vault, self.poster, self.ids)
        self.messages = Messages(self.store, BOOK, checksum_address)
        self.dispatcher = self.new_dispatcher()
        self.worker = self.new_worker()

    @property
    def fake(self) -> FakeClock:
        assert isinstance(self.clock, FakeClock)
        return self.clock

    @property
    def scripted(self) -> MemoryPoster:
        assert isinstance(self.poster, MemoryPoster)
        return self.poster

    def new_dispatcher(self) -> Dispatcher:
        """As after a restart: nothing remembered but what is stored."""
        return Dispatcher(self.handler, self.messages, self.checkpoints, self.bus, self.clock)

    def new_worker(self) -> WebhookWorker:
        attempts = Attempts(
            self.handler, self.poster, self.vault, self.queue, self.health, self.clock
        )
        return WebhookWorker(self.queue, attempts, self.bus, self.clock)

    async def register(self, merchant_id: UUID = MERCHANT_ID) -> None:
        async def work(unit: UnitOfWork) -> None:
            command = c.RegisterMerchant(at=unit.now, merchant_id=merchant_id, display_name="Shop")
            await unit.decide(MERCHANT, merchant_id, command)

        await self.handler.execute(Context(actor="system"), work)

    async def endpoint(
        self, url: str = URL, *types: str, mode: Mode = "test", merchant_id: UUID = MERCHANT_ID
    ) -> tuple[Endpoint, str]:
        """A new endpoint and its secret."""
        return await self.webhooks.create_endpoint(
            url, types, caller(mode, merchant_id), None, lambda _: (201, b"")
        )

    async def session(self, mode: Mode = "test", merchant_id: UUID = MERCHANT_ID) -> UUID:
        session_id = self.ids.new()

        async def work(unit: UnitOfWork) -> None:
            command = c.CreateSession(
                at=unit.now,
                session_id=session_id,
                merchant_id=merchant_id,
                mode=mode,
                network=LOCAL.name,
                due=usd("10.00"),
                pay_by="deposit_address",
                tolerance=usd("0"),
                deposit_address=DEPOSIT,
                deposit_index=0,
                expires_at=unit.now + timedelta(days=7),
                grace_seconds=86_400,
            )
            await unit.decide(PAYMENT, session_id, command)

        await self.handler.execute(caller(mode, merchant_id).context(), work)
        return session_id

    async def cancel(self, session_id: UUID) -> None:
        async def work(unit: UnitOfWork) -> None:
            await unit.decide(PAYMENT, session_id, c.CancelSession(at=unit.now))

        await self.handler.execute(caller().context(), work)

    async def dispatch(self) -> None:
        while await self.dispatcher.dispatch():
            pass

    async def attempt(self) -> int:
        """Everything that is due now; gives the number of attempts."""
        count = 0
        while started := await self.worker.fill():
            count += started
            await self.worker.settled()
        return count

    async def log(self) -> Sequence[Recorded[Event]]:
        return await self.store.read_log(after=0, limit=10_000)

    async def deliveries(self) -> list[WebhookDelivery]:
        ids = dict.fromkeys(
            fact.stream.id for fact in await self.log() if fact.stream.type == DELIVERY.stream_type
        )
        found: list[WebhookDelivery] = []
        for each in ids:
            delivery = await self.handler.load(DELIVERY, each)
            assert delivery is not None
            found.append(delivery)
        return found

    async def delivery(self) -> WebhookDelivery:
        (only,) = await self.deliveries()
        return only


async def ready(*types: str, clock: Clock | None = None) -> Rig:
    """A merchant with one endpoint and one session, whose message is waiting to be sent."""
    rig = Rig() if clock is None else Rig(clock)
    await rig.register()
    await rig.endpoint(URL, *types)
    await rig.session()
    await rig.dispatch()
    return rig

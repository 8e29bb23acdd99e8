"""Follows the log and opens one webhook delivery for each message and endpoint that wants it.

Shapes  A delivery's id follows from message and endpoint, so a fact met twice (after a crash,
        by two dispatchers) opens nothing new, and the checkpoint may lag behind.
        An endpoint gets what happened after it was created, however late we look: the
        merchant's stream is folded up to the fact's position. One that is disabled or deleted
        by now gets nothing.
Units   positions of the log.
Errors  an outage ends the batch; it is taken up again from the checkpoint when the outage is
        over. A fact of a newer release is waited at as at an outage, and so is a merchant whose
        stream has one: the process of that release goes on from the checkpoint.
        A fact whose message cannot be made is parked with the reason: the rest goes on.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import structlog

from application.deciders import DELIVERY, MERCHANT
from application.handling import Handler, UnitOfWork
from application.messages import Message, message_type
from application.outside import Checkpoints
from application.ports import Clock, Context, EventStore, Recorded, Stream, Unavailable
from domain import commands as c
from domain.events import Event, EventUnknown
from domain.merchant import Merchant
from domain.values import Mode, derived_id
from workers.wakeup import DELIVERIES_DUE, LOG_HEAD, HintBus, Wakeup

log = structlog.get_logger(__name__)

FOLLOWER = "dispatcher"
BATCH_MAX = 512  # facts
OPENING_MAX = 64  # messages at once: they share the store's group append
MERCHANTS_KEPT_MAX = 10_000
POLL_SECONDS = 0.25
OUTAGE_PAUSE_SECONDS = 0.5
CHECKPOINT_EVERY_EVENTS = 1_000  # when there was nothing to open
REPLACE = "replace this `gateway deliver` by the newer release, which goes on from here"


class MessageSource(Protocol):
    async def message_for(self, recorded: Recorded[Event]) -> Message | None: ...


class Dispatcher:
    def __init__(
        self,
        handler: Handler,
        messages: MessageSource,
        checkpoints: Checkpoints,
        bus: HintBus,
        clock: Clock,
    ) -> None:
        self._store = handler.store
        self._handler = handler
        self._messages = messages
        self._checkpoints = checkpoints
        self._bus = bus
        self._clock = clock
        self._merchants = MerchantHistories(handler.store)
        self._position: int | None = None  # what is dealt with
        self._saved = 0
        self._away = False
        self._outdated = False  # said once: only another process changes that

    async def run(self, stop: asyncio.Event) -> None:
        wakeup = Wakeup(self._bus, LOG_HEAD, self._clock)
        async with wakeup.listening(stop):
            while not stop.is_set():
                try:
                    count = await self.dispatch()
                    self._seen(None)
                except (Unavailable, EventUnknown) as outage:
                    self._seen(outage)
                    await wakeup.wait(OUTAGE_PAUSE_SECONDS)
                    continue
                if count == 0:
                    await wakeup.wait(POLL_SECONDS)

    async def dispatch(self) -> int:
        """Deal with the next batch of the log; give its number of facts."""
        if self._position is None:
            self._position = self._saved = await self._checkpoints.position(FOLLOWER)
        batch = await self._store.read_log(after=self._position, limit=BATCH_MAX)
        if not batch:
            return 0
        for recorded in batch:
            if recorded.stream.type == MERCHANT.stream_type:
                self._merchants.forget(recorded.stream.id)
        opened = await self._open_all(batch)
        self._position = batch[-1].position
        if opened:
            await self._bus.hint(DELIVERIES_DUE)
        if opened or self._position - self._saved >= CHECKPOINT_EVERY_EVENTS:
            await self._checkpoints.move(FOLLOWER, self._position)
            self._saved = self._position
        return len(batch)

    async def _open_all(self, batch: Sequence[Recorded[Event]]) -> int:
        """Open what the batch asks for; raises the outage, if there was one, after all."""
        places = asyncio.Semaphore(OPENING_MAX)

        async def one(recorded: Recorded[Event], kind: str) -> int:
            async with places:
                return await self._opened(recorded, kind)

        public = [(fact, kind) for fact in batch if (kind := message_type(fact.event))]
        results = await asyncio.gather(
            *(one(fact, kind) for fact, kind in public), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return sum(result for result in results if isinstance(result, int))

    async def _opened(self, recorded: Recorded[Event], kind: str) -> int:
        try:
            if not await self._may_be_wanted(recorded, kind):
                return 0
            message = await self._messages.message_for(recorded)
            if message is None:
                return 0
            endpoints = await self._endpoints(
                message.merchant_id, message.mode, kind, recorded.position
            )
            if endpoints:
                await self._open(recorded, message, endpoints)
            return len(endpoints)
        except (Unavailable, EventUnknown):
            raise
        except Exception as failure:
            log.exception("message_parked", position=recorded.position, type=kind)
            reason = f"{type(failure).__name__}: {failure}"
            await self._checkpoints.park(FOLLOWER, recorded.position, reason)
            return 0

    async def _may_be_wanted(self, recorded: Recorded[Event], kind: str) -> bool:
        """Most merchants want few types: ask before the message is made, where that can be."""
        owner, mode = recorded.context.merchant_id, recorded.context.mode
        if owner is None or mode is None:
            return True
        return bool(await self._endpoints(owner, mode, kind, recorded.position))

    async def _endpoints(
        self, merchant_id: UUID, mode: Mode, kind: str, position: int
    ) -> list[UUID]:
        then, now = await self._merchants.then_and_now(merchant_id, position)
        if then is None or now is None:
            return []
        return [
            endpoint.endpoint_id
            for endpoint in then.endpoints.values()
            if endpoint.mode == mode
            and endpoint.wants(kind)
            and endpoint.endpoint_id in now.endpoints
            and now.endpoints[endpoint.endpoint_id].enabled
        ]

    async def _open(
        self, recorded: Recorded[Event], message: Message, endpoints: Sequence[UUID]
    ) -> None:
        """All deliveries of a message in one write. At first as if none were open: reading that
        they are not would be half the work; when one is, the write is refused and we look.
        """
        hopeful = True

        async def work(unit: UnitOfWork) -> None:
            nonlocal hopeful
            for endpoint_id in endpoints:
                delivery_id = delivery_id_of(message.id, endpoint_id)
                command = c.OpenDelivery(
                    at=unit.now,
                    delivery_id=delivery_id,
                    merchant_id=message.merchant_id,
                    mode=message.mode,
                    endpoint_id=endpoint_id,
                    message_id=message.id,
                    message_type=message.type,
                    body=message.body.decode(),
                )
                if hopeful:
                    (opened,) = DELIVERY.decide(command, None)
                    unit.record(Stream(DELIVERY.stream_type, delivery_id), opened, after_version=0)
                else:
                    await unit.decide(DELIVERY, delivery_id, command)
            hopeful = False

        context = Context(
            actor="system",
            merchant_id=message.merchant_id,
            mode=message.mode,
            correlation_id=recorded.context.correlation_id,
            causation_id=str(recorded.event_id),
        )
        await self._handler.execute(context, work)

    def _seen(self, outage: Unavailable | EventUnknown | None) -> None:
        if isinstance(outage, Unavailable) and not self._away:
            log.warning("dispatcher_waits", service=outage.service, reason=outage.reason)
        if isinstance(outage, EventUnknown) and not self._outdated:
            log.warning("dispatcher_is_outdated", reason=str(outage), hint=REPLACE)
            self._outdated = True
        if outage is None and self._away:
            log.info("dispatcher_goes_on", position=self._position)
        self._away = outage is not None


def delivery_id_of(message_id: str, endpoint_id: UUID) -> UUID:
    return derived_id("webhook_delivery", message_id, endpoint_id.hex)


class MerchantHistories:
    """Merchants as of a position and as of now; kept until their stream moves on."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._kept: OrderedDict[UUID, tuple[Sequence[Recorded[Event]], Merchant | None]] = (
            OrderedDict()
        )

    def forget(self, merchant_id: UUID) -> None:
        self._kept.pop(merchant_id, None)

    async def then_and_now(
        self, merchant_id: UUID, position: int
    ) -> tuple[Merchant | None, Merchant | None]:
        found = self._kept.get(merchant_id)
        if found is None:
            history = await self._store.read_stream(Stream(MERCHANT.stream_type, merchant_id))
            found = self._kept[merchant_id] = history, _folded(history)
            if len(self._kept) > MERCHANTS_KEPT_MAX:
                self._kept.popitem(last=False)
        history, now = found
        if not history or history[-1].position < position:
            return now, now
        return _folded([fact for fact in history if fact.position < position]), now


def _folded(history: Sequence[Recorded[Event]]) -> Merchant | None:
    merchant: Merchant | None = None
    for fact in history:
        merchant = MERCHANT.evolve(merchant, fact.event)
    return merchant

"""Between a simulated process and the servers: where calls take their time, fail, or never end.

Shapes  A Line belongs to one life of one process. `cross` is a trip to a server: others run
        meanwhile, and the trip may fail. `reach` is a named point at which the process may die:
        then the call never returns, and nothing after it ever happens.
        `wired` puts a line in front of a whole port; wires of ports that write are classes of
        their own, here and in wires_chain.py and wires_writes.py.
Errors  those of the ports, as an outage would give them.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar, cast

from adapters.memory.bus import MemoryBus
from adapters.memory.store import MemoryEventStore
from application.outside import BusMessage, Publication
from application.ports import (
    Batch,
    Fact,
    Recorded,
    Span,
    StoreBusy,
    StoredResponse,
    StoreUnavailable,
    Stream,
    StreamConflict,
    Unavailable,
)
from domain.events import Event
from simulation.faults import Faults, Plan
from simulation.loop import Life

T = TypeVar("T")
OUTAGE = "switched off by the history"


class Line:
    def __init__(self, life: Life, faults: Faults, plan: Callable[[], Plan | None]) -> None:
        self.life = life
        self.faults = faults
        self._plan = plan  # of the process, for it outlives its lives

    async def cross(self, service: str) -> None:
        """There and back again. "store" fails as PostgreSQL does, "bus" as NATS."""
        await asyncio.sleep(0)
        if self.faults.strikes(f"{service}.outage"):
            if service == "bus":
                raise Unavailable("nats", OUTAGE)
            raise StoreUnavailable(OUTAGE)

    async def reach(self, point: str) -> None:
        plan = self._plan()
        if plan is None or plan.point != point:
            return
        plan.after -= 1
        if plan.after <= 0:
            self.life.end()
            await asyncio.get_running_loop().create_future()  # never


class _Wired:
    def __init__(self, port: Any, line: Line, service: str) -> None:
        self._port, self._line, self._service = port, line, service

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def crossing(*arguments: Any, **named: Any) -> Any:
            await self._line.cross(self._service)
            return await found(*arguments, **named)

        setattr(self, name, crossing)
        return crossing


def wired(port: T, line: Line, service: str = "store") -> T:
    """The same port at the other end of a line."""
    return cast(T, _Wired(port, line, service))


class StoreWire:
    """application.ports.EventStore at the other end of a line."""

    def __init__(self, inner: MemoryEventStore, line: Line) -> None:
        self._inner = inner
        self._line = line

    async def append(self, batch: Batch) -> int:
        line = self._line
        await line.cross("store")
        if line.faults.strikes("store.busy"):
            raise StoreBusy(1)
        if line.faults.strikes("store.conflicts"):
            raise StreamConflict("somebody was quicker")
        await line.reach("before_append")
        position = await self._inner.append(batch)
        await line.reach("after_append")
        if line.faults.strikes("store.lost_answer"):
            raise StoreUnavailable("the answer was lost", outcome_unknown=True)
        return position

    async def read_stream(self, stream: Stream) -> list[Recorded[Event]]:
        await self._line.cross("store")
        return list(await self._inner.read_stream(stream))

    async def read_streams(
        self, streams: Collection[Stream]
    ) -> Mapping[Stream, Sequence[Recorded[Event]]]:
        await self._line.cross("store")
        return await self._inner.read_streams(streams)

    async def read_log(self, *, after: int, limit: int) -> list[Recorded[Event]]:
        await self._line.cross("store")
        return list(await self._inner.read_log(after=after, limit=limit))

    async def read_facts(self, *, after: int, limit: int) -> Sequence[Fact[Event]]:
        await self._line.cross("store")
        return await self._inner.read_facts(after=after, limit=limit)

    async def read_span(self, *, after: int, upto: int, skipping: Collection[str]) -> Span:
        await self._line.cross("store")
        return await self._inner.read_span(after=after, upto=upto, skipping=skipping)

    async def head(self) -> int:
        await self._line.cross("store")
        return await self._inner.head()

    async def stored_response(self, *place: Any) -> StoredResponse | None:
        await self._line.cross("store")
        return await self._inner.stored_response(*place)


class BusWire:
    """application.outside.Bus at the other end of a line."""

    def __init__(self, inner: MemoryBus, line: Line) -> None:
        self._inner = inner
        self._line = line

    async def publish(self, subject: str, data: bytes, *, message_id: str) -> None:
        line = self._line
        await line.cross("bus")
        await line.reach("before_publish")
        await self._inner.publish(subject, data, message_id=message_id)
        await line.reach("after_publish")
        if line.faults.strikes("bus.lost_publish_answer", one_in=2):
            raise Unavailable("nats", "the answer was lost")

    async def publish_all(
        self, publications: Sequence[Publication]
    ) -> Sequence[BaseException | None]:
        return await asyncio.gather(
            *(self.publish(p.subject, p.data, message_id=p.message_id) for p in publications),
            return_exceptions=True,
        )

    async def pull(
        self, subject: str, durable: str, *, limit: int, wait_seconds: float
    ) -> list[BusMessage]:
        faults = self._line.faults
        await self._line.cross("bus")
        found = list(
            await self._inner.pull(subject, durable, limit=limit, wait_seconds=wait_seconds)
        )
        if not found:
            return found
        delayed = faults.strikes("bus.delays", one_in=2)
        if delayed is not None:
            await asyncio.sleep(delayed.random.randrange(1, 45))
        return self._troubled(found)

    def _troubled(self, found: list[BusMessage]) -> list[BusMessage]:
        faults = self._line.faults
        lost = [faults.strikes("bus.lost_deliveries", one_in=2) is not None for _ in found]
        found = [message for message, gone in zip(found, lost, strict=True) if not gone]
        twice = [each for each in found if faults.strikes("bus.repeats", one_in=2)]
        found += twice
        order = faults.strikes("bus.reorders") if len(found) > 1 else None
        if order is not None:
            order.random.shuffle(found)
        return found

    async def ack(self, message: BusMessage) -> None:
        await self._line.cross("bus")
        await self._line.reach("before_ack")
        if not self._line.faults.strikes("bus.lost_acks", one_in=2):
            await self._inner.ack(message)
        await self._line.reach("after_ack")

    async def retry_later(self, message: BusMessage, delay_seconds: float) -> None:
        await self._line.cross("bus")
        await self._inner.retry_later(message, delay_seconds)

    async def give_up(self, message: BusMessage) -> None:
        await self._line.cross("bus")
        await self._inner.give_up(message)

    async def hint(self, subject: str, data: bytes = b"") -> None:
        faults = self._line.faults
        if not (faults.active("bus.outage") or faults.strikes("bus.lost_hints", one_in=2)):
            await self._inner.hint(subject, data)

    def hints(self, subject: str) -> Any:
        return self._inner.hints(subject)

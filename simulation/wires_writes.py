"""Lines to what is written beside the log: the ingester's tables, and the book of refunds."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from adapters.memory.ingest_store import MemoryIngestStore, MemoryLease
from adapters.memory.outgoing import MemoryOutgoing
from application.ingest import (
    Cursor,
    Orphaning,
    Passage,
    PassedHeader,
    Reexamination,
    Ripening,
)
from application.ports import StoreUnavailable
from simulation.wires import Line

T = TypeVar("T")


async def written(line: Line, point: str, write: Callable[[], Awaitable[T]]) -> T:
    """A write with a death on either side of it, and an answer that may be lost."""
    await line.reach(f"before_{point}")
    answer = await write()
    await line.reach(f"after_{point}")
    if line.faults.strikes("store.lost_answer"):
        raise StoreUnavailable("the answer was lost", outcome_unknown=True)
    return answer


class LeaseWire:
    """A lease lives as long as its session: an outage of the server ends it."""

    def __init__(self, inner: MemoryLease, line: Line) -> None:
        self._inner = inner
        self._line = line

    async def held(self) -> bool:
        faults = self._line.faults
        if faults.active("store.outage") or faults.active("store.ingest_outage"):
            await self._inner.release()
        return await self._inner.held()

    async def release(self) -> None:
        await self._inner.release()


class IngestWire:
    """application.ingest.IngestStore at the other end of a line."""

    def __init__(self, inner: MemoryIngestStore, line: Line, leading: dict[str, str]) -> None:
        self._inner = inner
        self._line = line
        self._leading = leading  # network: the process that leads it, or did so last

    async def _cross(self) -> None:
        await self._line.cross("store")
        if self._line.faults.strikes("store.ingest_outage"):
            raise StoreUnavailable("the ingester's connection is down")

    def __getattr__(self, name: str) -> Any:
        """Reads need no more than the trip."""
        found = getattr(self._inner, name)

        async def crossing(*arguments: Any, **named: Any) -> Any:
            await self._cross()
            return await found(*arguments, **named)

        setattr(self, name, crossing)
        return crossing

    async def lead(self, network: str) -> LeaseWire | None:
        await self._cross()
        lease = await self._inner.lead(network)
        if lease is None:
            return None
        leaders = self._inner.leaders
        self._leading[network] = self._line.life.name

        def freed() -> None:
            if leaders.get(network) is lease:
                del leaders[network]

        self._line.life.when_over.append(freed)
        return LeaseWire(lease, self._line)

    async def begin(self, network: str, anchor: PassedHeader, at: Any) -> Cursor:
        await self._cross()
        return await self._written(lambda: self._inner.begin(network, anchor, at))

    async def pass_blocks(self, passage: Passage) -> Cursor:
        await self._cross()
        return await self._written(lambda: self._inner.pass_blocks(passage))

    async def orphan(self, orphaning: Orphaning) -> Cursor:
        await self._cross()
        return await self._written(lambda: self._inner.orphan(orphaning))

    async def reexamine(self, reexamination: Reexamination) -> Cursor:
        await self._cross()
        return await self._written(lambda: self._inner.reexamine(reexamination))

    async def confirm(self, ripening: Ripening) -> Cursor:
        await self._cross()
        return await self._written(lambda: self._inner.confirm(ripening))

    async def mark_published(self, network: str, numbers: Sequence[int], at: Any) -> None:
        await self._cross()
        await self._written(lambda: self._inner.mark_published(network, numbers, at))

    async def _written(self, write: Callable[[], Awaitable[T]]) -> T:
        return await written(self._line, "ingest_write", write)


_WRITES = frozenset({"reserve", "decline", "withdraw", "approve", "store", "refuse"})


class OutgoingWire:
    """Both sides of the book of outgoing transactions, at the other end of a line."""

    def __init__(self, inner: MemoryOutgoing, line: Line) -> None:
        self._inner = inner
        self._line = line

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        writes = name in _WRITES

        async def crossing(*arguments: Any, **named: Any) -> Any:
            await self._line.cross("store")
            if not writes:
                return await found(*arguments, **named)
            return await written(self._line, "outgoing", lambda: found(*arguments, **named))

        setattr(self, name, crossing)
        return crossing

"""What outlives every process: the database, the bus, the chains, the vault, the receivers.

Shapes  Twins of adapters/memory, made once a history. Read models lag as the real ones do: they
        show the log up to what the projections have contained, and no further.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from adapters.memory.bus import MemoryBus
from adapters.memory.chain import MemoryChain
from adapters.memory.chain_client import MemoryChainClient
from adapters.memory.checkpoints import MemoryCheckpoints
from adapters.memory.clock import SeededIds
from adapters.memory.delivery_queue import MemoryDeliveryQueue, MemoryEndpointHealth
from adapters.memory.ingest_store import MemoryChainHeads, MemoryIngestStore
from adapters.memory.outgoing import MemoryOutgoing
from adapters.memory.parked import MemoryParkedMessages
from adapters.memory.reads import MemoryReads
from adapters.memory.store import MemoryEventStore, MemoryLog
from adapters.memory.vault import MemoryVault
from adapters.memory.wallet import MemoryDepositAddresses, MemoryRefundWallets
from application.chain_messages import SOURCE
from application.ports import InboxMessage, Recorded, Span, Stream, Waker
from domain.events import Event
from projections.catalogue import PROJECTIONS
from simulation import setting
from simulation.faults import Faults, Trace
from simulation.loop import SimLoop
from simulation.receivers import Receivers
from simulation.tables import Tables
from simulation.wires_chain import Forks, Node


class SimClock:
    """The loop's time, as one machine's clock shows it."""

    def __init__(self, loop: SimLoop, skew_us: Callable[[], int] = lambda: 0) -> None:
        self._loop = loop
        self._skew_us = skew_us
        self._shown_us, self._shown = 0, setting.BEGINS_AT

    def now(self) -> datetime:
        now_us = self._loop.now_us + self._skew_us()
        if now_us != self._shown_us:
            self._shown_us = now_us
            self._shown = setting.BEGINS_AT + timedelta(microseconds=now_us)
        return self._shown

    async def sleep(self, seconds: float, *wakers: Waker) -> None:
        """One future for all it waits for: workers wait more often than they do anything else."""
        if any(waker.is_set() for waker in wakers):
            await asyncio.sleep(0)
            return
        waiter = self._loop.create_future()
        events = [_event(waker) for waker in wakers]
        for event in events:
            event._waiters.append(waiter)  # noqa: SLF001 - as its wait()
        timer = self._loop.call_later(seconds, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            for event in events:
                event._waiters.remove(waiter)  # noqa: SLF001 - as above


def _event(waker: Waker) -> asyncio.Event:
    if not isinstance(waker, asyncio.Event):
        raise TypeError(f"only an asyncio.Event ends a pause here: {waker!r}")
    return waker


def _wake(waiter: Any) -> None:
    if not waiter.done():
        waiter.set_result(None)


class ProjectedLog:
    """The log as far as the read models contain it."""

    def __init__(self, store: MemoryEventStore, tables: Tables) -> None:
        self._store = store
        self._tables = tables

    async def read_log(self, *, after: int, limit: int) -> Sequence[Recorded[Event]]:
        limit = min(limit, self._tables.position - after)
        return await self._store.read_log(after=after, limit=limit) if limit > 0 else ()

    async def read_facts(self, *, after: int, limit: int) -> Sequence[Recorded[Event]]:
        return await self.read_log(after=after, limit=limit)

    async def read_span(self, *, after: int, upto: int, skipping: Collection[str]) -> Span:
        upto = min(upto, self._tables.position)
        return await self._store.read_span(after=after, upto=upto, skipping=skipping)

    async def head(self) -> int:
        return self._tables.position

    async def read_stream(self, stream: Stream) -> Sequence[Recorded[Event]]:
        raise NotImplementedError(f"read models do not read {stream}")

    async def read_streams(self, streams: object) -> dict[Stream, Sequence[Recorded[Event]]]:
        raise NotImplementedError(f"read models do not read {streams}")

    async def append(self, batch: object) -> int:
        raise NotImplementedError(f"read models do not write {batch}")

    async def stored_response(self, *place: object) -> None:
        raise NotImplementedError(f"read models hold no answers: {place}")


class Servers:
    def __init__(self, loop: SimLoop, faults: Faults, trace: Trace, seed: int) -> None:
        clock = SimClock(loop)
        ids = SeededIds(seed)
        self.loop, self.faults, self.trace, self.seed = loop, faults, trace, seed
        self.clock, self.ids = clock, ids
        self.log = MemoryLog()
        self.store = MemoryEventStore(ids=ids, clock=clock, log=self.log, on_append=self.appended)
        self.bus = MemoryBus(clock)
        self.chains = {
            network.name: MemoryChain(network, setting.BEGINS_AT)
            for network in setting.BOOK.networks
        }
        self.forks = Forks()
        self.nodes = {name: Node(MemoryChainClient(each)) for name, each in self.chains.items()}
        self.parked = MemoryParkedMessages(clock)
        self.ingest = MemoryIngestStore(settled=self._settled)
        self.heads = MemoryChainHeads(self.ingest)
        self.outgoing = MemoryOutgoing()
        self.vault = MemoryVault(setting.MASTER_KEY, ids)
        self.checkpoints = MemoryCheckpoints()
        self.health = MemoryEndpointHealth()
        self.addresses = MemoryDepositAddresses()
        self.wallets = MemoryRefundWallets(setting.signer().xpub())
        self.receivers = Receivers(faults, trace)
        self.tables = Tables(PROJECTIONS)
        projected = ProjectedLog(self.store, self.tables)
        self.reads = MemoryReads(projected, setting.BOOK)
        self.queue = MemoryDeliveryQueue(projected, clock, self.reads.deliveries.responses)
        self.book = setting.BOOK  # what is configured at this moment
        self.told_tags: dict[tuple[str, str, str, int], int] = {}  # and when it was first told
        self.writes: list[int] = []  # the number of the append each position came with
        self.leading: dict[str, str] = {}  # network: the ingester that leads it
        self.mined_at_us: dict[str, int] = {}  # block hash: when it first existed
        self.left_at_us: dict[str, int] = {}  # block hash: when it first left its chain
        self.written_at_us: list[int] = []  # of each position, from the first

    def told_tag(self, network: str, provider: str, tag: str, number: int) -> None:
        self.told_tags.setdefault((network, provider, tag, number), self.loop.now_us)

    def _settled(self, message_id: str) -> bool:
        return InboxMessage(SOURCE, message_id) in self.log.inbox or self.parked.holds(message_id)

    def appended(self, position: int) -> None:
        """Called at the moment of every write."""
        number = self.writes[-1] + 1 if self.writes else 0
        for row in self.log.recorder.rows[len(self.written_at_us) : position]:
            assert row is not None
            self.writes.append(number)
            self.written_at_us.append(self.loop.now_us)
            self.trace.add(
                "fact", row.position, row.stream_type, row.stream_id.hex, row.version, row.topic
            )

"""The event store on PostgreSQL: all who wait are written together, in one order for the log.

Shapes  `append` hands a batch to the one writer of this process and waits. The writer takes all
        that wait and may go together (event_store_queue.py), and writes them in one transaction
        (event_store_write.py); an idle store writes at once, for there is no timer.
        `figures` tell how it fares.
Loss    When the connection goes away before anything was sent, the group is written again on a
        new one. When it goes away afterwards, the writer takes the log's lock, which the lost
        transaction held to its end, and looks which of its event ids are there. Only if that
        fails too does a caller hear that the outcome is unknown; once the server answers again
        the writer looks after all, logs what it finds and tells `on_resolved`.
Errors  see application/ports.py. A batch that PostgreSQL itself rejects (which the check should
        have seen coming) is found by writing the group one by one; the others are not harmed.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Self
from uuid import UUID

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from adapters import event_store_sql as statements
from adapters.append_figures import AppendFigures
from adapters.event_store_draft import Draft, draft
from adapters.event_store_queue import WAITING_MAX, WaitingLine
from adapters.event_store_read import RawEvent, span_of
from adapters.event_store_rescue import look_up
from adapters.event_store_write import Group, Outcome, refusal_of
from adapters.postgres import OUTAGES, Postgres, is_stale, reason_of
from application.ports import (
    STREAMS_MAX,
    Batch,
    Fact,
    Ids,
    Recorded,
    Span,
    StoreBusy,
    StoredResponse,
    StoreUnavailable,
    Stream,
)
from domain.events import Event
from domain.values import Mode

# Above the sum of the server's own time-outs in the usual case; a backstop against silence.
GROUP_SECONDS_MAX = 10.0
TRANSACTION_TIMEOUT_MS = 5_000
# A server that restarts has hung up on every connection of the pool, perhaps just now.
ATTEMPTS_MAX = 3
STREAM_EVENTS_MAX = 10_000
# Batches whose callers heard that the outcome is unknown; beyond them the oldest is given up.
UNKNOWN_MAX = 4_096
ASK_AGAIN_SECONDS = 1.0

log = structlog.get_logger(__name__)


class PostgresEventStore:
    """application.ports.EventStore. `start` it in the loop that appends, `close` it there."""

    def __init__(
        self,
        postgres: Postgres,
        *,
        ids: Ids,
        on_append: Callable[[int], None] | None = None,
        on_resolved: Callable[[Batch, int | Exception], None] | None = None,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self._postgres = postgres
        self._ids = ids
        self._on_append = on_append
        self._on_resolved = on_resolved
        self._waiting = WaitingLine(waiting_max)
        self.figures = AppendFigures()
        self._unknown: deque[Draft] = deque(maxlen=UNKNOWN_MAX)
        self._wake = asyncio.Event()
        self._connection: AsyncConnection | None = None
        self._writer: asyncio.Task[None] | None = None
        self._open = False

    async def start(self) -> None:
        """Needs no database yet: appends say StoreUnavailable until there is one."""
        assert self._writer is None, "started twice"
        self._open = True
        self._writer = asyncio.create_task(self._write_for_ever(), name="event-store-writer")

    async def close(self) -> None:
        """Finish the group under way; what still waits was not written and is told so."""
        self._open = False
        self._wake.set()
        if self._writer is not None:
            await self._writer
            self._writer = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # ------------------------------------------------------------ append

    async def append(self, batch: Batch) -> int:
        if not self._open:
            raise StoreUnavailable("the store is closed")
        try:
            self._waiting.insist_on_room()
        except StoreBusy as busy:
            self.figures.refuse(busy)
            raise
        loop = asyncio.get_running_loop()
        ready = draft(batch, self._ids, loop.create_future())
        if not (ready.rows or ready.claims):
            return 0
        ready.since = loop.time()
        self._waiting.add(ready)
        self._wake.set()
        return await ready.done

    async def _write_for_ever(self) -> None:
        while self._open:
            if not self._waiting:
                self._wake.clear()
                await self._woken()
                continue
            group = self._take_group()
            try:
                await self._write(group)
            except Exception as error:  # a bug of ours must not stop the writer of everybody
                log.exception("append_failed", batches=len(group))
                self._resolve(group, [error] * len(group))
            if self._unknown and self._connection is not None:
                await self._try_again()
        if self._unknown:
            log.warning("unknown_outcomes_left", batches=len(self._unknown))
        await self._let_go()
        self._refuse_waiting("the store is closed")

    async def _woken(self) -> None:
        """By an append or the end; while something is unknown, by the clock too."""
        if not self._unknown:
            await self._wake.wait()
            return
        try:
            async with asyncio.timeout(ASK_AGAIN_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            await self._try_again()

    @property
    def waiting(self) -> int:
        """How many batches wait for their group."""
        return len(self._waiting)

    def _take_group(self) -> list[Draft]:
        group = self._waiting.take()
        self.figures.taken([each.since for each in group], asyncio.get_running_loop().time())
        return group

    async def _write(self, group: list[Draft]) -> None:
        """Write a group, again if its connection had died before anything was sent."""
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                connection = await self._connected()
            except OUTAGES as error:
                self._fail_everybody(group, error)
                return
            under_way = Group(connection, group)
            began = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(GROUP_SECONDS_MAX):
                    outcomes = await under_way.write()
                self.figures.writes.add(asyncio.get_running_loop().time() - began)
            except (*OUTAGES, TimeoutError) as error:
                if await self._rolled_back(connection, sent=under_way.sent):
                    self._refuse(group, _reason(error))
                    return
                await self._let_go()
                if under_way.sent:
                    await self._rescue(group)
                    return
                if attempt == ATTEMPTS_MAX:
                    self._fail_everybody(group, error)
                    return
            except psycopg.Error as error:
                await self._rolled_back(connection, sent=under_way.sent)
                await self._one_by_one(group, error)
                return
            except Exception:
                # A bug of ours, in the middle of a transaction that must never be committed.
                await self._let_go()
                raise
            else:
                self._finish(group, outcomes)
                return

    def _finish(self, group: list[Draft], outcomes: Sequence[Outcome]) -> None:
        self._resolve(group, outcomes)
        head = max((each for each in outcomes if isinstance(each, int)), default=0)
        if head and self._on_append is not None:
            self._on_append(head)

    async def _one_by_one(self, group: list[Draft], error: psycopg.Error) -> None:
        """PostgreSQL rejected the group, so that nothing of it is written: find whose fault."""
        if len(group) == 1:
            refusal = refusal_of(error)
            if refusal is error:
                log.error("batch_rejected", error=type(error).__name__)
            self._resolve(group, [refusal])
            return
        log.warning("group_rejected", batches=len(group), error=type(error).__name__)
        for number, each in enumerate(group):
            await self._write([each])
            if self._connection is None:  # the server has gone: nobody waits for it once each
                self._fail_everybody(group[number + 1 :], error)
                return

    async def _rescue(self, group: list[Draft]) -> None:
        """The answer to COMMIT was lost: find out what it was."""
        log.warning("commit_answer_lost", batches=len(group))
        self.figures.rescues += 1
        try:
            outcomes = await look_up(self._postgres, group)
        except StoreUnavailable as error:
            self._refuse(group, error.reason, outcome_unknown=True)
            self._unknown.extend(group)
            self._refuse_waiting(error.reason)
        else:
            self._finish(group, outcomes)

    async def _try_again(self) -> None:
        try:
            await self._ask_again()
        except Exception:  # what it was must not stop the writer of everybody
            log.exception("asked_again_in_vain", batches=len(self._unknown))

    async def _ask_again(self) -> None:
        """What became of those whose callers could not be told."""
        unknown = list(self._unknown)
        try:
            outcomes = await look_up(self._postgres, unknown, seconds_max=ASK_AGAIN_SECONDS)
        except StoreUnavailable:
            return
        self._unknown.clear()
        for each, outcome in zip(unknown, outcomes, strict=True):
            written = isinstance(outcome, int)
            self.figures.resolved["written" if written else "not_written"] += 1
            log.warning(
                "unknown_outcome_resolved",
                written=written,
                event_ids=[str(row.event_id) for row in each.rows],
                correlation_id=each.batch.context.correlation_id,
            )
            if self._on_resolved is not None:
                try:
                    self._on_resolved(each.batch, outcome)
                except Exception:  # a listener's bug must not stop the writer of everybody
                    log.exception("on_resolved_failed")

    # ------------------------------------------------------------ the writer's connection

    async def _connected(self) -> AsyncConnection:
        if self._connection is None or is_stale(self._connection):
            await self._let_go()
            self._connection = await self._postgres.take()
            # BEGIN and COMMIT are ours: psycopg would wait for the answer to its own BEGIN.
            await self._connection.set_autocommit(True)
            # Within a pipeline the server waits for a client for ever, idle time-out or not, and
            # one that is suspended there would hold the log's lock.
            await self._connection.execute(
                f"SET transaction_timeout = {TRANSACTION_TIMEOUT_MS}".encode()
            )
        return self._connection

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        await connection.close()
        await self._postgres.give_back(connection)

    async def _rolled_back(self, connection: AsyncConnection, *, sent: bool) -> bool:
        """Whether it is certain that the transaction is undone; sees to it where that is open."""
        match connection.info.transaction_status:
            case TransactionStatus.INERROR | TransactionStatus.INTRANS:
                with contextlib.suppress(*OUTAGES):
                    await connection.rollback()
                    return True
            case TransactionStatus.IDLE:
                # It has ended. If COMMIT was on its way, only the log knows how.
                return not sent
            case _:
                pass
        return False

    def _fail_everybody(self, group: list[Draft], error: Exception) -> None:
        """Nothing was written, and those behind the group would only wait for the same answer."""
        self._refuse(group, _reason(error))
        self._refuse_waiting(_reason(error))

    def _refuse_waiting(self, reason: str) -> None:
        self._refuse(self._waiting.leave(), reason)

    def _refuse(
        self, group: Iterable[Draft], reason: str, *, outcome_unknown: bool = False
    ) -> None:
        """An exception for each caller: one shared by many would collect all their tracebacks."""
        group = list(group)
        self._resolve(
            group, [StoreUnavailable(reason, outcome_unknown=outcome_unknown) for _ in group]
        )

    def _resolve(self, group: Sequence[Draft], outcomes: Sequence[Outcome]) -> None:
        for each, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self.figures.refuse(outcome)
            else:
                self.figures.events += len(each.rows)
            each.resolve(outcome)

    # ------------------------------------------------------------ read

    async def read_stream(self, stream: Stream) -> Sequence[Recorded[Event]]:
        async with self._postgres.reading() as connection:
            cursor = await connection.execute(
                statements.READ_STREAM, (stream.id, STREAM_EVENTS_MAX + 1)
            )
            rows = [RawEvent(*row) for row in await cursor.fetchall()]
        assert len(rows) <= STREAM_EVENTS_MAX, "half a stream would be taken for the whole"
        assert all(row.stream_type == stream.type for row in rows), "one id, two kinds of stream"
        return [row.decoded() for row in rows]

    async def read_streams(
        self, streams: Collection[Stream]
    ) -> Mapping[Stream, Sequence[Recorded[Event]]]:
        assert len(streams) <= STREAMS_MAX, f"at most {STREAMS_MAX} streams at a time"
        found: dict[Stream, list[Recorded[Event]]] = {stream: [] for stream in streams}
        if not found:
            return found
        ids = [stream.id for stream in found]
        async with self._postgres.reading() as connection:
            cursor = await connection.cursor(binary=True).execute(
                statements.READ_STREAMS, (ids, STREAM_EVENTS_MAX + 1)
            )
            rows = [RawEvent(*row) for row in await cursor.fetchall()]
        for row in rows:
            recorded = row.decoded()
            assert recorded.stream in found, "one id, two kinds of stream"
            found[recorded.stream].append(recorded)
        for facts in found.values():
            assert len(facts) <= STREAM_EVENTS_MAX, "half a stream would be taken for the whole"
            assert all(each.version == n for n, each in enumerate(facts, 1)), "whole and in order"
        return found

    async def read_log(self, *, after: int, limit: int) -> Sequence[Recorded[Event]]:
        return [raw.decoded() for raw in await self.read_raw(after=after, limit=limit)]

    async def read_facts(self, *, after: int, limit: int) -> Sequence[Fact[Event]]:
        return (await self._span(statements.READ_FACTS, after, limit)).facts

    async def read_span(self, *, after: int, upto: int, skipping: Collection[str]) -> Span:
        return await self._span(statements.READ_SPAN, after, upto, list(skipping))

    async def _span(self, query: str, *of: object) -> Span:
        async with self._postgres.reading() as connection:
            cursor = await connection.cursor(binary=True).execute(query, of)
            return span_of(await cursor.fetchall())

    async def read_raw(self, *, after: int, limit: int) -> list[RawEvent]:
        """The log as it is stored, for those who hash it or fold it themselves."""
        async with self._postgres.reading() as connection:
            cursor = await connection.execute(statements.READ_LOG, (after, limit))
            return [RawEvent(*row) for row in await cursor.fetchall()]

    async def head(self) -> int:
        async with self._postgres.reading() as connection:
            cursor = await connection.execute(statements.HEAD)
            row = await cursor.fetchone()
        assert row is not None, "an aggregate answers one row"
        return int(row[0])

    async def stored_response(
        self, merchant_id: UUID, mode: Mode, key: str
    ) -> StoredResponse | None:
        async with self._postgres.reading() as connection:
            cursor = await connection.execute(statements.STORED_RESPONSE, (merchant_id, mode, key))
            row = await cursor.fetchone()
        return None if row is None else StoredResponse(row[0], bytes(row[1]), row[2])


def _reason(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else reason_of(error)

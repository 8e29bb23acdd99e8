"""Keeps the read models at the head of the log, in one process at a time.

Shapes  One session-level advisory lock a projection makes its leader; the connection that holds
        the lock is the one that writes, so a leader that loses its session writes no more. Other
        processes stand by, ask every second, and take over what they get.
        The server ends that session when it hears nothing of it for SILENCE_SECONDS_MAX, or when
        one transaction lasts as long: a leader that hangs or is suspended makes way, and finds
        out when it wakes. What is heard is a step that writes, or a heartbeat after one that
        found nothing new. A slow leader looks the same from there: one whose step was ended for
        its length goes on with a smaller one.
        The leader keeps up to date what is shown and what is kept behind it, in one transaction.
        A version of which nothing is shown yet is left to the command that rebuilds it.
Units   seconds, by the event loop's own clock.
Errors  none leave `run`: an outage is logged once when it begins and once when it is over, and
        work goes on by itself.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

import psycopg
import structlog
from psycopg import AsyncConnection

from application.ports import Clock, EventStore, Unavailable
from domain.events import EventUnknown
from projections import checkpoints
from projections.applying import Applier, Follower
from projections.collector import few_collections
from projections.database import Connections
from projections.following import Procession
from projections.pace import Pace, TooSlow, cause_of
from projections.projection import Projection
from projections.upkeep import lock_key

LEADER_LOCKS = 0x7264_6D6C  # "rdml": the first key of every leader's lock
STANDBY_SECONDS = 1.0  # between two tries to become a leader
GATHER_SECONDS = 0.02  # between two batches while facts trickle in: fewer, larger transactions
HINT_SECONDS = 0.005  # after a hint: what a block brings is several writes, close together
IDLE_SECONDS_MAX = 0.25  # between two looks at a quiet log, should every hint be lost
RETRY_SECONDS_MIN = 0.1
RETRY_SECONDS_MAX = 5.0
SILENCE_SECONDS_MAX = 15  # with a standby's next try well below 30 s
HEARTBEAT_SECONDS = 1.0
STEP_SECONDS_MAX = 30.0  # whatever it is that a step waits for
NOT_SHOWN = "gateway projections rebuild"

_TROUBLE = (
    Unavailable,
    TimeoutError,
    TooSlow,
    psycopg.Error,
    EventUnknown,
    checkpoints.NotMigrated,
    checkpoints.Overtaken,
)

# Between two transactions, and within one, also where the client owes the rest of a pipeline.
SILENCES = ("idle_session_timeout", "transaction_timeout")

log = structlog.get_logger(__name__)


class ProjectionRunner:
    def __init__(
        self,
        connections: Connections,
        store: EventStore,
        projections: Sequence[Projection],
        hints: AsyncIterator[bytes] | None,
        clock: Clock,
    ) -> None:
        """`hints` yields something whenever the log may have grown; lost hints cost a poll."""
        self._connections = connections
        self._store = store
        self._projections = tuple(projections)
        self._hints = hints
        self._applier = Applier(clock)
        self._pace = Pace()
        self._woken = asyncio.Event()
        self._trouble: str | None = None
        self._waiting: set[str] = set()

    async def run(self, stop: asyncio.Event) -> None:
        helpers = [asyncio.create_task(self._listen()), asyncio.create_task(self._wake_at(stop))]
        try:
            with few_collections():
                await self._lead_again_and_again(stop)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def _lead_again_and_again(self, stop: asyncio.Event) -> None:
        retry_seconds = RETRY_SECONDS_MIN
        while not stop.is_set():
            try:
                await self._lead(stop)
            except _TROUBLE as error:
                fresh = self._say_trouble(error)
                smaller = isinstance(error, TooSlow) and error.smaller
                retry_seconds = RETRY_SECONDS_MIN if fresh or smaller else retry_seconds * 2
                retry_seconds = min(retry_seconds, RETRY_SECONDS_MAX)
                await _wait(stop, retry_seconds)

    async def _lead(self, stop: asyncio.Event) -> None:
        """Hold one connection, and on it the locks of what we lead, until the end or trouble."""
        procession = Procession(self._store, self._applier, self._pace)
        async with self._connections.connection() as connection:
            try:
                # Rows and checkpoint move together: what a crash takes back is read again.
                await connection.execute("SET synchronous_commit = off")
                for silence in SILENCES:
                    await connection.execute(f"SET {silence} = '{SILENCE_SECONDS_MAX}s'".encode())
                await connection.commit()
                await self._follow(connection, procession, stop)
            finally:
                await procession.close()
                await _let_go(connection)

    async def _follow(
        self, connection: AsyncConnection, procession: Procession, stop: asyncio.Event
    ) -> None:
        loop = asyncio.get_running_loop()
        followers: dict[str, list[Follower]] = {}
        asked_at = heard_at = -STANDBY_SECONDS
        idle_seconds = GATHER_SECONDS
        overtaken = False
        while not stop.is_set():
            began_at = loop.time()
            if len(followers) < len(self._projections) and began_at - asked_at >= STANDBY_SECONDS:
                await self._take_lead(connection, followers)
                asked_at = began_at
            self._woken.clear()
            try:
                size = await self._step(connection, procession, _all(followers))
            except checkpoints.Overtaken:
                # An operator has shown other tables or mended a stream. Twice in a row means
                # that somebody else follows what we hold the lock of.
                if overtaken:
                    raise
                overtaken = True
                await self._look_again(connection, followers)
                continue
            overtaken = False
            if size == 0 and loop.time() - heard_at >= HEARTBEAT_SECONDS:
                await connection.execute("SELECT")
                await connection.commit()
                heard_at = loop.time()
            self._say_well()
            if procession.is_full:
                continue
            if size > 0:
                idle_seconds = GATHER_SECONDS
                await _wait(stop, max(0.0, began_at + GATHER_SECONDS - loop.time()))
                continue
            await _wait(self._woken, idle_seconds)
            if self._woken.is_set():
                await _wait(stop, HINT_SECONDS)
            idle_seconds = min(idle_seconds * 2, IDLE_SECONDS_MAX)

    async def _step(
        self, connection: AsyncConnection, procession: Procession, followers: Sequence[Follower]
    ) -> int:
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        try:
            async with asyncio.timeout(STEP_SECONDS_MAX):
                size = await procession.step(connection, followers)
        except _TROUBLE as error:
            slow = self._pace.failed(
                error,
                loop.time() - began_at,
                SILENCE_SECONDS_MAX,
                size=procession.size,
                position=procession.position,
            )
            if slow is None:
                raise
            raise slow from error
        self._pace.succeeded(size, loop.time() - began_at, SILENCE_SECONDS_MAX)
        return size

    async def _take_lead(
        self, connection: AsyncConnection, followers: dict[str, list[Follower]]
    ) -> None:
        for projection in self._projections:
            if projection.name in followers:
                continue
            async with connection.transaction():
                if not await checkpoints.followed_places(connection, projection):
                    self._say_waiting(projection)
                    continue
                key = leader_key(projection.name, projection.version)
                cursor = await connection.execute(
                    "SELECT pg_try_advisory_lock(%s, %s)", (LEADER_LOCKS, key)
                )
                if await cursor.fetchone() != (True,):
                    continue
                places = await checkpoints.followed_places(connection, projection)
            followers[projection.name] = [Follower(projection, place) for place in places]
            for place in places:
                log.info("projection_led", schema=place.schema, position=place.position)

    async def _look_again(
        self, connection: AsyncConnection, followers: dict[str, list[Follower]]
    ) -> None:
        """The places of what we lead, as they are now; what was held in memory is forgotten."""
        led = [each for each in self._projections if each.name in followers]
        for projection in led:
            async with connection.transaction():
                places = await checkpoints.followed_places(connection, projection)
                if not places:  # dropped: stand by, should it be rebuilt one day
                    key = leader_key(projection.name, projection.version)
                    await connection.execute(
                        "SELECT pg_advisory_unlock(%s, %s)", (LEADER_LOCKS, key)
                    )
            if not places:
                del followers[projection.name]
                continue
            followers[projection.name] = [Follower(projection, place) for place in places]

    async def _listen(self) -> None:
        if self._hints is None:
            return
        async for _ in self._hints:
            self._woken.set()

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._woken.set()

    def _say_trouble(self, error: Exception) -> bool:
        """Log what has changed; tell whether it has."""
        trouble = type(error).__name__
        fresh = trouble != self._trouble
        self._trouble = trouble
        if fresh:
            reason = error.reason if isinstance(error, TooSlow) else cause_of(error)
            log.warning("projections_stopped", reason=reason)
        return fresh

    def _say_waiting(self, projection: Projection) -> None:
        """Once: the tables of this version are there, and shown when they have been rebuilt."""
        if projection.name not in self._waiting:
            self._waiting.add(projection.name)
            log.warning("projection_not_shown", projection=projection.name, hint=NOT_SHOWN)

    def _say_well(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            log.info("projections_resumed")


def leader_key(name: str, version: int) -> int:
    """The second key of the lock; each version has a leader of its own."""
    return lock_key(f"{name} {version}")


def _all(followers: Mapping[str, Sequence[Follower]]) -> list[Follower]:
    return [each for ours in followers.values() for each in ours]


async def _let_go(connection: AsyncConnection) -> None:
    """Give the connection back as it came; the locks of a lost session are gone with it."""
    try:
        await connection.rollback()
        await connection.execute("SELECT pg_advisory_unlock_all()")
        for setting in ("synchronous_commit", *SILENCES):
            await connection.execute(f"RESET {setting}".encode())
        await connection.commit()
    except psycopg.Error:
        await connection.close()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)

"""A session opened while the chain is read, and paid at once: the payment is never missed.

The order is the real one. The fact is appended, only then is the address known to anybody, only
then can a block pay it; the read model that tells the follower lags behind the log by as much as
it likes. On twins the three are interleaved by a seed; on real servers they race.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from adapters.clock import SystemClock, SystemIds
from adapters.event_store import PostgresEventStore
from adapters.nats_bus import NatsBus
from adapters.postgres import Postgres
from application.chain_messages import STREAM
from application.ports import Batch, Context, Stream, StreamAppend
from application.reads import WATCH_LIST_MODEL
from chain_ingest.service import Ingester
from chain_ingest.watch import WatchListBehind
from domain.networks import NetworkBook
from gateway.embedded_anvil import Anvil
from gateway.local_chain import USDC, LocalChain
from projections.catalogue import PROJECTIONS
from projections.progress import ProgressReads
from projections.runner import ProjectionRunner
from projections.schema import ensure_schemas
from projections.watchlist_reads import WatchListReads
from tests.chain_ingest.rig import LOCAL, WAIT_SECONDS_MAX, Rig
from tests.chain_ingest.world import World
from tests.conftest import Migrated
from tests.examples import CREATED

SEEDS = range(100)
SESSIONS = 12
YIELDS_MAX = 12
LAG_MAX = 2
TURNS_MAX = 5_000
SYSTEM = Context(actor="system")


def address_of(number: int) -> str:
    return f"0x{number:040x}"


class Gateway:
    """A log of sessions, and a read model of their addresses that lags behind it."""

    def __init__(self, dice: random.Random, *, patient: bool) -> None:
        self.log: list[str] = []
        self.contained = 0
        self._dice = dice
        self._patient = patient

    async def wander(self) -> None:
        for _ in range(self._dice.randint(0, YIELDS_MAX)):
            await asyncio.sleep(0)

    async def head(self) -> int:
        await self.wander()
        return len(self.log)

    async def wait_for(
        self, position: int, *, timeout_seconds: float, projection: str | None = None
    ) -> bool:
        assert projection == WATCH_LIST_MODEL
        assert timeout_seconds > 0
        if not self._patient:
            return True
        for _ in range(LAG_MAX):
            if self.contained >= position:
                return True
            await self.wander()
        return False

    async def position(self, projection: str) -> int:
        assert projection == WATCH_LIST_MODEL
        return self.contained

    async def addresses(self, network: str) -> set[str]:
        assert network == "local"
        shown = set(self.log[: self.contained])
        await self.wander()
        return shown


class Interleaved:
    """Customers, projection and follower on one loop, each pausing wherever the seed says."""

    def __init__(self, seed: int, *, patient: bool) -> None:
        self.dice = random.Random(seed)
        self.world = World()
        self.gateway = Gateway(self.dice, patient=patient)
        self.world.watched = self.gateway  # type: ignore[assignment]  # another twin of the three ports
        self.world.restart()
        self.waited = 0
        self._open = True

    async def run(self) -> set[str]:
        """Whom payments were seen to go to, after everything has come to rest."""
        await self.world.mine_and_follow()
        await asyncio.gather(self.customers(), self.projection(), self.follower())
        await self.world.follow()
        return {report.sighting.recipient for report in self.world.transfers}

    async def customers(self) -> None:
        for number in range(1, SESSIONS + 1):
            await self.gateway.wander()
            self.gateway.log.append(address_of(number))
            self.world.pay(number, to=address_of(number))
            if self.dice.random() < 0.7:
                self.world.chain.mine()
        self.world.chain.mine()
        self._open = False

    async def projection(self) -> None:
        while self._open or self.gateway.contained < len(self.gateway.log):
            await self.gateway.wander()
            behind = len(self.gateway.log) - self.gateway.contained
            self.gateway.contained += self.dice.randint(0, behind)

    async def follower(self) -> None:
        for _ in range(TURNS_MAX):
            await asyncio.sleep(0)
            try:
                moved = await self.world.follower.step()
            except WatchListBehind:
                self.waited += 1
                continue
            if not moved and not self._open:
                return
        raise AssertionError("never came to rest")


async def test_whatever_the_interleaving_every_fresh_address_is_seen() -> None:
    waited = 0
    for seed in SEEDS:
        story = Interleaved(seed, patient=True)
        assert await story.run() == {address_of(n) for n in range(1, SESSIONS + 1)}, seed
        waited += story.waited
    assert waited > len(SEEDS) / 5, "the read model lagged at the right moments"


async def test_without_waiting_the_same_interleavings_miss_some() -> None:
    missed = 0
    for seed in SEEDS:
        missed += SESSIONS - len(await Interleaved(seed, patient=False).run())
    assert missed > len(SEEDS) / 5, "so the test above can fail"


# ---------------------------------------------------------------- real servers


class RealRig(Rig):
    """An ingester whose watch list is the real one: log, read model and all."""

    book = NetworkBook(networks=(LOCAL,))

    def ingester(self) -> Ingester:
        self.watched = _RealWatch(self)  # type: ignore[assignment]  # the real ones instead of a twin
        return super().ingester()

    @property
    def log(self) -> PostgresEventStore:
        return self._log


class _RealWatch:
    def __init__(self, rig: RealRig) -> None:
        self.head = rig.log.head
        progress = ProgressReads(rig.postgres)
        self.wait_for, self.position = progress.wait_for, progress.position
        self.addresses = WatchListReads(rig.postgres, rig.book).addresses


@pytest.fixture
async def rig(fresh_anvil: Anvil, migrated: Migrated, nats_url: str) -> AsyncIterator[RealRig]:
    await asyncio.to_thread(ensure_schemas, migrated.owner_dsn)
    bus = NatsBus(nats_url, name="test-fresh")
    await bus.open()
    await bus.publish("chain.warmup.head", b"", message_id="warmup-fresh")
    async with (
        LocalChain(fresh_anvil.url) as chain,
        Postgres(migrated.app_dsn, name="test-fresh") as postgres,
    ):
        await chain.deploy_tokens()
        await chain.mint(USDC, (await chain.accounts())[1], 10**9)
        rig = RealRig(chain, [fresh_anvil.url], postgres, bus)
        await rig.start()
        yield rig
        await rig.stop()
    session = await bus._connected()
    await session.jetstream.delete_stream(STREAM)
    await bus.close()


@asynccontextmanager
async def projecting(rig: RealRig) -> AsyncIterator[None]:
    stop = asyncio.Event()
    runner = ProjectionRunner(rig.postgres, rig.log, PROJECTIONS, None, SystemClock())
    task = asyncio.create_task(runner.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 5)


async def open_and_pay(rig: RealRig, number: int) -> None:
    session_id = SystemIds().new()
    made = CREATED.model_copy(
        update={"session_id": session_id, "deposit_address": address_of(number)}
    )
    await rig.log.append(
        Batch((StreamAppend(Stream("payment_session", session_id), 0, (made,)),), SYSTEM)
    )
    payer = (await rig.chain.accounts())[1]
    await rig.chain.transfer(USDC, payer, address_of(number), number)


async def seen(rig: RealRig) -> set[str]:
    above = await rig.store.sightings_above("local", 0)
    return {each.sighting.recipient for each in above}


async def eventually(holds: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not await holds():
            await asyncio.sleep(0.02)


@pytest.mark.services
async def test_sessions_opened_and_paid_in_a_race_with_the_follower_are_all_seen(
    rig: RealRig,
) -> None:
    numbers = range(1, 41)
    async with projecting(rig):
        for number in numbers:
            await open_and_pay(rig, number)
        expected = {address_of(number) for number in numbers}

        async def all_seen() -> bool:
            return await seen(rig) == expected

        await eventually(all_seen)


@pytest.mark.services
async def test_no_block_is_passed_while_the_watch_list_stands_still(rig: RealRig) -> None:
    async with projecting(rig):
        await open_and_pay(rig, 1)

        async def one_seen() -> bool:
            return await seen(rig) == {address_of(1)}

        await eventually(one_seen)
    passed = await rig.passed()
    await open_and_pay(rig, 2)  # nobody projects now
    await asyncio.sleep(1)
    assert await rig.passed() == passed
    async with projecting(rig):

        async def both_seen() -> bool:
            return await seen(rig) == {address_of(1), address_of(2)}

        await eventually(both_seen)


@pytest.mark.services
async def test_another_read_model_that_stands_still_stops_no_block(
    rig: RealRig, migrated: Migrated
) -> None:
    async with projecting(rig):
        await open_and_pay(rig, 1)

        async def one_seen() -> bool:
            return await seen(rig) == {address_of(1)}

        await eventually(one_seen)
    behind = [each.name for each in PROJECTIONS if each.name != WATCH_LIST_MODEL]
    async with Postgres(migrated.owner_dsn, name="test-owner") as owner, owner.connection() as c:
        await c.execute(
            "UPDATE rm_admin.checkpoints SET position = 0 WHERE name = ANY(%s)", (behind,)
        )
    passed = await rig.passed()
    await rig.chain.mine(5)
    await rig.until_passed(passed + 5)

"""Windows close by the time of the chain, whatever the view says and however many are due."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from adapters.memory.chain import MemoryChain
from adapters.memory.chain_client import MemoryChainClient
from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.reads import MemoryReads
from adapters.memory.store import MemoryEventStore
from application.deciders import PAYMENT
from application.handling import Handler, UnitOfWork
from application.ports import Context, StoreUnavailable, Stream
from application.reads import Passed, SessionReads
from domain import commands as c
from domain.networks import NetworkBook
from domain.payment import PaymentSession
from tests.examples import AT, DEPOSIT, LOCAL, MERCHANT_ID, sighting, usd
from workers.expiry import BATCH_MAX, POLL_SECONDS, QUIET_BLOCKS, Expiry

WINDOW_SECONDS = 60
QUIET_SECONDS = QUIET_BLOCKS * LOCAL.block_seconds
OTHER = LOCAL.model_copy(update={"name": "other", "chain_id": 31338})
BOOK = NetworkBook(networks=(LOCAL, OTHER))


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock(AT)
        self.store = MemoryEventStore(ids=SeededIds(1), clock=self.clock)
        self.handler = Handler(self.store, self.clock)
        self.reads = MemoryReads(self.store, BOOK)
        self.chains = {n.name: MemoryChainClient(MemoryChain(n, AT)) for n in BOOK.networks}
        self.expiry = self.expiry_over(self.reads.sessions)
        self.chain_reaches(AT)
        self.chain_reaches(AT, "other")

    def expiry_over(self, sessions: SessionReads) -> Expiry:
        return Expiry(sessions, self.reads.heads, self.chains, self.handler, self.clock)

    def chain_reaches(self, time: datetime, network: str = "local") -> None:
        """A block of this moment is mined and passed, and nothing of it waits."""
        chain = self.chains[network].chain
        chain.mine()
        self.reads.heads.passages[network] = Passed(
            chain.head, chain.blocks[-1].header.hash, time, None
        )

    def passes(self, seconds: float, network: str = "local") -> None:
        """Time, here and on the chain."""
        self.clock.advance(seconds)
        self.chain_reaches(self.clock.now(), network)

    async def open_session(self, number: int, network: str = "local") -> UUID:
        session_id = UUID(int=number)

        async def work(unit: UnitOfWork) -> None:
            command = c.CreateSession(
                at=unit.now,
                session_id=session_id,
                merchant_id=MERCHANT_ID,
                mode="test",
                network=network,
                due=usd("10.00"),
                pay_by="deposit_address",
                tolerance=usd("0"),
                deposit_address=DEPOSIT,
                deposit_index=number,
                expires_at=unit.now + timedelta(seconds=WINDOW_SECONDS),
                grace_seconds=0,
            )
            await unit.decide(PAYMENT, session_id, command)

        await self.handler.execute(Context(actor="system"), work)
        return session_id

    async def pay(self, session_id: UUID) -> None:
        async def work(unit: UnitOfWork) -> None:
            seen = c.ObserveTransfer(at=unit.now, sighting=sighting(block_time=AT))
            await unit.decide(PAYMENT, session_id, seen)

        await self.handler.execute(Context(actor="system"), work)

    async def session(self, session_id: UUID) -> PaymentSession:
        session = await self.handler.load(PAYMENT, session_id)
        assert session is not None
        return session


@pytest.fixture
def rig() -> Rig:
    return Rig()


class StuckView:
    """Says for ever that these are due, as a view does that no longer follows."""

    def __init__(self, rig: Rig, *session_ids: UUID) -> None:
        self._sessions = rig.reads.sessions
        self._due = session_ids
        self.until: dict[str, datetime] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(self._sessions, name)

    async def due_to_expire(self, now: datetime, limit: int, *, network: str) -> Sequence[UUID]:
        self.until[network] = now
        return self._due[:limit] if network == "local" else ()


class TestExpiry:
    async def test_a_session_expires_at_its_moment_and_not_before(self, rig: Rig) -> None:
        session_id = await rig.open_session(1)
        rig.passes(WINDOW_SECONDS - 0.001)
        assert await rig.expiry.expire_due() == 0
        assert (await rig.session(session_id)).status == "pending"
        rig.passes(0.001)
        assert await rig.expiry.expire_due() == 1
        assert (await rig.session(session_id)).status == "failed"

    async def test_a_paid_session_is_left_alone(self, rig: Rig) -> None:
        session_id = await rig.open_session(1)
        await rig.pay(session_id)
        rig.passes(WINDOW_SECONDS)
        expiry = rig.expiry_over(StuckView(rig, session_id))  # type: ignore[arg-type] # delegates the rest
        assert await expiry.expire_due() == 0
        assert (await rig.session(session_id)).status == "confirming"

    async def test_a_view_that_lags_adds_no_second_fact(self, rig: Rig) -> None:
        session_id = await rig.open_session(1)
        rig.passes(WINDOW_SECONDS)
        expiry = rig.expiry_over(StuckView(rig, session_id))  # type: ignore[arg-type] # delegates the rest
        assert [await expiry.expire_due() for _ in range(3)] == [1, 0, 0]
        stream = Stream(PAYMENT.stream_type, session_id)
        assert len(await rig.store.read_stream(stream)) == 2

    async def test_the_fact_belongs_to_its_merchant(self, rig: Rig) -> None:
        session_id = await rig.open_session(1)
        rig.passes(WINDOW_SECONDS)
        await rig.expiry.expire_due()
        expired = (await rig.store.read_stream(Stream(PAYMENT.stream_type, session_id)))[-1]
        assert expired.context.actor == "system"
        assert (expired.context.merchant_id, expired.context.mode) == (MERCHANT_ID, "test")

    async def test_more_than_a_batch_is_due_and_all_expire_without_waiting(self, rig: Rig) -> None:
        sessions = [await rig.open_session(n) for n in range(1, BATCH_MAX + 20)]
        rig.passes(WINDOW_SECONDS)
        stop = asyncio.Event()
        running = asyncio.create_task(rig.expiry.run(stop))
        for _ in range(5_000):
            await asyncio.sleep(0)
            if (await rig.session(sessions[-1])).status == "failed":
                break
        assert {(await rig.session(one)).status for one in sessions} == {"failed"}
        stop.set()
        await asyncio.wait_for(running, timeout=1)

    async def test_one_broken_session_keeps_no_other_open(self, rig: Rig) -> None:
        sound = await rig.open_session(1)
        rig.passes(WINDOW_SECONDS)
        nobodys = UUID(int=99)  # no such session: deciding about it is refused
        expiry = rig.expiry_over(StuckView(rig, nobodys, sound))  # type: ignore[arg-type] # delegates the rest
        assert await expiry.expire_due() == 1
        assert (await rig.session(sound)).status == "failed"

    async def test_it_outlives_an_outage_and_goes_on(self, rig: Rig) -> None:
        session_id = await rig.open_session(1)
        rig.passes(WINDOW_SECONDS)
        rig.store.outage = StoreUnavailable("the connection failed")
        stop = asyncio.Event()
        running = asyncio.create_task(rig.expiry.run(stop))
        for _ in range(20):
            rig.clock.advance(POLL_SECONDS)
            await asyncio.sleep(0)
        assert not running.done()
        rig.store.outage = None
        for _ in range(50):
            rig.clock.advance(POLL_SECONDS)
            await asyncio.sleep(0)
        assert (await rig.session(session_id)).status == "failed"
        stop.set()
        await asyncio.wait_for(running, timeout=1)


class TestByTheTimeOfTheChain:
    async def test_an_outage_of_the_node_across_the_end_of_a_window_fails_no_payment_in_time(
        self, rig: Rig
    ) -> None:
        session_id = await rig.open_session(1)
        rig.chains["local"].down = True
        for _ in range(3):
            rig.clock.advance(WINDOW_SECONDS + QUIET_SECONDS)
            assert await rig.expiry.expire_due() == 0
        rig.chains["local"].down = False
        await rig.pay(session_id)  # what the ingester reads first, once the node is back
        rig.chain_reaches(rig.clock.now())
        assert await rig.expiry.expire_due() == 0
        assert (await rig.session(session_id)).status == "confirming"

    async def test_a_node_with_blocks_not_passed_yet_expires_nothing(self, rig: Rig) -> None:
        await rig.open_session(1)
        rig.clock.advance(WINDOW_SECONDS + QUIET_SECONDS + 1)
        rig.chains["local"].chain.mine()
        assert await rig.expiry.expire_due() == 0
        rig.chain_reaches(AT + timedelta(seconds=WINDOW_SECONDS))
        assert await rig.expiry.expire_due() == 1

    async def test_a_shorter_branch_is_no_quiet_chain(self, rig: Rig) -> None:
        session_id = await rig.open_session(1)
        chain = rig.chains["local"].chain
        chain.mine(3)
        rig.chain_reaches(AT)
        chain.reorg(3, keep=True)
        chain.mine()  # what is in it has not been read
        rig.clock.advance(WINDOW_SECONDS + QUIET_SECONDS)
        assert await rig.expiry.expire_due() == 0
        assert (await rig.session(session_id)).status == "pending"
        rig.chain_reaches(AT)
        assert await rig.expiry.expire_due() == 1

    async def test_a_branch_as_long_as_ours_is_no_quiet_chain(self, rig: Rig) -> None:
        await rig.open_session(1)
        chain = rig.chains["local"].chain
        chain.reorg(1, keep=True)
        chain.transfer(LOCAL.tokens[0].address, DEPOSIT, DEPOSIT, 1)
        chain.mine()
        rig.clock.advance(WINDOW_SECONDS + QUIET_SECONDS)
        assert await rig.expiry.expire_due() == 0

    async def test_a_chain_without_blocks_is_waited_for_and_then_believed(self, rig: Rig) -> None:
        session_id = await rig.open_session(1)
        rig.clock.advance(WINDOW_SECONDS + QUIET_SECONDS - 0.001)
        assert await rig.expiry.expire_due() == 0
        rig.clock.advance(0.001)
        assert await rig.expiry.expire_due() == 1
        assert (await rig.session(session_id)).status == "failed"

    @pytest.mark.parametrize("quiet", [False, True])
    async def test_a_payment_seen_and_not_recorded_yet_holds_its_windows_open(
        self, rig: Rig, *, quiet: bool
    ) -> None:
        session_id = await rig.open_session(1)
        rig.passes(WINDOW_SECONDS)
        mined_at = rig.clock.now() - timedelta(seconds=1)
        passages = rig.reads.heads.passages
        passages["local"] = replace(passages["local"], unrecorded_from=mined_at)
        rig.clock.advance(2 * QUIET_SECONDS if quiet else 0)
        assert await rig.expiry.expire_due() == 0
        passages["local"] = replace(passages["local"], unrecorded_from=None)
        assert await rig.expiry.expire_due() == 1
        assert (await rig.session(session_id)).status == "failed"

    async def test_a_block_read_on_one_word_holds_windows_open_where_one_word_is_not_enough(
        self, rig: Rig
    ) -> None:
        policy = OTHER.policy.model_copy(update={"allow_unattested": False})
        rig.chains[OTHER.name].network = OTHER.model_copy(update={"policy": policy})
        strict = await rig.open_session(1, OTHER.name)
        easy = await rig.open_session(2)
        rig.passes(WINDOW_SECONDS, OTHER.name)
        rig.chain_reaches(rig.clock.now())
        for name in (OTHER.name, "local"):
            passed = rig.reads.heads.passages[name]
            rig.reads.heads.passages[name] = replace(passed, unattested_from=AT)
        assert await rig.expiry.expire_due() == 1
        assert (await rig.session(easy)).status == "failed"
        assert (await rig.session(strict)).status == "pending"

    async def test_one_network_that_is_away_holds_up_no_other(self, rig: Rig) -> None:
        held = [await rig.open_session(n) for n in range(1, BATCH_MAX + 2)]
        free = await rig.open_session(1_000, "other")
        rig.chains["local"].down = True
        rig.clock.advance(WINDOW_SECONDS + QUIET_SECONDS)
        rig.chain_reaches(rig.clock.now(), "other")
        assert await rig.expiry.expire_due() == 1
        assert (await rig.session(free)).status == "failed"
        assert {(await rig.session(one)).status for one in held} == {"pending"}

    async def test_before_the_first_block_is_passed_nothing_expires(self, rig: Rig) -> None:
        await rig.open_session(1)
        rig.clock.advance(WINDOW_SECONDS + 2 * QUIET_SECONDS)
        rig.reads.heads.passages.clear()
        assert await rig.expiry.expire_due() == 0

    async def test_a_chain_ahead_of_our_clock_closes_no_window_early(self, rig: Rig) -> None:
        await rig.open_session(1)
        rig.chain_reaches(AT + timedelta(days=1))
        view = StuckView(rig)
        assert await rig.expiry_over(view).expire_due() == 0  # type: ignore[arg-type] # delegates the rest
        assert view.until["local"] == AT
        assert await rig.expiry.expire_due() == 0

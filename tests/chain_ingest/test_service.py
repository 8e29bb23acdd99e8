"""Who leads works, who does not stands by, and neither outlives its time."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from adapters.memory.chain import MemoryChain
from adapters.memory.clock import FakeClock
from application.handling import Handler
from application.policies import Policies
from application.ports import StoreUnavailable
from chain_ingest.admission import Misconfigured
from chain_ingest.health import PAUSE_SECONDS_MAX
from chain_ingest.service import (
    DUTY_SECONDS_FIRST,
    LEASE_CHECK_SECONDS,
    STANDBY_SECONDS,
    Ingester,
)
from tests.chain_ingest.world import START, STRICT, World

TICKS_MAX = 400


def ingester(world: World) -> Ingester:
    return Ingester(world.network, world.follower, world.outbox, world.store, world.clock)


async def until(world: World, condition: Callable[[], bool]) -> None:
    """Let time pass, a little at a time, until it is so."""
    for _ in range(TICKS_MAX):
        if condition():
            return
        world.clock.advance(0.1)
        for _ in range(30):
            await asyncio.sleep(0)
    raise AssertionError("never happened")


async def test_the_leader_follows_and_publishes_and_stops_when_told() -> None:
    world = World()
    world.pay(1)
    world.chain.mine()
    stop = asyncio.Event()
    running = asyncio.create_task(ingester(world).run(stop))
    await until(world, lambda: len(world.bus.published) == 1)
    stop.set()
    async with asyncio.timeout(1):
        await running
    assert world.store.leaders == {}, "the lease is given back"


async def test_a_standby_takes_over_when_the_leader_is_gone() -> None:
    world = World()
    lease = await world.store.lead("local")
    assert lease is not None
    world.pay(1)
    world.chain.mine()
    stop = asyncio.Event()
    running = asyncio.create_task(ingester(world).run(stop))
    world.clock.advance(STANDBY_SECONDS)
    for _ in range(100):
        await asyncio.sleep(0)
    assert world.bus.published == []
    await lease.release()
    await until(world, lambda: len(world.bus.published) == 1)
    stop.set()
    await running


async def test_a_leader_that_lost_its_lease_stops_working_until_it_has_one_again() -> None:
    world = World()
    stop = asyncio.Event()
    running = asyncio.create_task(ingester(world).run(stop))
    await until(world, lambda: "local" in world.store.leaders)
    del world.store.leaders["local"]
    rival = await world.store.lead("local")
    assert rival is not None
    world.clock.advance(LEASE_CHECK_SECONDS)
    for _ in range(100):
        await asyncio.sleep(0)
    world.pay(1)
    world.chain.mine()
    for _ in range(50):
        world.clock.advance(0.1)
        await asyncio.sleep(0)
    assert world.reports == [], "another one leads"
    await rival.release()
    await until(world, lambda: len(world.bus.published) == 1)
    stop.set()
    await running


async def test_outages_of_everything_are_outlived() -> None:
    world = World()
    stop = asyncio.Event()
    world.store.outage = world.bus.outage = world.sources[0].down = True
    running = asyncio.create_task(ingester(world).run(stop))
    for _ in range(20):
        world.clock.advance(1)
        await asyncio.sleep(0)
    world.pay(1)
    world.chain.mine()
    world.store.outage = False
    await until(world, lambda: "local" in world.store.leaders)
    world.sources[0].down = False
    await until(world, lambda: len(world.reports) == 1)
    world.bus.outage = False
    await until(world, lambda: len(world.bus.published) == 1)
    world.store.outage = True
    for _ in range(20):
        world.clock.advance(1)
        await asyncio.sleep(0)
    world.store.outage = False
    world.pay(2)
    world.chain.mine()
    await until(world, lambda: len(world.bus.published) == 2)
    stop.set()
    await running


async def test_a_provider_of_the_wrong_chain_ends_the_process_with_the_reason() -> None:
    world = World()
    world.sources[0].decimals = 18
    with pytest.raises(Misconfigured, match=r"USDC .*it says 18, expected 6"):
        await ingester(world).run(asyncio.Event())
    assert world.store.leaders == {}


async def test_a_log_that_is_away_at_the_start_is_waited_for() -> None:
    world = World()
    world.pay(1)
    world.chain.mine()
    world.log.outage = StoreUnavailable("switched off by a test")
    stop = asyncio.Event()
    running = asyncio.create_task(ingester(world).run(stop))
    for _ in range(30):
        world.clock.advance(0.5)
        await asyncio.sleep(0)
    assert world.reports == []
    assert not running.done()
    world.log.outage = None
    await until(world, lambda: len(world.bus.published) == 1)
    stop.set()
    await running


async def test_each_lease_adopts_what_is_configured_here_whatever_another_one_did() -> None:
    world = World()
    stop = asyncio.Event()
    running = asyncio.create_task(ingester(world).run(stop))
    world.pay(1)
    world.chain.mine()
    await until(world, lambda: len(world.bus.published) == 1)
    other = world.network.model_copy(
        update={"policy": world.network.policy.model_copy(update={"blocks": 9})}
    )
    policies = Policies(Handler(world.log, world.clock))
    await policies.adopt(other)
    world.pay(2)
    world.chain.mine()
    await until(world, lambda: len(world.bus.published) == 2)
    del world.store.leaders["local"]
    await until(world, lambda: "local" in world.store.leaders)
    world.pay(3)
    world.chain.mine()
    await until(world, lambda: world.said().count("observed") == 3)
    observed = [each.policy_version for each in world.transfers if each.kind == "observed"]
    assert observed == [1, 1, 3]
    history = await policies.history(world.network)
    assert [policy.blocks for policy in history.policies] == [3, 9, 3]
    stop.set()
    await running


@pytest.mark.parametrize("wrong", ["chain", "token"])
async def test_a_provider_that_turns_wrong_does_not_end_a_process_with_its_next_lease(
    wrong: str,
) -> None:
    world = World(STRICT, sources=3)
    world.sources[0].down = True
    await world.follower._providers.check()
    world.sources[0].down = False
    if wrong == "chain":
        other = STRICT.model_copy(update={"chain_id": 666})
        world.sources[0].chain = MemoryChain(other, world.clock.now())
    else:
        world.sources[0].decimals = 18
    world.clock.advance(PAUSE_SECONDS_MAX)
    stop = asyncio.Event()
    running = asyncio.create_task(ingester(world).run(stop))
    world.pay(1)
    world.chain.mine()
    await until(world, lambda: len(world.bus.published) == 1)
    assert world.follower._providers.panel.states["provider-0"].standing == "refused"
    asked = world.sources[0].calls.total()
    del world.store.leaders["local"]
    world.pay(2)
    world.chain.mine()
    await until(world, lambda: len(world.bus.published) == 2)
    assert world.sources[0].calls.total() == asked, "nor is it asked again with a new lease"
    stop.set()
    await running


class Faulty:
    """A duty that always fails."""

    def __init__(self, clock: FakeClock) -> None:
        self.began: list[float] = []
        self._clock = clock

    async def run(self, _: asyncio.Event) -> None:
        self.began.append((self._clock.now() - START).total_seconds())
        raise ZeroDivisionError("our own bug")


async def test_a_duty_that_fails_is_begun_again_and_payments_go_on() -> None:
    world = World()
    duty = Faulty(world.clock)
    service = Ingester(
        world.network, world.follower, world.outbox, world.store, world.clock, duties=[duty]
    )
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    with capture_logs() as lines:
        await until(world, lambda: len(duty.began) == 4)
    waits = [round(later - before) for before, later in pairwise(duty.began)]
    assert waits == [DUTY_SECONDS_FIRST, 2 * DUTY_SECONDS_FIRST, 4 * DUTY_SECONDS_FIRST]
    said = [line for line in lines if line["event"] == "duty_failed"]
    assert {line["duty"] for line in said} == {"Faulty"}
    assert all(line["exc_info"] for line in said), "with the traceback"
    world.pay(1)
    world.chain.mine()
    await until(world, lambda: len(world.bus.published) == 1)
    stop.set()
    async with asyncio.timeout(1):
        await running

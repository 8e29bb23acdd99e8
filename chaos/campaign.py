"""One seed of the fault campaign, from the first block to the verdict.

Shapes  Each step: a mood of the providers, perhaps a fork or a restart, some blocks. Then a short
        wait, so that readers see most of what happens; who is slower sees less of it. In the end
        all is honest, the chain grows past the confirmations, and the oracle judges.
Units   seconds, real ones.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from application.chain_messages import ReorgReport
from chaos import oracle
from chaos.driver import Driver
from chaos.faults import ABSENCE_BLOCKS, Mood, Step, plan
from chaos.ingesting import CONFIRMATIONS, TIMEOUT_SECONDS, Ingesting, ingesting
from chaos.rpc import Rpc, Silent
from chaos.stage import PAID_ADDRESSES, Stage, stage
from chaos.strategies import Strategy, usual

MANY_ADDRESSES = 1_500  # more than a thousand: all transfers are read
PACE_SECONDS_MAX = 1.0
PACE_LYING_SECONDS_MAX = 0.25  # while there may be no quorum to wait for
PACE_SECONDS_MIN = 0.02
SLACK_BLOCKS_MAX = 3
TRUCE_SECONDS = 0.8  # longer than any answer takes: no lie outlives its mood
POLL_SECONDS = 0.05
READ_SECONDS_MAX = 60.0
QUIET_SECONDS = 1.0
LAST_BLOCKS = CONFIRMATIONS + 8

OnStep = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Result:
    seed: int
    story: str
    steps: int
    blocks: int
    mined: int
    transactions: int
    forks: int
    deepest: int
    refusals: int
    repeats: int
    reports: int
    followed: int
    deepest_followed: int
    seconds: float
    verdicts: Sequence[oracle.Verdict]
    calls: dict[str, float] = field(default_factory=dict)

    @property
    def ours(self) -> oracle.Verdict:
        return self.verdicts[-1]


@dataclass
class World:
    """Everything that runs during one seed."""

    stage: Stage
    ingesting: Ingesting
    strategies: Sequence[Strategy]

    @property
    def driver(self) -> Driver:
        return self.stage.driver

    async def pace(self, rng: Random, mood: Mood) -> None:
        """Until the readers have come near the head, but not longer than the bound."""
        slack = rng.randint(0, SLACK_BLOCKS_MAX)
        goal = self.driver.mirror.head - slack
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await asyncio.sleep(PACE_SECONDS_MIN)
        longest = PACE_LYING_SECONDS_MAX if mood.down else PACE_SECONDS_MAX
        while loop.time() - begun < longest:
            if await self.ingesting.height() >= goal:
                return
            await asyncio.sleep(PACE_SECONDS_MIN)

    def check(self, readers: Sequence[asyncio.Task[None]]) -> None:
        """Raise what ended anything that should still be running."""
        self.ingesting.check()
        for reader in readers:
            if reader.done():
                reader.result()


async def run(seed: int, steps: int, on_step: OnStep = lambda _: None) -> Result:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with _world(seed) as world:
        rng = Random(f"pace {seed}")
        stop = asyncio.Event()
        readers = [asyncio.create_task(_poll(each, stop)) for each in world.strategies]
        try:
            await _live(world, plan(seed, steps), rng, on_step)
            world.check(readers)
            await _settle(world)
        finally:
            stop.set()
            await asyncio.gather(*readers)
        return await _judged(world, seed, steps, loop.time() - begun)


async def _live(world: World, story: Sequence[Step], rng: Random, on_step: OnStep) -> None:
    mood = story[0].mood
    await world.ingesting.start()
    for number, step in enumerate(story):
        if step.mood != mood:
            mood = step.mood
            for provider in world.stage.providers:
                provider.mood_is(mood)
            if mood.liar is None:
                await asyncio.sleep(TRUCE_SECONDS)
        await _step(world, step)
        await world.pace(rng, mood)
        world.ingesting.check()
        on_step(number)


async def _step(world: World, step: Step) -> None:
    if step.restart:
        await world.ingesting.stop()
    if step.absence:
        await world.ingesting.stop()
        for number in range(ABSENCE_BLOCKS):
            await world.driver.step(1, 3 if number % 5 == 0 else 0)
    if step.fork_depth:
        await world.driver.fork(step.fork_depth)
    await world.driver.step(step.blocks, step.payments_max)
    if step.restart or step.absence:
        await world.ingesting.start()


async def _settle(world: World) -> None:
    """All faults end. Blocks go on coming until nothing waits for one; then all is read and said."""
    for provider in world.stage.providers:
        provider.honest()
    await world.driver.grow([[] for _ in range(LAST_BLOCKS)])
    await world.stage.settle(world.ingesting.check)
    loop = asyncio.get_running_loop()
    until = loop.time() + READ_SECONDS_MAX
    head = world.driver.mirror.head
    while loop.time() < until:
        if all(each.position >= head - each.read_up_to for each in world.strategies):
            break
        await asyncio.sleep(POLL_SECONDS)
    await asyncio.sleep(QUIET_SECONDS)  # should anybody have one more thing to say


async def _judged(world: World, seed: int, steps: int, seconds: float) -> Result:
    driver = world.driver
    watched = frozenset(world.stage.watched)
    truth = await oracle.canonical(world.stage.chain, watched)
    real = oracle.ever(driver.mirror, watched)
    reports = await world.stage.consumer.reports()
    ours, still_open = oracle.judge(reports, truth, real)
    followed = [each.depth for each in reports if isinstance(each, ReorgReport)]
    await oracle.examine_rows(ours, world.stage.postgres, still_open, driver.mirror.canonical)
    if await world.ingesting.height() != driver.mirror.head:
        ours.fault(f"stands at block {await world.ingesting.height()} of {driver.mirror.head}")
    others = [oracle.judge_usual(each, truth, real) for each in world.strategies]
    names = [*(each.name for each in world.strategies), "ingester"]
    calls = {
        name: sum(provider.calls[name] for provider in world.stage.providers) / driver.mined
        for name in names
    }
    return Result(
        seed=seed,
        story=driver.story,
        steps=steps,
        blocks=driver.mirror.head,
        mined=driver.mined,
        transactions=driver.transactions,
        forks=driver.forks,
        deepest=driver.deepest,
        refusals=world.ingesting.refusals,
        repeats=world.stage.consumer.repeats,
        reports=len(reports),
        followed=len(followed),
        deepest_followed=max(followed, default=0),
        seconds=seconds,
        verdicts=[*others, ours],
        calls=calls,
    )


async def _poll(strategy: Strategy, stop: asyncio.Event) -> None:
    for client in strategy.clients:
        await client.open()
    try:
        while not stop.is_set():
            with contextlib.suppress(Silent):
                await strategy.poll()
            await asyncio.sleep(POLL_SECONDS)
    finally:
        for client in strategy.clients:
            await client.close()


@contextlib.asynccontextmanager
async def _world(seed: int) -> AsyncIterator[World]:
    addresses = MANY_ADDRESSES if seed % 3 == 2 else PAID_ADDRESSES
    async with stage(seed, addresses=addresses) as found:

        def clients_for(who: str) -> list[Rpc]:
            return [Rpc(f"{url}/{who}", TIMEOUT_SECONDS) for url in found.urls]

        async with ingesting(found) as ours:
            strategies = usual(clients_for, frozenset(found.watched), CONFIRMATIONS)
            yield World(found, ours, strategies)

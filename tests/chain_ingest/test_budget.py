"""A provider is asked no oftener than its budget, and what is pressing comes first."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from adapters.memory.chain import MemoryChain, MemorySource
from adapters.memory.clock import FakeClock
from application.chain_source import Header, ProviderFailed, Tag
from chain_ingest.budget import (
    LIVE_CALLS_PER_SECOND,
    RECOVERY_SHARE,
    REQUESTS_PER_SECOND_MIN,
    RESERVED_SHARE,
    SHRINK_FACTOR,
    WAIT_SECONDS_MAX,
    Budget,
    BudgetedSource,
)
from tests.chain_ingest.world import LOCAL, START, USDC

TICK_SECONDS = 0.05


async def through(clock: FakeClock, *calls: Awaitable[object], seconds: float) -> list[float]:
    """When each call was let through, while this much time passes."""
    begun = clock.now()
    let: list[float] = []

    async def timed(call: Awaitable[object]) -> None:
        await call
        let.append((clock.now() - begun).total_seconds())

    tasks = [asyncio.create_task(timed(call)) for call in calls]
    for _ in range(round(seconds / TICK_SECONDS)):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        clock.advance(TICK_SECONDS)
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [each for each in outcomes if isinstance(each, ProviderFailed)]
    return let


async def test_a_burst_passes_at_once_and_the_rest_at_the_rate() -> None:
    clock = FakeClock(START)
    budget = Budget("p0", 10, clock)
    calls = [budget.take(1, pressing=True) for _ in range(30)]
    let = await through(clock, *calls, seconds=4)
    assert sum(at < TICK_SECONDS for at in let) == 10
    assert len(let) == 30
    for second in (1, 2):
        assert sum(second - 1 < at <= second for at in let[10:]) in range(9, 12)


async def test_what_can_wait_leaves_a_share_to_what_is_pressing() -> None:
    clock = FakeClock(START)
    budget = Budget("p0", 20, clock)
    waiting = [budget.take(1, pressing=False) for _ in range(20)]
    let = await through(clock, *waiting, seconds=TICK_SECONDS)
    reserved = round(20 * RESERVED_SHARE)
    assert len(let) == 20 - reserved
    pressing = [budget.take(1, pressing=True) for _ in range(reserved)]
    assert len(await through(clock, *pressing, seconds=TICK_SECONDS)) == reserved


async def test_what_can_wait_goes_on_when_nothing_is_pressing() -> None:
    clock = FakeClock(START)
    budget = Budget("p0", 10, clock)
    calls = [budget.take(1, pressing=False) for _ in range(40)]
    assert len(await through(clock, *calls, seconds=4)) in range(38, 41)


async def test_nobody_waits_longer_than_the_bound() -> None:
    clock = FakeClock(START)
    budget = Budget("p0", 1, clock)
    taken = [asyncio.create_task(budget.take(1, pressing=True)) for _ in range(20)]
    await asyncio.sleep(0)
    refused = [task for task in taken if task.done() and task.exception() is not None]
    assert len(refused) == 20 - 1 - WAIT_SECONDS_MAX
    failed = refused[0].exception()
    assert isinstance(failed, ProviderFailed)
    assert failed.kind == "over_budget"
    with pytest.raises(ProviderFailed):
        await budget.take(1, pressing=False)
    for task in taken:
        task.cancel()
    await asyncio.gather(*taken, return_exceptions=True)


async def test_a_question_of_more_calls_than_the_bucket_holds_is_asked_too() -> None:
    clock = FakeClock(START)
    budget = Budget("p0", 10, clock)
    assert await through(clock, budget.take(30, pressing=False), seconds=1) != []


async def test_too_often_shrinks_the_rate_below_what_was_asked_and_it_comes_back() -> None:
    clock = FakeClock(START)
    budget = Budget("p0", 500, clock)
    for _ in range(40):
        await budget.take(1, pressing=True)
    budget.limited()
    assert budget.rate == pytest.approx(40 * SHRINK_FACTOR)
    budget.limited()
    assert budget.rate == pytest.approx(40 * SHRINK_FACTOR), "once a second"
    clock.advance(20)
    await budget.take(1, pressing=True)
    assert budget.rate == pytest.approx(40 * SHRINK_FACTOR * (1 + RECOVERY_SHARE) ** 20)
    clock.advance(3_600)
    await budget.take(1, pressing=True)
    assert budget.rate == 500
    for _ in range(100):
        clock.advance(1)
        budget.limited()
    assert budget.rate == REQUESTS_PER_SECOND_MIN


async def test_one_refusal_in_a_quiet_second_leaves_enough_for_live_work() -> None:
    clock = FakeClock(START)
    budget = Budget("p0", 500, clock)
    clock.advance(600)
    await budget.take(1, pressing=True)
    budget.limited()
    assert budget.rate == pytest.approx(LIVE_CALLS_PER_SECOND * SHRINK_FACTOR)


async def test_a_refusal_now_and_then_does_not_starve_live_work() -> None:
    clock = FakeClock(START)
    budget = Budget("p0", 500, clock)
    rates = []
    for second in range(600):
        for _ in range(5):
            await budget.take(1, pressing=True)
        if second % 20 == 0:  # one call in a hundred
            budget.limited()
        rates.append(budget.rate)
        clock.advance(1)
    assert min(rates) >= LIVE_CALLS_PER_SECOND * SHRINK_FACTOR


async def test_a_busy_second_is_remembered_for_a_while() -> None:
    clock = FakeClock(START)
    budget = Budget("p0", 500, clock)
    for _ in range(100):
        await budget.take(1, pressing=True)
    clock.advance(2)
    await budget.take(1, pressing=True)
    budget.limited()
    assert budget.rate > 50


async def test_a_budgeted_source_counts_and_hears_of_limits() -> None:
    clock = FakeClock(START)
    chain = MemoryChain(LOCAL, START)
    chain.mine(3)
    source = Limiting(chain, "p0")
    budget = Budget("p0", 5, clock)
    budgeted = BudgetedSource(source, budget)
    assert budgeted.name == "p0"
    asked: list[Callable[[], Awaitable[object]]] = [
        budgeted.chain_id,
        lambda: budgeted.header("latest"),
        lambda: budgeted.logs_of_range(1, 3, [USDC], None),
    ]
    for ask in asked:
        await ask()
    source.limits = True
    with pytest.raises(ProviderFailed):
        await budgeted.header(1)
    assert budget.rate < 5
    assert source.calls.total() == 4


class Limiting(MemorySource):
    limits = False

    async def header(self, block: int | Tag) -> Header | None:
        header = await super().header(block)
        if self.limits:
            raise ProviderFailed("p0: 429", "rate_limited")
        return header

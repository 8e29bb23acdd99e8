"""What following a network costs and how it goes: kept, said, and shown."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.memory.figures import MemoryFigures
from application.figures import FIGURES_KEPT_DAYS, Backlog, Condition, ReadingCount
from application.ports import Unavailable
from chain_ingest import measures
from chain_ingest.measures import FIGURES_SECONDS, Measures
from chain_ingest.metered import MeteredSource
from tests.chain_ingest.world import START, STRICT, World

HOUR = START.replace(minute=0, second=0, microsecond=0)


class MeasuredWorld(World):
    """A world whose sources are metered, with the figures that are kept of it."""

    def __init__(self, *, sources: int = 2) -> None:
        super().__init__(STRICT, sources=sources)
        self.figures = MemoryFigures(self.store)
        self.metered = [MeteredSource(source, self.clock) for source in self.sources]
        self.thinks: dict[str, Condition] = {}
        self.asked = self.metered
        self.restart()
        self.measures = Measures(
            STRICT,
            [source.meter for source in self.metered],
            self.tally,
            self.store,
            self.figures,
            self.clock,
            conditions=self.conditions,
        )

    def conditions(self) -> Mapping[str, Condition]:
        return self.thinks

    async def try_step(self) -> None:
        with suppress(Unavailable):
            await self.follower.step()

    async def flushed(self) -> Mapping[str, Any]:
        """The line that one flush says."""
        with capture_logs() as lines:
            await self.measures.flush()
        (line,) = (each for each in lines if each["event"] == "ingest_figures")
        return line


async def test_calls_and_blocks_are_kept_by_the_hour() -> None:
    world = MeasuredWorld()
    await world.mine_and_follow(5)
    world.clock.advance(30)
    await world.measures.flush()
    kept = await world.figures.calls("local", HOUR)
    assert {each.provider for each in kept} == {"provider-0", "provider-1"}
    assert {each.outcome for each in kept} == {"answered"}
    headers = [each for each in kept if each.method == "eth_getBlockByNumber"]
    assert [each.count.calls for each in headers] == [
        source.calls["header"] for source in world.sources
    ]
    assert all((each.first_at, each.hour) == (START, HOUR) for each in kept)
    (reading,) = await world.figures.readings("local", HOUR)
    assert reading.count.blocks == 5


async def test_a_second_flush_adds_only_what_is_new() -> None:
    world = MeasuredWorld()
    await world.mine_and_follow(5)
    await world.measures.flush()
    before = await world.figures.calls("local", HOUR)
    await world.measures.flush()
    assert await world.figures.calls("local", HOUR) == before
    await world.mine_and_follow(1)
    await world.measures.flush()
    after = await world.figures.calls("local", HOUR)
    assert sum(each.count.calls for each in after) > sum(each.count.calls for each in before)
    (reading,) = await world.figures.readings("local", HOUR)
    assert reading.count.blocks == 6


async def test_what_was_counted_while_the_store_was_away_is_lost_and_nothing_else() -> None:
    world = MeasuredWorld()
    await world.mine_and_follow(5)
    world.figures.outage = True
    with capture_logs() as lines:
        await world.measures.flush()
        await world.measures.flush()
    assert [each["event"] for each in lines].count("figures_not_kept") == 1
    world.figures.outage = False
    await world.mine_and_follow(2)
    await world.measures.flush()
    (reading,) = await world.figures.readings("local", HOUR)
    assert reading.count.blocks == 2
    assert world.tally.count().blocks == 7


async def test_proofs_lies_disagreements_and_reorgs_are_counted() -> None:
    world = MeasuredWorld(sources=3)
    await world.mine_and_follow(3)
    world.pay(5_000_000)
    world.sources[0].forges = lambda receipts: receipts[:-1]
    await world.mine_and_follow()
    world.sources[0].forges = None
    world.clock.advance(120)
    world.chain.reorg(2)
    world.chain.mine(3)
    await world.follow()
    count = world.tally.count()
    assert count == ReadingCount(blocks=7, proofs=2, lies=1, reorgs=1, deepest_reorg=2)
    assert world.tally.lies == {"provider-0": 1}
    other = world.chain.copy()
    other.mine()
    world.chain.mine()
    world.sources[0].chain = other
    world.sources[2].down = True
    await world.try_step()
    assert world.tally.count().disagreements > 0


async def test_a_line_says_it_all() -> None:
    world = MeasuredWorld()
    world.pay(5_000_000)
    await world.mine_and_follow(4)
    world.clock.advance(60)
    world.sources[1].down = True
    await world.try_step()
    line = await world.flushed()
    assert line["network"] == "local"
    assert line["seconds"] == 60.0
    assert line["block"] == 4
    assert line["blocks"] == 4
    assert line["proofs"] == 1
    assert line["failures"] == {"failed": 1}
    assert line["calls_per_block"] == round(sum(line["calls"].values()) / 4, 1)
    assert (line["unpublished"], line["unsettled"]) == (2, 0)
    assert line["head_lag_seconds"] == 60 - 4 * STRICT.block_seconds
    assert line["attested_lag_seconds"] == 0.0


async def test_gauges_tell_how_far_behind_we_are() -> None:
    world = MeasuredWorld(sources=3)
    await world.mine_and_follow(4)
    world.chain.mine(6)
    world.sources[2].lag = 3
    for source in world.metered:
        await source.header("latest")
    gauges = await world.measures.gauges()
    assert gauges.number == 4
    assert gauges.head_lag_blocks == 6  # two of three have ten blocks
    assert gauges.backlog == Backlog(0, 0, None)
    assert gauges.backlog_seconds == 0.0
    assert not gauges.leads


async def test_a_block_on_one_providers_word_makes_the_attested_lag() -> None:
    world = MeasuredWorld()
    await world.mine_and_follow(2)
    world.sources[1].down = True
    world.chain.mine(2)
    for _ in range(10):
        world.clock.advance(20)
        try:
            await world.follower.step()
        except Exception:  # noqa: BLE001 - until the other one counts as down
            continue
    gauges = await world.measures.gauges()
    assert gauges.number == 4
    oldest = await world.store.unattested("local", 1)
    assert gauges.attested_lag_seconds == (world.clock.now() - oldest[0].time).total_seconds()


async def test_without_the_store_gauges_say_what_they_can() -> None:
    world = MeasuredWorld()
    await world.mine_and_follow(2)
    world.store.outage = True
    gauges = await world.measures.gauges()
    assert (gauges.number, gauges.head_lag_seconds, gauges.backlog) == (None, None, None)


async def test_a_store_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = MeasuredWorld()
    monkeypatch.setattr(measures, "GAUGES_SECONDS_MAX", 0.01)

    async def hangs(_: str) -> Backlog:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(world.figures, "backlog", hangs)
    assert (await world.measures.gauges()).backlog is None


async def test_before_the_first_block_there_is_no_lag() -> None:
    gauges = await MeasuredWorld().measures.gauges()
    assert (gauges.number, gauges.head_lag_seconds, gauges.head_lag_blocks) == (None, None, None)


async def test_the_state_of_a_provider_is_what_it_last_did() -> None:
    world = MeasuredWorld()
    assert [state.condition for state in world.measures.states()] == ["not_asked", "not_asked"]
    await world.mine_and_follow(1)
    world.clock.advance(1)
    world.sources[1].down = True
    await world.try_step()
    first, second = world.measures.states()
    assert (first.condition, first.head) == ("answers", 1)
    assert (second.condition, second.failure) == ("fails", "failed")
    world.clock.advance(600)
    assert {state.condition for state in world.measures.states()} == {"not_asked"}


async def test_what_the_ingester_thinks_of_a_provider_counts_for_more() -> None:
    world = MeasuredWorld()
    await world.mine_and_follow(1)
    world.thinks = {"provider-0": "lied", "provider-1": "answers"}
    assert [state.condition for state in world.measures.states()] == ["lied", "answers"]


async def test_it_flushes_each_minute_while_it_leads_and_once_more_at_the_end() -> None:
    world = MeasuredWorld()
    stop = asyncio.Event()
    running = asyncio.create_task(world.measures.run(stop))
    await asyncio.sleep(0)
    assert (await world.measures.gauges()).leads
    await world.mine_and_follow(3)
    world.clock.advance(FIGURES_SECONDS)
    for _ in range(20):
        await asyncio.sleep(0)
    (reading,) = await world.figures.readings("local", HOUR)
    assert reading.count.blocks == 3
    await world.mine_and_follow(2)
    stop.set()
    await running
    (reading,) = await world.figures.readings("local", HOUR)
    assert reading.count.blocks == 5
    assert not (await world.measures.gauges()).leads


async def test_old_figures_are_forgotten_once_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    world = MeasuredWorld()
    await world.mine_and_follow(1)
    await world.measures.flush()
    forgotten = 0

    async def forget(_: object) -> None:
        nonlocal forgotten
        forgotten += 1

    world.clock.advance(FIGURES_KEPT_DAYS * 86_400 + 3_600)
    await world.measures.flush()
    assert list(await world.figures.calls("local", HOUR)) == []
    monkeypatch.setattr(world.figures, "forget", forget)
    world.clock.advance(60)
    await world.measures.flush()
    assert forgotten == 0

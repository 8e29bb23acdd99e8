"""Ranges of logs: how wide for whom, and whose answers count."""

from dataclasses import dataclass, field, replace

import pytest

from adapters.memory.chain import MemoryChain, MemorySource
from adapters.memory.clock import FakeClock
from adapters.memory.provider_ranges import MemoryProviderRanges
from application.chain_source import LogEntry, ProviderFailed, RangeLogs, RangeRefused
from application.ports import Unavailable
from chain_ingest.providers import NoQuorum, Providers
from chain_ingest.range_reader import POOL_LAG_BLOCKS, RangeReader
from chain_ingest.ranges import (
    CEILING_ANSWERS,
    KEEP_SECONDS_MIN,
    LOGS_WANTED,
    RANGE_BLOCKS_FIRST,
    RANGE_BLOCKS_MAX,
    SLOW_SECONDS,
    Ranges,
)
from tests.chain_ingest.world import DEPOSIT, LOCAL, PAYER, START, USDC


def ranges(memory: MemoryProviderRanges | None = None) -> tuple[Ranges, FakeClock]:
    clock = FakeClock(START)
    return Ranges("local", memory or MemoryProviderRanges(), clock), clock


# ---------------------------------------------------------------- widths


def test_a_width_grows_by_a_twentieth_with_each_full_answer_up_to_a_bound() -> None:
    widths, _ = ranges()
    assert widths.width("p0") == RANGE_BLOCKS_FIRST
    widths.answered("p0", RANGE_BLOCKS_FIRST, 0.1, 10)
    assert widths.width("p0") == RANGE_BLOCKS_FIRST * 21 // 20
    widths.answered("p0", 3, 0.1, 10)
    assert widths.width("p0") == RANGE_BLOCKS_FIRST * 21 // 20, "a short answer proves nothing"
    for _ in range(200):
        widths.answered("p0", widths.width("p0"), 0.1, 10)
    assert widths.width("p0") == RANGE_BLOCKS_MAX


def test_a_refusal_halves_or_does_what_was_suggested() -> None:
    widths, _ = ranges()
    widths.refused("p0", 1, 400)
    assert widths.width("p0") == 200
    widths.refused("p0", 1, 200, (1, 10))
    assert widths.width("p0") == 10
    widths.refused("p0", 5, 14, (20, 25))
    assert widths.width("p0") == 5, "a suggestion about other blocks is none"
    for _ in range(10):
        widths.refused("p0", 1, widths.width("p0"))
    assert widths.width("p0") == 1


def test_a_limit_of_the_plan_is_tested_seldom() -> None:
    widths, _ = ranges()
    refusals = answers = 0
    while answers < 200:
        asked = widths.width("p0")
        if asked > 10:
            refusals += 1
            widths.refused("p0", 1, asked, (1, 10))
        else:
            answers += 1
            widths.answered("p0", asked, 0.1, 1)
    assert widths.width("p0") in {10, 11}
    assert refusals <= 1 + 200 // CEILING_ANSWERS


def test_slow_and_long_answers_narrow() -> None:
    widths, _ = ranges()
    widths.answered("p0", 400, SLOW_SECONDS + 1, 10)
    assert widths.width("p0") == 200
    widths.answered("p0", 200, 0.1, 4 * LOGS_WANTED)
    assert widths.width("p0") == 50


def test_what_one_provider_refuses_narrows_no_other() -> None:
    widths, _ = ranges()
    widths.refused("p0", 1, 500, (1, 10))
    assert (widths.width("p0"), widths.width("p1")) == (10, RANGE_BLOCKS_FIRST)


async def test_widths_outlive_the_process_and_are_written_seldom() -> None:
    memory = MemoryProviderRanges()
    first, clock = ranges(memory)
    await first.remember()
    first.refused("p0", 1, 500, (1, 10))
    await first.keep()
    assert dict(await memory.widths("local")) == {}
    clock.advance(KEEP_SECONDS_MIN)
    await first.keep()
    assert dict(await memory.widths("local")) == {"p0": 10}
    second, _ = ranges(memory)
    await second.remember()
    assert second.width("p0") == 10


async def test_a_memory_that_is_away_costs_nothing() -> None:
    class Away(MemoryProviderRanges):
        async def widths(self, network: str) -> dict[str, int]:
            raise Unavailable("postgresql", "gone")

        async def keep(self, network: str, widths: object, at: object) -> None:
            raise Unavailable("postgresql", "gone")

    widths, clock = ranges(Away())
    await widths.remember()
    widths.refused("p0", 1, 400)
    clock.advance(KEEP_SECONDS_MIN)
    await widths.keep()
    assert widths.width("p0") == 200


# ---------------------------------------------------------------- reading


class Pool:
    """Providers of one chain, and a reader of their ranges."""

    def __init__(self, count: int, blocks: int = 600) -> None:
        self.clock = FakeClock(START)
        self.chain = MemoryChain(LOCAL, START)
        self.sources = [Narrow(self.chain, f"p{n}") for n in range(count)]
        self.providers = Providers(LOCAL, list(self.sources), self.clock)
        self.reader = RangeReader(self.providers.panel, self.providers.ranges, self.clock)
        for number in range(blocks):
            if number % 50 == 0:
                self.chain.transfer(USDC, PAYER, DEPOSIT, number + 1)
            self.chain.mine()

    async def read(self, first: int, last: int) -> list[LogEntry]:
        await self.providers.tip()
        end = await self.providers.agreed(last)
        heard = await self.reader.logs(first, end, [USDC], {DEPOSIT})
        return sorted(heard.entries, key=lambda e: e.block_number)


@dataclass
class Narrow(MemorySource):
    """Keeps what it was asked; does not tell of logs in `hidden` blocks; answers no wide range."""

    slow_over: int | None = None
    hidden: frozenset[int] = frozenset()
    asked: list[tuple[int, int]] = field(default_factory=list)

    async def logs_of_range(self, first: int, last: int, *rest: object) -> RangeLogs:
        self.asked.append((first, last))
        if self.slow_over is not None and last - first + 1 > self.slow_over:
            raise ProviderFailed("p: no answer in 10 s", "timeout")
        told = await super().logs_of_range(first, last, *rest)  # type: ignore[arg-type]  # passed on
        return RangeLogs.of(e for e in told.entries if e.block_number not in self.hidden)


async def test_a_narrow_provider_reads_its_part_in_pieces_and_narrows_nobody() -> None:
    pool = Pool(2)
    pool.sources[0].range_max, pool.sources[0].suggests = 10, True
    found = await pool.read(1, 500)
    assert [entry.block_number for entry in found] == [1 + 50 * n for n in range(10)]
    assert pool.sources[1].asked == [(1, 500)]
    told = [piece for piece in pool.sources[0].asked if piece[1] - piece[0] < 10]
    blocks = sorted(number for first, last in told for number in range(first, last + 1))
    assert blocks == list(range(1, 501)), "every block once"
    assert len(pool.sources[0].asked) <= 60


async def test_the_widest_are_asked_and_a_narrow_third_is_left_in_peace() -> None:
    pool = Pool(3)
    pool.providers.ranges.refused("p0", 1, 500, (1, 10))
    await pool.read(1, 500)
    assert pool.sources[0].asked == []
    assert pool.sources[1].asked == pool.sources[2].asked == [(1, 500)]


async def test_a_stretch_is_no_longer_than_the_narrower_can_read() -> None:
    pool = Pool(2, blocks=1)
    await pool.providers.tip()
    wide = pool.reader.reach()
    pool.providers.ranges.refused("p0", 1, 500, (1, 10))
    assert pool.reader.reach() < wide
    for name in ("p0", "p1"):
        pool.providers.ranges.refused(name, 1, 500, (1, 1))
    assert pool.reader.reach() >= 1


async def test_a_provider_whose_own_head_is_not_beyond_the_range_does_not_count() -> None:
    pool = Pool(3)
    last = pool.chain.head - POOL_LAG_BLOCKS
    pool.sources[0].lag = 1
    await pool.read(1, last)
    assert pool.sources[0].asked == []
    assert pool.sources[1].asked
    assert pool.sources[2].asked


async def test_a_clamping_provider_cannot_make_a_payment_disappear() -> None:
    """It answers with what it has, and nothing says that it is not all there is (geth#24078)."""
    pool = Pool(2)
    last = pool.chain.head - POOL_LAG_BLOCKS
    for source in pool.sources:
        source.lag = 100
    with pytest.raises(NoQuorum):
        await pool.read(1, last)
    assert not pool.sources[0].asked
    for source in pool.sources:
        source.lag = 0
    assert len(await pool.read(1, last)) == 12


async def test_only_those_who_have_the_agreed_end_are_asked() -> None:
    pool = Pool(3)
    fork = pool.chain.copy()
    fork.reorg(300)
    fork.mine(400)
    pool.sources[0].chain = fork
    await pool.read(1, 500)
    assert pool.sources[0].asked == []


async def test_when_two_tell_of_different_logs_the_third_is_heard_as_well() -> None:
    pool = Pool(3)
    pool.sources[0].hidden = frozenset({51})
    pool.sources[1].hidden = frozenset({101, 51})
    found = await pool.read(1, 500)
    assert [entry.block_number for entry in found] == [1 + 50 * n for n in range(10)]
    assert pool.sources[2].asked


async def test_two_that_agree_are_enough() -> None:
    pool = Pool(3)
    await pool.read(1, 500)
    assert pool.sources[2].asked == []


async def test_a_time_out_of_a_wide_range_is_tried_with_less_before_it_is_an_outage() -> None:
    pool = Pool(1)
    pool.sources[0].slow_over = 200
    assert len(await pool.read(1, 500)) == 10
    assert pool.providers.ranges.width("p0") < 500
    assert not pool.providers.panel.states["p0"].failures
    pool.sources[0].slow_over = 0
    with pytest.raises(NoQuorum):
        await pool.read(1, 500)
    assert pool.providers.panel.states["p0"].failures == {"timeout": 1}


async def test_who_refuses_a_single_block_tells_nothing_and_the_next_is_asked() -> None:
    pool = Pool(3)
    pool.sources[0].range_max = 0
    assert len(await pool.read(1, 500)) == 10
    assert len(pool.sources[0].asked) <= 25
    with pytest.raises(RangeRefused):
        await pool.sources[0].logs_of_range(1, 1, [USDC], {DEPOSIT})


async def test_the_sum_of_an_answer_depends_on_every_log_and_on_no_order() -> None:
    pool = Pool(1)
    entries = await pool.read(1, 500)
    told = RangeLogs.of(entries)
    assert RangeLogs.of(reversed(entries)) != told
    again = RangeLogs.of(reversed(entries))
    assert (again.count, again.digest) == (told.count, told.digest)
    bent = [replace(entries[0], data="0x" + "02" * 32), *entries[1:]]
    assert RangeLogs.of(bent).digest != told.digest

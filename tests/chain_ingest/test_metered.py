"""What a provider is asked is counted, and nothing else about it changes."""

import asyncio
import inspect
from collections.abc import Sequence

import pytest

from adapters.memory.chain import MemoryChain, MemorySource
from adapters.memory.clock import FakeClock
from application.chain_source import (
    ChainSource,
    FailureKind,
    Header,
    ProviderFailed,
    RangeRefused,
    Tag,
)
from application.figures import BUCKETS, CallCount, total
from application.ports import Unavailable
from chain_ingest.metered import KINDS_MAX, OTHER, Meter, MeteredSource
from tests.chain_ingest.world import DEPOSIT, LOCAL, PAYER, START, USDC

METHODS = {
    "chain_id": "eth_chainId",
    "token_decimals": "eth_call",
    "domain_separator": "eth_call",
    "header": "eth_getBlockByNumber",
    "header_by_hash": "eth_getBlockByHash",
    "logs_of_block": "eth_getLogs",
    "logs_of_range": "eth_getLogs",
    "receipts_of_block": "eth_getBlockReceipts",
    "transaction_place": "eth_getTransactionReceipt",
    "balances": "eth_call",
}


class SlowSource(MemorySource):
    """Takes a time for each header, and then may fail."""

    clock: FakeClock
    seconds: float = 0.0
    outage: Unavailable | None = None

    async def header(self, block: int | Tag) -> Header | None:
        self.clock.advance(self.seconds)
        if self.outage is not None:
            raise self.outage
        return await super().header(block)


def slow(seconds: float, outage: Unavailable | None = None) -> tuple[SlowSource, MeteredSource]:
    clock = FakeClock(START)
    source = SlowSource(MemoryChain(LOCAL, START), "p0")
    source.clock, source.seconds, source.outage = clock, seconds, outage
    return source, MeteredSource(source, clock)


async def ask_everything(source: ChainSource, chain: MemoryChain) -> dict[str, object]:
    """One question of each kind there is, by the name of the method."""
    head = chain.blocks[-1].header
    return {
        "chain_id": await source.chain_id(),
        "token_decimals": await source.token_decimals(USDC),
        "domain_separator": await source.domain_separator(USDC),
        "header": await source.header("latest"),
        "header_by_hash": await source.header_by_hash(head.hash),
        "logs_of_block": await source.logs_of_block(head.hash, [USDC], [DEPOSIT]),
        "logs_of_range": await source.logs_of_range(0, head.number, [USDC], None),
        "receipts_of_block": await source.receipts_of_block(head.hash),
        "transaction_place": await source.transaction_place(head.transactions[0]),
        "balances": await source.balances(head.hash, [(USDC, DEPOSIT)]),
    }


async def test_every_question_is_passed_on_and_counted_under_its_call() -> None:
    chain = MemoryChain(LOCAL, START)
    chain.transfer(USDC, PAYER, DEPOSIT, 5)
    chain.mine()
    metered = MeteredSource(MemorySource(chain, "p0"), FakeClock(START))
    through = await ask_everything(metered, chain)
    assert through == await ask_everything(MemorySource(chain, "p0"), chain)
    expected: dict[tuple[str, str], int] = {}
    for method in METHODS.values():
        expected[method, "answered"] = expected.get((method, "answered"), 0) + 1
    counted = {call: count.calls for call, count in metered.meter.counts().items()}
    assert counted == expected


def test_no_question_of_the_port_is_forgotten() -> None:
    """Else a new one would go uncounted, or unasked by the test above."""
    asked = {
        name
        for name, member in vars(ChainSource).items()
        if inspect.iscoroutinefunction(member) and not name.startswith("_")
    }
    assert asked == METHODS.keys()
    assert asked <= vars(MeteredSource).keys()


async def test_latency_is_counted_in_its_bucket() -> None:
    _, metered = slow(0.030)
    for _ in range(3):
        await metered.header("latest")
    (count,) = metered.meter.counts().values()
    assert count.calls == 3
    assert count.micros_sum == 90_000
    assert count.micros_max == 30_000
    assert count.buckets == (0, 0, 0, 3, *(0,) * (BUCKETS - 4))


async def test_slower_than_every_bound_is_the_last_bucket() -> None:
    _, metered = slow(60.0)
    await metered.header(0)
    (count,) = metered.meter.counts().values()
    assert count.buckets[-1] == 1
    assert count.micros_at(0.5) == 60_000_000


async def test_a_clock_put_back_counts_as_no_time() -> None:
    _, metered = slow(-5.0)
    await metered.header(0)
    (count,) = metered.meter.counts().values()
    assert (count.calls, count.micros_sum, count.micros_max) == (1, 0, 0)


@pytest.mark.parametrize(
    ("outage", "kind"),
    [
        (ProviderFailed("p0: no", "rate_limited"), "rate_limited"),
        (ProviderFailed("p0: no", "timeout"), "timeout"),
        (RangeRefused("p0: too wide"), "range_refused"),
        (Unavailable("rpc", "p0: nobody said how"), "failed"),
    ],
)
async def test_a_failure_is_raised_unchanged_and_counted_by_its_kind(
    outage: Unavailable, kind: str
) -> None:
    _, metered = slow(0.001, outage)
    with pytest.raises(Unavailable) as raised:
        await metered.header(0)
    assert raised.value is outage
    assert {call: c.calls for call, c in metered.meter.counts().items()} == {
        ("eth_getBlockByNumber", kind): 1
    }
    assert metered.meter.failure == kind
    assert metered.meter.answered_at is None


async def test_kinds_of_failure_are_bounded() -> None:
    meter = Meter("p0", FakeClock(START))

    async def fail(kind: str) -> None:
        wrong: FailureKind = kind  # type: ignore[assignment]  # a kind nobody has declared
        raise ProviderFailed("no", wrong)

    for number in range(KINDS_MAX + 5):
        with pytest.raises(Unavailable):
            await meter.timed("eth_call", fail(f"kind-{number}"))
    kinds = [outcome for _, outcome in meter.counts()]
    assert len(kinds) == KINDS_MAX + 1
    assert meter.counts()["eth_call", OTHER].calls == 5


async def test_calls_that_go_together_are_each_paid_for() -> None:
    chain = MemoryChain(LOCAL, START)
    metered = MeteredSource(MemorySource(chain, "p0"), FakeClock(START))
    head = chain.blocks[-1].header.hash
    await metered.balances(head, [(USDC, DEPOSIT), (USDC, PAYER), (USDC, "0x" + "01" * 20)])
    await metered.balances(head, [])
    assert {call: c.calls for call, c in metered.meter.counts().items()} == {
        ("eth_call", "answered"): 3
    }


async def test_the_head_is_what_the_provider_calls_its_newest_block() -> None:
    source, metered = slow(0.0)
    source.chain.mine(7)
    await metered.header(3)
    assert metered.meter.head is None
    await metered.header("finalized")
    assert metered.meter.head is None
    await metered.header("latest")
    assert metered.meter.head == 7


async def test_what_is_taken_is_not_taken_again_and_the_whole_stays() -> None:
    _, metered = slow(0.001)
    await metered.header(0)
    first = metered.meter.take()
    await metered.header(0)
    await metered.chain_id()
    second = metered.meter.take()
    assert [c.calls for c in first.values()] == [1]
    assert {call: c.calls for call, c in second.items()} == {
        ("eth_getBlockByNumber", "answered"): 1,
        ("eth_chainId", "answered"): 1,
    }
    assert metered.meter.take() == {}
    whole = metered.meter.counts()
    assert whole["eth_getBlockByNumber", "answered"].calls == 2
    assert total(whole.values()).calls == 3


async def test_questions_at_once_are_each_timed_on_their_own() -> None:
    clock = FakeClock(START)
    meter = Meter("p0", clock)
    gate = asyncio.Event()

    async def waits() -> int:
        await gate.wait()
        return 1

    waiting = asyncio.create_task(meter.timed("eth_call", waits()))
    await asyncio.sleep(0)
    clock.advance(2)

    async def quick() -> int:
        return 2

    assert await meter.timed("eth_chainId", quick()) == 2
    gate.set()
    assert await waiting == 1
    counts = meter.counts()
    assert counts["eth_chainId", "answered"].micros_max == 0
    assert counts["eth_call", "answered"].micros_max == 2_000_000


def counted(*calls: int) -> CallCount:
    buckets: Sequence[int] = [*calls, *[0] * (BUCKETS - len(calls))]
    return CallCount(sum(calls), 0, 9_000, tuple(buckets))


@pytest.mark.parametrize(
    ("count", "half"),
    [
        (CallCount(), None),
        (counted(1), 5_000),
        (counted(5, 5), 5_000),
        (counted(4, 5), 9_000),  # the bucket ends at 10 ms, but nothing took so long
    ],
)
def test_half_of_the_calls_took_at_most_so_long(count: CallCount, half: int | None) -> None:
    assert count.micros_at(0.5) == half

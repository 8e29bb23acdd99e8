"""Whom the questions go to: the healthiest first, and one more when two contradict each other."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pytest

from adapters.memory.chain import MemoryChain, MemorySource
from adapters.memory.clock import FakeClock
from application.chain_source import Header, LogEntry, ProviderFailed, Tag
from chain_ingest.health import LIMITED_SECONDS_UNTIL_DOWN
from chain_ingest.providers import NoQuorum, Providers
from chain_ingest.tally import Tally
from tests.chain_ingest.world import DEPOSIT, LOCAL, PAYER, START, USDC


@dataclass
class Slow(MemorySource):
    """Takes so long by the clock, or says that it is asked too often."""

    clock: FakeClock | None = None
    seconds: float = 0.0
    limits: bool = False

    async def header(self, block: int | Tag) -> Header | None:
        self._spend()
        return await super().header(block)

    async def logs_of_block(
        self, block_hash: str, tokens: Sequence[str], recipients: Collection[str] | None
    ) -> Sequence[LogEntry]:
        self._spend()
        return await super().logs_of_block(block_hash, tokens, recipients)

    def _spend(self) -> None:
        if self.limits:
            raise ProviderFailed(f"{self.name}: 429", "rate_limited", retry_after_seconds=5)
        if self.clock is not None and self.seconds:
            self.clock.advance(self.seconds)


class Trio:
    def __init__(self) -> None:
        self.clock = FakeClock(START)
        self.chain = MemoryChain(LOCAL, START)
        self.chain.transfer(USDC, PAYER, DEPOSIT, 1)
        self.chain.mine(5)
        self.sources = [Slow(self.chain, f"p{n}", clock=self.clock) for n in range(3)]
        self.tally = Tally()
        self.providers = Providers(LOCAL, list(self.sources), self.clock, self.tally)

    async def logs(self, number: int = 1) -> int:
        block = await self.providers.agreed(number)
        heard = await self.providers.logs_of_block(block, [USDC], {DEPOSIT})
        return len(heard.entries)


async def test_logs_are_asked_of_the_two_healthiest() -> None:
    trio = Trio()
    trio.sources[0].seconds = 1.5
    for _ in range(5):
        await trio.providers.tip()
    asked = trio.sources[0].calls["logs_of_block"]
    assert await trio.logs() == 1
    assert trio.sources[0].calls["logs_of_block"] == asked
    assert trio.sources[1].calls["logs_of_block"] == 1
    assert trio.sources[2].calls["logs_of_block"] == 1


async def test_equals_are_asked_in_the_order_of_the_configuration() -> None:
    trio = Trio()
    await trio.logs()
    assert [source.calls["logs_of_block"] for source in trio.sources] == [1, 1, 0]


async def test_two_that_contradict_each_other_about_logs_are_counted_and_a_third_is_heard() -> (
    None
):
    trio = Trio()
    trio.sources[1].loses_logs = True
    assert await trio.logs() == 1
    assert trio.sources[2].calls["logs_of_block"] == 1
    assert trio.tally.count().disagreements == 1


async def test_who_only_says_too_often_is_waited_for_and_not_outvoted() -> None:
    trio = Trio()
    await trio.providers.check()
    for source in trio.sources[1:]:
        source.limits = True
    for _ in range(5):
        with pytest.raises(NoQuorum):
            await trio.providers.agreed(1)
        trio.clock.advance(5)
    trio.clock.advance(LIMITED_SECONDS_UNTIL_DOWN)
    agreed = await trio.providers.agreed(1)
    assert not agreed.attested
    for source in trio.sources[1:]:
        source.limits = False
    trio.clock.advance(5)
    assert (await trio.providers.agreed(1)).attested


async def test_what_is_known_of_each_can_be_seen() -> None:
    trio = Trio()
    trio.sources[2].down = True
    trio.sources[0].lag = 2
    await trio.providers.tip()
    states = trio.providers.panel.states
    assert (states["p0"].head, states["p1"].head, states["p2"].head) == (3, 5, None)
    assert states["p0"].standing == "serving"
    assert states["p2"].failures == {"failed": 1}
    assert states["p2"].standing == "failing"

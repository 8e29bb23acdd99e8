"""Quorum, failover and proof against providers that lag, fail, lose and lie."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from adapters.memory.chain import FINAL_BLOCKS, MemoryChain, MemorySource
from adapters.memory.chain_encoding import transfer_log
from adapters.memory.clock import FakeClock
from application.chain_source import ReceiptLog, TxReceipt
from chain_ingest.admission import Misconfigured
from chain_ingest.health import FAILURES_UNTIL_DOWN, PAUSE_SECONDS_MAX, QUARANTINE_SECONDS
from chain_ingest.providers import Agreed, NoQuorum, Providers, Unprovable
from tests.chain_ingest.world import DEPOSIT, LOCAL, PAYER, START, USDC


class Panel:
    def __init__(self, count: int, blocks: int = 5) -> None:
        self.clock = FakeClock(START)
        self.chain = MemoryChain(LOCAL, START)
        self.chain.mine(blocks)
        self.sources = [MemorySource(self.chain, f"p{n}") for n in range(count)]
        self.providers = Providers(LOCAL, self.sources, self.clock)

    async def exhaust(self, *silent: MemorySource) -> None:
        """Ask until these are known to be down."""
        for source in silent:
            source.down = True
        for _ in range(FAILURES_UNTIL_DOWN):
            await self.providers.tip()
            self.clock.advance(PAUSE_SECONDS_MAX)


def forging(log: ReceiptLog) -> Callable[[Sequence[TxReceipt]], Sequence[TxReceipt]]:
    return lambda receipts: [replace(each, logs=(log,)) for each in receipts]


async def test_one_provider_is_believed_but_not_attested() -> None:
    agreed = await Panel(1).providers.agreed(3)
    assert (agreed.attested, agreed.providers) == (False, ("p0",))


async def test_two_of_three_attest_a_block() -> None:
    panel = Panel(3)
    fork = panel.chain.copy()
    fork.reorg(3)
    fork.mine(3)
    panel.sources[0].chain = fork
    agreed = await panel.providers.agreed(4)
    assert agreed.header.hash == panel.chain.blocks[4].header.hash
    assert (agreed.attested, agreed.providers) == (True, ("p1", "p2"))


async def test_two_that_disagree_agree_on_nothing() -> None:
    panel = Panel(2)
    fork = panel.chain.copy()
    fork.reorg(2)
    fork.mine(2)
    panel.sources[1].chain = fork
    with pytest.raises(NoQuorum):
        await panel.providers.agreed(4)


async def test_the_third_decides_between_two_only_once_it_answers() -> None:
    panel = Panel(3)
    fork = panel.chain.copy()
    fork.reorg(2)
    fork.mine(2)
    panel.sources[1].chain = fork
    await panel.exhaust(panel.sources[2])
    with pytest.raises(NoQuorum):
        await panel.providers.agreed(4)
    panel.sources[2].down = False
    panel.clock.advance(PAUSE_SECONDS_MAX)
    assert (await panel.providers.agreed(4)).attested


async def test_one_slow_answer_does_not_make_the_others_unattested() -> None:
    panel = Panel(3)
    panel.sources[0].down = True
    assert (await panel.providers.agreed(4)).attested


async def test_a_single_voice_counts_only_when_the_others_are_down() -> None:
    panel = Panel(3)
    for source in panel.sources[1:]:
        source.down = True
    with pytest.raises(NoQuorum):
        await panel.providers.agreed(4)
    await panel.exhaust(*panel.sources[1:])
    agreed = await panel.providers.agreed(4)
    assert (agreed.attested, agreed.providers) == (False, ("p0",))


async def test_a_provider_that_only_lags_is_waited_for() -> None:
    panel = Panel(2)
    panel.sources[1].lag = 2
    with pytest.raises(NoQuorum):
        await panel.providers.agreed(5)
    tip = await panel.providers.tip()
    assert tip is not None
    assert tip.number == 3


async def test_the_tip_is_the_second_highest_head() -> None:
    panel = Panel(3)
    panel.sources[0].lag, panel.sources[1].lag = 1, 4
    tip = await panel.providers.tip()
    assert tip is not None
    assert tip.number == 4


async def test_agreeing_heads_save_the_second_question() -> None:
    panel = Panel(3)
    tip = await panel.providers.tip()
    assert tip is not None
    assert tip.agreed is not None
    assert tip.agreed.attested
    assert sum(source.calls["header"] for source in panel.sources) == 3


async def test_a_header_that_does_not_hash_to_its_name_is_no_vote() -> None:
    panel = Panel(2)
    panel.sources[0].bends = lambda header: replace(header, receipts_root=b"\x66" * 32)
    agreed = await panel.providers.agreed(4)
    assert (agreed.attested, agreed.providers) == (False, ("p1",))
    calls = panel.sources[0].calls["header"]
    await panel.providers.agreed(4)
    assert panel.sources[0].calls["header"] == calls, "the liar is not asked in quarantine"
    panel.sources[0].bends = None
    panel.clock.advance(QUARANTINE_SECONDS)
    assert (await panel.providers.agreed(4)).attested


async def test_the_same_header_with_other_transactions_is_no_agreement() -> None:
    panel = Panel(2)
    panel.chain.transfer(USDC, PAYER, DEPOSIT, 1)
    panel.chain.mine()
    panel.sources[0].bends = lambda header: replace(header, transactions=("0x" + "99" * 32,))
    with pytest.raises(NoQuorum):
        await panel.providers.agreed(6)


async def test_an_ancestor_needs_one_honest_provider_because_its_hash_proves_it() -> None:
    panel = Panel(2)
    wanted = panel.chain.blocks[2].header
    panel.sources[0].bends = lambda _: panel.chain.blocks[3].header
    assert await panel.providers.ancestor(wanted.hash) == wanted


async def test_a_true_header_of_another_height_is_no_vote() -> None:
    panel = Panel(1)
    panel.sources[0].bends = lambda _: panel.chain.blocks[3].header
    with pytest.raises(NoQuorum):
        await panel.providers.agreed(2)


async def test_another_block_than_the_one_asked_for_is_not_taken() -> None:
    panel = Panel(2)
    for source in panel.sources:
        source.bends = lambda _: panel.chain.blocks[3].header
    with pytest.raises(NoQuorum):
        await panel.providers.agreed_by_hash(panel.chain.blocks[2].header.hash)


async def test_final_is_what_a_second_provider_calls_final_too() -> None:
    panel = Panel(3, blocks=100)
    for source, lag in zip(panel.sources, (0, 5, 10), strict=True):
        source.lag = lag
    final = await panel.providers.finalized()
    assert final is not None
    assert final.header.number == 100 - FINAL_BLOCKS - 5


async def test_a_log_that_one_provider_loses_is_found_by_the_other() -> None:
    panel = Panel(2)
    panel.chain.transfer(USDC, PAYER, DEPOSIT, 1)
    block = await _agreed_after_mining(panel)
    panel.sources[0].loses_logs = True
    heard = await panel.providers.logs_of_block(block, [USDC], [DEPOSIT])
    assert len(heard.entries) == 1


async def test_the_third_is_asked_for_logs_when_one_of_two_is_silent() -> None:
    panel = Panel(3)
    panel.chain.transfer(USDC, PAYER, DEPOSIT, 1)
    block = await _agreed_after_mining(panel)
    panel.sources[0].down = True
    panel.sources[1].loses_logs = True
    heard = await panel.providers.logs_of_block(block, [USDC], [DEPOSIT])
    assert len(heard.entries) == 1


async def test_one_answer_alone_does_not_do_for_the_logs_of_an_attested_block() -> None:
    panel = Panel(2)
    block = await _agreed_after_mining(panel)
    panel.sources[0].down = True
    with pytest.raises(NoQuorum):
        await panel.providers.logs_of_block(block, [USDC], [DEPOSIT])


async def test_forged_receipts_are_refused_and_the_next_provider_proves_the_block() -> None:
    panel = Panel(2)
    panel.chain.transfer(USDC, PAYER, DEPOSIT, 1)
    block = await _agreed_after_mining(panel)
    panel.sources[0].forges = forging(transfer_log(USDC, PAYER, DEPOSIT, 10**12))
    receipts = await panel.providers.proved_receipts(block.header)
    assert receipts == panel.chain.blocks[-1].receipts


async def test_a_block_whose_receipts_nobody_proves_is_unprovable() -> None:
    panel = Panel(1)
    panel.chain.transfer(USDC, PAYER, DEPOSIT, 1)
    block = await _agreed_after_mining(panel)
    panel.sources[0].forges = forging(transfer_log(USDC, PAYER, DEPOSIT, 10**12))
    with pytest.raises(Unprovable):
        await panel.providers.proved_receipts(block.header)


async def test_a_provider_that_fails_is_left_alone_for_longer_and_longer_up_to_a_bound() -> None:
    panel = Panel(1)
    await panel.providers.check()
    panel.sources[0].down = True
    for _ in range(200):
        await panel.providers.tip()
        panel.clock.advance(1.0)
    asked = panel.sources[0].calls["header"]
    assert 200 / PAUSE_SECONDS_MAX <= asked <= 25
    panel.sources[0].down = False
    panel.clock.advance(PAUSE_SECONDS_MAX)
    assert await panel.providers.tip() is not None


async def test_a_provider_of_another_chain_refuses_to_start() -> None:
    panel = Panel(2)
    other = LOCAL.model_copy(update={"chain_id": 1})
    panel.sources[1].chain = MemoryChain(other, START)
    with pytest.raises(Misconfigured, match="p1: chain id: it says 1, expected 31337"):
        await panel.providers.check()


@pytest.mark.parametrize(
    ("decimals", "said"), [(18, "it says 18, expected 6"), (None, "no such token")]
)
async def test_a_token_that_is_not_what_we_think_refuses_to_start(
    decimals: int | None, said: str
) -> None:
    panel = Panel(1)
    panel.sources[0].decimals = decimals
    with pytest.raises(Misconfigured, match=said):
        await panel.providers.check()


async def test_a_wrong_provider_that_was_silent_at_start_is_never_used() -> None:
    panel = Panel(3)
    panel.sources[2].down = True
    await panel.providers.check()
    panel.sources[2].chain = MemoryChain(LOCAL.model_copy(update={"chain_id": 1}), START)
    panel.sources[2].down = False
    panel.clock.advance(PAUSE_SECONDS_MAX)
    assert (await panel.providers.agreed(4)).providers == ("p0", "p1")
    asked = panel.sources[2].calls.total()
    panel.clock.advance(QUARANTINE_SECONDS)
    await panel.providers.agreed(4)
    assert panel.sources[2].calls.total() == asked


async def _agreed_after_mining(panel: Panel) -> Agreed:
    return await panel.providers.agreed(panel.chain.mine().header.number)

"""What a simulated chain calls final stays: no reorg of a story takes it out."""

from itertools import pairwise

import pytest

from adapters.memory.chain import FINAL_BLOCKS, MemoryBlock, MemoryChain
from simulation import steps as s
from simulation.world import run_history

ETHEREUM = 0
DEEP = s.Reorg(ETHEREUM, depth=FINAL_BLOCKS, fate="drop", regrow=1, salt=1)
GREW = s.Mine(ETHEREUM, FINAL_BLOCKS + 20)


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """For each time that blocks left a chain: the first of them, and what was final then."""
    seen: list[tuple[int, int]] = []
    cut = MemoryChain._cut

    def noted(chain: MemoryChain, number: int) -> list[MemoryBlock]:
        if number <= chain.head:
            seen.append((number, chain.final))
        return cut(chain, number)

    monkeypatch.setattr(MemoryChain, "_cut", noted)
    return seen


def test_deep_reorgs_one_after_the_other_stop_at_the_final_block(
    cuts: list[tuple[int, int]],
) -> None:
    once_more = s.Reorg(ETHEREUM, depth=5, fate="drop", regrow=1, salt=2)
    run_history(s.History(1, (GREW, DEEP, once_more, DEEP, DEEP)))
    assert len(cuts) >= 2
    assert all(first == final + 1 for first, final in cuts)
    assert all(before[1] <= after[1] for before, after in pairwise(cuts))


def test_a_branch_that_left_the_chain_below_its_final_block_never_comes_back(
    cuts: list[tuple[int, int]],
) -> None:
    run_history(s.History(1, (GREW, DEEP, GREW, s.Restore(ETHEREUM))))
    assert len(cuts) == 1


def test_one_that_left_it_above_does(cuts: list[tuple[int, int]]) -> None:
    run_history(s.History(1, (GREW, DEEP, s.Restore(ETHEREUM))))
    assert len(cuts) == 2

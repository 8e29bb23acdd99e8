"""The troubles of the campaign are what they claim to be."""

from itertools import pairwise
from random import Random

import pytest

from adapters.evm_decoding import decode_header, decode_receipt
from chain_ingest.proof import why_header_lies, why_receipts_lie
from chaos.driver import TOKENS, Driver
from chaos.faults import DEPTHS, TRUTHFUL, plan
from chaos.forge import fake_branch, header_hash
from gateway.embedded_anvil import Anvil
from gateway.local_chain import LocalChain

SEEDS = range(20)
OURS = ["0x" + f"{number:02x}" * 20 for number in range(1, 9)]


@pytest.mark.parametrize("seed", SEEDS)
def test_never_two_liars_without_a_truce_between_them(seed: int) -> None:
    steps = plan(seed, 1_000)
    for before, after in pairwise(steps):
        liars = {before.mood.liar, after.mood.liar} - {None}
        assert len(liars) <= 1
    lying = [step for step in steps if step.mood.lie in {"forge", "fork"}]
    assert 0.10 <= len(lying) / len(steps) <= 0.30
    assert all(step.mood.down == {0} for step in lying)
    assert any(step.mood is TRUTHFUL for step in steps)
    assert max(DEPTHS) == 64
    assert sum(step.absence for step in steps) == 1


def test_the_same_seed_plans_the_same_faults() -> None:
    assert plan(7, 300) == plan(7, 300) != plan(8, 300)


@pytest.mark.services
async def test_the_same_seed_makes_the_same_chain_and_its_fakes_prove_themselves(
    fresh_anvil: Anvil,
) -> None:
    async with LocalChain(fresh_anvil.url) as chain:
        start = await chain.rpc("evm_snapshot")
        first = await _lived(chain)
        await chain.rpc("evm_revert", start)
        again = await _lived(chain)
    assert first.story == again.story
    mirror = first.mirror
    assert first.deepest == 3
    assert len(mirror.blocks) == mirror.head + 1 + 3, "the lost branch is kept"
    for block_hash in mirror.canonical:
        assert header_hash(mirror.blocks[block_hash].header) == block_hash
    for fake in fake_branch(mirror.at(mirror.head), 16, OURS, TOKENS, Random(1)):
        header = decode_header(fake.header)
        assert why_header_lies(header) is None
        assert why_receipts_lie(header, [decode_receipt(each) for each in fake.receipts]) is None


async def _lived(chain: LocalChain) -> Driver:
    driver = Driver(chain, Random(5), OURS)
    await driver.prepare()
    await driver.step(6, 4)
    assert await driver.fork(3) == 3
    await driver.step(2, 4)
    return driver

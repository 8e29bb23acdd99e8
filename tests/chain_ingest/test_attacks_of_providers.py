"""A19 of the catalogue: providers that lie, lag, drop and forge, alone and two at a time."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from adapters.memory.chain import MemorySource
from adapters.memory.chain_encoding import hash_of, transfer_log
from application.chain_source import Header, TxReceipt
from application.ports import Unavailable
from tests.chain_ingest.world import DEPOSIT, PAYER, STRICT, USDC, World


def world() -> World:
    return World(STRICT, sources=3)


def units(of: World) -> list[int]:
    return [each.sighting.amount.units for each in of.transfers if each.kind == "observed"]


def _lags(source: MemorySource) -> None:
    source.lag = 4


def _drops_logs(source: MemorySource) -> None:
    source.loses_logs = True


def _forges_logs(source: MemorySource) -> None:
    def forged(receipts: object) -> list[TxReceipt]:
        assert isinstance(receipts, tuple)
        made_up = transfer_log(USDC, PAYER, DEPOSIT, 10**12)
        return [replace(each, logs=(*each.logs, made_up)) for each in receipts]

    source.forges = forged


def _bends_headers(source: MemorySource) -> None:
    def bent(header: Header) -> Header:
        return replace(header, receipts_root=bytes(32))

    source.bends = bent


def _makes_up_headers(source: MemorySource) -> None:
    def made_up(header: Header) -> Header:
        other = replace(header, extra_data=b"mine")
        return replace(other, hash=hash_of(other))

    source.bends = made_up


def _serves_a_fork(source: MemorySource) -> None:
    """Self-consistent: true hashes and roots, and a payment that the chain does not have."""
    fork = source.chain.copy()
    if fork.head > 2:
        fork.reorg(2, keep=False)
    fork.transfer(USDC, PAYER, DEPOSIT, 10**9)
    fork.mine(20)
    source.chain = fork


def _is_silent(source: MemorySource) -> None:
    source.down = True


LIES = (
    _lags,
    _drops_logs,
    _forges_logs,
    _bends_headers,
    _makes_up_headers,
    _serves_a_fork,
    _is_silent,
)


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("liar", [0, 1, 2])
async def test_a19_one_provider_that_lies_hides_nothing_and_makes_nothing_up(
    lie: Callable[[MemorySource], None], liar: int
) -> None:
    shop = world()
    await shop.mine_and_follow(3)
    lie(shop.sources[liar])
    for amount in (1, 2, 3):
        shop.pay(amount)
        shop.chain.mine()
        await _patiently(shop)
    shop.chain.mine(5)
    await _patiently(shop)
    assert units(shop) == [1, 2, 3]
    assert sum(each.kind == "confirmed" for each in shop.transfers) == 3
    assert all(each.sighting.attested for each in shop.transfers)
    assert (await shop.halts()).halt is None


@pytest.mark.parametrize("lies", list(itertools.combinations(LIES[1:6], 2)))
async def test_a19_two_that_lie_in_different_ways_make_nothing_up(
    lies: tuple[Callable[[MemorySource], None], ...],
) -> None:
    shop = world()
    await shop.mine_and_follow(3)
    for source, lie in zip(shop.sources, lies, strict=False):
        lie(source)
    for amount in (1, 2, 3):
        shop.pay(amount)
        shop.chain.mine()
        await _patiently(shop)
    confirmed = [each for each in shop.transfers if each.kind == "confirmed"]
    assert {each.sighting.amount.units for each in confirmed} <= {1, 2, 3}


async def _patiently(shop: World) -> None:
    """Through quarantines and disagreement: safety first, and then what was held back."""
    for _ in range(12):
        shop.clock.advance(2)
        try:
            await shop.follow()
        except Unavailable:
            continue

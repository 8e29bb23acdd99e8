"""Branches that providers make up: as on a real chain, a hash says what a transaction does."""

from datetime import UTC, datetime

from adapters.memory.chain import MemoryChain
from adapters.memory.chain_encoding import address_bytes
from domain.network_catalogue import KNOWN_NETWORKS

TOKEN = "0x" + "22" * 20
PAYER = "0x" + "33" * 20


def paid(branch: MemoryChain, recipient: str) -> tuple[str, bytes]:
    tx = branch.transfer(TOKEN, PAYER, recipient, 5)
    branch.mine()
    assert tx.logs[0].topics[2].endswith(address_bytes(recipient))
    return tx.hash, tx.logs[0].topics[2]


def test_no_two_branches_of_a_chain_make_one_hash_for_different_payments() -> None:
    """Else the gateway hears of one transaction that pays two people, which no chain can tell."""
    chain = MemoryChain(next(iter(KNOWN_NETWORKS)), datetime(2026, 1, 1, tzinfo=UTC))
    chain.mine(5)
    branches = [chain.copy(), chain.copy(), chain.copy()]
    branches.append(branches[0].copy())
    chain.reorg(2)
    chain.mine(2)
    branches += [chain, chain.copy()]
    told = [paid(branch, f"0x{number:040x}") for number, branch in enumerate(branches)]
    assert len({tx_hash for tx_hash, _ in told}) == len(branches)
    assert len({branch.blocks[-1].header.hash for branch in branches}) == len(branches)

"""Receipts of a chain that executes later are proved by the block that settles theirs.

A synthetic chain, its roots and hashes made by other libraries than the proof's own.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import rlp
from eth_hash.auto import keccak

from adapters.evm_decoding import decode_header, decode_receipts
from adapters.memory.chain import MemoryChain, MemorySource
from adapters.memory.clock import FakeClock
from application.chain_source import Header, Tag, TxReceipt
from chain_ingest.admission import services_of
from chain_ingest.proof import why_header_lies
from chain_ingest.providers import NoQuorum, Providers, Unprovable
from chain_ingest.settlement import (
    NotSettled,
    Settlement,
    settlement_of,
    why_settled_receipts_lie,
)
from tests.chain_ingest import independent as other
from tests.chain_ingest.world import LOCAL, START

# Of each block: how many receipts it has, and up to where it settles.
CHAIN = ((1, 0), (2, 0), (0, 1), (3, 1), (1, 3), (1, 4), (0, 4), (0, 7))
EMPTY = "0x" + "00" * 32


class SettledChain:
    """Blocks 1.. of CHAIN over a block 0 from before the fork."""

    def __init__(self, shape: Sequence[tuple[int, int]] = CHAIN) -> None:
        self.receipts: list[list[other.Json]] = [[]]
        self.blocks: list[other.Json] = [self._sealed({"number": "0x0"}, [], [], None)]
        for count, settles in shape:
            number = len(self.blocks)
            told = [self._receipt(number, index) for index in range(count)]
            below = int(self.blocks[-1].get("settledHeight", "0x0"), 16)
            settled = [each for block in self.receipts[below + 1 : settles + 1] for each in block]
            fields = {"number": hex(number), "parentHash": self.blocks[-1]["hash"]}
            self.receipts.append(told)
            self.blocks.append(self._sealed(fields, told, settled, settles))

    def _receipt(self, number: int, index: int) -> other.Json:
        made = other.receipt(index, 2, [other.transfer(100 * number + index)])
        return {**made, "transactionHash": f"0x{number:032x}{index:032x}"}

    def _sealed(
        self, fields: other.Json, told: list[other.Json], settled: list[other.Json], at: int | None
    ) -> other.Json:
        """Avalanche's form: the library encodes it, gaps as empty strings."""
        made = other.block(settled, **fields)
        made["transactions"] = [each["transactionHash"] for each in told]
        made["extDataHash"] = "0x" + "0e" * 32
        quantities = ("difficulty", "number", "gasLimit", "gasUsed", "timestamp")
        first = list(made)[:15]
        items: list[Any] = [
            int(made[key], 16) if key in quantities else other.raw(made[key]) for key in first
        ]
        items += [other.raw(made["extDataHash"]), int(made["baseFeePerGas"], 16)]
        if at is not None:
            made["settledHeight"] = hex(at)
            items += [b""] * 9 + [at]
        made["hash"] = "0x" + keccak(rlp.encode(items)).hex()
        return made

    def header(self, number: int) -> Header:
        return decode_header(self.blocks[number])

    def of_block(self, number: int) -> tuple[TxReceipt, ...]:
        told = other.placed(self.receipts[number], self.blocks[number])
        return tuple(decode_receipts(told))

    async def agree(self, number: int) -> Header:
        if number >= len(self.blocks):
            raise NotSettled("nobody has it yet")
        return self.header(number)

    def told(self, settlement: Settlement) -> list[tuple[TxReceipt, ...]]:
        return [self.of_block(block.number) for block in settlement.blocks]


def test_the_synthetic_headers_hash_right() -> None:
    chain = SettledChain()
    assert [why_header_lies(chain.header(n)) for n in range(len(chain.blocks))] == [None] * 9


@pytest.mark.parametrize(
    ("number", "root_of", "together"),
    [(1, 3, [1]), (2, 5, [2, 3]), (3, 5, [2, 3]), (4, 6, [4]), (5, 8, [5, 6, 7])],
)
async def test_the_block_that_settles_ours_is_found_with_all_it_settles(
    number: int, root_of: int, together: list[int]
) -> None:
    chain = SettledChain()
    settlement = await settlement_of(chain.header(number), chain.agree)
    assert settlement.root_of.number == root_of
    assert [block.number for block in settlement.blocks] == together
    assert why_settled_receipts_lie(settlement, chain.told(settlement)) is None


async def test_what_nobody_has_settled_yet_is_waited_for() -> None:
    chain = SettledChain()
    with pytest.raises(NotSettled):
        await settlement_of(chain.header(8), chain.agree)


async def test_a_block_on_another_branch_settles_nothing() -> None:
    chain = SettledChain()
    for replaced in (2, 4):

        async def agree(number: int, replaced: int = replaced) -> Header:
            header = chain.header(number)
            elsewhere = replace(header, hash=EMPTY, parent_hash=EMPTY)
            return elsewhere if number == replaced else header

        with pytest.raises(NotSettled, match="another branch"):
            await settlement_of(chain.header(3), agree)


async def test_any_change_of_any_receipt_settled_with_ours_shows() -> None:
    chain = SettledChain()
    settlement = await settlement_of(chain.header(5), chain.agree)
    told = chain.told(settlement)
    ours = told[0][0]
    forged = replace(ours.logs[0], data=(10**12).to_bytes(32, "big"))
    for other_receipt in (
        replace(ours, logs=(forged,)),
        replace(ours, logs=()),
        replace(ours, status=0),
    ):
        lie = why_settled_receipts_lie(settlement, [(other_receipt,), *told[1:]])
        assert "receipts root" in str(lie)


async def test_a_receipt_cannot_move_to_the_block_settled_beside_it() -> None:
    """The root covers all of them in a row, and would not notice."""
    chain = SettledChain(((1, 0), (1, 0), (0, 2)))
    settlement = await settlement_of(chain.header(1), chain.agree)
    first, second = chain.told(settlement)
    moved: list[tuple[TxReceipt, ...]] = [(), (*first, *second)]
    assert "transactions" in str(why_settled_receipts_lie(settlement, moved))


class SettledSource(MemorySource):
    """A provider of that chain."""

    settled: SettledChain
    lies = False

    async def header(self, block: int | Tag) -> Header | None:
        self._serve("header")
        if not isinstance(block, int):
            block = len(self.settled.blocks) - 1
        return self.settled.header(block) if block < len(self.settled.blocks) else None

    async def receipts_of_block(self, block_hash: str) -> Sequence[TxReceipt]:
        self._serve("receipts_of_block")
        hashes = [block["hash"] for block in self.settled.blocks]
        receipts = self.settled.of_block(hashes.index(block_hash))
        return [replace(each, logs=()) for each in receipts] if self.lies else receipts


def panel_of(count: int, chain: SettledChain) -> tuple[Providers, list[SettledSource]]:
    empty = MemoryChain(LOCAL, START)
    sources = [SettledSource(empty, f"p{n}") for n in range(count)]
    for source in sources:
        source.settled = chain
    return Providers(LOCAL, sources, FakeClock(START)), sources


async def test_the_panel_proves_a_block_by_the_one_that_settles_it() -> None:
    chain = SettledChain()
    providers, sources = panel_of(3, chain)
    sources[0].lies = True
    assert await providers.proved_receipts(chain.header(3)) == chain.of_block(3)


async def test_the_panel_waits_for_the_block_that_settles() -> None:
    chain = SettledChain()
    providers, _ = panel_of(3, chain)
    with pytest.raises(NoQuorum, match="block 9"):
        await providers.proved_receipts(chain.header(8))


async def test_one_voice_of_three_does_not_settle_a_block() -> None:
    chain, shorter = SettledChain(), SettledChain(CHAIN[:4])
    providers, sources = panel_of(3, shorter)
    sources[0].settled = chain  # it alone has the block that would prove
    with pytest.raises(NoQuorum):
        await providers.proved_receipts(chain.header(3))


async def test_receipts_that_nobody_tells_rightly_prove_nothing() -> None:
    chain = SettledChain()
    providers, sources = panel_of(3, chain)
    for source in sources:
        source.lies = True
    with pytest.raises(Unprovable):
        await providers.proved_receipts(chain.header(3))


async def test_a_provider_of_such_a_chain_is_tried_on_its_newest_settled_block() -> None:
    _, (source,) = panel_of(1, SettledChain())

    async def said() -> tuple[bool, str]:
        findings = await services_of(source, LOCAL)
        return next((f.holds, f.said) for f in findings if f.about == "eth_getBlockReceipts")

    assert await said() == (True, "served; block 7 is empty, so little is proved")
    source.settled = SettledChain((*CHAIN[:6], (2, 5), (0, 7)))
    assert await said() == (True, "2 of block 7, proved")
    source.lies = True
    holds, why = await said()
    assert not holds
    assert "receipts root" in why


async def test_a_head_that_has_settled_nothing_since_the_fork_is_tried_below_it() -> None:
    _, (source,) = panel_of(1, SettledChain(CHAIN[:2]))
    findings = await services_of(source, LOCAL)
    said = next(f.said for f in findings if f.about == "eth_getBlockReceipts")
    assert said == "served; block 0 is empty, so little is proved"

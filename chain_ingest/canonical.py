"""Which block comes next, and which have left the chain: a pure answer from headers.

Shapes  `next_step` compares the blocks we hold with headers of the chain as it is now, linked by
        parent hashes, and answers Connect, Disconnect, LookBack (another header is needed) or
        InStep. Disconnect first, to the common ancestor; the new branch connects afterwards.
Errors  ForkTooDeep when no common ancestor is found at or above the floor: nothing is rolled
        back by guess, a person decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from application.ingest import BlockRef


class ForkTooDeep(Exception):  # noqa: N818 - named for what it is
    """The chain left ours below every block we may give up: another chain, or a rewritten one."""


@dataclass(frozen=True, slots=True)
class Connect:
    block: BlockRef


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Everything above `fork` is off the chain; `tip` is where the chain stands instead."""

    fork: BlockRef
    tip: BlockRef


@dataclass(frozen=True, slots=True)
class LookBack:
    """The header with this hash is needed to find the common ancestor."""

    block_hash: str


@dataclass(frozen=True, slots=True)
class InStep:
    """Nothing to do: the chain's head is our cursor, or a block below it that we hold."""


Step = Connect | Disconnect | LookBack | InStep


def next_step(
    cursor: BlockRef,
    held: Mapping[int, BlockRef],
    tip: BlockRef,
    known: Mapping[str, BlockRef],
    *,
    floor: int,
) -> Step:
    """What to do about `tip`: the chain's block just above our cursor, or one not above it.

    `held` are our canonical blocks by height, `known` headers of the chain by hash. Below
    `floor` no common ancestor is looked for.
    """
    assert tip.number <= cursor.number + 1, "step by step: the block after the cursor at most"
    if tip.number == cursor.number + 1 and tip.parent_hash == cursor.hash:
        return Connect(tip)
    if tip.number in held and held[tip.number].hash == tip.hash:
        return InStep()
    block = tip
    while block.number >= floor:
        ours = held.get(block.number)
        if ours is not None and ours.hash == block.hash:
            return Disconnect(fork=ours, tip=tip)
        parent = known.get(block.parent_hash)
        if parent is None:
            return LookBack(block.parent_hash)
        assert parent.number == block.number - 1, "headers are checked before they come here"
        block = parent
    raise ForkTooDeep(f"the chain and our record of it share no block at or above {floor}")

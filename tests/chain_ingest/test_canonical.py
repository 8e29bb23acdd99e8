"""Whatever two branches look like, the steps lead from one to the other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.ingest import BlockRef
from chain_ingest.canonical import Connect, Disconnect, ForkTooDeep, InStep, LookBack, next_step


def branch(length: int, name: str, on: BlockRef | None = None) -> list[BlockRef]:
    blocks: list[BlockRef] = []
    below = on
    for _ in range(length):
        number = 0 if below is None else below.number + 1
        parent = "root" if below is None else below.hash
        below = BlockRef(number, f"{name}{number}", parent)
        blocks.append(below)
    return blocks


def follow(ours: list[BlockRef], theirs: list[BlockRef]) -> list[BlockRef]:
    """Apply steps until in step, fetching whatever header is asked for."""
    ours = list(ours)
    by_hash = {block.hash: block for block in theirs}
    for _ in range(len(ours) + 2 * len(theirs) + 4):
        cursor = ours[-1]
        tip = theirs[min(cursor.number + 1, theirs[-1].number)]
        step = _decide(ours, tip, by_hash)
        if isinstance(step, InStep):
            return ours
        if isinstance(step, Connect):
            ours.append(step.block)
        else:
            del ours[step.fork.number + 1 :]
    raise AssertionError("never in step")


def _decide(
    ours: list[BlockRef], tip: BlockRef, chain: dict[str, BlockRef]
) -> Connect | Disconnect | InStep:
    held = {block.number: block for block in ours}
    known: dict[str, BlockRef] = {}
    for _ in range(len(chain) + 1):
        step = next_step(ours[-1], held, tip, known, floor=0)
        if not isinstance(step, LookBack):
            return step
        known[step.block_hash] = chain[step.block_hash]
    raise AssertionError("looked back for ever")


def test_the_next_block_on_our_cursor_connects() -> None:
    a = branch(3, "a")
    held = {block.number: block for block in a[:2]}
    assert next_step(a[1], held, a[2], {}, floor=0) == Connect(a[2])


def test_a_lower_head_with_our_blocks_is_no_reorg() -> None:
    a = branch(5, "a")
    held = {block.number: block for block in a}
    assert next_step(a[4], held, a[2], {}, floor=0) == InStep()


def test_another_block_at_the_same_height_is_found_though_the_head_has_not_grown() -> None:
    a = branch(5, "a")
    b = branch(1, "b", on=a[3])
    held = {block.number: block for block in a}
    asked = next_step(a[4], held, b[0], {}, floor=0)
    assert asked == LookBack(a[3].hash)
    known = {a[3].hash: a[3]}
    assert next_step(a[4], held, b[0], known, floor=0) == Disconnect(a[3], b[0])


def test_a_shorter_branch_with_other_blocks_is_a_reorg() -> None:
    a = branch(6, "a")
    b = branch(1, "b", on=a[2])
    assert follow(a, a[:3] + b) == a[:3] + b


def test_a_fork_below_the_floor_is_not_followed() -> None:
    a, b = branch(4, "a"), branch(5, "b")
    held = {block.number: block for block in a}
    known = {block.hash: block for block in b}
    with pytest.raises(ForkTooDeep):
        next_step(a[3], held, b[4], known, floor=2)


@given(common=st.integers(1, 6), ours=st.integers(0, 8), theirs=st.integers(0, 8))
def test_any_two_branches_end_in_step_without_giving_up_a_common_block(
    common: int, ours: int, theirs: int
) -> None:
    trunk = branch(common, "t")
    a = trunk + branch(ours, "a", on=trunk[-1])
    b = trunk + branch(theirs, "b", on=trunk[-1])
    ended = follow(a, b)
    assert ended[:common] == trunk
    # Without blocks of its own the other branch says nothing against ours.
    assert ended == (b if theirs else a)

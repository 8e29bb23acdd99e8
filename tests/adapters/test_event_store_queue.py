"""Who is written with whom, and that nobody waits for ever."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import event_store_queue
from adapters.event_store_draft import Draft
from adapters.event_store_queue import GROUP_MAX, WaitingLine
from application.ports import Batch, StoreBusy
from tests.ports.event_store_facts import CONTEXT

Claims = frozenset[int]


def waiting(*claims: int) -> Draft:
    """A batch of which nothing matters but what it shares with others."""
    loop = asyncio.new_event_loop()
    done: asyncio.Future[int] = loop.create_future()
    loop.close()
    streams = [(UUID(int=each), 0) for each in claims]
    return Draft(Batch((), CONTEXT), [], b"", streams, [], frozenset(claims), done)


def depth(claims: Claims, before: Sequence[Claims]) -> int:
    """How many of those before it must be written one after another first."""
    depths: list[int] = []
    for each in (*before, claims):
        shared = [d + 1 for d, other in zip(depths, before, strict=False) if other & each]
        depths.append(max(shared, default=0))
    return depths[-1]


def test_batches_that_share_anything_never_meet_in_a_group() -> None:
    line = WaitingLine()
    for claims in ((1,), (1, 2), (2,), (3,), (2, 3)):
        line.add(waiting(*claims))
    groups = [sorted(sorted(each.claims) for each in line.take()) for _ in range(4)]  # type: ignore[type-var]  # integers
    assert groups == [[[1], [3]], [[1, 2]], [[2]], [[2, 3]]]
    assert len(line) == 0


def test_nobody_overtakes_what_it_shares_something_with() -> None:
    """The third may not go before the second, though nothing of it is taken."""
    line = WaitingLine()
    for claims in ((1,), (1, 2), (2,)):
        line.add(waiting(*claims))
    assert [each.claims for each in line.take()] == [{1}]


@pytest.mark.parametrize("size", [1, 2, 5])
@given(
    claims=st.lists(st.frozensets(st.integers(0, 4), min_size=1, max_size=3), max_size=40),
    newcomers=st.lists(st.frozensets(st.integers(0, 4), min_size=1, max_size=3), max_size=40),
)
def test_a_batch_is_written_within_a_bounded_number_of_groups(
    size: int, claims: list[Claims], newcomers: list[Claims]
) -> None:
    """However many come after it, and whatever they share with it."""
    line = WaitingLine()
    drafts = [waiting(*each) for each in claims]
    for draft in drafts:
        line.add(draft)
    later = iter(newcomers)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(event_store_queue, "GROUP_MAX", size)
        written: dict[int, int] = {}
        for number in range(1, len(claims) + len(newcomers) + 2):
            for each in line.take():
                written[id(each)] = number
            for newcomer in (next(later, None), next(later, None)):
                if newcomer is not None:
                    line.add(waiting(*newcomer))
    for place, draft in enumerate(drafts):
        bound = depth(claims[place], claims[:place]) + place // size + 1
        assert written[id(draft)] <= bound


def test_a_hot_stream_holds_up_nobody_else() -> None:
    line = WaitingLine()
    for _ in range(GROUP_MAX * 8):
        line.add(waiting(1))
    line.add(waiting(2))
    assert [each.claims for each in line.take()] == [{1}, {2}]


def test_a_full_line_takes_nobody_in() -> None:
    line = WaitingLine(2)
    for number in (1, 2):
        line.insist_on_room()
        line.add(waiting(number))
    with pytest.raises(StoreBusy):
        line.insist_on_room()
    line.take()
    line.insist_on_room()

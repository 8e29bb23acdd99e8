"""The direct way to a root gives what the general trie gives, for any list."""

import random

import pytest
import rlp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trie.hexary import HexaryTrie

from chain_ingest import rlp as ours
from chain_ingest.receipt_trie import root_of

COUNT_MAX, SIZE_MAX = 300, 2_000


def general_root(items: list[bytes]) -> bytes:
    trie = HexaryTrie({})
    for index, item in enumerate(items):
        trie[rlp.encode(index)] = item
    return bytes(trie.root_hash)


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(0, COUNT_MAX),
    size_max=st.integers(1, SIZE_MAX),
    seed=st.integers(0, 2**32),
)
@example(count=COUNT_MAX, size_max=1, seed=1)  # nodes small enough to stand in their parents
@example(count=COUNT_MAX, size_max=40, seed=2)
@example(count=COUNT_MAX, size_max=SIZE_MAX, seed=3)
def test_the_root_is_that_of_the_general_trie(count: int, size_max: int, seed: int) -> None:
    drawn = random.Random(seed)
    items = [drawn.randbytes(drawn.randint(1, size_max)) for _ in range(count)]
    assert root_of(items) == general_root(items)


# Where the keys change their length or their first digits.
@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 127, 128, 129, 130, 255, 256, 257, 513])
@pytest.mark.parametrize("size", [1, 27, 28, 29, 30, 31, 32, 33, 55, 56, 60])
def test_the_root_is_right_where_keys_and_lengths_turn(count: int, size: int) -> None:
    items = [bytes(((index * 7) % 251 + 1,)) * size for index in range(count)]
    assert root_of(items) == general_root(items)


def test_the_root_of_nothing_is_the_well_known_one() -> None:
    known = "56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"
    assert root_of([]).hex() == known


@settings(deadline=None, max_examples=200)
@given(st.lists(st.binary(max_size=70), max_size=20))
def test_lists_of_strings_are_encoded_as_by_the_library(items: list[bytes]) -> None:
    assert ours.list_of(map(ours.string, items)) == rlp.encode(items)


@given(st.integers(0, 2**256))
@example(0)
@example(127)
@example(128)
def test_numbers_are_encoded_as_by_the_library(value: int) -> None:
    assert ours.number(value) == rlp.encode(value)

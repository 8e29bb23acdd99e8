"""A set of addresses packed into bytes answers as a set of strings does."""

from collections.abc import Iterable
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections import address_set
from projections.address_set import AddressSet

raw_addresses = st.binary(min_size=20, max_size=20)


def text(raw: bytes) -> str:
    return "0x" + raw.hex()


def holding(raws: Iterable[bytes]) -> AddressSet:
    found = AddressSet()
    found.add(b"".join(raws))
    return found


@settings(deadline=None)  # other work may share the machine
@given(st.lists(raw_addresses, max_size=50), st.lists(raw_addresses, max_size=10))
def test_it_is_the_set_of_what_was_added(added: list[bytes], asked: list[bytes]) -> None:
    expected = {text(raw) for raw in added}
    found = holding(added)
    assert set(found) == expected
    assert len(found) == len(expected)
    assert sorted(found) == sorted(expected)
    for raw in (*added, *asked):
        assert (text(raw) in found) == (text(raw) in expected)


@settings(deadline=None)
@given(st.lists(raw_addresses, min_size=2, max_size=30, unique=True), st.integers(1, 19))
def test_the_end_of_one_and_the_beginning_of_the_next_are_no_address(
    added: list[bytes], cut: int
) -> None:
    with patch.object(address_set, "BUCKETS", 1), patch.object(address_set, "_MASK", 0):
        found = holding(added)  # all of them behind each other
        between = added[0][cut:] + added[1][:cut]
        assert (text(between) in found) == (between in added)
        found.add(between)
        assert text(between) in found
        assert len(found) == len({*added, between})


def test_added_again_counts_once() -> None:
    found = holding([b"\1" * 20, b"\2" * 20])
    found.add(b"\1" * 20)
    assert len(found) == 2


@pytest.mark.parametrize(
    "junk",
    [
        "",
        "0x",
        "0x" + "zz" * 20,
        "0x" + "01" * 19,
        "0x" + "01" * 21,
        "0x" + "AB" * 20,
        "1x" + "ab" * 20,
        "0x" + " " + "ab" * 19 + "a",
        "0x" + "ab" * 19 + "é" * 2,
        None,
        b"\xab" * 20,
        7,
    ],
)
def test_what_is_no_address_of_ours_is_not_in_it(junk: object) -> None:
    assert junk not in holding([b"\xab" * 20, b"\1" * 20])


def test_half_an_address_is_refused_whole() -> None:
    found = AddressSet()
    with pytest.raises(ValueError, match="39 bytes"):
        found.add(b"\1" * 39)
    assert len(found) == 0

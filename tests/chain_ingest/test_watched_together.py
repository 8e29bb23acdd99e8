"""A few addresses beside the watch list, as it really is."""

from chain_ingest.watch import Together
from projections.address_set import AddressSet

WATCHED, THEIRS, NOBODYS = (f"0x{number:040x}" for number in (1, 2, 3))


def test_two_sets_are_looked_up_as_one_and_the_large_one_is_not_copied() -> None:
    many = AddressSet()
    many.add(bytes.fromhex(WATCHED[2:]))
    both = Together(many, {WATCHED, THEIRS})
    assert set(both) == {WATCHED, THEIRS}
    assert len(both) == 2
    assert NOBODYS not in both
    many.add(bytes.fromhex(NOBODYS[2:]))
    assert NOBODYS in both

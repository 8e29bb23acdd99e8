from hypothesis import given
from hypothesis import strategies as st

from application.api_keys import KEY_LENGTH, hash_of, new_key, parse

RANDOM = bytes(range(32))
modes = st.sampled_from(("live", "test"))


@given(modes, st.binary(min_size=24, max_size=64))
def test_every_new_key_is_well_formed_and_says_its_mode(mode: str, random_bytes: bytes) -> None:
    key, key_hash, last4 = new_key(mode, random_bytes)  # type: ignore[arg-type]  # a mode
    assert key.startswith(f"sk_{mode}_")
    assert len(key) == KEY_LENGTH
    assert parse(key) == mode
    assert (key_hash, last4) == (hash_of(key), key[-4:])
    assert len(key_hash) == 64


@given(st.integers(0, KEY_LENGTH - 1), st.sampled_from("0123456789ABCxyz_-é \n"))
def test_no_single_changed_character_goes_unnoticed(place: int, letter: str) -> None:
    key, _, _ = new_key("test", RANDOM)
    changed = key[:place] + letter + key[place + 1 :]
    assert changed == key or parse(changed) is None


@given(st.text(max_size=60))
def test_what_is_no_key_is_no_key(text: str) -> None:
    assert parse(text) is None


def test_a_key_of_one_mode_is_none_of_the_other() -> None:
    key, _, _ = new_key("test", RANDOM)
    assert parse(key.replace("test", "live")) is None
    assert parse(key + "0") is None
    assert parse(key[:-1]) is None


def test_the_layout_of_a_key_is_permanent() -> None:
    key, key_hash, last4 = new_key("test", RANDOM)
    assert key == "sk_test_jlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf3udnlU"
    assert key_hash == "d23edbcf4ec7c8543e5d7f053cec6a2b68ebe23f8df3f2248b4e7b0c7c01c3e8"
    assert last4 == "dnlU"

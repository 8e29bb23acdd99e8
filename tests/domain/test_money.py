"""Amounts: exact both ways, and refused when they are not plain decimals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.errors import AmountMalformed
from domain.money import UINT256_MAX, Amount, decimal_of, fee_on, units_of


@given(st.integers(0, UINT256_MAX), st.integers(0, 36))
def test_a_decimal_string_reads_back_as_the_same_units(units: int, decimals: int) -> None:
    assert units_of(decimal_of(units, decimals), decimals) == units


@given(st.integers(0, UINT256_MAX))
def test_units_survive_json_at_any_width(units: int) -> None:
    amount = Amount(units=units, asset="eip155:1/erc20:0x")
    assert Amount.model_validate_json(amount.model_dump_json()) == amount


@pytest.mark.parametrize(
    "text",
    ["NaN", "Infinity", "1e400", "-1", "-0", "+1", "", " 1", "1.", ".5", "01", "1,00", "0x10",
     "1_000", "\u0661\u0660", "0.30000000000000004", "1.0000001", "0." + "0" * 30, "1" * 79],
)  # fmt: skip
def test_anything_but_a_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(AmountMalformed) as refused:
        units_of(text, 6)
    assert refused.value.at_field == "amount"


@pytest.mark.parametrize("raw", [1.0, True, "1.0", "1e3", -1, "-1", UINT256_MAX + 1, None])
def test_units_are_whole_numbers_and_nothing_else(raw: object) -> None:
    with pytest.raises(ValidationError):
        Amount.model_validate({"units": raw, "asset": "a"})


@pytest.mark.parametrize(
    ("units", "fee"),
    [(0, 0), (99, 0), (100, 1), (199, 1), (299, 1), (300, 2), (10_000_000, 50_000)],
)
def test_the_fee_is_half_a_percent_rounded_half_up(units: int, fee: int) -> None:
    assert fee_on(Amount(units=units, asset="a")).units == fee


def test_two_assets_do_not_add_up() -> None:
    with pytest.raises(AssertionError):
        Amount(units=1, asset="a") + Amount(units=1, asset="b")


def test_an_amount_never_goes_below_zero() -> None:
    with pytest.raises(AssertionError):
        Amount(units=1, asset="a") - Amount(units=2, asset="a")

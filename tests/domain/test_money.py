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
    assert refused.value.message in {
        'write the amount as a plain decimal string such as "10.00"',
        "at most 6 decimal places are possible",
    }


@pytest.mark.parametrize("raw", [1.0, True, "1.0", "1e3", -1, "-1", UINT256_MAX + 1, None])
def test_units_are_whole_numbers_and_nothing_else(raw: object) -> None:
    with pytest.raises(ValidationError):
        Amount.model_validate({"units": raw, "asset": "a"})


@pytest.mark.parametrize("raw", [-1, UINT256_MAX + 1, str(UINT256_MAX + 1), "1.0"])
def test_units_that_are_refused_are_told_their_bounds(raw: object) -> None:
    with pytest.raises(ValidationError) as refused:
        Amount.model_validate({"units": raw, "asset": "a"})
    (error,) = refused.value.errors()
    assert (error["type"], error["loc"]) == ("base_units", ("units",))
    assert error["msg"].endswith("at least 0 and at most 2^256 - 1")


def test_strict_mode_takes_whole_numbers_alone() -> None:
    for raw in (0, UINT256_MAX):
        assert Amount.model_validate({"units": raw, "asset": "a"}, strict=True).units == raw
    assert Amount.model_validate_json(b'{"units": 5, "asset": "a"}', strict=True).units == 5
    for refused in ("5", b"5", True, 5.0, -1, UINT256_MAX + 1):
        with pytest.raises(ValidationError, match="base units"):
            Amount.model_validate({"units": refused, "asset": "a"}, strict=True)
    with pytest.raises(ValidationError, match="base units"):
        Amount.model_validate_json(b'{"units": "5", "asset": "a"}', strict=True)


def test_units_have_a_schema_of_their_bounds() -> None:
    written = Amount.model_json_schema(mode="serialization")["properties"]["units"]
    read = Amount.model_json_schema()["properties"]["units"]
    assert (written["type"], written["le"]) == ("string", UINT256_MAX)
    assert (read["type"], read["ge"], read["le"]) == ("integer", 0, UINT256_MAX)


@pytest.mark.parametrize(
    ("units", "fee"),
    [(0, 0), (99, 0), (100, 1), (199, 1), (299, 1), (300, 2), (10_000_000, 50_000)],
)
def test_the_fee_is_half_a_percent_rounded_half_up(units: int, fee: int) -> None:
    assert fee_on(Amount(units=units, asset="a")).units == fee


@given(st.integers(0, UINT256_MAX))
def test_the_fee_is_exact_at_any_width(units: int) -> None:
    fee = fee_on(Amount(units=units, asset="a")).units
    assert isinstance(fee, int)  # a float would agree with itself below
    assert -100 < 200 * fee - units <= 100


@pytest.mark.parametrize(
    ("text", "places", "units"),
    [("10.25", 2, 10_250_000), ("10.25", 9, 10_250_000), ("10", 0, 10_000_000)],
)
def test_fewer_places_than_the_token_has_may_be_asked_for(
    text: str, places: int, units: int
) -> None:
    assert units_of(text, 6, decimals_max=places) == units


@pytest.mark.parametrize(("text", "places"), [("10.255", 2), ("1.0", 0), ("1.0000001", 9)])
def test_more_places_than_were_asked_for_are_refused(text: str, places: int) -> None:
    with pytest.raises(AmountMalformed) as refused:
        units_of(text, 6, decimals_max=places)
    assert refused.value.message == f"at most {min(places, 6)} decimal places are possible"


@pytest.mark.parametrize(
    ("units", "decimals", "text"),
    [
        (0, 6, "0.00"),
        (1, 6, "0.000001"),
        (10_000_000, 6, "10.00"),
        (10_500_000, 6, "10.50"),
        (10_050_000, 6, "10.05"),
        (10_123_456, 6, "10.123456"),
        (10_100_100, 6, "10.1001"),
        (7, 0, "7"),
        (70, 1, "7.0"),
        (75, 1, "7.5"),
        (10**30, 18, "1000000000000.00"),
    ],
)
def test_an_amount_is_written_with_its_cents_and_no_idle_zeros(
    units: int, decimals: int, text: str
) -> None:
    assert decimal_of(units, decimals) == text


def test_more_places_may_be_asked_for_than_cents() -> None:
    assert decimal_of(10_500_000, 6, places_min=4) == "10.5000"
    assert decimal_of(10_000_000, 6, places_min=0) == "10"


def test_amounts_of_one_asset_add_up_and_subtract() -> None:
    one, two = Amount(units=1, asset="a"), Amount(units=2, asset="a")
    assert one + two == Amount(units=3, asset="a")
    assert two - one == one
    assert one - one == Amount(units=0, asset="a")


def test_two_assets_do_not_add_up() -> None:
    one, other = Amount(units=1, asset="a"), Amount(units=1, asset="b")
    with pytest.raises(AssertionError, match="a is not b"):
        one + other
    with pytest.raises(AssertionError, match="a is not b"):
        one - other


def test_an_amount_never_goes_below_zero() -> None:
    with pytest.raises(AssertionError, match=r"^an amount is never negative"):
        Amount(units=1, asset="a") - Amount(units=2, asset="a")


def test_a_value_is_changed_only_where_it_has_a_field() -> None:
    amount = Amount(units=1, asset="a")
    assert amount.changed(units=2) == Amount(units=2, asset="a")
    assert amount == Amount(units=1, asset="a")
    assert amount.changed(units=2).model_dump_json() == '{"units":"2","asset":"a"}'
    with pytest.raises(AssertionError, match="Amount has no such field"):
        amount.changed(unit=2)

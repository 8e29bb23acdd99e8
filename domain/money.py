"""Amounts of one asset, counted in whole base units.

Shapes  Amount(units, asset); asset is a CAIP-19 id, "eip155:8453/erc20:0x83...".
Units   base units of the token (USDC: 1 unit = 0.000001). Integers only; decimals
        exist at the edge, in api/ and in templates, and nowhere else.
JSON    units travel as a string: orjson refuses integers wider than 64 bits, and
        an 18-decimal token needs more from about 18 whole tokens upwards.
Errors  mixing two assets is a bug in the caller, so it asserts. Text that is no plain
        decimal number is AmountMalformed.
Source  ERC-20 balances are uint256 (EIP-20); ids follow CAIP-2, CAIP-10, CAIP-19.
"""

import re
from typing import Annotated, Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from domain.errors import AmountMalformed
from domain.values import Value

UINT256_MAX = 2**256 - 1
FEE_BASIS_POINTS = 50  # 0.5 %
_BASIS = 10_000
_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,77})(?:\.([0-9]{1,77}))?")


class _BaseUnits:
    """Whole numbers, or their decimal text without signs and leading zeros; stored as text.

    Said in pydantic's own terms, since a function of ours called for each amount of a log would
    cost a rebuild as much as all the rest of reading an amount. One error for all of them, with
    both bounds: a union would tell those of each branch.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.union_schema(
            [
                core_schema.chain_schema(
                    [
                        core_schema.str_schema(pattern=r"^(?:0|[1-9][0-9]{0,77})$", strict=True),
                        core_schema.int_schema(ge=0, le=UINT256_MAX, strict=False),
                    ]
                ),
                core_schema.int_schema(ge=0, le=UINT256_MAX, strict=True),
            ],
            mode="left_to_right",
            custom_error_type="base_units",
            custom_error_message="Input should be a whole number of base units, or its digits: "
            "at least 0 and at most 2^256 - 1",
            serialization=core_schema.to_string_ser_schema(when_used="json"),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        if handler.mode == "serialization":
            return {"le": UINT256_MAX, "type": "string"}
        return {"ge": 0, "le": UINT256_MAX, "type": "integer"}


Units = Annotated[int, _BaseUnits]


class Amount(Value):
    """So many base units of one asset."""

    units: Units
    asset: str

    def __add__(self, other: Self) -> Self:
        self._same_asset(other)
        return self.changed(units=self.units + other.units)

    def __sub__(self, other: Self) -> Self:
        self._same_asset(other)
        assert other.units <= self.units, "an amount is never negative"
        return self.changed(units=self.units - other.units)

    def _same_asset(self, other: Self) -> None:
        assert self.asset == other.asset, f"{self.asset} is not {other.asset}"


def fee_on(amount: Amount) -> Amount:
    """The gateway's 0.5 %, rounded half up to a base unit."""
    units = (amount.units * FEE_BASIS_POINTS + _BASIS // 2) // _BASIS
    return amount.changed(units=units)


def units_of(text: str, decimals: int, *, decimals_max: int | None = None) -> int:
    """Base units of a plain decimal string; at most `decimals_max` places may be written."""
    found = _DECIMAL.fullmatch(text)
    if found is None:
        raise AmountMalformed('write the amount as a plain decimal string such as "10.00"')
    whole, fraction = found[1], found[2] or ""
    places = decimals if decimals_max is None else min(decimals, decimals_max)
    if len(fraction) > places:
        raise AmountMalformed(f"at most {places} decimal places are possible")
    return int(whole + fraction.ljust(decimals, "0"))


def decimal_of(units: int, decimals: int, *, places_min: int = 2) -> str:
    """The decimal string of base units, without trailing zeros beyond `places_min` places."""
    whole, rest = divmod(units, 10**decimals)
    fraction = str(rest).rjust(decimals, "0") if decimals else ""
    kept = fraction.rstrip("0").ljust(min(places_min, decimals), "0")
    return f"{whole}.{kept}" if kept else str(whole)

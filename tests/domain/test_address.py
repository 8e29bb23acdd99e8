"""An address inside is written in one way, and nothing else passes for one."""

import pytest
from pydantic import TypeAdapter, ValidationError

from domain.networks import Address

ADDRESS = TypeAdapter(Address)


def test_twenty_bytes_in_lower_case_hex_are_an_address() -> None:
    assert ADDRESS.validate_python("0x" + "0f" * 20) == "0x" + "0f" * 20


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        "0x" + "0f" * 19,
        "0x" + "0f" * 21,
        "0x" + "0F" * 20,
        "0X" + "0f" * 20,
        "0x" + "0g" * 20,
        "0x" + "0_" * 19 + "0f",  # int() would read it
        "0x" + " " + "0f" * 19 + "0",
        "0x" + "0f" * 20 + "\n",
        "0x" + "\u0660" * 40,  # digits to Python, and to nobody else
    ],
)
def test_nothing_else_is(text: str) -> None:
    with pytest.raises(ValidationError):
        ADDRESS.validate_python(text)

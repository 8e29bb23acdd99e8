"""Compiled test tokens for local chains: read from build/contracts, where set-up put them.

Shapes  load("TestDollar") -> Contract(name, abi, bytecode); bytecode is 0x-prefixed hex.
Errors  ContractError if set-up has not compiled that contract; the text says what to run.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from gateway.failures import GatewayError

BUILT = Path(__file__).resolve().parent.parent / "build" / "contracts"


class ContractError(GatewayError):
    """There is no compiled contract of that name."""


class Contract(NamedTuple):
    """What a deployment needs; the abi is the JSON the compiler gave."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: str


def load(name: str, folder: Path = BUILT) -> Contract:
    """Read one compiled contract: TestDollar, TetherLike or Batcher."""
    path = folder / f"{name}.json"
    try:
        built = json.loads(path.read_text(encoding="utf-8"))
        return Contract(name=name, abi=built["abi"], bytecode=built["bytecode"])
    except FileNotFoundError as error:
        message = f"contract {name} is not built ({path} is missing): run `make setup`"
        raise ContractError(message) from error
    except (ValueError, KeyError) as error:
        message = f"contract {name} is damaged ({path}): remove the file and run `make setup`"
        raise ContractError(message) from error

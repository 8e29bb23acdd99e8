"""The trial balance as people read it: each asset in its own unit."""

import io

from rich.console import Console

from application.reads import TrialBalance
from domain.networks import NetworkBook
from gateway.operate import totals_table
from tests.examples import ASSET, LOCAL


def printed(*totals: TrialBalance) -> list[list[str]]:
    written = io.StringIO()
    console = Console(width=200, file=written)
    console.print(totals_table(NetworkBook(networks=(LOCAL,)), totals))
    rows = [line.split("│")[1:-1] for line in written.getvalue().splitlines() if "│" in line]
    return [[cell.strip() for cell in row] for row in rows]


def test_tokens_have_their_decimals_and_gas_has_eighteen() -> None:
    gas = 3 * 10**18 + 1_260_000_000_000_000
    assert printed(
        TrialBalance(ASSET, 14_050_000, 14_050_000), TrialBalance(LOCAL.coin_asset, gas, gas)
    ) == [
        ["USDC on local", "14.05", "14.05", "0.00"],
        ["ETH on local", "3.00126", "3.00126", "0.00"],
    ]


def test_what_does_not_agree_is_seen_to_the_last_unit() -> None:
    assert printed(TrialBalance(LOCAL.coin_asset, 0, 1)) == [
        ["ETH on local", "0.00", "0.000000000000000001", "-0.000000000000000001"]
    ]


def test_an_asset_nobody_configured_any_more_is_shown_in_base_units() -> None:
    assert printed(TrialBalance("eip155:5/erc20:0xaa", 7, 7)) == [
        ["eip155:5/erc20:0xaa", "7", "7", "0"]
    ]

"""The trial balance as people read it: each asset in its own unit."""

import io

from rich.console import Console
from rich.table import Table

from application.reads import AccountBalance, TrialBalance
from application.statements import Balance
from domain.networks import POLYGON, NetworkBook
from gateway.books import balances_table, totals_at_table, totals_of
from gateway.operate import accounts_table, totals_table
from tests.examples import ASSET, LOCAL, MERCHANT_ID


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


# ---------------------------------------------------------------- eighty columns


ACCOUNT = f"customer_receipts:{MERCHANT_ID.hex}"
GAS_UNITS = 123_456_789_012_345_678_901


def _cells(table: Table, width: int) -> list[str]:
    """Each column's text with its folds taken out, row by row."""
    written = io.StringIO()
    Console(width=width, file=written).print(table)
    text = written.getvalue()
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines())
    rows = [line.split("│")[1:-1] for line in text.splitlines() if "│" in line]
    return ["".join(row[column].strip() for row in rows) for column in range(len(rows[0]))]


def test_at_eighty_columns_names_and_gas_are_folded_and_not_cut() -> None:
    book = NetworkBook(networks=(LOCAL,))
    now = accounts_table(book, [AccountBalance(ACCOUNT, LOCAL.coin_asset, GAS_UNITS, 1)])
    at = balances_table([Balance(ACCOUNT, LOCAL.coin_asset, GAS_UNITS)], book, "Accounts")
    for table in (now, at):
        cells = _cells(table, 80)
        assert cells[0] == ACCOUNT
        assert cells[1].replace(" ", "") == "ETHonlocal"
        assert cells[2] == "123.456789012345678901"


def test_a_position_s_books_say_which_network_as_the_current_ones_do() -> None:
    book = NetworkBook(networks=(LOCAL,))
    polygon = POLYGON.asset(POLYGON.tokens[0])
    for asset, text in (
        (ASSET, "USDC on local"),
        (polygon, "USDC on polygon"),
        (POLYGON.coin_asset, "POL on polygon"),
        ("eip155:5/erc20:0xaa", "eip155:5/erc20:0xaa"),
    ):
        held = [Balance("hot_wallet:ab", asset, 7), Balance("refund_float:ab", asset, -7)]
        rows = (
            _cells(balances_table(held[:1], book, "Accounts"), 200)[1],
            _cells(totals_at_table(totals_of(held), book), 200)[0],
            _cells(totals_table(book, totals_of(held)), 200)[0],
        )
        assert rows == (text, text, text)

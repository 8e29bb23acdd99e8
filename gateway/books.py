"""A merchant's month, and the books at a position, as tables that people read.

Shapes  `gateway statement MERCHANT YYYY-MM [--live]` and `gateway trial-balance --at POSITION`;
        with --json the same as the API answers, one line.
"""

import sys
from collections.abc import Sequence
from uuid import UUID

import orjson
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from api.statement_views import StatementView
from application.asset_units import AssetUnits
from application.deciders import MERCHANT
from application.reads import TrialBalance
from application.statements import AHEAD_SECONDS, Balance, month_of
from domain.networks import NetworkBook
from domain.values import Mode
from gateway import bootstrap
from gateway.failures import GatewayError
from gateway.settings import Settings
from gateway.tables import asset_text, console, figure, folding

_AHEAD = (
    f"the log holds facts that were recorded {AHEAD_SECONDS} seconds or more in the future: a "
    "clock is or was wrong (docs/guides/books.md, A clock that was wrong)"
)


async def statement(
    settings: Settings, merchant: str, month: str, *, live: bool, as_json: bool
) -> None:
    mode: Mode = "live" if live else "test"
    async with bootstrap.core(settings, "statement") as core:
        merchant_id = merchant_of(merchant)
        known = await core.handler.load(MERCHANT, merchant_id)
        if known is None:
            raise GatewayError(f"there is no merchant {merchant}")
        wanted = month_of(month)
        statements = bootstrap.statements(core)
        found = await statements.statement(merchant_id, mode, wanted)
        view = StatementView.of(found, statements.units)
    if found.recorded_ahead:
        sys.stderr.write(_AHEAD + "\n")
    if as_json:
        sys.stdout.write(view.encoded().decode() + "\n")
        return
    console().print(page(view, known.display_name))


def merchant_of(text: str) -> UUID:
    """As `gateway merchant` prints it, with or without hyphens."""
    try:
        return UUID(text)
    except ValueError:
        raise GatewayError(
            f"{text!r} names no merchant: give the 32 hex digits `gateway merchant` printed"
        ) from None


def page(view: StatementView, name: str) -> RenderableType:
    last = f"{view.ends_at:%d %B %Y}"
    title = Text.assemble((name, "bold"), f"  statement of {view.month}")
    if not view.livemode:
        title.append("  test mode", style="cyan")
    if view.preliminary:
        title.append("  PRELIMINARY: the month is not over", style="bold yellow")
    scope = (
        f"All that was recorded before {last} 00:00 UTC: log positions "
        f"{view.after_position + 1} to {view.position}."
    )
    if view.position == view.after_position:
        scope = "Nothing was recorded in this month."
    return Group(
        title, Text(scope, style="dim"), "", _payments(view), _accounts(view), _invoice(view)
    )


def _payments(view: StatementView) -> Table:
    table = _table("What happened", "group", "what", "token", "count", "amount")
    for paid in view.payments_completed:
        where = _asset(paid.token, paid.network)
        table.add_row("payments", "payments completed", where, str(paid.count), paid.gross)
    group = "payments"
    for line in view.activity:
        if line.group != group:
            table.add_section()
            group = line.group
        where = _asset(line.token, line.network)
        table.add_row(line.group, line.what, where, str(line.count), line.amount)
    return table


def _accounts(view: StatementView) -> Table:
    table = _table("Accounts", "account", "token", "opening", "debits", "credits", "closing")
    for line in view.accounts:
        table.add_row(
            Text.assemble(line.account, "\n", (line.meaning, "dim")),
            _asset(line.token, line.network),
            _signed(line.opening),
            line.debits,
            line.credits,
            _signed(line.closing),
        )
    return table


def _invoice(view: StatementView) -> Table:
    invoice = view.invoice
    title = f"Invoice {invoice.number}" + (", preliminary" if view.preliminary else "")
    table = _table(title, "for", "token", "count", "on", "amount")
    for line in invoice.lines:
        where = _asset(line.token, line.network)
        base = line.base or ""
        table.add_row(line.what, where, str(line.count), base, _signed(line.amount))
    table.add_section()
    total = Text(f"{invoice.total_usd} {invoice.currency}", style="bold")
    table.add_row(Text("total", style="bold"), "", "", "", total)
    return table


_WORDS = frozenset({"group", "what", "token", "account", "for"})


def _table(title: str, *columns: str) -> Table:
    return folding(title, *columns, left=_WORDS)


def _asset(token: str, network: str) -> str:
    return f"{token} on {network}"


def _signed(text: str) -> Text:
    return Text(text, style="yellow" if text.startswith("-") else "")


# ---------------------------------------------------------------- trial balance


async def trial_balance_at(settings: Settings, position: int, *, as_json: bool) -> int:
    """Print every balance as it stood at a position; the exit status."""
    async with bootstrap.core(settings, "books") as core:
        statements = bootstrap.statements(core)
        at = await statements.position(position)
        held = await statements.ledger.balances_at(at)
        networks = core.networks
    totals = totals_of(held)
    if as_json:
        shown = {line.asset: str(line.difference) for line in totals}
        found = {"trial_balance": shown, "position": at}
        sys.stdout.write(orjson.dumps(found).decode() + "\n")
    else:
        out = console()
        out.print(balances_table(held, networks, f"Accounts at position {at}"))
        out.print(totals_at_table(totals, networks))
    return 0 if all(line.difference == 0 for line in totals) else 1


def totals_of(held: Sequence[Balance]) -> list[TrialBalance]:
    """The classic one: balances on the debit side against those on the credit side."""
    sums: dict[str, list[int]] = {}
    for each in held:
        row = sums.setdefault(each.asset, [0, 0])
        row[each.units < 0] += abs(each.units)
    return [TrialBalance(asset, *row) for asset, row in sorted(sums.items())]


def balances_table(held: Sequence[Balance], networks: NetworkBook, title: str) -> Table:
    table = _table(title, "account", "token", "debit balance", "credit balance")
    units = AssetUnits(networks)
    for each in held:
        text = figure(units, abs(each.units), each.asset)
        sides = ("", text) if each.units < 0 else (text, "")
        table.add_row(each.account, asset_text(units, each.asset), *sides)
    return table


def totals_at_table(totals: Sequence[TrialBalance], networks: NetworkBook) -> Table:
    table = _table("Trial balance", "token", "debit balances", "credit balances", "difference")
    units = AssetUnits(networks)
    for line in totals:
        figures = (line.debits, line.credits, line.difference)
        shown = (figure(units, each, line.asset) for each in figures)
        table.add_row(asset_text(units, line.asset), *shown)
    return table

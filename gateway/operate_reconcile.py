"""What the books say arrived, beside what the chain has confirmed: `gateway reconcile`.

Shapes  A line an asset. What is confirmed and not booked is named: to nobody's address or
        dismissed, or on its way to the log; so is what a reorg is about to take back. The rest
        must be equal. With --now balances are read on chain first, as the ingester does hourly.
Errors  GatewayError for a network that is not served, and when nothing can be said now.
"""

import asyncio
import sys
from collections.abc import Sequence

import orjson
from rich.table import Table
from rich.text import Text

from adapters.reconciling import PostgresBooksAndChain, PostgresReconcileBook
from application.asset_units import AssetUnits
from application.reconciling import Arrived, Reconciliation
from gateway import bootstrap
from gateway.failures import GatewayError
from gateway.operate import READY_SECONDS_MAX
from gateway.operate_coverage import named, reconciled_text, run_line
from gateway.operate_recheck import looking
from gateway.settings import Settings
from gateway.tables import asset_text, console, figure, folding, lines

ATTEMPTS_MAX = 5  # a payment that is booked between two looks differs for a moment
PAUSE_SECONDS = 0.2


async def reconcile(settings: Settings, network: str, *, now: bool, as_json: bool) -> int:
    """Print both; the exit status: 0 when nothing differs that is not explained."""
    (name,) = named(settings, network)
    if now:
        _insist_on_providers(settings, name)
    async with bootstrap.core(settings, "reconcile") as core:
        if now:
            async with looking(core, core.networks.get(name)) as (_, reconciler):
                if await reconciler.once() is None:
                    sys.stderr.write("no block is deep enough yet to read balances at\n")
        run = await PostgresReconcileBook(core.postgres).newest(name)
        current, arrived = await _arrived(core, name)
        units = AssetUnits(core.networks)
    if not current:
        sys.stderr.write("the read models lag behind the log: is `gateway project` running?\n")
    if as_json:
        sys.stdout.write(orjson.dumps(_line(name, arrived, run)).decode() + "\n")
    else:
        _show(name, arrived, run, units)
    well = all(each.difference == 0 for each in arrived) and not (run and run.unexplained)
    return 0 if current and well else 1


def _insist_on_providers(settings: Settings, name: str) -> None:
    if name not in settings.rpc_urls:
        raise GatewayError(f"--now reads the chain: RPC_URLS_{name.upper()} is not set")


async def _arrived(core: bootstrap.Core, name: str) -> tuple[bool, Sequence[Arrived]]:
    """The read models have caught up, and nothing differs, or it does so again and again."""
    progress = bootstrap.progress(core)
    books = PostgresBooksAndChain(core.postgres, core.networks)
    current, arrived = False, await books.arrived(name)
    for attempt in range(ATTEMPTS_MAX):
        head = await core.store.head()
        current = await progress.wait_for(head, timeout_seconds=READY_SECONDS_MAX)
        arrived = await books.arrived(name)
        if not current or all(each.difference == 0 for each in arrived):
            break
        if attempt < ATTEMPTS_MAX - 1:
            await asyncio.sleep(PAUSE_SECONDS)
    return current, arrived


_SUMS = (
    "confirmed on chain",
    "nobody's or dismissed",
    "on its way to the log",
    "being taken back",
    "in the books",
)


def _show(
    name: str, arrived: Sequence[Arrived], run: Reconciliation | None, units: AssetUnits
) -> None:
    out = console()
    out.print(table_of(name, arrived, units))
    lines(out, reconciled_text(run))


def table_of(name: str, arrived: Sequence[Arrived], units: AssetUnits) -> Table:
    """A line a sum: side by side they would not fit a terminal."""
    table = folding(f"What arrived on {name}", "asset", "", "sum", left=frozenset({"asset", ""}))
    for each in arrived:
        sums = (each.confirmed, each.nobodys, each.settling, each.leaving, each.booked)
        asset = asset_text(units, each.asset)
        for what, one in zip(_SUMS, sums, strict=True):
            table.add_row(asset, what, figure(units, one, each.asset))
            asset = ""
        style = "bold red" if each.difference else "green"
        difference = Text(figure(units, each.difference, each.asset), style=style)
        table.add_row("", Text("difference", style=style), difference)
        table.add_section()
    return table


def _line(name: str, arrived: Sequence[Arrived], run: Reconciliation | None) -> dict[str, object]:
    return {
        "network": name,
        "assets": [
            {
                "asset": each.asset,
                "confirmed": str(each.confirmed),
                "nobodys": str(each.nobodys),
                "settling": str(each.settling),
                "leaving": str(each.leaving),
                "booked": str(each.booked),
                "difference": str(each.difference),
            }
            for each in arrived
        ],
        "reconciled": None if run is None else run_line(run),
    }

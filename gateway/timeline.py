"""A stream's facts as a table for people: what happened, when, who did it, and the figures.

Shapes  amounts as decimals with their symbol, hashes shortened; `gateway events --json` has all.
"""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from application.ports import Recorded
from domain.events import Event
from domain.money import Amount, decimal_of
from domain.networks import NetworkBook
from gateway.tables import Cells

_WORDS = {
    "block_number": "block",
    "tx_hash": "transaction",
    "confirmations": "confirmations",
    "reason": "because",
    "attempt": "attempt",
    "status_code": "status",
    "error": "error",
    "fork_number": "fork after block",
    "depth": "depth",
    "message_type": "message",
    "tables": "tables",
    "replaced": "instead of",
    "position": "position",
    "stream_id": "stream",
    "settled": "settled",
}
_AMOUNTS = {
    "due": "due",
    "amount": "",
    "seen": "seen",
    "fee": "fee",
    "fee_returned": "fee returned",
}
_BAD = ("retracted", "reversed", "failed", "expired", "cancelled", "unmatched")
_GOOD = ("completed", "refunded", "succeeded")


def timeline(title: str, recorded: Sequence[Recorded[Event]], networks: NetworkBook) -> Table:
    table = Cells(title=Text(title, style="bold"), title_justify="left")
    table.add_column("#", justify="right")
    table.add_column("at (UTC)", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("by", no_wrap=True)
    table.add_column("details")
    for fact in recorded:
        name = fact.event.name
        table.add_row(
            str(fact.version),
            f"{fact.event.at:%H:%M:%S.%f}"[:-3],
            Text(name, style=_style(name)),
            fact.context.actor.partition(":")[0],
            ", ".join(_details(fact, networks)),
        )
    return table


def _style(name: str) -> str:
    if name.endswith(_BAD):
        return "yellow"
    return "green" if name.endswith(_GOOD) else "default"


def _details(fact: Recorded[Event], networks: NetworkBook) -> list[str]:
    shown = []
    for name, value in fact.event:
        if isinstance(value, Amount) and name in _AMOUNTS:
            shown.append(f"{_AMOUNTS[name]} {amount_text(value, networks)}".strip())
        elif name in _WORDS and value is not None:
            shown.append(f"{_WORDS[name]} {_short(value)}")
    if fact.context.policy_version:
        shown.append(f"policy {fact.context.policy_version}")
    return shown


def amount_text(amount: Amount, networks: NetworkBook) -> str:
    try:
        _, token = networks.of_asset(amount.asset)
    except KeyError:
        return f"{amount.units} of {amount.asset}"
    return f"{decimal_of(amount.units, token.decimals)} {token.symbol}"


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:6]}…{text[-4:]}" if text.startswith("0x") else text

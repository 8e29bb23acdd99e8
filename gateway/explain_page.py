"""An explanation as people read it, and as JSON; and the command that prints it."""

import sys
from datetime import UTC
from typing import Any

import orjson
from rich.console import Console
from rich.text import Text

from adapters.addresses import checksum_address
from adapters.chain_heads import PostgresChainHeads
from adapters.support_reads import PostgresSupportReads
from application.messages import moment_text
from gateway import bootstrap
from gateway.explain import Entry, Explainer, Explanation
from gateway.settings import Settings

INDENT = " " * 12
_BAD = ("retracted", "reversed", "failed", "expired", "cancelled", "unmatched", "released")
_GOOD = ("completed", "refunded", "succeeded", "confirmed")


async def explain(settings: Settings, what: str, *, as_json: bool) -> None:
    async with bootstrap.core(settings, "explain") as core:
        explainer = Explainer(
            core.store,
            PostgresChainHeads(core.postgres),
            PostgresSupportReads(core.postgres),
            core.networks,
            checksum_address,
        )
        found = await explainer.explain(what, core.clock.now())
    if as_json:
        sys.stdout.write(orjson.dumps(as_data(found)).decode() + "\n")
    else:
        show(found, Console())


def as_data(found: Explanation) -> dict[str, Any]:
    return {
        "title": found.title,
        "now": found.standing.now,
        "next": found.standing.next,
        "timeline": [_entry_data(entry) for entry in found.entries],
        "webhooks": found.webhooks,
        "inbox": found.inbox,
    }


def _entry_data(entry: Entry) -> dict[str, Any]:
    fact = entry.fact
    return {
        "position": fact.position,
        "at": moment_text(fact.event.at),
        "recorded_at": moment_text(fact.recorded_at),
        "name": fact.event.name,
        "actor": fact.context.actor,
        "who": entry.who,
        "what": entry.told.what,
        "why": entry.told.why,
        "tx_hash": entry.told.tx_hash,
    }


def show(found: Explanation, console: Console) -> None:
    """Hashes and addresses stay whole: a line is never broken by us, so they can be copied."""
    _line(console, Text(found.title, style="bold"))
    _section(console, "Now", found.standing.now)
    _section(console, "Next", found.standing.next)
    _timeline(console, found.entries)
    _section(console, "Webhooks", found.webhooks)
    _section(console, "Other transfers that concern this payment", found.inbox)


def _timeline(console: Console, entries: tuple[Entry, ...]) -> None:
    """By day, then by moment and person, so that what one deed did stands together."""
    day, deed = None, None
    for entry in entries:
        at = entry.fact.event.at.astimezone(UTC)
        if at.date() != day:
            day = at.date()
            _line(console, Text(f"\n{at.day} {at:%B %Y}, UTC", style="bold"))
        if (at, entry.who) != deed:
            deed = (at, entry.who)
            _line(console, Text.assemble(f"  {at:%H:%M:%S}  ", (entry.who, "cyan")))
        _entry(console, entry)


def _entry(console: Console, entry: Entry) -> None:
    name = entry.fact.event.name
    style = "yellow" if name.endswith(_BAD) else "green" if name.endswith(_GOOD) else ""
    _line(console, Text(f"{INDENT}{entry.told.what}", style=style))
    if entry.told.why:
        _line(console, Text(f"{INDENT}  because {entry.told.why}", style="dim"))
    if entry.told.tx_hash:
        _line(console, Text(f"{INDENT}  transaction {entry.told.tx_hash}", style="dim"))


def _section(console: Console, title: str, lines: tuple[str, ...]) -> None:
    if not lines:
        return
    _line(console, Text(f"\n{title}", style="bold"))
    for line in lines:
        _line(console, Text(f"  {line}"))


def _line(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True, highlight=False)

"""What waits for a person: transfers nobody expected, and reports that could not be applied."""

import orjson
from rich.console import Console
from rich.table import Table

from adapters.ingest_store import PostgresParkedMessages
from gateway import bootstrap
from gateway.settings import Settings
from gateway.timeline import amount_text
from projections.inbox_reads import InboxReads

SHOWN_MAX = 100


async def inbox(settings: Settings, *, as_json: bool) -> None:
    async with bootstrap.core(settings, "inbox") as core:
        rows = await InboxReads(core.postgres, core.networks).newest(SHOWN_MAX)
        networks = core.networks
    if as_json:
        for row in rows:
            print(row.transfer.model_dump_json())
        return
    table = Table("transfer", "amount", "to", "state", "because", title="Inbox")
    for row in rows:
        sighting = row.transfer.sighting
        table.add_row(
            sighting.transfer_id,
            amount_text(sighting.amount, networks),
            sighting.recipient,
            row.transfer.status,
            row.transfer.reason,
        )
    Console().print(table if rows else "The inbox is empty.")


async def parked(settings: Settings, *, as_json: bool) -> int:
    async with bootstrap.core(settings, "parked") as core:
        messages = await PostgresParkedMessages(core.postgres).list(SHOWN_MAX)
    if as_json:
        for message in messages:
            shown = {
                "message_id": message.message_id,
                "subject": message.subject,
                "error": message.error,
                "at": message.at.isoformat(),
                "data": message.data.decode(errors="replace"),
            }
            print(orjson.dumps(shown).decode())
        return 1 if messages else 0
    table = Table("at (UTC)", "subject", "message", "error", title="Parked reports")
    for message in messages:
        at = f"{message.at:%Y-%m-%d %H:%M:%S}"
        table.add_row(at, message.subject, message.message_id, message.error)
    Console().print(table if messages else "Nothing is parked.")
    return 1 if messages else 0

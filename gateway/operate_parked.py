"""Chain reports that could not be applied: what they say, why they failed, and trying again.

Shapes  status 0 when nothing is left to do: nothing waits, or all that was tried is settled.
        `--json` is one line a message.
Errors  GatewayError for an id of nothing parked; ReasonMissing; an outage.
"""

import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import orjson
from rich.console import Console
from rich.text import Text

from adapters.parked import PostgresParkedMessages
from application.outside import ParkedMessage
from application.parked import ParkedReports, ParkedUnknown
from gateway import bootstrap
from gateway.failures import GatewayError
from gateway.settings import Settings
from gateway.tables import console, folding, lines

SHOWN_MAX = 100
OUTCOMES = {
    None: "waits for somebody",
    "settled": "settled",
    "already_settled": "was settled already",
    "failed": "failed again",
}


async def parked(settings: Settings, *, everything: bool, as_json: bool) -> int:
    async with bootstrap.core(settings, "parked") as core:
        book = PostgresParkedMessages(core.postgres)
        messages = await book.list(SHOWN_MAX, settled=everything)
        waiting = await book.list(1)
    if as_json:
        _print_json(*messages)
    else:
        listed(messages, console())
    return 1 if waiting else 0


async def show(settings: Settings, message_id: str, *, as_json: bool) -> None:
    async with _reports(settings) as reports:
        message = await reports.find(message_id)
    if as_json:
        _print_json(message)
    else:
        described(message, Console())


async def retry(settings: Settings, message_id: str, reason: str, *, as_json: bool) -> int:
    async with _reports(settings) as reports:
        message = await reports.retry(message_id, reason)
    _say(message, as_json=as_json)
    return 0 if message.settled else 1


async def retry_all(settings: Settings, reason: str, *, as_json: bool) -> int:
    """Says each as soon as it is done: an outage half-way ends it, and another call goes on."""
    tried: list[ParkedMessage] = []
    async with _reports(settings) as reports:
        async for message in reports.retry_all(reason):
            tried.append(message)
            _say(message, as_json=as_json)
    if not tried and not as_json:
        console().print("Nothing is parked.")
    return 0 if all(each.settled for each in tried) else 1


@contextlib.asynccontextmanager
async def _reports(settings: Settings) -> AsyncIterator[ParkedReports]:
    async with bootstrap.core(settings, "parked") as core:
        try:
            yield bootstrap.parked_reports(core)
        except ParkedUnknown as unknown:
            raise GatewayError(f"{unknown}; see `gateway parked --all`") from unknown


# ---------------------------------------------------------------- for people


def listed(messages: Sequence[ParkedMessage], out: Console) -> None:
    columns = ("at (UTC)", "subject", "message", "error", "retries", "outcome")
    table = folding("Parked reports", *columns, left=frozenset(columns) - {"retries"})
    for each in messages:
        table.add_row(
            _moment(each.at),
            each.subject,
            each.message_id,
            Text(each.retry_error or each.error),
            str(each.retries),
            OUTCOMES[each.outcome],
        )
    out.print(table if messages else "Nothing is parked.")


def described(message: ParkedMessage, out: Console) -> None:
    """A line a field, each whole."""
    said = [
        ("message", message.message_id),
        ("subject", message.subject),
        ("parked at", f"{_moment(message.at)} UTC"),
        ("because", message.error),
        ("retries", str(message.retries)),
        ("stands", OUTCOMES[message.outcome]),
    ]
    if message.retried_at is not None:
        said.append(("retried at", f"{_moment(message.retried_at)} UTC"))
        said.append(("retried because", message.retry_reason or ""))
    if message.retry_error is not None:
        said.append(("failed because", message.retry_error))
    lines(out, *(Text(f"{name:16}{text}") for name, text in said))
    lines(out, Text("content"), Text(_content(message.data)))


def _content(data: bytes) -> str:
    try:
        return orjson.dumps(orjson.loads(data), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return repr(data)


def _say(message: ParkedMessage, *, as_json: bool) -> None:
    if as_json:
        _print_json(message)
        return
    why = f": {message.retry_error}" if message.outcome == "failed" else ""
    lines(Console(), Text(f"{message.message_id}  {OUTCOMES[message.outcome]}{why}"))


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"


# ---------------------------------------------------------------- for machines


def _print_json(*messages: ParkedMessage) -> None:
    for each in messages:
        sys.stdout.write(orjson.dumps(_fields(each)).decode() + "\n")


def _fields(message: ParkedMessage) -> dict[str, Any]:
    retried_at = message.retried_at
    return {
        "message_id": message.message_id,
        "source": message.source,
        "subject": message.subject,
        "error": message.error,
        "at": message.at.isoformat(),
        "data": message.data.decode(errors="replace"),
        "retries": message.retries,
        "retried_at": None if retried_at is None else retried_at.isoformat(),
        "retry_reason": message.retry_reason,
        "outcome": message.outcome,
        "retry_error": message.retry_error,
        "settled": message.settled,
    }

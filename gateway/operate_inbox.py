"""What waits for a person: transfers nobody expected.

Shapes  a decision is made for the transfer's merchant, as the actor "operator".
Errors  GatewayError for what names no transfer, or one of no merchant; refusals of the use cases.
"""

import re
from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from rich.console import Console
from rich.text import Text

from adapters.addresses import checksum_address, parse_address
from application.callers import Caller
from application.deciders import TRANSFER, transfer_stream_id
from application.handling import Handler
from application.inbox import Inbox
from application.reads import TransferRow
from application.refunds import Refunds
from domain.errors import PublicIdMalformed
from domain.networks import NetworkBook
from domain.values import parse_public_id, public_id
from gateway import bootstrap
from gateway.failures import GatewayError
from gateway.settings import Settings
from gateway.tables import lines
from gateway.timeline import amount_text
from projections.inbox_reads import InboxReads
from projections.watchlist_reads import WatchListReads

SHOWN_MAX = 100
ACTOR = "operator"
Decision = Literal["accept", "dismiss", "assign", "refund"]
CHAIN_TRANSFER = re.compile(r"[0-9]{1,20}:0x[0-9a-f]{64}:[0-9]{1,9}")


async def inbox(settings: Settings, *, as_json: bool) -> None:
    async with bootstrap.core(settings, "inbox") as core:
        rows = await InboxReads(core.postgres, core.networks).newest(SHOWN_MAX)
        networks = core.networks
    if as_json:
        for row in rows:
            print(row.transfer.model_dump_json())
        return
    show(rows, networks, Console())


def show(rows: Sequence[TransferRow], networks: NetworkBook, out: Console) -> None:
    """A block a transfer, each line whole: an id that is cut cannot be decided about."""
    if not rows:
        out.print("The inbox is empty.")
    for row in rows:
        head, *more = _block(row, networks)
        lines(out, Text(head, style="bold"), *(Text(f"  {line}") for line in more), Text(""))


def _block(row: TransferRow, networks: NetworkBook) -> tuple[str, ...]:
    transfer, sighting = row.transfer, row.transfer.sighting
    identity = public_id("tr", transfer_stream_id(sighting.transfer_id))
    whose = "" if transfer.merchant_id else ", of no merchant"
    amount = f"{amount_text(sighting.amount, networks)} on {sighting.network}"
    return (
        identity,
        sighting.transfer_id,
        f"{amount}, {transfer.status}{whose}, {transfer.resolution}",
        f"from {checksum_address(sighting.sender)}",
        f"to   {checksum_address(sighting.recipient)}",
        f"because {transfer.reason} ({transfer.verdict})",
    )


async def decide(
    settings: Settings, transfer: str, what: Decision, reason: str, target: str | None
) -> None:
    """`target` is the session of an assignment, or the address of a refund."""
    stream_id = stream_of(transfer)
    async with bootstrap.core(settings, "inbox") as core:
        watch = WatchListReads(core.postgres, core.networks)
        refunds = Refunds(core.handler, core.networks, watch, core.ids, parse_address)
        operator = Operator(core.handler, core.networks, refunds)
        said = await operator.decide(stream_id, what, reason, target)
    print(said)


def stream_of(text: str) -> UUID:
    """A transfer as people name it."""
    if CHAIN_TRANSFER.fullmatch(text):
        return transfer_stream_id(text)
    try:
        return parse_public_id("tr", text)
    except PublicIdMalformed:
        raise GatewayError(f"{text!r} names no transfer: give tr_… or CHAIN:TX:LOG") from None


class Operator:
    """Decides for the merchant whose money it is."""

    def __init__(self, handler: Handler, networks: NetworkBook, refunds: Refunds) -> None:
        self._handler = handler
        self._networks = networks
        self._inbox = Inbox(handler, networks)
        self._refunds = refunds

    async def decide(
        self, stream_id: UUID, what: Decision, reason: str, target: str | None = None
    ) -> str:
        """What came of it, in a line."""
        caller = await self._caller(stream_id)
        match what:
            case "accept":
                await self._inbox.accept(stream_id, reason, caller)
                return "accepted: the merchant keeps it, for no session"
            case "dismiss":
                await self._inbox.dismiss(stream_id, reason, caller)
                return "dismissed: it has left the inbox and the books"
            case "assign":
                session_id = parse_public_id("ps", target or "")
                await self._inbox.assign(stream_id, session_id, reason, caller)
                return f"assigned: credited to {target}"
            case "refund":
                refund = await self._refunds.request_for_transfer(
                    stream_id, reason, target, caller, None, lambda _: (201, b"")
                )
                return f"refunding: follow it with `gateway explain rf_{refund.refund_id.hex}`"

    async def _caller(self, stream_id: UUID) -> Caller:
        transfer = await self._handler.load(TRANSFER, stream_id)
        if transfer is None:
            raise GatewayError("there is no such transfer")
        if transfer.merchant_id is None:
            raise GatewayError(
                "this transfer went to an address of nobody: there is no merchant to decide for"
            )
        mode = self._networks.get(transfer.sighting.network).mode
        return Caller(
            merchant_id=transfer.merchant_id,
            mode=mode,
            key_id=UUID(int=0),
            scopes=(),
            request_id=f"{ACTOR}:{stream_id.hex}",
            acting=ACTOR,
        )

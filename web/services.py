"""What the pages are made of, handed in by gateway/bootstrap.py."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from application.claims import Claims
from application.handling import Handler
from application.instructions import WriteAddress
from application.ports import Clock
from application.reads import ChainHeads, InboxReads, SessionReads
from domain.networks import NetworkBook

Hints = Callable[[str], AsyncIterator[bytes]]
"""Bus.hints: whoever listens is told that something may have changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebServices:
    handler: Handler
    claims: Claims
    session_reads: SessionReads
    inbox_reads: InboxReads
    heads: ChainHeads
    networks: NetworkBook
    clock: Clock
    write_address: WriteAddress
    public_base_url: str
    hints: Hints | None = None  # None: live pages poll
    # Set when the process is to stop, so that open streams end at once.
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

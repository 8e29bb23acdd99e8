"""Watches refunds that completed recently: a deep reorg may throw their transactions out again.

Shapes  Each look asks for the receipt of our own hash. Where there is none any more, the stored
        bytes go out again, after those of earlier nonces, at every look until they are mined:
        the same bytes pay once, however often they are sent. The log says each of these once,
        as errors but for the last:
          refund_transaction_lost          the chain has no receipt of it any more
          refund_nonce_used_elsewhere      nor will it, if another transaction has its nonce
          refund_transaction_not_as_booked mined again, and not the payment that was booked
          refund_transaction_back          mined again, and as deep as the policy asks
Limits  What completed longer than WATCHED_AFTER_SECONDS ago is watched no more, unless it is
        missed by then. Which ones are missed is remembered by this process only. Of more than
        WATCHED_MAX the newest are watched; earlier nonces of a wallet still go out with those
        of a later one that is missed.
        No fact and no journal entry is written for the time in between, nor when the money
        never moves again: the refund says completed and the books say paid throughout, and the
        log alone says otherwise.
Units   confirmations count as everywhere, head minus block plus one; seconds.
Errors  an outage changes nothing: the next look asks again.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import structlog

from application.outside import ChainClient, Outgoing, OutgoingBook, Receipt
from application.ports import Clock, Unavailable
from application.reads import RefundReads
from domain.networks import NetworkBook
from domain.refund import Refund
from workers.pacing import Outages, in_rounds, pause
from workers.refund_facts import judge

log = structlog.get_logger(__name__)

WATCHED_AFTER_SECONDS = 3_600
WATCHED_MAX = 200
WATCH_SECONDS = 15.0
AT_ONCE_MAX = 8


@dataclass(slots=True)
class _Missed:
    refund: Refund
    said: set[str] = field(default_factory=set)


class RefundWatch:
    def __init__(
        self,
        refunds: RefundReads,
        outgoing: OutgoingBook,
        chains: Mapping[str, ChainClient],
        networks: NetworkBook,
        clock: Clock,
    ) -> None:
        self._refunds = refunds
        self._outgoing = outgoing
        self._chains = chains
        self._networks = networks
        self._clock = clock
        self._outages = Outages("refund_watch")
        self._missed: dict[UUID, _Missed] = {}

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.look()
            except Unavailable as outage:
                self._outages.away(outage)
            await pause(self._clock, WATCH_SECONDS, stop)

    async def look(self) -> None:
        """Once at each refund under watch, those that are missed before all others."""
        since = self._clock.now() - timedelta(seconds=WATCHED_AFTER_SECONDS)
        recent = await self._refunds.completed_since(since, WATCHED_MAX)
        watched = {refund_id: missed.refund for refund_id, missed in self._missed.items()}
        for row in recent:
            watched.setdefault(row.refund.refund_id, row.refund)
        refunds = list(watched.values())[:WATCHED_MAX]
        down: set[str] = set()
        await in_rounds(refunds, AT_ONCE_MAX, lambda one: self._guarded(one, down))
        if "" not in down:
            self._outages.back()

    async def _guarded(self, refund: Refund, down: set[str]) -> None:
        """A check that spoils no other: `down` names networks without an answer this time."""
        chain = self._chains.get(refund.network)
        if chain is None or refund.network in down:
            return
        try:
            await self._check(refund, chain)
            self._outages.back(what=refund.network)
        except Unavailable as outage:
            what = refund.network if outage.service == "rpc" else ""
            down.add(what)
            self._outages.away(outage, what=what)
        except Exception:
            log.exception("refund_watch_failed", refund_id=refund.refund_id.hex)

    async def _check(self, refund: Refund, chain: ChainClient) -> None:
        assert refund.tx_hash is not None, "a refund completes by the receipt of its transaction"
        receipt = await chain.receipt(refund.tx_hash)
        if receipt is None:
            self._say(refund, "refund_transaction_lost")
            await self._send_again(refund, chain)
        elif judge(receipt, refund, self._networks) != "paid":
            self._say(refund, "refund_transaction_not_as_booked")
        elif refund.refund_id in self._missed:
            await self._back(refund, receipt, chain)

    async def _back(self, refund: Refund, receipt: Receipt, chain: ChainClient) -> None:
        confirmations = await chain.head_number() - receipt.block_number + 1
        if confirmations >= chain.network.policy.blocks:
            del self._missed[refund.refund_id]
            log.info(
                "refund_transaction_back",
                refund_id=refund.refund_id.hex,
                tx_hash=receipt.tx_hash,
                block_number=receipt.block_number,
            )

    async def _send_again(self, refund: Refund, chain: ChainClient) -> None:
        row = await self._outgoing.find(refund.refund_id)
        assert row is not None, "what was paid was stored before"
        if await send_again(row, chain, self._outgoing):
            self._say(refund, "refund_nonce_used_elsewhere")

    def _say(self, refund: Refund, what: str) -> None:
        """Once until it is back, not at every look."""
        missed = self._missed.setdefault(refund.refund_id, _Missed(refund))
        if what not in missed.said:
            missed.said.add(what)
            log.error(
                what,
                refund_id=refund.refund_id.hex,
                network=refund.network,
                wallet=refund.wallet,
                tx_hash=refund.tx_hash,
            )


async def send_again(row: Outgoing, chain: ChainClient, outgoing: OutgoingBook) -> bool:
    """Offer the same bytes again, and first what must be mined before them.

    Whether the chain says that the nonce is used: then either the node's answers are of
    different ages, or somebody else has the key.
    """
    assert row.nonce is not None
    assert row.raw is not None
    used = await chain.transaction_count(row.wallet)
    for raw in await outgoing.signed_before(row, used):
        await chain.broadcast(raw)
    await chain.broadcast(row.raw)
    return used > row.nonce

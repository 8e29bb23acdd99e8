"""Watches refunds that completed: a deep reorg may throw their transactions out again.

Shapes  A refund completed by the receipt of a block. The watch asks whether the chain still has
        that block at its height; only where it has another one there does it look further:
          no receipt of ours any more          lost
          mined again, and it does not pay     lost: what completed is not what happened
          mined again, in another block        still completed, nothing is written; should that
                                               block go too, this is looked at again
        What is lost is under way again, in one write with the books; workers/refund_sender.py
        sends the same bytes, and it completes once more. `refund_transaction_lost` is said
        as an error, once a loss.
Doubt   Only a node that names another block says that ours is gone. One that is silent, or
        whose chain ends before that block, says nothing; one that changes its answer
        while it is asked is not believed; one that has forgotten an old receipt is not asked for it.
Window  what completed in the last WATCHED_SECONDS_MIN, or WATCHED_DEPTHS times as long as the
        slowest network's deepest rule takes, if that is longer. Each is looked at every
        WATCH_SECONDS at first, and ever more rarely as it ages (one AGE_SHARE of its age), by
        what the read model says: a restart forgets nothing. A look reads the newest PAGE_MAX and
        the next PAGE_MAX of those before, so that all of them have their turn.
Units   blocks; seconds.
Errors  an outage changes nothing: the next look asks again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from application.outside import ChainClient
from application.ports import Clock, Unavailable
from application.reads import RefundReads
from domain.networks import Network, NetworkBook
from domain.refund import Refund
from workers.pacing import Outages, in_rounds, pause
from workers.refund_facts import RefundFacts, judge

log = structlog.get_logger(__name__)

WATCHED_SECONDS_MIN = 86_400
WATCHED_DEPTHS = 4
WATCH_SECONDS = 15.0
AGE_SHARE = 20
PAGE_MAX = 100
BLOCKS_AT_ONCE_MAX = 8


class RefundWatch:
    def __init__(
        self,
        refunds: RefundReads,
        facts: RefundFacts,
        chains: Mapping[str, ChainClient],
        networks: NetworkBook,
        clock: Clock,
    ) -> None:
        self._refunds = refunds
        self._facts = facts
        self._chains = chains
        self._networks = networks
        self._clock = clock
        self._watched = timedelta(seconds=max(map(watched_seconds, networks.networks), default=0))
        self._outages = Outages("refund_watch")
        self._looked_at: dict[UUID, datetime] = {}
        self._older: str | None = None  # where the next page of older ones begins

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.look()
            except Unavailable as outage:
                self._outages.away(outage)
            await pause(self._clock, WATCH_SECONDS, stop)

    async def look(self) -> None:
        """Once at each refund whose turn it is; those of one block need one question."""
        now = self._clock.now()
        blocks: dict[tuple[str, int], list[Refund]] = defaultdict(list)
        for refund in await self._their_turn(now):
            assert refund.block_number is not None, "a refund completes by its receipt"
            blocks[refund.network, refund.block_number].append(refund)
        down: set[str] = set()
        await in_rounds(
            list(blocks.items()),
            BLOCKS_AT_ONCE_MAX,
            lambda block: self._guarded(*block[0], block[1], down),
        )
        if "" not in down:
            self._outages.back()

    async def _their_turn(self, now: datetime) -> list[Refund]:
        since = now - self._watched
        page = await self._refunds.completed_since(since, PAGE_MAX)
        rows = list(page.items)
        if page.next_cursor is not None:
            older = await self._refunds.completed_since(
                since, PAGE_MAX, cursor=self._older or page.next_cursor
            )
            rows += older.items
            self._older = older.next_cursor
        patience = self._watched / AGE_SHARE
        self._looked_at = {
            refund_id: at for refund_id, at in self._looked_at.items() if now - at < patience
        }
        found = {row.refund.refund_id: row.refund for row in rows}
        return [refund for refund in found.values() if self._is_due(refund, now)]

    def _is_due(self, refund: Refund, now: datetime) -> bool:
        looked_at = self._looked_at.get(refund.refund_id)
        if looked_at is None or refund.completed_at is None:
            return True
        pause_ = max(timedelta(seconds=WATCH_SECONDS), (now - refund.completed_at) / AGE_SHARE)
        return now - looked_at >= pause_

    async def _guarded(
        self, network: str, number: int, refunds: list[Refund], down: set[str]
    ) -> None:
        """A check that spoils no other: `down` names networks without an answer this time."""
        chain = self._chains.get(network)
        if chain is None or network in down:
            return
        try:
            await self._check(number, refunds, chain)
            self._outages.back(what=network)
        except Unavailable as outage:
            what = network if outage.service == "rpc" else ""
            down.add(what)
            self._outages.away(outage, what=what)
        except Exception:
            log.exception("refund_watch_failed", network=network, block_number=number)

    async def _check(self, number: int, refunds: list[Refund], chain: ChainClient) -> None:
        there = await chain.block_hash(number)
        for refund in refunds:
            if there is not None and there != refund.block_hash:
                await self._look_closer(refund, number, there, chain)
            self._looked_at[refund.refund_id] = self._clock.now()

    async def _look_closer(
        self, refund: Refund, number: int, there: str, chain: ChainClient
    ) -> None:
        """Another block stands where ours was: is our transaction in another one, and paying?"""
        assert refund.tx_hash is not None, "a refund completes by the receipt of its transaction"
        receipt = await chain.receipt(refund.tx_hash)
        if receipt is not None and judge(receipt, refund, self._networks) == "paid":
            return
        if await chain.block_hash(number) != there:
            return  # the node is between two branches, or several nodes answer as one
        if await self._facts.lost(refund):
            log.error(
                "refund_transaction_lost",
                refund_id=refund.refund_id.hex,
                network=refund.network,
                wallet=refund.wallet,
                tx_hash=refund.tx_hash,
                block_number=number,
                mined_again=receipt is not None,
            )


def watched_seconds(network: Network) -> int:
    """How long after its completion a refund on this network is watched."""
    policy = network.policy
    deepest = max(policy.blocks, *(tier.rule.blocks for tier in policy.tiers), 1)
    return max(WATCHED_SECONDS_MIN, WATCHED_DEPTHS * deepest * network.block_seconds)

"""Watches refunds that ended on chain: a deep reorg may throw their transactions out again.

Shapes  A refund completed by the receipt of a block. The watch asks whether the chain still has
        that block at its height, and which block it calls final (workers/refund_finality.py):
          still there, and final               `refund.finalized`: nobody looks again
          still there, not final yet           nothing is written
        Where the chain has another block there it looks further:
          no receipt of ours any more          lost
          mined again, and it does not pay     lost: what completed is not what happened
          mined again, in a block not final    still completed, nothing is written; should that
                                               block go too, this is looked at again
          mined again, in a final block        `refund.finalized`, with that block
        What is lost is under way again, in one write with the books; workers/refund_sender.py
        sends the same bytes, and it completes once more. `refund_transaction_lost` is said
        as an error, once a loss.
Failed  A refund also ends by a final receipt that moved nothing, and its money is free again. The
        watch asks for its receipt too. Should a block that was final be replaced, and the same
        bytes pay there, `refund_failed_but_paid` is said as an error, once a block and process.
        No fact is written, and that is a choice: the freed money may be given back a second time
        or be spent by then, so what follows (ask for it back, or book a loss) is a person's
        decision; and a chain that took back a final block can be believed in nothing else yet.
        Until then the wallet holds less than the float says by what was paid.
Doubt   Only a node that names another block says that ours is gone. One that is silent, or
        whose chain ends before that block, says nothing; one that changes its answer
        while it is asked is not believed; one that has forgotten an old receipt is not asked for it.
        That a block is final ends the watch for good, so the chain has to name it twice, both
        times after it said what is final.
Until   What completed is looked at until it is final, however long that takes: no time is long
        enough while nobody can look, as when the gateway, its node or the chain's finality stood
        still over a weekend. What failed was final already when it failed: that it comes undone
        all the same is no matter of waiting, and it is looked at for the last
        WATCHED_SECONDS_MIN, or WATCHED_DEPTHS times as long as the slowest network's deepest
        rule takes, if that is longer.
Pace    Each is looked at every WATCH_SECONDS at first, and ever more rarely as it ages (one
        AGE_SHARE of its age, WATCH_SECONDS_MAX at most), by what the read model says: a restart
        forgets nothing. A look reads the newest PAGE_MAX and the next PAGE_MAX of those before,
        so that all of them have their turn. What is final is asked once a network and look.
Units   blocks; seconds.
Errors  an outage changes nothing: the next look asks again. A node that refuses to say what is
        final is said once; losses on its network are found all the same.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from application.outside import ChainClient, Receipt
from application.ports import Clock, Unavailable
from application.reads import Page, RefundReads, RefundRow
from domain.networks import Network, NetworkBook
from domain.refund import Refund
from workers.pacing import Outages, in_rounds
from workers.refund_facts import MOVED_NOTHING, RefundFacts, judge
from workers.refund_finality import newest_final

log = structlog.get_logger(__name__)

WATCHED_SECONDS_MIN = 86_400
WATCHED_DEPTHS = 4
WATCH_SECONDS = 15.0
WATCH_SECONDS_MAX = 3_600.0
AGE_SHARE = 20
PAGE_MAX = 100
AT_ONCE_MAX = 8
NOTHING_FINAL = -1
REMEMBERED = timedelta(seconds=2 * WATCH_SECONDS_MAX)  # longer than any pause between looks
# Network, block number, and the refunds of that block; None asks for a failed one's receipt.
Question = tuple[str, int | None, list[Refund]]
ReadPage = Callable[[str | None], Awaitable[Page[RefundRow]]]  # by the cursor, None for the newest


@dataclass(slots=True)
class _Learnt:
    """What the chains and the store have said in one look."""

    final: dict[str, int] = field(default_factory=dict)  # the newest final block, by network
    unsure: set[str] = field(default_factory=set)  # networks that did not say what is final
    down: set[str] = field(default_factory=set)  # networks without an answer; "": the store


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
        self._said: dict[UUID, str] = {}  # that it is paid after all, and in which block
        self._older: dict[str, str | None] = {}  # where the next page of older ones begins

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.look()
            except Unavailable as outage:
                self._outages.away(outage)
            await self._clock.sleep(WATCH_SECONDS, stop)

    async def look(self) -> None:
        """Once at each refund whose turn it is; those of one block need one question."""
        now = self._clock.now()
        blocks: dict[tuple[str, int], list[Refund]] = defaultdict(list)
        failed: list[Refund] = []
        for refund in await self._their_turn(now):
            if refund.status == "failed":
                failed.append(refund)
                continue
            assert refund.block_number is not None, "a refund completes by its receipt"
            blocks[refund.network, refund.block_number].append(refund)
        learnt = _Learnt()
        networks = sorted({network for network, _ in blocks})
        await in_rounds(networks, AT_ONCE_MAX, lambda one: self._ask_final(one, learnt))
        questions: list[Question] = [
            *((network, number, refunds) for (network, number), refunds in blocks.items()),
            *((refund.network, None, [refund]) for refund in failed),
        ]
        await in_rounds(questions, AT_ONCE_MAX, lambda one: self._guarded(*one, learnt))
        if "" not in learnt.down:
            self._outages.back()

    async def _their_turn(self, now: datetime) -> list[Refund]:
        since, reads = now - self._watched, self._refunds
        rows = await self._latest(
            "completed", lambda cursor: reads.not_final(PAGE_MAX, cursor=cursor)
        )
        rows += await self._latest(
            "failed", lambda cursor: reads.failed_on_chain_since(since, PAGE_MAX, cursor=cursor)
        )
        self._looked_at = {
            refund_id: at for refund_id, at in self._looked_at.items() if now - at < REMEMBERED
        }
        self._said = {one: where for one, where in self._said.items() if one in self._looked_at}
        found = {row.refund.refund_id: row.refund for row in rows}
        return [refund for refund in found.values() if self._is_due(refund, now)]

    async def _latest(self, how: str, read: ReadPage) -> list[RefundRow]:
        """The newest page of what ended so, and the next one of those before."""
        page = await read(None)
        if page.next_cursor is None:
            return list(page.items)
        cursor = self._older.get(how) or page.next_cursor
        older = await read(cursor)
        self._older[how] = older.next_cursor
        return [*page.items, *older.items]

    def _is_due(self, refund: Refund, now: datetime) -> bool:
        looked_at = self._looked_at.get(refund.refund_id)
        ended_at = refund.completed_at or refund.failed_at
        if looked_at is None or ended_at is None:
            return True
        longest = timedelta(seconds=WATCH_SECONDS_MAX)
        pause_ = max(timedelta(seconds=WATCH_SECONDS), (now - ended_at) / AGE_SHARE)
        return now - looked_at >= min(pause_, longest)

    async def _ask_final(self, network: str, learnt: _Learnt) -> None:
        """Without an answer nothing is final, but a loss is noticed all the same."""
        chain = self._chains.get(network)
        if chain is None:
            return
        try:
            learnt.final[network] = await newest_final(chain)
        except Unavailable as outage:
            learnt.unsure.add(network)
            self._outages.away(outage, what=network)
        except Exception:
            learnt.unsure.add(network)
            log.exception("refund_watch_failed", network=network, block_number=None)

    async def _guarded(
        self, network: str, number: int | None, refunds: list[Refund], learnt: _Learnt
    ) -> None:
        """A check that spoils no other."""
        chain = self._chains.get(network)
        if chain is None or network in learnt.down:
            return
        try:
            if number is None:
                await self._check_failed(refunds[0], chain)
            else:
                final = learnt.final.get(network, NOTHING_FINAL)
                await self._check(number, refunds, chain, final)
            if network not in learnt.unsure:
                self._outages.back(what=network)
        except Unavailable as outage:
            what = network if outage.service == "rpc" else ""
            learnt.down.add(what)
            self._outages.away(outage, what=what)
        except Exception:
            log.exception("refund_watch_failed", network=network, block_number=number)

    async def _check(
        self, number: int, refunds: list[Refund], chain: ChainClient, final: int
    ) -> None:
        """`final` is the newest final block; it was asked for before anything here is."""
        there = await chain.block_hash(number)
        ours = any(refund.block_hash == there for refund in refunds)
        for_good = ours and number <= final and await chain.block_hash(number) == there
        for refund in refunds:
            if there is not None and there != refund.block_hash:
                await self._look_closer(refund, number, there, chain, final)
            elif there is not None and for_good:
                await self._facts.final(refund, number, there)
            self._looked_at[refund.refund_id] = self._clock.now()

    async def _check_failed(self, refund: Refund, chain: ChainClient) -> None:
        """It moved nothing in a block that was final; does the same transaction pay now?"""
        assert refund.tx_hash is not None, "it failed by the receipt of its transaction"
        receipt = await chain.receipt(refund.tx_hash)
        if receipt is not None:
            outcome = judge(receipt, refund, self._networks)
            there = outcome not in MOVED_NOTHING and await chain.block_hash(receipt.block_number)
            if there == receipt.block_hash != self._said.get(refund.refund_id):
                self._said[refund.refund_id] = receipt.block_hash
                log.error(
                    "refund_failed_but_paid",
                    refund_id=refund.refund_id.hex,
                    network=refund.network,
                    wallet=refund.wallet,
                    tx_hash=refund.tx_hash,
                    block_number=receipt.block_number,
                    as_asked=outcome == "paid",
                )
        self._looked_at[refund.refund_id] = self._clock.now()

    async def _look_closer(
        self, refund: Refund, number: int, there: str, chain: ChainClient, final: int
    ) -> None:
        """Another block stands where ours was: is our transaction in another one, and paying?"""
        assert refund.tx_hash is not None, "a refund completes by the receipt of its transaction"
        receipt = await chain.receipt(refund.tx_hash)
        if receipt is not None and judge(receipt, refund, self._networks) == "paid":
            if receipt.block_number <= final:
                await self._finalize_elsewhere(refund, receipt, chain)
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

    async def _finalize_elsewhere(
        self, refund: Refund, receipt: Receipt, chain: ChainClient
    ) -> None:
        """In a block that it did not complete by: the receipt names it, the chain has to as well."""
        if await chain.block_hash(receipt.block_number) == receipt.block_hash:
            await self._facts.final(refund, receipt.block_number, receipt.block_hash)


def watched_seconds(network: Network) -> int:
    """How long after its failure a refund on this network is watched."""
    policy = network.policy
    deepest = max(policy.blocks, *(tier.rule.blocks for tier in policy.tiers), 1)
    return max(WATCHED_SECONDS_MIN, WATCHED_DEPTHS * deepest * network.block_seconds)

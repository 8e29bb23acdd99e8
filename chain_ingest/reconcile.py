"""Hourly: what addresses hold on chain against what was seen to arrive there.

Shapes  The net under the logs: a transfer that every provider asked has left out of its answer
        still moved money. From one reading of a balance to the next it can grow only by what was
        seen; what leaves an address (a sweep by the merchant, a refund) makes it smaller. So more
        than that on chain means that a transfer was missed. Then the block it came in is found by
        halving, its receipts are read and proved, and the transfer is fed in as a report
        (chain_ingest/recheck.py); without old state at the providers the range is read instead.
        A balance counts when two providers give the same one. An address read for the first time
        is taken to have held nothing when reading began, but for a merchant's own wallet, which
        has a past; whatever it held then already, where a provider can tell, is left alone. So is
        what an address held before the session was created whose own it is: a merchant's list of
        addresses may have been used before. But one that was a session's own before reading
        began, and held more by then than was seen, stays unexplained each run: somebody has paid
        whom nobody saw. `gateway recheck TX --apply` feeds such a payment in.
        Each run checks sessions that wait for money, the newest addresses, and in rotation the
        others, ADDRESSES_MAX together.
Units   base units; block numbers; seconds by the Clock port.
Errors  `run` waits for outages; `once` raises them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from application.chain_source import Header
from application.handling import Handler
from application.ingest import Cursor, IngestStore, Purse
from application.ports import Clock, Unavailable
from application.reconciling import (
    AddressesToCheck,
    Mark,
    Reading,
    ReconcileBook,
    Reconciliation,
    WatchedAddress,
)
from chain_ingest.lookups import balances_at, last_before
from chain_ingest.passing import Passing
from chain_ingest.providers import Agreed, NoQuorum, Providers
from chain_ingest.recheck import RECHECK_BLOCKS_MAX, Recheck
from chain_ingest.terms import Policy
from chain_ingest.watch import Watch
from domain.networks import Network

log = structlog.get_logger(__name__)

RECONCILE_SECONDS = 3_600
RETRY_SECONDS = 60
ADDRESSES_MAX = 100  # one run; a network's tokens are asked about each
AWAITING_MAX = 40  # of these, sessions that wait for money
NEWEST_MAX = 20  # of these, the newest, whatever was checked before
STATE_BLOCKS = 100  # older state than this only archive nodes have
MISSED_MAX = 32  # of one purse in one run; the next one goes on


@dataclass(frozen=True, slots=True)
class _Gap:
    """A purse that holds more at the end of `top` than it held at `base` and was seen to get."""

    purse: Purse
    token: str
    base: Reading
    top: Header
    since: datetime | None = None  # look for nothing before: read for the first time


@dataclass(frozen=True, slots=True)
class Reconciling:
    """What it needs beyond what its ingester has."""

    book: ReconcileBook
    addresses: AddressesToCheck
    handler: Handler


class Reconciler:
    """Does the hourly run while its ingester leads."""

    def __init__(
        self,
        network: Network,
        providers: Providers,
        store: IngestStore,
        book: ReconcileBook,
        addresses: AddressesToCheck,
        recheck: Recheck,
        clock: Clock,
    ) -> None:
        self._network = network
        self._providers = providers
        self._store = store
        self._book = book
        self._addresses = addresses
        self._recheck = recheck
        self._clock = clock
        self._read_up_to: dict[Purse, int] = {}  # in vain, by this process
        self._tokens = {network.asset(token): token.address for token in network.tokens}

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._clock.sleep(await self._try_once(), stop)

    async def _try_once(self) -> float:
        """How long to wait for the next run, which a restart neither repeats nor forgets."""
        try:
            newest = await self._book.newest(self._network.name)
            now = self._clock.now()
            due_at = now if newest is None else newest.at + timedelta(seconds=RECONCILE_SECONDS)
            if due_at > now:
                return (due_at - now).total_seconds()
            done = await self.once()
        except Unavailable as outage:
            log.warning("reconcile_waits", network=self._network.name, reason=outage.reason)
            return RETRY_SECONDS
        return RETRY_SECONDS if done is None else RECONCILE_SECONDS

    async def once(self) -> Reconciliation | None:
        """One run; None before there is a block to read at."""
        name = self._network.name
        cursor = await self._store.cursor(name)
        if cursor is None:
            return None
        at, final = await self._block(cursor)
        if at is None:
            return None
        newest = await self._book.newest(name)
        chosen, rotated_to = await self._chosen(newest.rotated_to if newest is not None else 0)
        run = await self._checked(cursor, at.header, chosen, final=final, rotated_to=rotated_to)
        log.info(
            "reconciled",
            network=name,
            block=run.block_number,
            checked=run.checked,
            undecided=run.undecided,
            differing=run.differing,
            found=run.found,
            unexplained=run.unexplained,
        )
        return run

    # ------------------------------------------------------------ where, and whom

    async def _block(self, cursor: Cursor) -> tuple[Agreed | None, bool]:
        """The newest final block of ours, or one as deep as confirmations ask for."""
        final = await self._providers.finalized()
        lowest = max(cursor.anchor + 1, cursor.number - STATE_BLOCKS)
        if final is not None and lowest <= final.header.number <= cursor.number:
            return await self._ours(final, cursor), True
        policy = self._network.policy
        rules = [policy.rule_for(0, 0), *(tier.rule for tier in policy.tiers)]
        depth = min(max(rule.blocks for rule in rules), STATE_BLOCKS)
        number = cursor.number - depth
        if number <= cursor.anchor:
            return None, False
        return await self._ours(await self._providers.agreed(number), cursor), False

    async def _ours(self, block: Agreed, cursor: Cursor) -> Agreed:
        """The block, if it is on the branch that our record is of."""
        if not (block.attested or self._providers.single):
            raise NoQuorum(f"only one provider vouches for block {block.header.number}")
        held = await self._store.header_at(self._network.name, block.header.number)
        if held is not None:
            same = held.ref.hash == block.header.hash
        else:
            ours = await self._providers.agreed(cursor.number)
            same = ours.header.hash == cursor.hash
        if not same:
            raise NoQuorum(f"block {block.header.number} is not on the branch we follow")
        return block

    async def _chosen(self, rotated_to: int) -> tuple[Sequence[WatchedAddress], int]:
        name = self._network.name
        first = [
            *await self._addresses.awaiting(name, AWAITING_MAX),
            *(await self._addresses.below(name, 0, NEWEST_MAX))[0],
        ]
        chosen = {each.address: each for each in reversed(first)}
        more, reached = await self._addresses.below(
            name, rotated_to, max(ADDRESSES_MAX - len(chosen), 1)
        )
        chosen.update((each.address, each) for each in more)
        return tuple(chosen.values()), reached

    # ------------------------------------------------------------ checking

    async def _checked(
        self,
        cursor: Cursor,
        block: Header,
        chosen: Sequence[WatchedAddress],
        *,
        final: bool,
        rotated_to: int,
    ) -> Reconciliation:
        purses = [(each.address, asset) for each in chosen for asset in self._tokens]
        wallets = {each.address for each in chosen if each.purpose == "merchant_wallet"}
        since = {each.address: each.since for each in chosen}
        known = await self._readings(purses)
        due = [p for p in purses if p not in known or known[p].block_number < block.number]
        holdings = [(self._tokens[asset], address) for address, asset in due]
        units = await balances_at(self._providers, block, holdings) if due else ()
        there = {p: n for p, n in zip(due, units, strict=True) if n is not None}
        bases = {p: known.get(p) or Reading(p, cursor.anchor, "", 0) for p in there}
        first_look = {p for p in there if p not in known and p[0] in wallets}
        more = await self._more_than_seen(there, bases, block.number)
        gaps = [
            _Gap(p, self._tokens[p[1]], bases[p], block, None if p in known else since[p[0]])
            for p, excess in more.items()
            if excess > 0 and p not in first_look
        ]
        found, unexplained = await self._explained(gaps, more)
        readings = [
            Reading(p, block.number, block.hash, n)
            for p, n in there.items()
            if p not in unexplained
        ]
        run = Reconciliation(
            network=self._network.name,
            at=self._clock.now(),
            block_number=block.number,
            block_hash=block.hash,
            final=final,
            checked=len(there),
            undecided=len(due) - len(there),
            differing=len(gaps),
            found=found,
            unexplained=len(unexplained),
            rotated_to=rotated_to,
        )
        await self._book.keep(run, readings)
        return run

    async def _readings(self, purses: Sequence[Purse]) -> dict[Purse, Reading]:
        """Those whose block is still on the chain: a reorg may have taken a deep one too."""
        known = await self._book.readings(self._network.name, purses)
        left: dict[int, str | None] = {}
        for number in {each.block_number for each in known.values()}:
            held = await self._store.header_at(self._network.name, number)
            left[number] = None if held is None else held.ref.hash
        return {
            purse: each
            for purse, each in known.items()
            if left[each.block_number] in {None, each.block_hash}
        }

    async def _more_than_seen(
        self, there: Mapping[Purse, int], bases: Mapping[Purse, Reading], number: int
    ) -> dict[Purse, int]:
        """By how much each balance has grown beyond what was seen; 0 or less is well.

        Both sums are taken now: a transfer fed in since is older than the reading it explains.
        """
        tops = {p: (*p, number) for p in there}
        lows = {p: (*p, bases[p].block_number) for p in there}
        marks: set[Mark] = {*tops.values(), *lows.values()}
        seen = await self._book.received_until(self._network.name, marks)
        return {
            p: units - bases[p].units - (seen[tops[p]] - seen[lows[p]])
            for p, units in there.items()
        }

    # ------------------------------------------------------------ explaining

    async def _explained(
        self, gaps: Sequence[_Gap], more: Mapping[Purse, int]
    ) -> tuple[int, set[Purse]]:
        """Transfers found and fed in, and the purses that still hold more than was seen."""
        found = 0
        unexplained: set[Purse] = set()
        for gap in gaps:
            fed_in, left = await self._search(gap)
            left = left or await self._held_unseen(gap)
            found += fed_in
            say = log.error if fed_in or left else log.info
            say(
                "balance_above_received",
                network=self._network.name,
                address=gap.purse[0],
                asset=gap.purse[1],
                units=str(more[gap.purse]),
                after_block=gap.base.block_number,
                block=gap.top.number,
                missed_transfers_found=fed_in,
                unexplained=left,
            )
            if left:
                unexplained.add(gap.purse)
        return found, unexplained

    async def _search(self, gap: _Gap) -> tuple[int, bool]:
        """How many missed transfers were fed in, and whether that does not explain it all."""
        start = await self._held_before(gap)
        found = 0
        for _ in range(MISSED_MAX):
            excess = await self._excess(gap, start, gap.top.number)
            if excess is None:
                return found, True
            if excess <= 0:
                return found, False
            number = await self._block_of_rise(gap, start)
            if number is None:
                fed_in = await self._read_all(gap, start)
                found += fed_in
                excess = await self._excess(gap, start, gap.top.number)
                return found, excess is None or excess > 0
            fed_in = await self._fed_in(gap, number, number)
            if not fed_in:
                return found, True  # it came without a log of the token: nothing to credit
            found += fed_in
        return found, True

    async def _held_before(self, gap: _Gap) -> Reading:
        """Where to begin: what was there when reading began, if a provider still knows."""
        base = gap.base
        if gap.since is not None:
            until = gap.top.number
            number = await last_before(self._providers, gap.since, base.block_number, until)
            base = replace(base, block_number=number)
        elif base.units or base.block_number > await self._anchor():
            return base
        block = await self._providers.agreed(base.block_number)
        (units,) = await balances_at(self._providers, block.header, [(gap.token, gap.purse[0])])
        return replace(base, units=units or 0)

    async def _held_unseen(self, gap: _Gap) -> bool:
        """Whether a session's own address was paid before anybody read the chain, unseen."""
        if gap.since is None:
            return False
        block = await self._providers.agreed(await self._anchor())
        if gap.since.timestamp() > block.header.timestamp:
            return False  # it was nobody's yet
        (units,) = await balances_at(self._providers, block.header, [(gap.token, gap.purse[0])])
        mark = (*gap.purse, block.header.number)
        seen = await self._book.received_until(self._network.name, {mark})
        return units is not None and units > seen[mark]

    async def _anchor(self) -> int:
        cursor = await self._store.cursor(self._network.name)
        assert cursor is not None, "there is one, or nothing would be reconciled"
        return cursor.anchor

    async def _block_of_rise(self, gap: _Gap, start: Reading) -> int | None:
        """A block that brought something unseen; None when the providers keep no such state.

        At `start` nothing is unexplained, at the top something is: so between two neighbours
        somewhere it rises, and only a transfer that was missed can make it rise.
        """
        low, high = start.block_number, gap.top.number
        while high - low > 1:
            middle = (low + high) // 2
            excess = await self._excess(gap, start, middle)
            if excess is None:
                return None
            low, high = (middle, high) if excess <= 0 else (low, middle)
        return high

    async def _excess(self, gap: _Gap, start: Reading, number: int) -> int | None:
        block = await self._providers.agreed(number)
        (units,) = await balances_at(self._providers, block.header, [(gap.token, gap.purse[0])])
        if units is None:
            return None
        more = await self._more_than_seen({gap.purse: units}, {gap.purse: start}, number)
        return more[gap.purse]

    async def _read_all(self, gap: _Gap, start: Reading) -> int:
        """Every block since the start; of too many those that one recheck reads.

        What has been read in vain is not read again each hour.
        """
        before = max(start.block_number, self._read_up_to.get(gap.purse, 0))
        first = max(before + 1, gap.top.number - RECHECK_BLOCKS_MAX + 1)
        fed_in = await self._fed_in(gap, first, gap.top.number)
        self._read_up_to[gap.purse] = gap.top.number
        return fed_in

    async def _fed_in(self, gap: _Gap, first: int, last: int) -> int:
        only = frozenset({gap.purse[0]})
        again = await self._recheck.blocks(first, last, thorough=True, apply=True, only=only)
        return again.fed_in


def reconciler(
    reconciling: Reconciling,
    network: Network,
    providers: Providers,
    store: IngestStore,
    policy: Policy,
    watch: Watch,
    passing: Passing,
    clock: Clock,
) -> tuple[Recheck, Reconciler]:
    """Both, over the parts that an ingester has."""
    book, addresses, handler = reconciling.book, reconciling.addresses, reconciling.handler
    recheck = Recheck(network, providers, store, book, policy, watch, passing, handler)
    return recheck, Reconciler(network, providers, store, book, addresses, recheck, clock)

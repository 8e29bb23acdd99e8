"""Pays refunds: asks the signer, broadcasts the stored bytes, and believes receipts only.

Shapes  Each round looks at the refunds that are not finished and takes each one step further.
        What to do next follows from the stream of the refund, from that of the session or the
        transfer it gives back, and from the refund's row among the outgoing transactions alone,
        so a crash anywhere repeats a step, with the same bytes.
          no row     is the money still there, and would the token let it through? Then
                     reserve, else decline
          reserved   the signer's turn; withdrawn where the money is not there any more
          refused    fail the refund and release the money
          signed     record it, broadcast, record that; then follow the receipt of our own hash
        Only two things release money: a refusal, where nothing was ever signed, and a receipt
        that moved nothing and cannot come undone. Money that was released is not paid as well.
        A refund that completed is left to workers/refund_watch.py, which runs beside this. When
        a reorg has taken its transaction it is `broadcast` again, and comes back here.
Depth   what the network's policy asks of a transfer of this amount: so many confirmations, or a
        block that the chain calls safe or final. The policy is the newest one in the log.
        A receipt that moved nothing has to be that deep, and in a final block besides: should a
        reorg take it out, the same signed bytes run again and may pay. What is final says
        workers/refund_finality.py. Until then the refund stays broadcast; should finality stall
        it stays so for as long, and `refund_failure_waits_for_finality` is said once. Should even
        that come undone, workers/refund_watch.py says so.
Window  a refund whose payment is reversed is stopped until the signer has given it a nonce. After
        that it is paid: an unused nonce would block the wallet for ever.
Units   confirmations count as everywhere, head minus block plus one; wei; seconds.
Errors  an outage leaves the refund as it is. What a receipt cannot explain stays open, loudly.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from application.deciders import REFUND
from application.handling import Handler
from application.outside import ChainClient, Outgoing, OutgoingBook, Payout, Receipt
from application.paying_out import FEE_PER_GAS_MAX_WEI, TRANSFER_GAS_LIMIT
from application.policies import Policies
from application.ports import Clock, Unavailable
from application.reads import RefundReads
from domain.networks import ConfirmationPolicy, NetworkBook
from domain.refund import Refund
from workers.pacing import Outages, in_rounds
from workers.refund_facts import MOVED_NOTHING, RefundFacts, judge
from workers.refund_finality import newest_final
from workers.refund_watch import RefundWatch

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.2
SIGNER_SECONDS = 0.1
SIGNER_PROMPT_SECONDS = 60.0  # so long after it was asked for, a refund is looked at that often
RECEIPT_SECONDS_MAX = 2.0
RESEND_SECONDS = 10.0
WAITING_SECONDS = 5.0  # for gas, for lower fees, for finality, for a network not configured
BROKEN_SECONDS = 30.0
UNFINISHED_MAX = 1_000
AT_ONCE_MAX = 16
REASON_CHARACTERS_MAX = 200


class RefundSender:
    def __init__(
        self,
        handler: Handler,
        refunds: RefundReads,
        outgoing: OutgoingBook,
        chains: Mapping[str, ChainClient],
        networks: NetworkBook,
        clock: Clock,
    ) -> None:
        self._handler = handler
        self._refunds = refunds
        self._outgoing = outgoing
        self._chains = chains
        self._networks = networks
        self._clock = clock
        self._policies = Policies(handler)
        self._facts = RefundFacts(handler, networks)
        self._watch = RefundWatch(refunds, self._facts, chains, networks, clock)
        self._outages = Outages("refund_sender")
        self._next_look: dict[UUID, datetime] = {}
        self._sent_at: dict[UUID, datetime] = {}
        self._said: dict[UUID, str] = {}

    async def run(self, stop: asyncio.Event) -> None:
        await asyncio.gather(self._pay_all(stop), self._watch.run(stop))

    async def _pay_all(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.look()
            except Unavailable as outage:
                self._outages.away(outage)
            await self._clock.sleep(POLL_SECONDS, stop)

    async def look(self) -> None:
        """One round: a step for each unfinished refund whose time has come."""
        unfinished = await self._refunds.unfinished(UNFINISHED_MAX)
        self._forget(set(unfinished))
        now = self._clock.now()
        due = [one for one in unfinished if self._next_look.get(one, now) <= now]
        down: set[str] = set()
        await in_rounds(due, AT_ONCE_MAX, lambda one: self._guarded(one, down))
        if "" not in down:
            self._outages.back()

    async def _guarded(self, refund_id: UUID, down: set[str]) -> None:
        """A step that spoils no other: `down` names networks without an answer this round."""
        network = ""  # no network's, but the store's
        try:
            refund = await self._handler.load(REFUND, refund_id)
            if refund is None or not refund.open or refund.network in down:
                return
            network = refund.network
            wait_seconds = await self.step(refund)
            self._outages.back(what=network)
        except Unavailable as outage:
            what = network if outage.service == "rpc" else ""
            down.add(what)
            self._outages.away(outage, what=what)
            return
        except Exception:  # noqa: BLE001 - one broken refund must not stop the others
            self._say(refund_id, "refund_step_failed", trace=True)
            wait_seconds = BROKEN_SECONDS
        self._next_look[refund_id] = self._clock.now() + timedelta(seconds=wait_seconds)

    async def step(self, refund: Refund) -> float:
        """Take one refund one step further; in how many seconds to look again."""
        chain = self._chains.get(refund.network)
        if chain is None:
            self._say(refund.refund_id, "refund_network_not_configured", network=refund.network)
            return WAITING_SECONDS
        row = await self._outgoing.find(refund.refund_id)
        if row is None:
            row = await self._ask(refund, chain)
        elif row.state == "reserved" and row.nonce is None:
            row = await self._unless_gone(refund, row)
        if row is None:
            return WAITING_SECONDS
        match row.state:
            case "refused":
                await self._facts.failed(refund, row.refusal or "refused")
                return POLL_SECONDS
            case "reserved":
                waited = self._clock.now() - refund.created_at
                prompt = waited < timedelta(seconds=SIGNER_PROMPT_SECONDS)
                return SIGNER_SECONDS if prompt else WAITING_SECONDS
            case "signed":
                return await self._pay(refund, row, chain)

    # ------------------------------------------------------------ before it is signed

    async def _ask(self, refund: Refund, chain: ChainClient) -> Outgoing | None:
        """Have it signed, or decline it; None while it has to wait."""
        payout = await self._payout(refund, chain)
        obstacle = await _obstacle(payout, chain)
        waits_for = None if obstacle else await _waits_for(payout, chain)
        # Last of all: while the chain was answering, a reorg may have been recorded.
        obstacle = await self._facts.why_gone(refund) or obstacle
        if obstacle is not None:
            return await self._outgoing.decline(payout, _printable(obstacle))
        if waits_for is not None:
            self._say(refund.refund_id, waits_for, wallet=payout.wallet)
            return None
        return await self._outgoing.reserve(payout)

    async def _unless_gone(self, refund: Refund, row: Outgoing) -> Outgoing:
        """Take it back from the signer if its money is gone and it has no nonce yet."""
        gone = await self._facts.why_gone(refund)
        return row if gone is None else await self._outgoing.withdraw(refund.refund_id, gone)

    async def _payout(self, refund: Refund, chain: ChainClient) -> Payout:
        network, token = self._networks.of_asset(refund.amount.asset)
        max_fee, tip = await chain.fees()
        return Payout(
            refund_id=refund.refund_id,
            merchant_id=refund.merchant_id,
            network=network,
            wallet=refund.wallet,
            wallet_index=refund.wallet_index,
            token=token.address,
            destination=refund.destination,
            units=refund.amount.units,
            max_fee=max_fee,
            tip=tip,
            chain_nonce=await chain.transaction_count(refund.wallet),
        )

    # ------------------------------------------------------------ after it is signed

    async def _pay(self, refund: Refund, row: Outgoing, chain: ChainClient) -> float:
        assert row.raw is not None
        assert row.tx_hash is not None
        assert row.nonce is not None
        if refund.status == "requested":
            gone = await self._facts.why_gone(refund)
            if gone is not None:  # and too late: its nonce must be used
                self._say(refund.refund_id, "refund_is_paid_although_gone", why=gone)
            await self._facts.signed(refund, row.tx_hash, row.nonce)
        if refund.status != "broadcast":
            await chain.broadcast(row.raw)
            self._sent_at[refund.refund_id] = self._clock.now()
            await self._facts.broadcast(refund, row.tx_hash)
            return POLL_SECONDS
        return await self._follow(refund, row, chain, row.tx_hash)

    async def _follow(
        self, refund: Refund, row: Outgoing, chain: ChainClient, tx_hash: str
    ) -> float:
        # The head first: a block that comes in between only makes us wait for another look.
        head = await chain.head_number()
        receipt = await chain.receipt(tx_hash)
        again_seconds = min(chain.network.block_seconds / 2, RECEIPT_SECONDS_MAX)
        if receipt is None:
            await self._send_again(refund, row, chain)
            return again_seconds
        policy = (await self._policies.history(chain.network)).newest or chain.network.policy
        outcome = judge(receipt, refund, self._networks)
        if not await self._is_deep(refund, receipt, policy, head, chain):
            return again_seconds
        final = outcome not in MOVED_NOTHING or await _is_final(receipt, head, chain)
        # Last of all: nodes behind one address may tell of a branch that others have left.
        if await chain.block_hash(receipt.block_number) != receipt.block_hash:
            return again_seconds
        if not final:
            self._say(refund.refund_id, "refund_failure_waits_for_finality", tx_hash=tx_hash)
            return WAITING_SECONDS
        match outcome:
            case "paid":
                # One at least: under a rule by tag the head may come from an older answer.
                confirmations = max(1, head - receipt.block_number + 1)
                await self._facts.mined(refund, receipt, confirmations, policy.version)
            case "reverted":
                why = "the token refused the transfer on chain"
                await self._facts.failed(refund, why, receipt)
            case "nothing_moved":
                await self._facts.failed(refund, "the transaction moved no money", receipt)
            case "unexplained":
                self._say(refund.refund_id, "refund_receipt_unexplained", tx_hash=tx_hash)
                return BROKEN_SECONDS
        return POLL_SECONDS

    async def _is_deep(
        self,
        refund: Refund,
        receipt: Receipt,
        policy: ConfirmationPolicy,
        head: int,
        chain: ChainClient,
    ) -> bool:
        _, token = self._networks.of_asset(refund.amount.asset)
        rule = policy.rule_for(refund.amount.units, token.decimals)
        if rule.tag is not None:
            named = await chain.tagged_number(rule.tag)
            return named is not None and receipt.block_number <= named
        return head - receipt.block_number + 1 >= rule.blocks

    async def _send_again(self, refund: Refund, row: Outgoing, chain: ChainClient) -> None:
        now = self._clock.now()
        sent_at = self._sent_at.get(refund.refund_id)
        if sent_at is not None and now - sent_at < timedelta(seconds=RESEND_SECONDS):
            return
        if await send_again(row, chain, self._outgoing):
            self._say(refund.refund_id, "refund_nonce_used_elsewhere", wallet=row.wallet)
        self._sent_at[refund.refund_id] = now

    # ------------------------------------------------------------ bookkeeping

    def _forget(self, unfinished: set[UUID]) -> None:
        for finished in (self._next_look.keys() | self._sent_at.keys()) - unfinished:
            self._next_look.pop(finished, None)
            self._sent_at.pop(finished, None)
        for finished in self._said.keys() - unfinished:
            del self._said[finished]

    def _say(self, refund_id: UUID, what: str, *, trace: bool = False, **details: str) -> None:
        """Once a refund and trouble, not at every look."""
        if self._said.get(refund_id) != what:
            self._said[refund_id] = what
            log.error(what, refund_id=refund_id.hex, exc_info=trace, **details)


async def _is_final(receipt: Receipt, head: int, chain: ChainClient) -> bool:
    """Whether no ordinary reorg can take this receipt out any more."""
    return receipt.block_number <= await newest_final(chain, head)


async def _obstacle(payout: Payout, chain: ChainClient) -> str | None:
    """Why this transfer can not succeed now: frozen, paused, or not enough money."""
    if await chain.balance(payout.token, payout.wallet) < payout.units:
        return "the refund wallet holds less than the refund on chain"
    refused = await chain.simulate_transfer(
        payout.token, payout.wallet, payout.destination, payout.units
    )
    return None if refused is None else f"the token refuses the transfer: {refused}"


async def _waits_for(payout: Payout, chain: ChainClient) -> str | None:
    """What has to change before this transfer can be sent, as the log names it."""
    if payout.max_fee > FEE_PER_GAS_MAX_WEI:
        return "refund_waits_for_lower_fees"
    if await chain.native_balance(payout.wallet) < TRANSFER_GAS_LIMIT * payout.max_fee:
        return "refund_waits_for_gas"
    return None


def _printable(text: str) -> str:
    """A node's words, which may be anything, as merchants and PostgreSQL can take them."""
    kept = "".join(letter if letter.isprintable() else " " for letter in text)
    return kept[:REASON_CHARACTERS_MAX]


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
